//! Methods that run the network again on changed images or activations, against float64 PyTorch, Captum among it, and by
//! hand, on every engine.

use std::{collections::BTreeSet, num::NonZeroUsize, sync::LazyLock};

use gradcam::{
    Explainer, ExplainerBuilder, Explanation, LayerMap, METHODS, MethodSettings, Model, Profile,
    Site, Target, engine::EngineKind,
};
use ndarray::{Array4, ArrayD, Axis, array};
use onnx_grad::proto::{NodeProto, TensorProto, tensor_proto::DataType};
use prost::Message;
use testkit::build::{self, f32s, int, node};
use testkit::{NETWORKS, PassCase, Suite, fixture, guided, largest_error, pass_cases, uniform};

use crate::{common, last::network, one_each::OneEach};

static CASES: LazyLock<Vec<PassCase>> = LazyLock::new(pass_cases);

pub(crate) fn tests(suite: &mut Suite) {
    for (number, case) in CASES.iter().enumerate() {
        for kind in EngineKind::ALL {
            let PassCase { folder, network, method, .. } = case;
            suite.test(
                format!("passes::{folder}::{network}::{method}::case_{number}::{kind}"),
                move || {
                    the_map_is_that_of_float64(case, kind);
                },
            );
        }
    }
    testkit::tests!(
        suite,
        all_methods_have_cases,
        integrated_gradients_and_smooth_grad_by_hand,
        occlusion_by_hand,
        smooth_grad_cam_plus_plus_by_hand,
        smooth_grad_cam_plus_plus_of_torchcam_by_hand,
        score_cam_of_torchcam_by_hand,
        recipro_cam_by_hand_with_channels_first_and_last,
        guided_grad_cam_by_hand,
        full_grad_by_hand,
        windows_that_leave_positions_out_are_refused,
        maps_of_positions_are_heatmaps,
    );
}

/// How far a raw map may be from float64, of its largest entry: that of a gradient, or of differences of scores.
fn bound(method: &str) -> f64 {
    match method {
        "occlusion" => 1e-3,
        _ => 1e-4,
    }
}

fn on(kind: EngineKind, model: &Model, method: &str) -> ExplainerBuilder {
    let builder = Explainer::builder(model.clone()).engine(kind).library_places(common::library());
    builder.method(method.parse().expect("a method"))
}

fn settings(case: &PassCase) -> MethodSettings {
    let whole = |name: &str| case.settings.get(name).map(|number| number.as_u64().expect(name));
    let count = |name: &str| NonZeroUsize::new(usize::try_from(whole(name)?).expect(name));
    #[expect(clippy::cast_possible_truncation, reason = "the generator rounds too")]
    let noise = case.settings.get("noise").map(|noise| noise.as_f64().expect("noise") as f32);
    MethodSettings {
        seed: whole("seed").unwrap_or_default(),
        samples: count("samples"),
        noise,
        window: count("window"),
        stride: count("stride"),
        ..MethodSettings::default()
    }
}

/// The model of a case, and its first image.
fn subject(case: &PassCase) -> (Model, ArrayD<f32>) {
    let first = |shape: &[usize], image: Vec<f32>| {
        let batch = ArrayD::from_shape_vec(shape, image).expect("an input");
        batch.select(Axis(0), &[0])
    };
    match case.folder.as_str() {
        "networks" => {
            let name = NETWORKS.into_iter().find(|name| *name == case.network).expect("a network");
            let (model, known) = &*network(name);
            (model.clone(), first(&known.input, known.image()))
        }
        "guided" => {
            let (model, known) = guided(&case.network);
            let x = first(&known.input, known.image());
            (model, x)
        }
        folder => {
            let path = fixture(&format!("{folder}/{}.onnx", case.network));
            let image = (0..3 * 24 * 32).map(|index| uniform(2026, "input", index)).collect();
            (Model::open(path).expect("a model"), first(&[1, 3, 24, 32], image))
        }
    }
}

fn the_map_is_that_of_float64(case: &PassCase, kind: EngineKind) {
    let (model, x) = subject(case);
    let builder = on(kind, &model, &case.method).method_settings(settings(case));
    let builder = case.layer.iter().fold(builder, |builder, layer| builder.layer(layer));
    let profile = case.profile.iter().map(|id| id.parse().expect("a profile"));
    let builder = profile.fold(builder, ExplainerBuilder::profile);
    let explainer = builder.build().expect("an explainer");
    let target = match case.probability {
        true => Target::Probability(case.class),
        false => Target::Class(case.class),
    };
    let explained = explainer.explain_one_each(x.view(), &[target]);
    let LayerMap { map, completeness_error, .. } =
        explained.expect("a map").remove(0).layers.remove(0);
    assert_eq!(map.shape(), case.shape);
    let got = map.iter().step_by(case.step).map(|v| f64::from(*v));
    assert_eq!(got.len(), case.entries.len());
    let apart = got.zip(&case.entries).map(|(got, want)| (got - want).abs());
    let largest = map.iter().fold(0.0, |most: f64, v| most.max(f64::from(v.abs())));
    let error = apart.fold((largest - case.largest).abs(), f64::max) / case.largest;
    assert!(error <= bound(&case.method), "{error:.1e}");
    assert_eq!(completeness_error.is_some(), case.completeness_error.is_some());
    if let (Some(got), Some(want)) = (completeness_error, case.completeness_error) {
        // It is a difference of two scores and a sum of the whole map.
        assert!((f64::from(got) - want).abs() <= 1e-4, "{got}, not {want}");
    }
}

fn all_methods_have_cases() {
    let methods: BTreeSet<&str> = CASES.iter().map(|case| case.method.as_str()).collect();
    let want = [
        "fullgrad",
        "guided-gradcam",
        "integrated-gradients",
        "occlusion",
        "reciprocam",
        "rise",
        "saliency",
        "scorecam",
        "smoothgrad",
        "smoothgradcam++",
    ];
    assert_eq!(methods, BTreeSet::from(want));
    assert!(CASES.iter().any(|case| case.method == "rise" && case.probability));
    let of_torchcam = CASES.iter().filter(|case| case.profile.as_deref() == Some("torchcam"));
    let of_torchcam: BTreeSet<&str> = of_torchcam.map(|case| case.method.as_str()).collect();
    assert_eq!(of_torchcam, BTreeSet::from(["scorecam", "smoothgradcam++"]));
}

/// A model with the input x [N, 1, 2, 4], its nodes and constants.
fn model(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Model {
    let inputs = [("x", DataType::Float, &[-1, 1, 2, 4][..])];
    let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// y = Σ w·f, f a value of the model.
fn sum_of(f: &str) -> [NodeProto; 2] {
    let flat = node("Flatten", &[f], &["flat"], vec![]);
    [flat, node("Gemm", &["flat", "w"], &["y"], vec![int("transB", 1)])]
}

fn explained(builder: ExplainerBuilder) -> Explanation {
    let x: Array4<f32> = array![[[[1.0, 2.0, 3.0, 4.0], [5.0, -6.0, 7.0, 8.0]]]];
    let explainer = builder.build().expect("an explainer");
    explainer.explain_one_each(x.view(), &[Target::Class(0)]).expect("a map").remove(0)
}

/// The entries of the only map.
fn map(builder: ExplainerBuilder) -> Vec<f32> {
    explained(builder).layers[0].map.iter().copied().collect()
}

fn number(number: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(number)
}

/// y = Σ w·x², so that g = 2·w·x and the integrated gradients are w·x².
fn integrated_gradients_and_smooth_grad_by_hand() {
    let [flat, gemm] = sum_of("f");
    let nodes = vec![node("Mul", &["x", "x"], &["f"], vec![]), flat, gemm];
    let w = [1.0, 0.5, 0.0, -1.0, 2.0, 1.0, 1.0, 0.25];
    let model = model(nodes, vec![f32s("w", &[1, 8], &w)]);
    for kind in EngineKind::ALL {
        for samples in [1, 3] {
            let with = |noise| MethodSettings {
                samples: number(samples),
                noise,
                ..MethodSettings::default()
            };
            let of = on(kind, &model, "integrated-gradients").method_settings(with(None));
            let explanation = explained(of);
            let got: Vec<f32> = explanation.layers[0].map.iter().copied().collect();
            let want = [1.0, 2.0, 0.0, -16.0, 50.0, 36.0, 49.0, 16.0];
            assert!(largest_error(&got, &want) < 1e-6, "{got:?} on {kind}");
            let error = explanation.layers[0].completeness_error.expect("an error");
            assert!(error.abs() < 1e-4, "{error}");

            let got = map(on(kind, &model, "smoothgrad").method_settings(with(Some(0.0))));
            let want = [2.0, 2.0, 0.0, -8.0, 20.0, -12.0, 14.0, 4.0];
            assert!(largest_error(&got, &want) < 1e-6, "{got:?} on {kind}");
            // The noise has a mean of its own.
            let noisy = map(on(kind, &model, "smoothgrad").method_settings(with(Some(0.1))));
            assert!(largest_error(&noisy, &want) > 1e-3, "{noisy:?} on {kind}");
        }
    }
}

/// y = Σ w·x: the drop of a window is the sum of w·x in it.
fn occlusion_by_hand() {
    let w = [1.0, 0.5, 0.0, -1.0, 2.0, 1.0, 1.0, 0.25];
    let model = model(sum_of("x").to_vec(), vec![f32s("w", &[1, 8], &w)]);
    // w·x is [[1, 1, 0, −4], [10, −6, 7, 2]].
    let rows = [
        (1, 1, [1.0, 1.0, 0.0, -4.0, 10.0, -6.0, 7.0, 2.0]),
        // Windows of 2×2 at 0, 1 and 2: 6, 2 and 5.
        (2, 1, [6.0, 4.0, 3.5, 5.0, 6.0, 4.0, 3.5, 5.0]),
        (2, 2, [6.0, 6.0, 5.0, 5.0, 6.0, 6.0, 5.0, 5.0]),
        // The window is as high as the image; at 0 and 2, of which the second is cut: 13 and 5.
        (3, 2, [13.0, 13.0, 9.0, 5.0, 13.0, 13.0, 9.0, 5.0]),
    ];
    for kind in EngineKind::ALL {
        for (window, stride, want) in rows {
            let settings = MethodSettings {
                window: number(window),
                stride: number(stride),
                ..MethodSettings::default()
            };
            let got = map(on(kind, &model, "occlusion").method_settings(settings));
            assert!(largest_error(&got, &want) < 1e-6, "{window} {stride}: {got:?} on {kind}");
        }
        // A seventh of a side is a pixel.
        assert!(largest_error(&map(on(kind, &model, "occlusion")), &rows[0].2) < 1e-6);
    }
}

/// A = x and g = w, for any noise: w = Σ relu(g)·g² / (2·g² + g³·Σ A + 1e-8), Σ A = 24.
fn smooth_grad_cam_plus_plus_by_hand() {
    let [flat, gemm] = sum_of("a");
    let nodes = vec![node("Identity", &["x"], &["a"], vec![]), flat, gemm];
    let w = [0.5, 0.0, 0.0, -1.0, 0.0, 0.25, 0.0, 0.0];
    let model = model(nodes, vec![f32s("w", &[1, 8], &w)]);
    let weight = 0.5 * 0.25 / (0.5 + 3.0) + 0.25 * 0.0625 / (0.125 + 24.0 / 64.0);
    let want = [1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 7.0, 8.0].map(|a| a * weight);
    for kind in EngineKind::ALL {
        let builder = on(kind, &model, "smoothgradcam++").layer("a");
        let explanation = explained(builder);
        let got: Vec<f32> = explanation.layers[0].map.iter().copied().collect();
        assert!(largest_error(&got, &want) < 1e-6, "{got:?} on {kind}");
        assert!(largest_error(&explanation.layers[0].weights, &[weight]) < 1e-6);
    }
}

fn torchcam() -> Profile {
    "torchcam".parse().expect("a profile")
}

/// As before, with Σ (g³·A) = 0.125·1 − 1·4 − 6/64 in the denominator, and A of the last noisy image in the map.
fn smooth_grad_cam_plus_plus_of_torchcam_by_hand() {
    let [flat, gemm] = sum_of("a");
    let nodes = vec![node("Identity", &["x"], &["a"], vec![]), flat, gemm];
    let w = [0.5, 0.0, 0.0, -1.0, 0.0, 0.25, 0.0, 0.0];
    let model = model(nodes, vec![f32s("w", &[1, 8], &w)]);
    let third = 0.125 - 4.0 - 6.0 / 64.0;
    let weight = 0.5 * 0.25 / (0.5 + third) + 0.25 * 0.0625 / (0.125 + third);
    let want = [1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 7.0, 8.0].map(|a| a * weight);
    for kind in EngineKind::ALL {
        let explained = |noise| {
            let settings = MethodSettings { noise, ..MethodSettings::default() };
            let builder = on(kind, &model, "smoothgradcam++").layer("a").profile(torchcam());
            let layer = explained(builder.method_settings(settings)).layers.remove(0);
            assert!(largest_error(&layer.weights, &[weight]) < 1e-6, "{:?}", layer.weights);
            layer.map.iter().copied().collect::<Vec<f32>>()
        };
        let got = explained(Some(0.0));
        assert!(largest_error(&got, &want) < 1e-6, "{got:?} on {kind}");
        let noisy = explained(None);
        assert!(largest_error(&noisy, &want) > 1e-2, "{noisy:?} on {kind}");
    }
}

/// A_0 = (1, 3) and A_1 = −A_0 are the masks (0, 1) and (1, 0) before the resize, and (0, 1/4, 3/4, 1) and its mirror image
/// behind it, in each row. The columns of w·x sum up to 1.1, −0.5, 0.7 and −0.2, so the scores are 0.2 and 0.9.
fn score_cam_of_torchcam_by_hand() {
    let stride = build::ints("strides", &[2, 2]);
    let nodes = vec![
        node("Conv", &["x", "corner"], &["a"], vec![stride]),
        node("Flatten", &["x"], &["flat_x"], vec![]),
        node("Flatten", &["a"], &["flat_a"], vec![]),
        node("Concat", &["flat_x", "flat_a"], &["flat"], vec![int("axis", 1)]),
        node("Gemm", &["flat", "w"], &["y"], vec![int("transB", 1)]),
    ];
    // The score does not depend on A, only on x.
    let w = [0.1, 0.05, 0.0, -0.1, 0.2, 0.1, 0.1, 0.025, 0.0, 0.0, 0.0, 0.0];
    let corner = f32s("corner", &[2, 1, 2, 2], &[1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0]);
    let model = model(nodes, vec![f32s("w", &[1, 12], &w), corner]);
    // The difference of the two weights. With aligned corners, (0, 1/3, 2/3, 1), the scores are 0.1 and 1.
    for (profile, apart) in [(torchcam(), 0.35f64.tanh()), (Profile::default(), 0.45f64.tanh())] {
        let want = [-apart, -3.0 * apart];
        for kind in EngineKind::ALL {
            let got = map(on(kind, &model, "scorecam").layer("a").profile(profile));
            assert!(largest_error(&got, &want) < 1e-6, "{got:?}, not {want:?} on {kind}");
        }
    }
}

/// y = Σ w·A of two channels, so that the map at a position is the mean of Σ_k w_k·A_k around it, weighed by (1/4, 1/2, 1/4)
/// along each axis.
fn recipro_cam_by_hand_with_channels_first_and_last() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 7.0, 8.0];
    let w = [1.0, 0.5, 0.0, -1.0, 2.0, 1.0, 1.0, 0.25];
    // The same weights where the channels are last.
    let turned = [0, 4, 1, 5, 2, 6, 3, 7].map(|place: usize| w[place]);
    let [flat, gemm] = sum_of("a");
    let first = vec![node("Relu", &["x"], &["a"], vec![]), flat.clone(), gemm.clone()];
    let turn = node("Transpose", &["x"], &["t"], vec![build::ints("perm", &[0, 2, 3, 1])]);
    let last = vec![turn, node("Relu", &["t"], &["a"], vec![]), flat, gemm];
    // Σ_k w_k·A_k is [[1 + 10, 1], [7, −4 + 2]]; a corner has 1/4 of it, 1/8 of its neighbors and 1/16 across.
    let around = |own: f64, beside: f64, across: f64| own / 4.0 + beside / 8.0 + across / 16.0;
    let want = [
        around(11.0, 1.0 + 7.0, -2.0),
        around(1.0, 11.0 - 2.0, 7.0),
        around(7.0, 11.0 - 2.0, 1.0),
        around(-2.0, 1.0 + 7.0, 11.0),
    ];
    let x = ArrayD::from_shape_vec(vec![1, 2, 2, 2], x.to_vec()).expect("an input");
    for (nodes, w) in [(first, w), (last, turned)] {
        let inputs = [("x", DataType::Float, &[-1, 2, 2, 2][..])];
        let constants = vec![f32s("w", &[1, 8], &w)];
        let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
        let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
        for kind in EngineKind::ALL {
            let explainer = on(kind, &model, "reciprocam").layer("a").build();
            let explained = explainer.expect("an explainer");
            let explained = explained.explain_one_each(x.view(), &[Target::Class(0)]);
            let map = &explained.expect("a map")[0].layers[0].map;
            assert_eq!(map.shape(), [2, 2]);
            let got: Vec<f32> = map.iter().copied().collect();
            assert!(largest_error(&got, &want) < 1e-6, "{got:?}, not {want:?} on {kind}");
        }
    }
}

/// A = relu(x) and g = w: Grad-CAM's weight is the mean of w, 0.34375, so that its heatmap is A/8. Guided backpropagation keeps
/// w where it and x are positive.
fn guided_grad_cam_by_hand() {
    let [flat, gemm] = sum_of("a");
    let nodes = vec![node("Relu", &["x"], &["a"], vec![]), flat, gemm];
    let w = [1.0, 0.5, 0.0, -1.0, 2.0, 1.0, -1.0, 0.25];
    let model = model(nodes, vec![f32s("w", &[1, 8], &w)]);
    let want = [1.0, 1.0, 0.0, 0.0, 10.0, 0.0, 0.0, 2.0].map(|v| v / 8.0);
    for kind in EngineKind::ALL {
        let explanation = explained(on(kind, &model, "guided-gradcam").layer("a"));
        let layer = &explanation.layers[0];
        assert_eq!((layer.layer.as_str(), layer.map.shape()), ("a", &[1, 2, 4][..]));
        assert!(explanation.is_of_layers() && explanation.input_picture(0).expect("one").is_some());
        let got: Vec<f32> = layer.map.iter().copied().collect();
        assert!(largest_error(&got, &want) < 1e-6, "{got:?} on {kind}");
    }
}

/// y = Σ w·(2·x + 3): |x·g| = |2·w·x| and |bias·g| = |3·w|, each scaled to 0…1.
fn full_grad_by_hand() {
    let [flat, gemm] = sum_of("c");
    let nodes = vec![node("Conv", &["x", "two", "three"], &["c"], vec![]), flat, gemm];
    let w = [1.0, 0.5, 0.0, -1.0, 2.0, 1.0, 1.0, 0.25];
    let constants = vec![
        f32s("w", &[1, 8], &w),
        f32s("two", &[1, 1, 1, 1], &[2.0]),
        f32s("three", &[1], &[3.0]),
    ];
    let model = model(nodes, constants);
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 7.0, 8.0];
    let want: Vec<f64> = w
        .iter()
        .zip(x)
        .map(|(w, x)| f64::from((w * x).abs()) / 10.0 + f64::from(w.abs()) / 2.0)
        .collect();
    for kind in EngineKind::ALL {
        let got = map(on(kind, &model, "fullgrad"));
        assert!(largest_error(&got, &want) < 1e-6, "{got:?} on {kind}");
    }
}

fn windows_that_leave_positions_out_are_refused() {
    let model = model(sum_of("x").to_vec(), vec![f32s("w", &[1, 8], &[1.0; 8])]);
    let settings =
        MethodSettings { window: number(3), stride: number(4), ..MethodSettings::default() };
    let explainer = on(EngineKind::default(), &model, "occlusion").method_settings(settings);
    let explainer = explainer.build().expect("an explainer");
    let x = Array4::<f32>::ones((1, 1, 2, 4));
    let error = explainer.explain_one_each(x.view(), &[Target::Class(0)]).expect_err("a gap");
    assert_eq!(error.kind(), gradcam::ErrorKind::Method);
    assert!(error.to_string().ends_with("the stride may be at most 3"), "{error}");
}

fn maps_of_positions_are_heatmaps() {
    let w = [1.0, 0.5, 0.0, -1.0, 2.0, 1.0, 1.0, 0.25];
    let model = model(sum_of("x").to_vec(), vec![f32s("w", &[1, 8], &w)]);
    for row in METHODS.iter().filter(|row| row.site == Site::Positions) {
        let settings = MethodSettings { samples: number(8), ..MethodSettings::default() };
        let of = on(EngineKind::default(), &model, row.id).method_settings(settings);
        let explanation = explained(of);
        let layer = &explanation.layers[0];
        assert_eq!((layer.layer.as_str(), layer.map.shape()), ("x", &[2, 4][..]), "{}", row.id);
        assert!(layer.weights.is_empty() && !explanation.is_of_layers(), "{}", row.id);
        assert!(explanation.input_picture(0).expect("none").is_none(), "{}", row.id);
        let (heat, map) = (explanation.heatmap(0).expect("a heatmap"), explanation.map2(0));
        let map = map.expect("two axes");
        let most = map.iter().copied().fold(0.0, f32::max);
        let at = |(y, x)| heat[(y, x)] > 0.999 && map[(y, x)] == most;
        assert!(ndarray::indices((2, 4)).into_iter().any(at), "{}: {heat} of {map}", row.id);
    }
}
