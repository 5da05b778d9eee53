//! Maps of the network's input: the gradient and guided backpropagation, against float64 PyTorch and
//! pytorch-grad-cam, and on networks that are worked out by hand.

use gradcam::{
    ErrorKind, Explainer, ExplainerBuilder, Explanation, METHODS, Model, Summary, Target,
    engine::EngineKind,
    image::{
        Overrides, gradient_heatmap, gradient_picture, magnitude_picture,
        preprocess::{Channels, Layout},
    },
};
use ndarray::{Array3, Array4, ArrayD, ArrayView3, Axis, array};
use onnx_grad::proto::{ModelProto, NodeProto, TensorProto, tensor_proto::DataType};
use prost::Message;
use testkit::build::{self, f32s, int, node};
use testkit::{GUIDED_NETWORKS, Suite, guided, largest_error};

use crate::common;
use crate::one_each::OneEach;

/// What the design promises for a raw map, of its largest entry; float32 against float64.
const BOUND: f64 = 1e-4;

pub(crate) fn tests(suite: &mut Suite) {
    for name in GUIDED_NETWORKS {
        for kind in EngineKind::ALL {
            suite.test(format!("guided::{name}::{kind}"), move || {
                equals_pytorch_grad_cam_in_a_batch_with_a_target_each(name, kind);
            });
        }
    }
    testkit::tests!(
        suite,
        every_kind_of_target,
        a_model_without_relu_is_said_to_have_the_plain_gradient,
        maps_have_their_channels_first,
        a_layer_is_refused_and_limits_hold,
        pictures_of_gradients,
    );
}

fn on(kind: EngineKind, builder: ExplainerBuilder) -> ExplainerBuilder {
    match kind {
        EngineKind::OnnxRuntime => builder.engine(kind).library_places(common::library()),
        _ => builder.engine(kind),
    }
}

fn of(model: &Model, method: &str) -> ExplainerBuilder {
    Explainer::builder(model.clone()).method(method.parse().expect("a method"))
}

fn map3(explanation: &Explanation) -> ArrayView3<'_, f32> {
    explanation.layers[0].map.view().into_dimensionality().expect("[C, H, W]")
}

fn equals_pytorch_grad_cam_in_a_batch_with_a_target_each(name: &str, kind: EngineKind) {
    let (model, known) = guided(name);
    let x = ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input");
    let targets: Vec<Target> = known.classes.iter().map(|&k| Target::Class(k)).collect();
    let mut maps: Vec<Vec<Vec<f64>>> = Vec::new();
    for (method, want) in &known.methods {
        let explainer = on(kind, of(&model, method)).build().expect("an explainer");
        let explanations = explainer.explain_one_each(x.view(), &targets).expect("maps");
        maps.push(Vec::new());
        for (item, explanation) in explanations.iter().enumerate() {
            let label = format!("{name} {method} item {item} on {kind}");
            let map = map3(explanation);
            assert_eq!(map.shape(), &known.input[1..], "{label}");
            let largest = want.largest[item];
            let entries = map.iter().step_by(known.step).zip(&want.entries[item]);
            let off = entries.fold(0f64, |m, (g, w)| m.max((f64::from(*g) - w).abs()));
            let top = map.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
            let error = off.max((top - largest).abs()) / largest;
            assert_eq!(map.iter().step_by(known.step).len(), want.entries[item].len());
            assert!(error <= BOUND, "{label}: {error:.1e}");
            assert!(explanation.warnings.is_empty(), "{label}: {:?}", explanation.warnings);
            // Levels are cut to integers, so one that lies on a step may be the next.
            let picture = gradient_picture(map, Channels::Rgb).expect("a picture");
            let levels: Vec<u8> = (0..3)
                .flat_map(|channel| picture.rgb().iter().skip(channel).step_by(3).copied())
                .collect();
            let levels = levels.iter().step_by(known.step).zip(&want.picture[item]);
            assert!(levels.clone().all(|(got, want)| got.abs_diff(*want) <= 1), "{label}");
            let unlike = levels.clone().filter(|(got, want)| got != want).count();
            assert!(100 * unlike <= levels.len(), "{label}: {unlike} levels differ");
            maps.last_mut().expect("maps").push(map.iter().map(|&v| v.into()).collect());
        }
    }
    let [guided, plain] = maps.as_slice() else { unreachable!("two methods") };
    for (guided, plain) in guided.iter().zip(plain) {
        let guided: Vec<f32> = guided.iter().map(|&v| v as f32).collect();
        let apart = largest_error(&guided, plain);
        assert!(apart >= 1e-2, "{name} on {kind}: the two methods give one map");
    }
}

/// A model of the given nodes, with the input `x` of those sizes (negative: open) and one output.
fn model(dims: &[i64], nodes: Vec<NodeProto>, constants: Vec<TensorProto>, output: &str) -> Model {
    let (inputs, outputs) = ([("x", DataType::Float, dims)], [(output, DataType::Float)]);
    let proto: ModelProto = build::model(17, &inputs, &outputs, constants, nodes);
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// x [N, 1, 2, 2] → an activation, flattened → y [N, classes], y_k = Σ w[k]·f(x).
fn linear(activation: &str, weights: &[f32]) -> Model {
    let classes = i64::try_from(weights.len() / 4).expect("a number");
    let nodes = vec![
        node(activation, &["x"], &["f"], vec![]),
        node("Flatten", &["f"], &["flat"], vec![]),
        node("Gemm", &["flat", "w"], &["y"], vec![int("transB", 1)]),
    ];
    model(&[-1, 1, 2, 2], nodes, vec![f32s("w", &[classes, 4], weights)], "y")
}

fn explained(model: &Model, kind: EngineKind, method: &str, target: Target) -> Explanation {
    let explainer = on(kind, of(model, method)).build().expect("an explainer");
    let x: Array4<f32> = array![[[[1.0, 2.0], [-3.0, 4.0]]]];
    explainer.explain_one_each(x.view().into_dyn(), &[target]).expect("a map").remove(0)
}

fn ids(explanation: &Explanation) -> Vec<&str> {
    explanation.warnings.iter().map(|warning| warning.id()).collect()
}

/// At x = [1, 2, −3, 4] the third unit is not active.
fn every_kind_of_target() {
    let (one, two) = ([2.0, -3.0, 5.0, 1.0], [1.0, 1.0, 1.0, -6.0]);
    let classes = linear("Relu", &[one, two].concat());
    // One number, a regressor.
    let value = linear("Relu", &one);
    // A segmentation of two classes: 3·relu(x) against relu(x) − 5, so the first has every pixel
    // that is active, and the others too.
    let pixels = model(
        &[-1, 1, 2, 2],
        vec![node("Relu", &["x"], &["f"], vec![]), node("Conv", &["f", "w", "b"], &["y"], vec![])],
        vec![f32s("w", &[2, 1, 1, 1], &[3.0, -1.0]), f32s("b", &[2], &[0.0, -5.0])],
        "y",
    );
    let rows = [
        (&classes, Target::Class(0), [2.0, -3.0, 0.0, 1.0], [2.0, 0.0, 0.0, 1.0]),
        (&classes, Target::Class(1), [1.0, 1.0, 0.0, -6.0], [1.0, 1.0, 0.0, 0.0]),
        (&classes, Target::Argmax, [2.0, -3.0, 0.0, 1.0], [2.0, 0.0, 0.0, 1.0]),
        (&classes, Target::Difference(0, 1), [1.0, -4.0, 0.0, 7.0], [1.0, 0.0, 0.0, 7.0]),
        (&value, Target::Class(0), [2.0, -3.0, 0.0, 1.0], [2.0, 0.0, 0.0, 1.0]),
        (&value, Target::Negative(0), [-2.0, 3.0, 0.0, -1.0], [0.0, 3.0, 0.0, 0.0]),
        (&pixels, Target::Class(0), [3.0, 3.0, 0.0, 3.0], [3.0, 3.0, 0.0, 3.0]),
        // No pixel is of class 1: its score is summed over all.
        (&pixels, Target::Class(1), [-1.0, -1.0, 0.0, -1.0], [0.0; 4]),
    ];
    for kind in EngineKind::ALL {
        for (index, (model, target, gradient, guided)) in rows.iter().enumerate() {
            for (method, wanted) in [("saliency", gradient), ("guided-backprop", guided)] {
                let got = explained(model, kind, method, target.clone());
                let label = format!("row {index}, {method} on {kind}");
                assert_eq!(map3(&got).iter().copied().collect::<Vec<_>>(), wanted, "{label}");
                assert_eq!(got.layers[0].map.shape(), [1, 2, 2], "{label}");
                assert_eq!((got.layers[0].layer.as_str(), got.method), ("x", method), "{label}");
                let summary = Summary::of(&got, 1, ToString::to_string);
                assert_eq!(summary.layers[0].shape, [1, 2, 2]);
                let zero = wanted.iter().all(|value| *value == 0.0);
                assert_eq!(ids(&got).contains(&"zero-gradient"), zero, "{label}");
                assert!(!ids(&got).contains(&"no-relu"), "{label}");
            }
        }
    }
}

fn a_model_without_relu_is_said_to_have_the_plain_gradient() {
    let model = linear("Sigmoid", &[2.0, -3.0, 5.0, 1.0]);
    let of = |method| explained(&model, EngineKind::default(), method, Target::Class(0));
    let (guided, plain) = (of("guided-backprop"), of("saliency"));
    assert_eq!(guided.layers[0].map, plain.layers[0].map);
    assert!(guided.layers[0].map.iter().any(|value| *value < 0.0));
    assert_eq!((ids(&guided), ids(&plain)), (vec!["no-relu"], vec![]));
}

/// An input [N, H, W, C] gives the map [C, H, W] of the same network behind a Transpose.
fn maps_have_their_channels_first() {
    let body = |from: &str| {
        vec![
            node("Conv", &[from, "w"], &["c"], vec![]),
            node("Relu", &["c"], &["f"], vec![]),
            node("GlobalAveragePool", &["f"], &["p"], vec![]),
            node("Flatten", &["p"], &["y"], vec![]),
        ]
    };
    let weights = || vec![build::weights("w", &[5, 3, 2, 2])];
    let turn = node("Transpose", &["x"], &["t"], vec![build::ints("perm", &[0, 3, 1, 2])]);
    let first = model(&[-1, 3, 6, 7], body("x"), weights(), "y");
    let last = model(&[-1, 6, 7, 3], [vec![turn], body("t")].concat(), weights(), "y");
    let x = Array4::from_shape_fn((2, 3, 6, 7), |(n, c, y, x)| {
        common::wave(((n * 3 + c) * 6 + y) * 7 + x)
    });
    let turned = x.view().permuted_axes([0, 2, 3, 1]);
    let targets = [Target::Class(1), Target::Class(4)];
    for kind in EngineKind::ALL {
        for method in ["saliency", "guided-backprop"] {
            let run = |model: &Model, layout, x: ndarray::ArrayViewD<'_, f32>| {
                let overrides =
                    Overrides { layout: Some(layout), imagenet: true, ..Overrides::default() };
                let builder = on(kind, of(model, method)).preprocess(overrides);
                builder.build().expect("an explainer").explain_one_each(x, &targets).expect("maps")
            };
            let one = run(&first, Layout::Nchw, x.view().into_dyn());
            let other = run(&last, Layout::Nhwc, turned.into_dyn());
            for (one, other) in one.iter().zip(&other) {
                let want: Vec<f64> = map3(one).iter().map(|&v| v.into()).collect();
                let got: Vec<f32> = map3(other).iter().copied().collect();
                assert!(largest_error(&got, &want) <= 1e-6, "{method} on {kind}");
                assert_eq!(map3(other).dim(), (3, 6, 7), "{method} on {kind}");
                assert_eq!(other.input_size, [6, 7], "{method} on {kind}");
            }
        }
    }
}

fn a_layer_is_refused_and_limits_hold() {
    let model = linear("Relu", &[2.0, -3.0, 5.0, 1.0]);
    for row in METHODS.iter().filter(|row| row.is_of_input()) {
        let error = of(&model, row.id).layer("f").build().expect_err("a layer");
        assert_eq!(error.kind(), ErrorKind::Method);
        let message = error.to_string();
        assert!(
            message.contains(row.id) && message.contains("takes no layer, not \"f\""),
            "{message}"
        );
        let explainer = of(&model, row.id).max_memory(8).build().expect("an explainer");
        let x = Array4::<f32>::ones((1, 1, 2, 2));
        let error = explainer.explain_one_each(x.view().into_dyn(), &[Target::Argmax]);
        assert_eq!(error.expect_err("8 bytes").kind(), ErrorKind::Memory);
    }
}

/// Pictures by hand. The gradient's mean is 0 and its deviation 2, so 0.1·g/2 + 0.5 is what is seen.
fn pictures_of_gradients() {
    let gradient: Array3<f32> = array![[[2.0, -2.0]], [[-2.0, 2.0]], [[2.0, -2.0]]];
    let (bright, dark) = (152, 102); // 255·0.6 and 255·0.4, a little nearer to the middle, cut
    let rgb =
        |g: &Array3<f32>, channels| gradient_picture(g.view(), channels).map(|p| p.rgb().to_vec());
    assert_eq!(
        rgb(&gradient, Channels::Rgb).expect("RGB"),
        [bright, dark, bright, dark, bright, dark]
    );
    let blue: Array3<f32> = array![[[9.0]], [[0.0]], [[0.0]]];
    assert_eq!(
        rgb(&blue, Channels::Rgb).expect("RGB")[0],
        rgb(&blue, Channels::Bgr).expect("BGR")[2]
    );
    assert!(rgb(&blue, Channels::Bgr).expect("BGR")[2] > 127);
    let grey = gradient.index_axis(Axis(0), 0).insert_axis(Axis(0)).to_owned();
    assert_eq!(
        rgb(&grey, Channels::Gray).expect("grey"),
        [bright, bright, bright, dark, dark, dark]
    );
    let two = rgb(&Array3::zeros((2, 3, 4)), Channels::Rgb).expect_err("two channels").to_string();
    assert!(two.contains("2 channels") && two.contains("1 channel or 3"), "{two}");

    // The largest |g| over channels is [4, 1, 2], and [1, 0, 1/3] when normalized.
    let gradient: Array3<f32> = array![[[-4.0, 1.0, 0.5]], [[3.0, 0.0, -2.0]]];
    assert_eq!(
        gradient_heatmap(gradient.view()).expect("a heatmap"),
        array![[1.0, 0.0, 1.0 / 3.0]]
    );
    // Of three pixels the second is that which 99 % do not exceed.
    let levels = magnitude_picture(gradient.view()).expect("a picture").rgb().to_vec();
    assert_eq!(levels, [[255; 3], [0; 3], [255; 3]].concat());
    let flat = Array3::from_elem((3, 2, 2), -1.5);
    assert!(gradient_heatmap(flat.view()).expect("a heatmap").iter().all(|heat| *heat == 0.0));
    assert!(
        magnitude_picture(flat.view()).expect("a picture").rgb().iter().all(|level| *level == 0)
    );
    for wrong in [Array3::zeros((3, 0, 2)), Array3::from_elem((1, 1, 1), f32::NAN)] {
        assert!(gradient_heatmap(wrong.view()).is_err() && rgb(&wrong, Channels::Rgb).is_err());
    }
}
