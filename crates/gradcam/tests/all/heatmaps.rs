//! Heatmaps against those of pytorch-grad-cam, TorchCAM and Captum: smoothed, fused, normalized and resized as by each, on every
//! engine; and what does not go together.

use std::sync::{Arc, LazyLock};

use gradcam::{
    ErrorKind, Explainer, ExplainerBuilder, Explanation, METHODS, Mask, Model, PROFILES, Target,
    TargetSpec,
    engine::EngineKind,
    image::{FUSIONS, Fusion, OverlayStyle, Photo},
};
use ndarray::{ArrayD, Axis};
use testkit::{HeatmapCase, HeatmapCases, Suite, fixture, heatmap_cases, largest_error};

use crate::{common, fixed::with_batch, one_each::OneEach};

static CASES: LazyLock<HeatmapCases> = LazyLock::new(heatmap_cases);

/// How far a heatmap may be from the library's float64, of its largest entry: ten times what the library's own float32 may be.
const BOUND: f64 = 1e-4;

pub(crate) fn tests(suite: &mut Suite) {
    for case in &CASES.cases {
        for kind in EngineKind::ALL {
            suite.test(format!("heatmaps::{}::{kind}", name(case)), move || {
                heatmaps_are_the_library_s(case, kind);
            });
        }
    }
    testkit::tests!(
        suite,
        every_profile_fusion_and_smoothing_has_a_case,
        refinecam_has_the_numbers_of_pytorch_grad_cam,
        the_class_is_that_of_the_image_itself,
        copies_fill_the_batch_that_a_model_fixes,
        copies_are_explained_in_runs_that_fit_into_memory,
        pictures_of_every_profile_are_bright_where_the_map_is,
        what_does_not_go_together_is_refused,
        places_are_not_flipped,
    );
}

fn name(case: &HeatmapCase) -> String {
    let HeatmapCase { profile, method, layers, fusion, aug_smooth, eigen_smooth, .. } = case;
    let mut name = format!("{profile}::{method}::{}", layers.join("+"));
    for (is_on, part) in [
        (fusion != "none", fusion.as_str()),
        (*aug_smooth, "aug_smooth"),
        (*eigen_smooth, "eigen_smooth"),
    ] {
        if is_on {
            name += &format!("::{part}");
        }
    }
    name
}

fn cnn() -> Model {
    Model::open(fixture("heatmaps/cnn.onnx")).expect("a model")
}

fn images() -> ArrayD<f32> {
    ArrayD::from_shape_vec(CASES.input.as_slice(), CASES.images()).expect("an input")
}

fn builder(case: &HeatmapCase, kind: EngineKind) -> ExplainerBuilder {
    builder_of(cnn(), case, kind)
}

fn builder_of(model: Model, case: &HeatmapCase, kind: EngineKind) -> ExplainerBuilder {
    Explainer::builder(model)
        .engine(kind)
        .library_places(common::library())
        .layers(&case.layers)
        .method(case.method.parse().expect("a method"))
        .profile(case.profile.parse().expect("a profile"))
        .fusion(case.fusion.parse().expect("a fusion"))
        .aug_smooth(case.aug_smooth)
        .eigen_smooth(case.eigen_smooth)
}

fn case(profile: &str, method: &str, layers: &[&str]) -> HeatmapCase {
    let layers: Vec<String> = layers.iter().map(|layer| (*layer).to_owned()).collect();
    let found = CASES
        .cases
        .iter()
        .find(|case| case.profile == profile && case.method == method && case.layers == layers);
    found.expect("a case").clone()
}

fn explained(builder: ExplainerBuilder) -> Vec<Explanation> {
    let targets: Vec<Target> = CASES.classes.iter().copied().map(Target::Class).collect();
    let explainer = builder.build().expect("an explainer");
    explainer.explain_one_each(images().view(), &targets).expect("explanations")
}

fn heatmaps_are_the_library_s(case: &HeatmapCase, kind: EngineKind) {
    let want = ArrayD::from_shape_vec(case.heatmaps.shape.as_slice(), case.heatmaps.data.clone());
    let want = want.expect("heatmaps");
    for (explanation, want) in explained(builder(case, kind)).iter().zip(want.outer_iter()) {
        assert_eq!(explanation.heatmaps(), 1);
        let heatmap = explanation.heatmap_nd(0).expect("a heatmap");
        assert_eq!(heatmap.shape(), want.shape());
        let (got, want): (Vec<f32>, Vec<f64>) =
            (heatmap.iter().copied().collect(), want.iter().copied().collect());
        let error = largest_error(&got, &want);
        assert!(error <= BOUND, "{error:.1e}");
        // The raw maps are there, of each layer by itself.
        let layers: Vec<&str> = explanation.layers.iter().map(|one| one.layer.as_str()).collect();
        assert!(case.layers.is_empty() || layers == case.layers, "{layers:?}");
        assert_eq!(explanation.augmented.len(), if case.aug_smooth { 5 } else { 0 });
    }
}

fn every_profile_fusion_and_smoothing_has_a_case() {
    for profile in PROFILES {
        for fusion in profile.fusions {
            // The maximum is TorchCAM's; with the normalization of pytorch-grad-cam it is worked out by hand.
            let is_by_hand = (profile.id, *fusion) == ("pytorch-grad-cam", Fusion::Max);
            let has = |case: &HeatmapCase| case.profile == profile.id && case.fusion == fusion.id();
            assert!(is_by_hand || CASES.cases.iter().any(has), "{} {fusion}", profile.id);
        }
        for method in profile.methods.unwrap_or_default() {
            let has = |case: &HeatmapCase| case.profile == profile.id && case.method == *method;
            assert!(CASES.cases.iter().any(has), "{} {method}", profile.id);
        }
    }
    assert!(CASES.cases.iter().all(|case| case.condition <= 1e-5));
}

/// The case of its default `base_method`, which both libraries call RefineCAM; beside a method whose layers are not fused.
fn refinecam_has_the_numbers_of_pytorch_grad_cam() {
    let is_refined = |case: &&HeatmapCase| {
        (case.profile.as_str(), case.method.as_str(), case.fusion.as_str())
            == ("pytorch-grad-cam", "gradcam++", "product")
    };
    let known = CASES.cases.iter().find(is_refined).expect("a case");
    for kind in EngineKind::ALL {
        for fusion in ["none", "product"] {
            let method = "refinecam".to_owned();
            let case = HeatmapCase { method, fusion: fusion.to_owned(), ..known.clone() };
            heatmaps_are_the_library_s(&case, kind);
        }
    }
    let alone = HeatmapCase { fusion: "none".to_owned(), ..known.clone() };
    let both = builder(&alone, EngineKind::Rten).method("refinecam".parse().expect("a method"));
    let explainer = both.build().expect("an explainer");
    assert_eq!((explainer.maps_per_target(), explainer.heatmaps_per_target()), (4, 3));
    let explained = explainer.explain(images().view(), Target::Class(1)).expect("explanations");
    let heatmaps: Vec<usize> = explained[0].iter().map(Explanation::heatmaps).collect();
    assert_eq!(heatmaps, [2, 1]);
}

/// Where the class with the largest score is another one in a changed copy, the copy is explained for that of the image.
fn the_class_is_that_of_the_image_itself() {
    let case = case("pytorch-grad-cam", "gradcam", &["late"]);
    let mut are_other = 0;
    for step in 0..20u8 {
        // From one image to the other, and beyond.
        let share = f32::from(step) / 10.0;
        let x =
            images().select(Axis(0), &[0]) * (1.0 - share) + images().select(Axis(0), &[1]) * share;
        let build = || builder(&case, EngineKind::Rten).build().expect("an explainer");
        let best = &build().explain(x.view(), Target::Argmax).expect("explanations")[0][0];
        let named = Target::Class(best.class.index);
        let named = &build().explain(x.view(), named).expect("explanations")[0][0];
        assert_eq!(best.target, Target::Argmax);
        assert_eq!(best.heatmap(0).expect("a heatmap"), named.heatmap(0).expect("a heatmap"));
        // So is the second best class.
        let second = &build().explain(x.view(), TargetSpec::Top(2)).expect("explanations")[0][1];
        let named = Target::Class(second.class.index);
        let named = &build().explain(x.view(), named).expect("explanations")[0][0];
        assert_close(second, named);
        let plain = builder(&HeatmapCase { aug_smooth: false, ..case.clone() }, EngineKind::Rten);
        let plain = plain.build().expect("an explainer");
        let of_copy = |factor: f32, is_flipped: bool| {
            let mut copy = x.mapv(|value| value * factor);
            if is_flipped {
                copy.invert_axis(Axis(3));
            }
            let copy = copy.as_standard_layout().into_owned();
            plain.explain(copy.view(), Target::Argmax).expect("explanations")[0][0].class.index
        };
        let copies = [(0.9, false), (1.1, false), (1.0, true), (0.9, true), (1.1, true)];
        let other = |(factor, is_flipped)| of_copy(factor, is_flipped) != best.class.index;
        are_other += u8::from(copies.into_iter().any(other));
    }
    assert!(are_other > 0, "no copy is of another class, so nothing was tested");
}

/// Nothing but the rounding of another order of runs.
fn assert_close(one: &Explanation, other: &Explanation) {
    let pair = [one, other].map(|explanation| explanation.heatmap(0).expect("a heatmap"));
    let apart = pair[0].iter().zip(&pair[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart <= 1e-6, "{apart}");
}

/// The six copies of two images are three runs of a model that takes five at once, the last one padded.
fn copies_fill_the_batch_that_a_model_fixes() {
    let case = case("pytorch-grad-cam", "gradcam", &["late"]);
    let fixed = with_batch("heatmaps/cnn.onnx", 5);
    let of_fixed = explained(builder_of(fixed, &case, EngineKind::Rten));
    for (fixed, open) in of_fixed.iter().zip(&explained(builder(&case, EngineKind::Rten))) {
        assert_close(fixed, open);
    }
}

/// A limit that has room for one image gives what a limit for all copies gives.
fn copies_are_explained_in_runs_that_fit_into_memory() {
    let case = case("pytorch-grad-cam", "gradcam", &["late"]);
    let build = |bytes| builder(&case, EngineKind::Rten).max_memory(bytes).build();
    let x = images().select(Axis(0), &[0]);
    let explain = |bytes| {
        let explainer = build(bytes).expect("an explainer");
        let explained = explainer.explain(x.view(), Target::Class(1));
        explained.map(|explained| explained[0][0].heatmap(0).expect("a heatmap"))
    };
    let wide = explain(1 << 30).expect("a heatmap");
    // The least limit, by halves, is that of one image and smaller than that of six.
    let (mut too_small, mut enough) = (0u64, 1 << 30);
    while enough - too_small > 1 {
        let between = u64::midpoint(too_small, enough);
        match explain(between) {
            Ok(_) => enough = between,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Memory);
                too_small = between;
            }
        }
    }
    let narrow = explain(enough).expect("a heatmap");
    let apart = narrow.iter().zip(&wide).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart <= 1e-6, "{apart}");
    let alone = HeatmapCase { aug_smooth: false, ..case.clone() };
    let alone = builder(&alone, EngineKind::Rten).max_memory(enough).build();
    assert!(alone.expect("an explainer").explain(x.view(), Target::Class(1)).is_ok());
}

/// What pictures show is in 0..1, at the size of the network's input, by the rules of every profile.
fn pictures_of_every_profile_are_bright_where_the_map_is() {
    for profile in PROFILES {
        let case = HeatmapCase {
            aug_smooth: false,
            eigen_smooth: false,
            ..case(profile.id, "gradcam", &["late"])
        };
        let explanation = &explained(builder(&case, EngineKind::Rten))[0];
        let shown = explanation.shown_heatmap(0).expect("a heatmap");
        assert_eq!(shown.shape(), &CASES.input[2..]);
        assert!(shown.iter().all(|value| (0.0..=1.0).contains(value)), "{}", profile.id);
        assert!(shown.iter().any(|value| *value > 0.9), "{}", profile.id);
        let photo = Photo::from_rgb8(28, 20, vec![128; 3 * 28 * 20]).expect("a photo");
        let drawn = explanation.overlay(0, &photo, &OverlayStyle::default()).expect("a picture");
        assert_ne!(drawn.rgb(), photo.rgb());
    }
}

fn what_does_not_go_together_is_refused() {
    let plain = HeatmapCase {
        aug_smooth: false,
        eigen_smooth: false,
        ..case("pytorch-grad-cam", "gradcam", &["late"])
    };
    let refused = |change: &dyn Fn(&mut HeatmapCase)| {
        let mut case = plain.clone();
        change(&mut case);
        let error = builder(&case, EngineKind::Rten).build().expect_err("a refusal");
        assert_eq!(error.kind(), ErrorKind::Method);
        error.to_string()
    };
    let none = |case: &mut HeatmapCase| case.layers.clear();
    assert_eq!(
        refused(&|case| case.fusion = "mean".to_owned()),
        "fusion mean makes one heatmap of several layers, and one is explained, \"late\"; name several with \
         `ExplainerBuilder::layers`"
    );
    assert_eq!(
        refused(&|case| case.method = "refinecam".to_owned()),
        "method refinecam makes one heatmap of several layers, and one is explained, \"late\"; name several with \
         `ExplainerBuilder::layers`"
    );
    assert_eq!(
        refused(&|case| {
            (case.method, case.fusion) = ("refinecam".to_owned(), "mean".to_owned());
        }),
        "method refinecam makes one heatmap of its layers by fusion product, not mean; leave out fusion mean, or choose \
         another method"
    );
    for method in METHODS.iter().filter(|row| !row.is_sum()) {
        let message = refused(&|case| {
            (case.method, case.eigen_smooth) = (method.id.to_owned(), true);
            none(case);
        });
        assert!(message.contains("is no sum over channels"), "{message}");
    }
    let message = refused(&|case| {
        (case.method, case.aug_smooth) = ("saliency".to_owned(), true);
        none(case);
    });
    assert!(message.contains("averages the heatmaps of layers"), "{message}");
    for profile in PROFILES.iter().skip(1) {
        let has = |method: &str| profile.methods.is_none_or(|methods| methods.contains(&method));
        for method in METHODS.iter().filter(|method| !has(method.id)) {
            let message = refused(&|case| {
                case.profile = profile.id.to_owned();
                case.method = method.id.to_owned();
                none(case);
            });
            assert!(message.contains(&profile.methods.unwrap_or_default().join(", ")), "{message}");
        }
        for row in FUSIONS.iter().filter(|row| !profile.fusions.contains(&row.fusion)) {
            let message = refused(&|case| {
                case.profile = profile.id.to_owned();
                case.fusion = row.id.to_owned();
            });
            assert!(message.contains(&format!("has no fusion {}", row.id)), "{message}");
        }
        let message = refused(&|case| {
            case.profile = profile.id.to_owned();
            case.eigen_smooth = true;
        });
        assert!(message.contains("smooths no maps"), "{message}");
    }
}

/// A box or a mask is elsewhere in a flipped image.
fn places_are_not_flipped() {
    let model = |name: &str| Model::open(fixture(&format!("heads/{name}.onnx"))).expect("a model");
    let builder = |name| Explainer::builder(model(name)).aug_smooth(true);
    for name in ["yolov8", "recognizer"] {
        let error = builder(name).build().expect_err("a refusal");
        assert_eq!(error.kind(), ErrorKind::Method);
        assert!(error.to_string().contains("places, which move with it"), "{error}");
    }
    let explainer = builder("segmenter").build().expect("an explainer");
    let mask = Mask::of(&Photo::from_rgb8(2, 1, vec![255; 6]).expect("a photo"));
    let masked = Target::Masked(Some(1), Arc::new(mask.expect("a mask")));
    let error = explainer.check_target(&masked.into()).expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Target);
    assert!(explainer.check_target(&Target::Class(1).into()).is_ok());
}
