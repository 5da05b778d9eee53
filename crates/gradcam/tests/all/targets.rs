//! Targets and methods on networks that are worked out by hand.

use gradcam::{
    CustomTarget, ErrorKind, Explainer, Explanation, HeadKind, Method, Model, Target,
    engine::EngineKind,
};
use ndarray::{Array4, ArrayD, Axis, array};
use onnx_grad::{
    Dim, Fact, attrs,
    graph::declare,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
        tensor_proto::DataType,
    },
};
use prost::Message;
use testkit::Suite;

use crate::common;
use crate::one_each::OneEach;

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        each_method_on_a_map_of_two_by_two,
        a_binary_models_classes_are_the_logit_and_its_negative,
        the_first_of_equal_scores_is_explained,
        the_logits_under_a_last_softmax_or_sigmoid_are_explained,
        a_segmentation_is_explained_where_the_class_wins,
        the_default_layer_lies_before_a_transposed_convolution_that_makes_the_scores,
        a_class_without_pixels_is_explained_everywhere_with_a_warning,
        warnings_say_what_a_map_hides,
        an_unknown_method_lists_those_there_are,
        ablated_probabilities_are_not_linear_in_the_channels,
        a_custom_target_is_what_its_nodes_say,
        a_custom_target_is_one_number_for_each_image,
    );
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(format!("/{output}/{op}")),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

fn constant(name: &str, dims: &[i64], numbers: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Float as i32),
        dims: dims.to_vec(),
        float_data: numbers.to_vec(),
        ..TensorProto::default()
    }
}

/// x [N, 2, 2, 2] → a = Relu(x) → the given nodes → `output`.
fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>, output: &str) -> Model {
    let shape = [Dim::Batch(1), Dim::Fixed(2), Dim::Fixed(2), Dim::Fixed(2)];
    let relu = node("Relu", &["x"], "a", vec![]);
    let graph = GraphProto {
        node: [vec![relu], nodes].concat(),
        initializer,
        input: vec![declare("x", &Fact::new(DataType::Float, shape))],
        output: vec![declare(output, &Fact { elem: DataType::Float, ..Fact::default() })],
        ..GraphProto::default()
    };
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// Two channels of a 2×2 feature map.
fn input() -> Array4<f32> {
    array![[[[1.0, 2.0], [0.0, 3.0]], [[4.0, 0.0], [2.0, 2.0]]]]
}

/// A linear layer on the flattened map: y_k = Σ w[k, c, i, j]·a[c, i, j].
fn linear(weights: &[f32]) -> Model {
    let classes = i64::try_from(weights.len() / 8).expect("a number");
    let nodes = vec![
        node("Flatten", &["a"], "f", vec![]),
        node("Gemm", &["f", "w"], "y", vec![attrs::int("transB", 1)]),
    ];
    model(nodes, vec![constant("w", &[classes, 8], weights)], "y")
}

fn explain(model: &Model, kind: EngineKind, method: &str, target: Target) -> Explanation {
    explain_as(None, model, kind, method, target)
}

/// With a head of the given kind, where there is one.
fn explain_as(
    head: Option<HeadKind>,
    model: &Model,
    kind: EngineKind,
    method: &str,
    target: Target,
) -> Explanation {
    let mut builder =
        Explainer::builder(model.clone()).layer("a").method(method.parse().expect("a method"));
    if let Some(head) = head {
        builder = builder.head(head);
    }
    let builder = match kind {
        EngineKind::OnnxRuntime => builder.engine(kind).library_places(common::library()),
        _ => builder,
    };
    let explainer = builder.build().expect("an explainer");
    explainer.explain_one_each(input().view().into_dyn(), &[target]).expect("a map").remove(0)
}

fn map(explanation: &Explanation) -> ArrayD<f32> {
    explanation.layers[0].map.to_owned()
}

/// One map for each method, worked out by hand. The gradient of class 0 is its weights:
/// g = [[[1, −1], [2, 2]], [[−3, 1], [0, 0]]], a = [[[1, 2], [0, 3]], [[4, 0], [2, 2]]].
fn each_method_on_a_map_of_two_by_two() {
    let model =
        linear(&[1.0, -1.0, 2.0, 2.0, -3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    for kind in EngineKind::ALL {
        // w = (1 − 1 + 2 + 2)/4 = 1 and (−3 + 1)/4 = −½: map = a_0 − ½·a_1.
        let grad_cam = explain(&model, kind, "gradcam", Target::Class(0));
        assert_eq!(grad_cam.layers[0].weights[..], [1.0, -0.5]);
        assert_eq!(map(&grad_cam), array![[-1.0, 2.0], [-1.0, 2.0]].into_dyn());
        // Σ_k g_k a_k: [1 − 12, −2 + 0], [0 + 0, 6 + 0].
        let hires_cam = explain(&model, kind, "hirescam", Target::Class(0));
        assert_eq!(map(&hires_cam), array![[-11.0, -2.0], [0.0, 6.0]].into_dyn());
        // Σ_k relu(g_k) a_k: [1 + 0, 0 + 0], [0 + 0, 6 + 0].
        let layer_cam = explain(&model, kind, "layercam", Target::Class(0));
        assert_eq!(map(&layer_cam), array![[1.0, 0.0], [0.0, 6.0]].into_dyn());
    }
}

/// y_0 = Σ g·a = −7 and y_1 = Σ a = 14; the gradient of y_0·y_1 is 14·g − 7, its means 7 and −14: map = 7·a_0 − 14·a_1.
fn a_custom_target_is_what_its_nodes_say() {
    let ones = [1.0; 8];
    let model = linear(&[&[1.0, -1.0, 2.0, 2.0, -3.0, 1.0, 0.0, 0.0], &ones[..]].concat());
    let product = CustomTarget::new("product", |b, scores| {
        let (first, second) = (b.slice(scores, 1, 0, 1, 1)?, b.slice(scores, 1, 1, 1, 1)?);
        let product = b.mul(first, second)?;
        let images = b.shape(scores)?[0];
        b.reshape(product, &[images])
    });
    for kind in EngineKind::ALL {
        for method in ["gradcam", "ablationcam"] {
            let explanation = explain(&model, kind, method, Target::Custom(product.clone()));
            assert_eq!(explanation.value, -98.0);
            assert_eq!(explanation.target.to_string(), "product");
            assert_eq!(explanation.class.index, 1, "the best class is beside it");
            let want = match method {
                "gradcam" => array![[-49.0, 14.0], [-28.0, -7.0]],
                // Without channel 0 it is −12·8, without channel 1 5·6.
                _ => {
                    let weights = [(-98.0 + 96.0) / -98.0, (-98.0 - 30.0) / -98.0];
                    let a = input();
                    let [a_0, a_1] = [0, 1].map(|k| a.index_axis(Axis(1), k).remove_axis(Axis(0)));
                    let sum = &a_0.mapv(|v| v * weights[0]) + &a_1.mapv(|v| v * weights[1]);
                    sum.into_dimensionality().expect("a map")
                }
            };
            let apart = (&map(&explanation) - &want.into_dyn()).mapv(f32::abs);
            assert!(apart.iter().all(|v| *v < 1e-4), "{method}: {apart}");
        }
    }
}

/// p = 1/(1 + e^(y_1 − y_0)), with the scores y_0 = −7/8 and y_1 = 14/8: without channel 0 they are −12/8 and 8/8, without channel 1
/// 5/8 and 6/8.
fn ablated_probabilities_are_not_linear_in_the_channels() {
    let weights = [1.0, -1.0, 2.0, 2.0, -3.0, 1.0, 0.0, 0.0].map(|w| w / 8.0);
    let model = linear(&[&weights[..], &[0.125; 8]].concat());
    let softmax = |apart: f32| 1.0 / (1.0 + apart.exp());
    let p = softmax(21.0 / 8.0);
    let want = [20.0 / 8.0, 1.0 / 8.0].map(|apart: f32| (p - softmax(apart)) / p);
    for kind in EngineKind::ALL {
        let explanation = explain(&model, kind, "ablationcam", Target::Probability(0));
        let got = &explanation.layers[0].weights;
        let apart = got.iter().zip(want).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5, "{got:?}, not {want:?}");
    }
}

fn a_custom_target_is_one_number_for_each_image() {
    let model = linear(&[1.0; 16]);
    let explainer = Explainer::builder(model).layer("a").build().expect("an explainer");
    let target = Target::Custom(CustomTarget::new("all", |_, scores| Ok(scores)));
    let error = explainer.explain(input().view().into_dyn(), target).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Target);
    assert!(error.to_string().contains("\"all\" has the shape [1, 2]"), "{error}");
}

fn a_binary_models_classes_are_the_logit_and_its_negative() {
    let weights = [1.0, -1.0, 2.0, 2.0, -3.0, 1.0, 0.0, 0.0];
    let reshaped = |tail: Vec<i64>| {
        let mut one = linear(&weights).proto().clone();
        let graph = one.graph.as_mut().expect("a graph");
        graph.node.push(node("Reshape", &["y", "shape"], "z", vec![]));
        graph.initializer.push(TensorProto {
            name: Some("shape".to_owned()),
            data_type: Some(DataType::Int64 as i32),
            dims: vec![i64::try_from(tail.len()).expect("a number")],
            int64_data: tail,
            ..TensorProto::default()
        });
        graph.output = vec![declare("z", &Fact { elem: DataType::Float, ..Fact::default() })];
        Model::from_bytes(one.encode_to_vec()).expect("a model")
    };
    let binary = |model: &Model, kind, method: &str, target| {
        explain_as(Some(HeadKind::Binary), model, kind, method, target)
    };
    // y = 1·1 − 1·2 + 0 + 2·3 − 3·4 + 0 = −7: class 0.
    for model in [linear(&weights), reshaped(vec![-1]), reshaped(vec![-1, 1, 1, 1])] {
        for kind in EngineKind::ALL {
            let one = binary(&model, kind, "gradcam", Target::Class(1));
            let zero = binary(&model, kind, "gradcam", Target::Class(0));
            assert_eq!(one.scores[..], [7.0, -7.0]);
            assert!((one.probabilities[1] - 1.0 / (1.0 + 7f32.exp())).abs() < 1e-7);
            assert_eq!(map(&one), array![[-1.0, 2.0], [-1.0, 2.0]].into_dyn());
            assert_eq!(map(&zero), map(&one).mapv(|v| -v));
            let argmax = binary(&model, kind, "gradcam", Target::Argmax);
            assert_eq!((argmax.class.index, map(&argmax)), (0, map(&zero)));
            // The difference of the two is twice the logit.
            let difference = binary(&model, kind, "gradcam", Target::Difference(1, 0));
            assert_eq!(map(&difference), map(&one).mapv(|v| 2.0 * v));
        }
    }
}

/// Two classes with the same weights: the first of equal scores is the arg-max.
fn the_first_of_equal_scores_is_explained() {
    let row = [1.0, -1.0, 2.0, 2.0, -3.0, 1.0, 5.0, 5.0];
    let model = linear(&[[0.0; 8], row, row, [0.0; 8]].concat());
    for kind in EngineKind::ALL {
        assert_eq!(explain(&model, kind, "gradcam", Target::Argmax).class.index, 1, "{kind}");
    }
}

fn the_logits_under_a_last_softmax_or_sigmoid_are_explained() {
    let weights: Vec<f32> = (0u8..24).map(|i| f32::from(i % 7) - 3.0).collect();
    let plain = linear(&weights);
    for op in ["Softmax", "LogSoftmax", "Sigmoid"] {
        let mut proto = plain.proto().clone();
        let graph = proto.graph.as_mut().expect("a graph");
        graph.node.push(node(op, &["y"], "p", vec![]));
        graph.output = vec![declare("p", &Fact { elem: DataType::Float, ..Fact::default() })];
        let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
        for kind in EngineKind::ALL {
            let under = explain(&model, kind, "hirescam", Target::Class(2));
            assert_eq!(
                map(&under),
                map(&explain(&plain, kind, "hirescam", Target::Class(2))),
                "{op}"
            );
            let id = match op {
                "Sigmoid" => "sigmoid-output",
                "LogSoftmax" => "log-softmax-output",
                _ => "softmax-output",
            };
            assert!(under.warnings.iter().any(|w| w.id() == id), "{op}");
            let sum: f32 = under.probabilities.iter().sum();
            assert_eq!((sum - 1.0).abs() < 1e-5, op != "Sigmoid", "{op}: {sum}");
        }
    }
}

/// Scores [N, 2, 2, 2] by a 1×1 convolution: class k is the sum of its scores where it is the largest.
fn a_segmentation_is_explained_where_the_class_wins() {
    let nodes = vec![node(
        "Conv",
        &["a", "w"],
        "y",
        vec![attrs::ints("strides", &[1, 1]), attrs::ints("dilations", &[1, 1])],
    )];
    // y_0 = a_0, y_1 = a_1: class 0 wins at (0, 1) and (1, 1), class 1 at (0, 0) and (1, 0).
    let model = model(nodes, vec![constant("w", &[2, 2, 1, 1], &[1.0, 0.0, 0.0, 1.0])], "y");
    for kind in EngineKind::ALL {
        // g_0 is 1 at the two pixels of class 0, else 0: HiResCAM is a_0 there.
        let zero = explain(&model, kind, "hirescam", Target::Class(0));
        assert_eq!(map(&zero), array![[0.0, 2.0], [0.0, 3.0]].into_dyn(), "{kind}");
        let one = explain(&model, kind, "hirescam", Target::Class(1));
        assert_eq!(map(&one), array![[4.0, 0.0], [2.0, 0.0]].into_dyn(), "{kind}");
        // Both have two pixels: the first is the image's class.
        assert_eq!(explain(&model, kind, "hirescam", Target::Argmax).class.index, 0);
    }
}

fn the_default_layer_lies_before_a_transposed_convolution_that_makes_the_scores() {
    let weights = constant("w", &[2, 3, 2, 2], &[0.5; 24]);
    let strides = vec![attrs::ints("strides", &[2, 2])];
    let up = node("ConvTranspose", &["a", "w"], "y", strides);
    let model = model(vec![up], vec![weights], "y");
    let explainer = Explainer::builder(model).build().expect("an explainer");
    let values: Vec<_> = explainer.layers().map(|(_, value)| value).collect();
    assert_eq!(values, ["a"]);
}

fn a_class_without_pixels_is_explained_everywhere_with_a_warning() {
    let nodes = vec![node(
        "Conv",
        &["a", "w", "b"],
        "y",
        vec![attrs::ints("strides", &[1, 1]), attrs::ints("dilations", &[1, 1])],
    )];
    let weights = vec![
        constant("w", &[2, 2, 1, 1], &[1.0, 0.0, 0.0, 1.0]),
        constant("b", &[2], &[0.0, -100.0]),
    ];
    let model = model(nodes, weights, "y");
    for kind in EngineKind::ALL {
        let never = explain(&model, kind, "hirescam", Target::Class(1));
        assert_eq!(map(&never), array![[4.0, 0.0], [2.0, 2.0]].into_dyn(), "{kind}");
        assert!(never.warnings.iter().any(|w| w.id() == "empty-mask"));
        let always = explain(&model, kind, "hirescam", Target::Class(0));
        assert!(always.warnings.iter().all(|w| w.id() != "empty-mask"));
    }
}

fn warnings_say_what_a_map_hides() {
    let ids = |weights: &[f32]| -> Vec<&'static str> {
        let explanation = explain(&linear(weights), EngineKind::Rten, "gradcam", Target::Class(0));
        explanation.warnings.iter().map(|warning| warning.id()).collect()
    };
    assert_eq!(ids(&[[0.0; 8], [1.0; 8]].concat()), ["zero-gradient"]);
    assert_eq!(ids(&[[-1.0; 8], [1.0; 8]].concat()), ["all-negative"]);
    assert!(ids(&[[1.0; 8], [2.0; 8]].concat()).is_empty());
}

fn an_unknown_method_lists_those_there_are() {
    let message = "gradcamm".parse::<Method>().expect_err("no method").to_string();
    assert!(message.contains("gradcam, hirescam, gradcam-elementwise, gradcam++, "), "{message}");
}
