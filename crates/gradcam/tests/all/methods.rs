//! Methods against float64 PyTorch, on every engine, all of them from one explainer.

mod by_hand;

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use gradcam::{
    CancelToken, ErrorKind, Explainer, ExplainerBuilder, METHODS, Method, Model, Target,
    engine::EngineKind,
    image::{Limits, Photo},
};
use ndarray::{Array, Array4, ArrayD, Axis};
use testkit::{
    FixtureTensor, METHODS_WITH_MAPS, MethodCase, NETWORKS, Suite, fixture, largest_error,
    method_cases, zoo,
};

use crate::one_each::OneEach;
use crate::{common, last::network};

static CASES: LazyLock<Vec<MethodCase>> = LazyLock::new(method_cases);

pub(crate) fn tests(suite: &mut Suite) {
    by_hand::tests(suite);
    for case in &*CASES {
        for kind in EngineKind::ALL {
            let MethodCase { network, layer, image, .. } = case;
            suite.test(format!("methods::{network}::{layer}::image_{image}::{kind}"), move || {
                maps_equal_float64_pytorch(case, kind);
            });
        }
    }
    testkit::tests!(
        suite,
        all_methods_have_cases,
        references_differ_somewhere,
        methods_are_the_same_where_they_must_be,
        several_methods_give_what_each_gives_alone,
        progress_is_told_and_may_end_the_work,
        a_token_ends_the_work_between_runs,
        with_a_token_a_batch_runs_in_chunks,
    );
}

/// How far a raw map may be from float64, of its largest entry: ten times the error that torch's float32 may have there.
fn bound(method: &str) -> f64 {
    match method {
        "ablationcam" | "scorecam" => 1e-3,
        _ => 1e-4,
    }
}

/// The model of a case and its images.
fn subject(name: &str) -> (Model, ArrayD<f32>) {
    if name == "lite0" {
        let path = fixture("networks/cat_over_coffee_224.png");
        let photo = Photo::open(path, &Limits::default()).expect("a fixture");
        let x = Array4::from_shape_fn((1, 3, 224, 224), |(_, c, y, x)| {
            (f32::from(photo.rgb()[(y * 224 + x) * 3 + c]) - 127.0) / 128.0
        });
        return (Model::open(common::demo_model()).expect("the built-in model"), x.into_dyn());
    }
    if let Some(name) = NETWORKS.into_iter().find(|known| *known == name) {
        let (model, known) = &*network(name);
        let x = ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input");
        return (model.clone(), x);
    }
    let known = zoo().into_iter().find(|model| model.name == name).expect("a model");
    let x = ArrayD::from_shape_vec(known.input.clone(), known.image()).expect("an image");
    (Model::open(known.path()).expect("a model"), x)
}

fn builder(model: &Model, kind: EngineKind) -> ExplainerBuilder {
    let builder = Explainer::builder(model.clone()).engine(kind);
    builder.library_places(common::library())
}

fn method(id: &str) -> Method {
    id.parse().expect("a method of the table")
}

fn maps_equal_float64_pytorch(case: &MethodCase, kind: EngineKind) {
    let (model, batch) = subject(&case.network);
    let x = batch.select(Axis(0), &[case.image]);
    let ids = case.maps.keys();
    let builder = builder(&model, kind).layer(&case.layer).methods(ids.map(|id| method(id)));
    let explainer = builder.build().expect("an explainer");
    let target = [Target::Class(case.class)];
    let explained = explainer.explain_one_each(x.view(), &target).expect("explanations");
    assert_eq!(explained.len(), case.maps.len());
    let mut failures = Vec::new();
    for explanation in &explained {
        let (layer, want) = (&explanation.layers[0], &case.maps[explanation.method]);
        assert_eq!(layer.value, case.value);
        assert_eq!(layer.map.shape(), &want.shape[1..], "{}", explanation.method);
        let got: Vec<f32> = layer.map.iter().copied().collect();
        let error = largest_error(&got, &want.data);
        if error > bound(explanation.method) {
            failures.push(format!("{}: {error:.1e}", explanation.method));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The methods of layers that have no reference here, and what tests them.
const WITHOUT_REFERENCE: &[(&str, &str)] = &[
    ("cam", "pytorch-grad-cam has none; by hand, and as Grad-CAM in front of a global pooling"),
    ("guided-gradcam", "a product of two maps that have references"),
    ("randomcam", "numbers of chance; by its own weights"),
    ("reciprocam", "pytorch-grad-cam has none; by hand"),
    ("refinecam", "the maps of gradcam++; their heatmap among those of heatmaps.rs"),
    ("smoothgradcam++", "numbers of chance; by hand"),
];

fn all_methods_have_cases() {
    let with_maps: BTreeSet<&str> =
        CASES.iter().flat_map(|case| case.maps.keys()).map(String::as_str).collect();
    assert_eq!(with_maps, BTreeSet::from(METHODS_WITH_MAPS));
    let without = WITHOUT_REFERENCE.iter().map(|(id, _)| *id);
    let known: BTreeSet<&str> = with_maps.into_iter().chain(without).collect();
    let of_layers = METHODS.iter().filter(|row| !row.is_of_input()).map(|row| row.id);
    assert_eq!(known, of_layers.collect());
}

/// A map over its largest entry.
fn scaled(map: &FixtureTensor) -> Vec<f64> {
    let most = map.data.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    map.data.iter().map(|v| v / most).collect()
}

fn apart(one: &FixtureTensor, other: &FixtureTensor) -> f64 {
    let pairs = scaled(one).into_iter().zip(scaled(other));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// A reference that two methods share would not tell which one was computed.
fn references_differ_somewhere() {
    for (place, one) in METHODS_WITH_MAPS.iter().enumerate() {
        for other in &METHODS_WITH_MAPS[place + 1..] {
            let most = CASES
                .iter()
                .filter_map(|case| Some(apart(case.maps.get(*one)?, case.maps.get(*other)?)));
            assert!(most.fold(0.0, f64::max) >= 1e-2, "{one} and {other}");
        }
    }
}

/// Where methods give one map, up to its scale: network, layer, methods, and why.
const IDENTITIES: &[(&str, &str, &[&str])] = &[
    // The Hessian of a network of relus is 0.
    ("vgg11_bn", "features.10", &["gradcam", "shapleycam"]),
    ("resnet18", "layer2.1", &["gradcam", "shapleycam"]),
    ("lite0", "blocks.4", &["gradcam", "shapleycam"]),
    // In front of a global pooling the gradient is the same at all positions.
    ("resnet18", "layer4.1", &["gradcam", "hirescam", "xgradcam", "shapleycam"]),
    // The activation is not negative, so the relu is that of the gradient.
    ("resnet18", "layer2.1", &["layercam", "gradcam-elementwise"]),
    ("resnet18", "layer4.1", &["layercam", "gradcam-elementwise"]),
    ("vgg11_bn", "features.10", &["layercam", "gradcam-elementwise"]),
    ("vgg11_bn", "features.27", &["layercam", "gradcam-elementwise"]),
];

fn methods_are_the_same_where_they_must_be() {
    for (network, layer, methods) in IDENTITIES {
        let of_case = |case: &&MethodCase| {
            case.network == *network && case.layer == *layer && case.image == 0
        };
        let case = CASES.iter().find(of_case).expect("a case");
        for other in &methods[1..] {
            let apart = apart(&case.maps[methods[0]], &case.maps[*other]);
            assert!(apart < 1e-5, "{network} {layer}: {} and {other}: {apart:.1e}", methods[0]);
        }
    }
}

/// Methods of one explainer share a run; each gives what it gives alone, whatever it shares the run with.
fn several_methods_give_what_each_gives_alone() {
    let case = CASES.iter().find(|case| case.network == "resnet18").expect("a case");
    let (model, batch) = subject(&case.network);
    let x = batch.select(Axis(0), &[case.image]);
    let ids = ["gradcam", "hirescam", "guided-backprop", "ablationcam", "gradcam++", "saliency"];
    let targets = [Target::Class(3)];
    for kind in EngineKind::ALL {
        let together =
            builder(&model, kind).methods(ids.map(method)).build().expect("an explainer");
        let together = together.explain_one_each(x.view(), &targets).expect("explanations");
        assert_eq!(together.iter().map(|one| one.method).collect::<Vec<_>>(), ids);
        for explanation in &together {
            let alone = builder(&model, kind).method(method(explanation.method)).build();
            let alone = alone.expect("an explainer").explain_one_each(x.view(), &targets);
            let alone = &alone.expect("an explanation")[0].layers[0];
            let here = &explanation.layers[0];
            assert_eq!((&here.layer, &here.value), (&alone.layer, &alone.value));
            let want: Vec<f64> = alone.map.iter().map(|v| f64::from(*v)).collect();
            let got: Vec<f32> = here.map.iter().copied().collect();
            let error = largest_error(&got, &want);
            assert!(error <= 1e-5, "{} on {kind}: {error:.1e}", explanation.method);
        }
    }
}

/// What is canceled ends when the run in progress is over: before the first run, between the chunks of a batch, and between the
/// runs of a method.
fn a_token_ends_the_work_between_runs() {
    let (model, batch) = subject("resnet18");
    let x = batch.select(Axis(0), &[0; 20]);
    let few = x.slice_axis(Axis(0), (..1).into());
    let counted = |name: &str, after: usize| {
        let runs = Arc::new(AtomicUsize::new(0));
        let (count, token) = (runs.clone(), CancelToken::new());
        let cancels = token.clone();
        let builder = builder(&model, EngineKind::Rten).layer("layer1.1").method(method(name));
        let builder = builder.progress(move |_| {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == after {
                cancels.cancel();
            }
            ControlFlow::Continue(())
        });
        let explainer = builder.build().expect("an explainer");
        (explainer.with_cancel_token(&token), explainer, token, runs)
    };
    let canceled = |explained: gradcam::Result<Vec<Vec<gradcam::Explanation>>>| {
        let error = explained.expect_err("it was canceled");
        assert_eq!(error.kind(), ErrorKind::Canceled);
        assert_eq!(error.to_string(), "the explanation was canceled before it was done");
    };
    // Two runs of the first image, of 64 channels.
    let (explainer, plain, token, runs) = counted("scorecam", 1);
    canceled(explainer.explain(&few, Target::Class(3)));
    assert!(token.is_canceled());
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    canceled(explainer.explain(&few, Target::Class(3)));
    assert_eq!(runs.load(Ordering::Relaxed), 1, "nothing is begun");
    plain.explain(&few, Target::Class(3)).expect("the other explainer has no token");
    // Eight images are one chunk; the ninth is in the next.
    let (explainer, _, _, runs) = counted("scorecam", 16);
    canceled(explainer.explain(&x, Target::Class(3)));
    assert_eq!(runs.load(Ordering::Relaxed), 16);
    // In chunks, the last one of 4 images, each image has the map that it has in one run.
    let (explainer, plain, ..) = counted("gradcam", usize::MAX);
    let targets: Vec<Target> = (0..20).map(Target::Class).collect();
    let y = Array::from_shape_fn(x.raw_dim(), |at| x[&at] * (at[0] as f32 / 10.0 - 1.0));
    let of = |explainer: &gradcam::Explainer| {
        explainer.explain_one_each(y.view(), &targets).expect("explanations")
    };
    let (chunks, whole) = (of(&explainer), of(&plain));
    assert_eq!(chunks.len(), 20);
    for (one, other) in chunks.iter().zip(&whole) {
        assert_eq!(one.class.index, other.class.index);
        let want: Vec<f64> = other.layers[0].map.iter().map(|v| f64::from(*v)).collect();
        let got: Vec<f32> = one.layers[0].map.iter().copied().collect();
        let error = largest_error(&got, &want);
        assert!(error <= 1e-5, "class {}: {error:.1e}", one.class.index);
    }
}

/// A run of a batch that may be canceled has 8 images: it takes the memory of 8.
fn with_a_token_a_batch_runs_in_chunks() {
    let (model, batch) = subject("resnet18");
    let x = batch.select(Axis(0), &[0; 20]);
    let few = x.slice_axis(Axis(0), (..8).into());
    let limited = |bytes: u64| {
        let builder = builder(&model, EngineKind::Rten).layer("layer1.1").max_memory(bytes);
        builder.build().expect("an explainer")
    };
    let fits = |bytes: &u64| limited(*bytes).explain(&few, Target::Class(3)).is_ok();
    let mut limit = (16..40).map(|power| 1_u64 << power).find(fits).expect("a limit");
    // Where 8 images just fit, within one percent, 20 do not.
    for part in (1..8).map(|power| limit >> (power + 1)).collect::<Vec<_>>() {
        limit -= if fits(&(limit - part)) { part } else { 0 };
    }
    let explainer = limited(limit);
    let error = explainer.explain(&x, Target::Class(3)).map(drop).expect_err("too large a run");
    assert_eq!(error.kind(), ErrorKind::Memory);
    let explained = explainer.with_cancel_token(&CancelToken::new()).explain(&x, Target::Class(3));
    assert_eq!(explained.expect("three runs").len(), 20);
}

/// Progress is told after each batch of runs, the last one with all of them; whoever is told may end it.
fn progress_is_told_and_may_end_the_work() {
    let case = CASES.iter().find(|case| case.network == "resnet18").expect("a case");
    let (model, batch) = subject(&case.network);
    let x = batch.select(Axis(0), &[case.image]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let (list, stop) = (told.clone(), Arc::new(AtomicBool::new(false)));
    let stops = stop.clone();
    let builder = builder(&model, EngineKind::Rten).layer("layer1.1").method(method("scorecam"));
    let builder = builder.progress(move |progress| {
        assert_eq!(progress.method, "scorecam");
        list.lock().expect("a list").push((progress.done, progress.total));
        if stops.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let explainer = builder.build().expect("an explainer");
    explainer.explain_one_each(x.view(), &[Target::Class(3)]).expect("an explanation");
    assert_eq!(told.lock().expect("a list").as_slice(), [(32, 64), (64, 64)]);
    stop.store(true, Ordering::Relaxed);
    let error =
        explainer.explain_one_each(x.view(), &[Target::Class(3)]).expect_err("it was ended");
    assert_eq!(error.kind(), ErrorKind::Canceled);
    assert_eq!(error.to_string(), "scorecam was canceled after 32 of 64 runs");
    assert_eq!(told.lock().expect("a list").len(), 3);
}
