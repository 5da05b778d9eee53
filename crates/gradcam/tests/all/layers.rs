//! The layer that is taken where none is named, and the tree of modules, on whole networks.

use std::path::Path;

use gradcam::{Explainer, LayerInfo, Model};
use onnx_grad::proto::{NodeProto, TensorProto, tensor_proto::DataType};
use prost::Message;
use testkit::{
    NETWORKS, Suite,
    build::{constant, f32s, i64s, int, ints, model, node, weights},
};

use crate::last::network;

/// Network, layer, its value, and why it is the right one.
const DEFAULTS: [(&str, &str, &str, &str); 15] = [
    (
        "convnext_tiny",
        "features.7.2",
        "/features/features.7/features.7.2/Add_output_0",
        "the last block; its norm is behind the pooling",
    ),
    (
        "densenet121",
        "/Relu_output_0",
        "/Relu_output_0",
        "the relu behind the last norm, which is called by no module",
    ),
    ("ecg", "blocks.2", "/blocks/blocks.2/relu_1/Relu_output_0", "the last block, after its relu"),
    (
        "efficientnet_b0",
        "features.8",
        "/features/features.8/features.8.2/Mul_output_0",
        "the last convolution, after its activation",
    ),
    (
        "googlenet",
        "inception5b",
        "/inception5b/Concat_output_0",
        "the last inception, all of its branches",
    ),
    (
        "mobilenet_v2",
        "features.18",
        "/features/features.18/features.18.2/Clip_output_0",
        "the last convolution, after its relu6",
    ),
    (
        "mobilenet_v3_large",
        "features.16",
        "/features/features.16/features.16.2/HardSwish_output_0",
        "the last convolution, after its activation; one before the classifier's is a matrix",
    ),
    ("r3d_18", "layer4.1", "/layer4/layer4.1/relu/Relu_output_0", "the last block, after its relu"),
    (
        "regnet_y_400mf",
        "trunk_output.block4.block4-5",
        "/trunk_output/block4/block4-5/activation/Relu_output_0",
        "the last block, after its activation",
    ),
    (
        "resnet18",
        "layer4.1",
        "/layer4/layer4.1/relu_1/Relu_output_0",
        "the last block, after its relu",
    ),
    (
        "resnet50",
        "layer4.2",
        "/layer4/layer4.2/relu_2/Relu_output_0",
        "the last block, after its relu",
    ),
    (
        "shufflenet_v2_x1_0",
        "conv5",
        "/conv5/conv5.2/Relu_output_0",
        "the last convolution, after its relu",
    ),
    (
        "squeezenet1_1",
        "features.12",
        "/features/features.12/Concat_output_0",
        "what the convolution reads that makes the class scores",
    ),
    (
        "vgg11_bn",
        "features.27",
        "/features/features.27/Relu_output_0",
        "the last relu, before the last local pooling",
    ),
    (
        "vgg16",
        "features.29",
        "/features/features.29/Relu_output_0",
        "the last relu, before the last local pooling",
    ),
];

fn the_automatic_layer(name: &'static str, path: &str, value: &str, why: &str) {
    let explainer = Explainer::builder(network(name).0.clone()).build().expect("an explainer");
    assert_eq!(explainer.layers().next(), Some((path, value)), "{why}");
    let listed = explainer.layer_list().iter().filter(|layer| layer.default);
    assert_eq!(listed.map(|layer| layer.path.as_str()).collect::<Vec<_>>(), [path]);
}

fn every_network_has_its_automatic_layer_in_the_table() {
    assert!(DEFAULTS.iter().map(|row| row.0).eq(NETWORKS));
}

fn the_automatic_layer_of_the_built_in_model() {
    let demo =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../gradcam-cli/assets/efficientnet_lite0.onnx");
    let explainer = Explainer::builder(Model::open(demo).expect("the model")).build();
    let explainer = explainer.expect("an explainer");
    assert_eq!(explainer.layers().next(), Some(("bn2", "/bn2/act/Clip_output_0")));
}

pub(crate) fn tests(suite: &mut Suite) {
    for (name, path, value, why) in DEFAULTS {
        suite.test(format!("layers::default::{name}"), move || {
            the_automatic_layer(name, path, value, why);
        });
        for (_, parent, want) in TREES.into_iter().filter(|row| row.0 == name) {
            let module = if parent.is_empty() { "root" } else { parent };
            suite.test(format!("layers::tree::{name}::{module}"), move || {
                the_tree_is_that_of_torch(name, parent, want);
            });
        }
    }
    testkit::tests!(
        suite,
        every_network_has_its_automatic_layer_in_the_table,
        the_automatic_layer_of_the_built_in_model,
        the_default_layer_of_dynamically_quantized_models,
    );
}

/// The modules directly below `parent` (the root where it is empty), in order.
fn children(list: &[LayerInfo], parent: &str) -> Vec<String> {
    let below = |path: &str| match parent {
        "" => Some(path.to_owned()),
        parent => path.strip_prefix(parent)?.strip_prefix('.').map(str::to_owned),
    };
    let direct =
        list.iter().filter_map(|layer| below(&layer.path)).filter(|rest| !rest.contains('.'));
    direct.filter(|name| !name.starts_with('/')).collect()
}

/// Network, module, and what `print(model)` shows below it in torch, without what an export leaves nothing of: folded norms, dropout.
const TREES: [(&str, &str, &str); 15] = [
    ("convnext_tiny", "", "features avgpool classifier"),
    ("convnext_tiny", "features", "0 1 2 3 4 5 6 7"),
    (
        "densenet121",
        "features",
        "conv0 relu0 pool0 denseblock1 transition1 denseblock2 transition2 denseblock3 transition3 denseblock4 norm5",
    ),
    ("densenet121", "features.transition1", "norm relu conv pool"),
    ("efficientnet_b0", "features", "0 1 2 3 4 5 6 7 8"),
    (
        "googlenet",
        "",
        "conv1 maxpool1 conv2 conv3 maxpool2 inception3a inception3b maxpool3 inception4a inception4b inception4c inception4d inception4e maxpool4 inception5a inception5b avgpool fc",
    ),
    ("googlenet", "inception3a", "branch1 branch2 branch3 branch4"),
    ("mobilenet_v2", "features.2", "conv"),
    ("r3d_18", "", "stem layer1 layer2 layer3 layer4 avgpool fc"),
    ("regnet_y_400mf", "trunk_output", "block1 block2 block3 block4"),
    ("resnet18", "", "conv1 relu maxpool layer1 layer2 layer3 layer4 avgpool fc"),
    ("resnet50", "layer1", "0 1 2"),
    ("shufflenet_v2_x1_0", "", "conv1 maxpool stage2 stage3 stage4 conv5 fc"),
    (
        "squeezenet1_1",
        "features.3",
        "squeeze squeeze_activation expand1x1 expand1x1_activation expand3x3 expand3x3_activation",
    ),
    ("vgg11_bn", "classifier", "0 1 3 4 6"),
];

fn the_tree_is_that_of_torch(name: &'static str, parent: &str, want: &str) {
    let explainer = Explainer::builder(network(name).0.clone()).build().expect("an explainer");
    assert_eq!(children(explainer.layer_list(), parent).join(" "), want);
}

/// The nodes of a product in a file of ONNX Runtime's dynamic quantization; the weights, or what stands for them, have a
/// scale of 0.5.
fn dynamic(op: &str, x: &str, w: &str, y: &str) -> Vec<NodeProto> {
    let named = |what: &str| format!("{y}.{what}");
    let (q, s, z) = (named("q"), named("s"), named("z"));
    let (whole, float, scale) = (named("whole"), named("float"), named("scale"));
    let mut nodes = vec![node("DynamicQuantizeLinear", &[x], &[&q, &s, &z], vec![])];
    let (w, of_w) = match w {
        constant if constant.starts_with("w.") => (constant.to_owned(), "half".to_owned()),
        value => {
            let (wq, ws, wz) = (named("wq"), named("ws"), named("wz"));
            nodes.push(node("DynamicQuantizeLinear", &[value], &[&wq, &ws, &wz], vec![]));
            (wq, ws)
        }
    };
    nodes.extend([
        node(op, &[&q, &w, &z], &[&whole], vec![]),
        node("Cast", &[&whole], &[&float], vec![int("to", 1)]),
        node("Mul", &[&s, &of_w], &[&scale], vec![]),
        node("Mul", &[&float, &scale], &[y], vec![]),
    ]);
    nodes
}

fn whole(name: &str, dims: &[i64]) -> TensorProto {
    let count = usize::try_from(dims.iter().product::<i64>()).expect("a size");
    constant(name, DataType::Int8, dims, (0..count).map(|i| (i * 37 % 19) as u8).collect())
}

fn default_of(nodes: Vec<NodeProto>, mut constants: Vec<TensorProto>) -> String {
    constants.push(f32s("half", &[], &[0.5]));
    let inputs = [("x", DataType::Float, &[1, 3, 8, 8][..])];
    let proto = model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    let explainer = Explainer::builder(model).build().expect("an explainer");
    explainer.layers().next().expect("a layer").1.to_owned()
}

fn the_default_layer_of_dynamically_quantized_models() {
    let mut nodes = dynamic("ConvInteger", "x", "w.conv", "c");
    nodes.push(node("Relu", &["c"], &["a"], vec![]));
    nodes.push(node("GlobalAveragePool", &["a"], &["p"], vec![]));
    nodes.push(node("Flatten", &["p"], &["f"], vec![]));
    nodes.extend(dynamic("MatMulInteger", "f", "w.head", "y"));
    let constants = vec![whole("w.conv", &[4, 3, 3, 3]), whole("w.head", &[4, 5])];
    assert_eq!(default_of(nodes, constants), "a", "behind the convolution's activation");

    // Two blocks of attention over patches of 4×4.
    let mut nodes = vec![
        node("Conv", &["x", "patch"], &["e"], vec![ints("strides", &[4, 4])]),
        node("Reshape", &["e", "flat"], &["r"], vec![]),
        node("Transpose", &["r"], &["t0"], vec![ints("perm", &[0, 2, 1])]),
    ];
    for (block, (from, to)) in [("t0", "t1"), ("t1", "t2")].into_iter().enumerate() {
        let named = |what: &str| format!("{what}{block}");
        let normal = named("norm");
        nodes.push(node("LayerNormalization", &[from, "unit"], &[&normal], vec![]));
        for (part, weights) in [("query", "w.q"), ("key", "w.k"), ("value", "w.v")] {
            nodes.extend(dynamic("MatMulInteger", &normal, weights, &named(part)));
        }
        let (turned, weights, soft) = (named("turned"), named("weights"), named("soft"));
        nodes.push(node("Transpose", &[&named("key")], &[&turned], vec![ints("perm", &[0, 2, 1])]));
        nodes.extend(dynamic("MatMulInteger", &named("query"), &turned, &weights));
        nodes.push(node("Softmax", &[&weights], &[&soft], vec![int("axis", -1)]));
        nodes.extend(dynamic("MatMulInteger", &soft, &named("value"), &named("mixed")));
        nodes.push(node("Add", &[from, &named("mixed")], &[to], vec![]));
    }
    nodes.push(node("ReduceMean", &["t2"], &["m"], vec![ints("axes", &[1]), int("keepdims", 0)]));
    nodes.extend(dynamic("MatMulInteger", "m", "w.head", "y"));
    let constants = vec![
        weights("patch", &[8, 3, 4, 4]),
        i64s("flat", &[3], &[1, 8, 4]),
        f32s("unit", &[8], &[1.0; 8]),
        whole("w.q", &[8, 8]),
        whole("w.k", &[8, 8]),
        whole("w.v", &[8, 8]),
        whole("w.head", &[8, 5]),
    ];
    assert_eq!(default_of(nodes, constants), "norm1", "the norm in front of the last attention");
}
