//! Quantised files against float64 PyTorch that differentiates straight through, on every engine.

use std::sync::LazyLock;

use gradcam::{Explainer, ExplainerBuilder, Explanation, Model, Target, engine::EngineKind};
use ndarray::ArrayD;
use onnx_grad::{ErrorKind, Options, gradient, proto::tensor_proto::DataType};
use prost::Message;
use testkit::build::{f32s, int, model, node};
use testkit::{
    FixtureTensor, QuantizedCase, QuantizedCases, Suite, fixture, largest_error, quantized,
};

use crate::common;
use crate::one_each::OneEach;

/// What the design promises for a raw map, of its largest entry; float32 against float64.
const BOUND: f64 = 1e-4;

static CASES: LazyLock<QuantizedCases> = LazyLock::new(quantized);

pub(crate) fn tests(suite: &mut Suite) {
    for (name, case) in &CASES.models {
        for kind in EngineKind::ALL {
            suite.test(format!("quantized::maps::{name}::{kind}"), move || {
                maps_and_gradients_pass_straight_through(name, case, kind);
            });
        }
        suite.test(format!("quantized::layers::{name}"), move || {
            a_layer_holds_floats(name, case);
        });
    }
    testkit::tests!(
        suite,
        the_name_of_a_sum_of_integers_means_its_floats,
        the_name_of_a_value_that_is_only_quantized_means_it_dequantized,
        scales_of_blocks_and_types_of_few_bits_are_refused_by_name,
    );
}

fn builder(name: &str) -> ExplainerBuilder {
    let path = fixture(&format!("quantized/{name}.onnx"));
    Explainer::builder(Model::open(path).expect("a fixture"))
}

fn explained(kind: EngineKind, of: ExplainerBuilder) -> Vec<Explanation> {
    let cases = &*CASES;
    let explainer = of.engine(kind).library_places(common::library()).build();
    let x = ArrayD::from_shape_vec(cases.input.shape.as_slice(), cases.input.to_f32());
    let targets: Vec<Target> = cases.classes.iter().map(|&class| Target::Class(class)).collect();
    let explainer = explainer.expect("an explainer");
    explainer.explain_one_each(x.expect("images").view(), &targets).expect("maps")
}

/// The errors of all images together, where they are beyond the bound.
fn too_far(got: impl Iterator<Item = f32>, want: &FixtureTensor) -> Option<f64> {
    let error = largest_error(&got.collect::<Vec<_>>(), &want.data);
    (error > BOUND).then_some(error)
}

fn maps_and_gradients_pass_straight_through(name: &str, case: &QuantizedCase, kind: EngineKind) {
    let layers = case.maps.keys().map(String::as_str);
    let maps = explained(kind, builder(name).layers(layers));
    let scores = maps.iter().flat_map(|explanation| explanation.scores.iter().copied());
    let mut errors = vec![("scores", too_far(scores, &case.scores))];
    for (place, (layer, want)) in case.maps.iter().enumerate() {
        let of_layer = maps.iter().flat_map(|e| e.layers[place].map.iter().copied());
        errors.push((layer, too_far(of_layer, want)));
    }
    let method = "saliency".parse().expect("a method");
    let gradients = explained(kind, builder(name).method(method));
    let of_image = gradients.iter().flat_map(|e| e.layers[0].map.iter().copied());
    errors.push(("image", too_far(of_image, &case.image)));
    let failures = errors.iter().filter_map(|(of, error)| Some(format!("{of}: {:.1e}", (*error)?)));
    let failures: Vec<String> = failures.collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A layer is what its DequantizeLinear gives, or the scaled sum of a dynamically quantized file; the default is that of the float
/// model.
fn a_layer_holds_floats(name: &str, case: &QuantizedCase) {
    let explainer = builder(name).build().expect("an explainer");
    let layers = explainer.layer_list();
    let default: Vec<_> = layers.iter().filter(|layer| layer.default).collect();
    assert_eq!(default.len(), 1);
    let last = if case.maps.contains_key("block") { "block" } else { "norm1" };
    let last = layers.iter().find(|layer| layer.path == last).expect("a layer");
    assert_eq!(default[0].value, last.value);
    for layer in case.maps.keys() {
        let layer = layers.iter().find(|known| known.path == *layer).expect("a layer");
        assert!(layer.candidate, "{}", layer.path);
        let is_static = !name.starts_with("dynamic");
        // Files of quantized operators have no floats before they are read; symmetric ones keep activations.
        let graph = explainer.model().graph();
        let made = graph.node.iter().find(|node| node.output[0] == layer.value);
        if let Some(node) = made.filter(|_| is_static && !name.ends_with("symmetric")) {
            assert_eq!(node.op(), "DequantizeLinear", "{}", layer.path);
        }
    }
    let invented: Vec<_> = layers.iter().filter(|l| l.path.contains("uant")).collect();
    assert!(invented.is_empty(), "{invented:?}");
}

/// The value that a removed activation left its name to is not activated; its name means what is.
fn the_name_of_a_value_that_is_only_quantized_means_it_dequantized() {
    let by_value = |layer: &str| {
        let explainer = builder("qdq_uint8").layer(layer).build().expect("an explainer");
        let found = explainer.layers().next().map(|(_, value)| value.to_owned());
        found.expect("a layer")
    };
    let graph = builder("qdq_uint8").build().expect("an explainer").model().graph().clone();
    let conv = graph.node.iter().find(|node| node.op() == "Conv").expect("a convolution");
    let found = by_value(&conv.output[0]);
    assert_eq!(found, by_value("stem"));
    assert_ne!(found, conv.output[0]);
}

/// A convolution's own name means its floats behind scale and bias; so does that of the norm that was folded into it.
fn the_name_of_a_sum_of_integers_means_its_floats() {
    for name in ["dynamic_int8", "dynamic_uint8"] {
        let value = |layer: &str| {
            let explainer = builder(name).layer(layer).build().expect(layer);
            explainer.layers().next().map(|(_, value)| value.to_owned()).expect(layer)
        };
        let of_module = value("block.conv2");
        assert_eq!(of_module, "/block/conv2/Conv_output_0");
        assert_eq!(value("/block/conv2/Conv_quant"), of_module);
        assert_eq!(value("/block/conv2/Conv_output_0_output_quantized"), of_module);
    }
}

fn scales_of_blocks_and_types_of_few_bits_are_refused_by_name() {
    let refused = |scale: &[i64], axis: i64, block: i64, elem: DataType| {
        let with = vec![int("axis", axis), int("block_size", block)];
        let typed = [with.clone(), vec![int("output_dtype", elem as i64)]].concat();
        let nodes = vec![
            node("QuantizeLinear", &["x", "s"], &["q"], typed),
            node("DequantizeLinear", &["q", "s"], &["y"], with),
        ];
        let count = usize::try_from(scale.iter().product::<i64>()).expect("few");
        let scales = vec![f32s("s", scale, &vec![0.5; count])];
        let float = DataType::Float;
        let proto = model(21, &[("x", float, &[2, 4])], &[("y", float)], scales, nodes);
        let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
        let error = gradient(&model, "y", &["x"], &Options::default()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        error.to_string()
    };
    let blocks = refused(&[2, 2], 1, 2, DataType::Int8);
    assert!(blocks.contains("attribute block_size is 2; supported: 0"), "{blocks}");
    let few = refused(&[], 1, 0, DataType::Int4);
    assert!(few.contains("its output is int4; supported: int8"), "{few}");
}
