//! Methods that need more than one gradient against float64 PyTorch, on every engine, all of them from one explainer.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use gradcam::{
    ErrorKind, Explainer, ExplainerBuilder, Method, Model, Target,
    engine::EngineKind,
    image::{Limits, Photo},
};
use ndarray::{Array4, ArrayD, Axis};
use onnx_grad::proto::tensor_proto::DataType;
use prost::Message;
use testkit::build::{self, f32s, int, node};
use testkit::{MethodCase, NETWORKS, Suite, fixture, largest_error, method_cases, zoo};

use crate::one_each::OneEach;
use crate::{common, last::network};

static CASES: LazyLock<Vec<MethodCase>> = LazyLock::new(method_cases);

pub(crate) fn tests(suite: &mut Suite) {
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
        several_methods_give_what_each_gives_alone,
        grad_cam_plus_plus_by_hand,
        eigen_cam_by_hand,
        progress_is_told_and_may_end_the_work,
        ablation_cam_by_hand_in_front_of_a_convolution,
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

fn all_methods_have_cases() {
    let methods: BTreeSet<&str> =
        CASES.iter().flat_map(|case| case.maps.keys()).map(String::as_str).collect();
    assert_eq!(methods, BTreeSet::from(["ablationcam", "eigencam", "gradcam++", "scorecam"]));
}

/// A reference that two methods share would not tell which one was computed.
fn references_differ_somewhere() {
    let cases = &*CASES;
    let methods = ["ablationcam", "eigencam", "gradcam++", "scorecam"];
    for (place, one) in methods.iter().enumerate() {
        for other in &methods[place + 1..] {
            let apart = cases.iter().filter_map(|case| {
                let (one, other) = (case.maps.get(*one)?, case.maps.get(*other)?);
                let scaled = |data: &[f64]| -> Vec<f64> {
                    let most = data.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
                    data.iter().map(|v| v / most).collect()
                };
                #[expect(clippy::cast_possible_truncation, reason = "only compared to 1e-2")]
                let one: Vec<f32> = scaled(&one.data).into_iter().map(|v| v as f32).collect();
                Some(largest_error(&one, &scaled(&other.data)))
            });
            assert!(apart.fold(0.0, f64::max) >= 1e-2, "{one} and {other}");
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

/// g is the row of the class in the Gemm, A the input: w_0 = 2·0.5·0.25/(0.5 + 4·0.125 + 1e-6), and so on.
fn grad_cam_plus_plus_by_hand() {
    let row = [0.5, 0.0, 0.0, 0.5, -1.0, 1.0, 0.0, 2.0];
    let weights = [row, [0.0; 8]].concat();
    let nodes = vec![
        node("Relu", &["x"], &["a"], vec![]),
        node("Flatten", &["a"], &["f"], vec![]),
        node("Gemm", &["f", "w"], &["y"], vec![int("transB", 1)]),
    ];
    let constants = vec![f32s("w", &[2, 8], &weights)];
    let inputs = [("x", DataType::Float, &[1, 2, 2, 2][..])];
    let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    let x = [1.0, 2.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0];
    let x = ArrayD::from_shape_vec(vec![1, 2, 2, 2], x.to_vec()).expect("an input");
    let (first, second) = (0.125 / 1.000_001, 1.0 / 4.000_001 + 8.0 / 24.000_001);
    let want = [2.0 * first, 4.0 * first + second, second, 2.0 * first];
    for kind in EngineKind::ALL {
        let explainer = builder(&model, kind).layer("a").method(method("gradcam++")).build();
        let explained =
            explainer.expect("an explainer").explain_one_each(x.view(), &[Target::Class(0)]);
        let layer = &explained.expect("an explanation")[0].layers[0];
        let got: Vec<f32> = layer.map.iter().copied().collect();
        assert!(largest_error(&got, &want) < 1e-6, "{got:?} on {kind}");
        assert!(largest_error(&layer.weights, &[2.0 * first, second]) < 1e-6, "{kind}");
    }
}

/// EigenCAM of channels along one direction: the projection is the channel itself, its larger side positive.
fn eigen_cam_by_hand() {
    let pool = node("GlobalAveragePool", &["a"], &["p"], vec![]);
    let nodes = vec![
        node("Identity", &["x"], &["a"], vec![]),
        pool,
        node("Flatten", &["p"], &["y"], vec![]),
    ];
    let inputs = [("x", DataType::Float, &[1, 2, 2, 2][..])];
    let proto = build::model(17, &inputs, &[("y", DataType::Float)], vec![], nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    for sign in [1.0, -1.0] {
        // 5 is the mean of the first channel, 1 of the second.
        let x = [3.0, 0.0, -1.0, -2.0].map(|v| 5.0 + sign * v);
        let x = ArrayD::from_shape_vec(vec![1, 2, 2, 2], [x, [1.0; 4]].concat()).expect("an input");
        for kind in EngineKind::ALL {
            let explainer = builder(&model, kind).layer("a").method(method("eigencam")).build();
            let explained =
                explainer.expect("an explainer").explain_one_each(x.view(), &[Target::Argmax]);
            let got: Vec<f32> =
                explained.expect("an explanation")[0].layers[0].map.iter().copied().collect();
            assert!(largest_error(&got, &[3.0, 0.0, -1.0, -2.0]) < 1e-6, "{got:?} on {kind}");
        }
    }
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

/// Where the layer is read by the affine step itself, the channels meet in the layer: y = mean of 2·A_0 − A_1, so that
/// w = (y − y_k)/y with y_0 = −mean A_1 and y_1 = 2·mean A_0.
fn ablation_cam_by_hand_in_front_of_a_convolution() {
    let nodes = vec![
        node("Relu", &["x"], &["a"], vec![]),
        node("Conv", &["a", "w"], &["c"], vec![]),
        node("GlobalAveragePool", &["c"], &["p"], vec![]),
        node("Flatten", &["p"], &["y"], vec![]),
    ];
    let constants = vec![f32s("w", &[2, 2, 1, 1], &[2.0, -1.0, 0.5, 0.5])];
    let inputs = [("x", DataType::Float, &[1, 2, 2, 2][..])];
    let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    let x = [1.0, 0.0, 0.0, 3.0, 0.0, 1.0, 1.0, 0.0];
    let x = ArrayD::from_shape_vec(vec![1, 2, 2, 2], x.to_vec()).expect("an input");
    for kind in EngineKind::ALL {
        let builder = builder(&model, kind).layer("a").method(method("ablationcam"));
        // The closed form makes no run of its own.
        let builder = builder.progress(|progress| unreachable!("{progress:?}"));
        let explained =
            builder.build().expect("an explainer").explain_one_each(x.view(), &[Target::Class(0)]);
        let weights = &explained.expect("an explanation")[0].layers[0].weights;
        assert!(largest_error(weights, &[2.0 / 1.5, -0.5 / 1.5]) < 1e-6, "{weights:?} on {kind}");
    }
}
