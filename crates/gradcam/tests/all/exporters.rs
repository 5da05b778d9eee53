//! Layers by the names that their framework shows, in files of other exporters than torch's: each gives the map of
//! float64 autograd at that layer, on every engine, or an answer that says why not.

use std::{collections::BTreeSet, sync::Arc};

use gradcam::{
    Explainer, Explanation, LayerInfo, Method, Model, Result, Target, TargetPlace,
    engine::EngineKind,
};
use ndarray::ArrayD;
use onnx_grad::{
    Dim, Fact,
    graph::declare,
    proto::{GraphProto, tensor_proto::DataType},
};
use prost::Message;
use testkit::{ExporterReference, Suite, exported, fixture, largest_error};

use crate::common;
use crate::one_each::OneEach;

/// What the design promises for a raw map, of its largest entry; float32 against float64.
const BOUND: f64 = 1e-4;

pub(crate) fn tests(suite: &mut Suite) {
    for file in files() {
        let of = Arc::new(exported(file.reference));
        for layer in of.maps.keys() {
            for kind in EngineKind::ALL {
                let (of, layer) = (of.clone(), layer.clone());
                let name = format!("exporters::{}::{layer}::{kind}", file.name);
                suite.test(name, move || check(&file, &of, &layer, kind));
            }
        }
    }
    testkit::tests!(
        suite,
        the_tree_of_a_keras_model_is_its_summary,
        a_layer_in_a_model_in_a_keras_model_goes_by_its_own_name,
        the_default_layers_of_yolo,
        a_detectors_classes_are_explained_at_their_highest_anchors,
        inputs_that_nothing_reads_are_not_asked_for,
        files_that_were_optimized_for_one_machine_are_refused,
    );
}

fn model(file: &str) -> Model {
    Model::open(fixture(&format!("exporters/{file}.onnx"))).expect("a fixture")
}

fn explain(
    file: &str,
    of: &ExporterReference,
    kind: EngineKind,
    method: &str,
    layer: &str,
) -> Result<Explanation> {
    let builder = Explainer::builder(model(file)).layer(layer).method(method.parse()?);
    let explainer = builder.engine(kind).library_places(common::library()).build()?;
    let x = ArrayD::from_shape_vec(of.input.shape.as_slice(), of.input.to_f32()).expect("an image");
    Ok(explainer.explain_one_each(x.view(), &[Target::Class(of.class)])?.remove(0))
}

/// A file whose layers are compared with a reference.
#[derive(Clone, Copy)]
struct File {
    name: &'static str,
    reference: &'static str,
    /// Layers that show the norm behind them, with a warning.
    folded: &'static [(&'static str, &'static str)],
    /// Layers that are refused.
    absent: &'static [&'static str],
}

const KERAS_FOLDED: &[(&str, &str)] = &[
    ("conv2d_1", "batch_normalization"),
    ("separable_conv2d", "batch_normalization_1"),
    ("cell_1/conv2d_4", "cell_1/batch_normalization_2"),
    ("cell_1/separable_conv2d_1", "cell_1/batch_normalization_3"),
];

/// The norms have left no node of their own, in the convolutions that ONNX Runtime put an activation into neither.
const TORCH_FOLDED: &[(&str, &str)] = &[
    ("conv1", "bn1"),
    ("bn1", "bn1"),
    ("layer1.0.conv1", "layer1.0.bn1"),
    ("layer1.0.bn1", "layer1.0.bn1"),
    ("layer1.1.conv2", "layer1.1.bn2"),
    ("layer1.1.bn2", "layer1.1.bn2"),
];

fn files() -> Vec<File> {
    let mut files = Vec::new();
    for name in KERAS {
        let absent = &["zero_padding2d", "dropout"];
        files.push(File { name, reference: "keras", folded: KERAS_FOLDED, absent });
    }
    for name in ["torch_script", "torch_onnxsim", "torch_extended"] {
        files.push(File { name, reference: "torch", folded: TORCH_FOLDED, absent: &[] });
    }
    for (name, reference) in YOLO {
        files.push(File { name, reference, folded: &[], absent: &[] });
    }
    files
}

/// Compares scores and maps at a layer, of every method of the reference.
fn check(file: &File, of: &ExporterReference, layer: &str, kind: EngineKind) {
    let norm = file.folded.iter().find(|(conv, _)| *conv == layer).map(|(_, norm)| *norm);
    let mut failures = Vec::new();
    for (method, want) in &of.maps[norm.unwrap_or(layer)] {
        let got = match explain(file.name, of, kind, method, layer) {
            Ok(got) if !file.absent.contains(&layer) => got,
            Err(error) if file.absent.contains(&layer) => {
                let refused = format!("no layer named \"{layer}\"");
                assert!(error.to_string().contains(&refused), "{method}: {error}");
                continue;
            }
            other => {
                failures.push(format!("{method}: {other:?}"));
                continue;
            }
        };
        let warned = got.warnings.iter().any(|warning| warning.id() == "folded-norm");
        let map: Vec<f32> = got.layers[0].map.iter().copied().collect();
        let errors = [largest_error(&got.scores, &of.scores.data), largest_error(&map, &want.data)];
        if warned != norm.is_some() || errors.iter().any(|error| *error > BOUND) {
            failures.push(format!("{method}: scores and map {errors:?}, warned: {warned}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn tree(file: &str) -> Vec<LayerInfo> {
    Explainer::builder(model(file)).layer_list().expect("layers")
}

const KERAS: [&str; 4] = ["keras", "tf2onnx", "keras_onnxsim", "keras_extended"];

/// Files, and the networks that they are of.
const YOLO: [(&str, &str); 4] = [
    ("yolo_cls", "yolo_cls"),
    ("yolo_cls_simplified", "yolo_cls"),
    ("yolo_detect", "yolo_detect"),
    ("yolo_detect_simplified", "yolo_detect"),
];

fn the_tree_of_a_keras_model_is_its_summary() {
    for file in KERAS {
        let tree = tree(file);
        let paths: Vec<&str> = tree.iter().map(|layer| layer.path.as_str()).collect();
        let summary = [
            "conv2d",
            "conv2d_1",
            "batch_normalization",
            "re_lu",
            "separable_conv2d",
            "batch_normalization_1",
            "add",
            "activation",
            "conv2d_2",
            "twice",
            "conv2d_3",
            "cell_1",
            "cell_1/conv2d_4",
            "cell_1/batch_normalization_2",
            "cell_1/re_lu_1",
            "cell_1/separable_conv2d_1",
            "cell_1/batch_normalization_3",
            "cell_1/add_1",
            "cell_1/activation_1",
            "cell_1/layer_normalization",
            "cell_1/dense",
            "global_average_pooling2d",
            "dense_1",
        ];
        assert_eq!(paths, summary, "{file}");
        let default = tree.iter().find(|layer| layer.default).map(|layer| layer.path.as_str());
        assert_eq!(default, Some("cell_1"), "{file}");
    }
}

/// `conv2d_1` is the scope of the layer `conv2d`.
fn a_layer_in_a_model_in_a_keras_model_goes_by_its_own_name() {
    for file in KERAS {
        let explainer = Explainer::builder(model(file)).layer("activation_1").build();
        let explainer = explainer.expect("one layer of that name");
        let inside = tree(file).into_iter().find(|layer| layer.path == "cell_1/activation_1");
        let value = explainer.layers().next().map(|(_, value)| value.to_owned());
        assert_eq!(value, inside.map(|layer| layer.value), "{file}");
    }
}

/// A classifier's is the map before its pooling, a detector's the last one of the scale that a box comes from.
fn the_default_layers_of_yolo() {
    let rows: [(&str, &[&str]); 2] =
        [("yolo_cls", &["model.5.conv"]), ("yolo_detect", &["model.8.cv2", "model.11.cv2"])];
    for (network, layers) in rows {
        for file in [network.to_owned(), format!("{network}_simplified")] {
            let tree = tree(&file);
            let defaults =
                tree.iter().filter(|layer| layer.default).map(|layer| layer.path.as_str());
            assert_eq!(defaults.collect::<Vec<_>>(), layers, "{file}");
            let modules = tree.iter().filter(|layer| layer.path.matches('.').count() == 1);
            // The simplified file computes some of the head before the last blocks.
            let numbers: BTreeSet<&str> = modules.map(|layer| layer.path.as_str()).collect();
            let all: Vec<String> =
                (0..numbers.len()).map(|number| format!("model.{number}")).collect();
            assert_eq!(numbers, all.iter().map(String::as_str).collect(), "{file}");
        }
    }
}

/// The method of a target that is one box.
fn best_method() -> Method {
    "hirescam".parse().expect("a method")
}

/// Its class is that of the highest score at any anchor; a difference is of two classes in the best box of the first.
fn a_detectors_classes_are_explained_at_their_highest_anchors() {
    let of = exported("yolo_detect");
    for kind in EngineKind::ALL {
        let explainer = Explainer::builder(model("yolo_detect")).layer("model.8").engine(kind);
        let explainer = explainer.library_places(common::library()).build().expect("a detector");
        let x = ArrayD::from_shape_vec(of.input.shape.as_slice(), of.input.to_f32());
        let x = x.expect("an image");
        let explain =
            |target| explainer.explain_one_each(x.view(), &[target]).expect("a map").remove(0);
        let best = explain(Target::Argmax);
        assert_eq!(best.class.index, 1, "{kind}");
        let probability = 1.0 / (1.0 + (-best.class.score).exp());
        assert!((best.probabilities[1] - probability).abs() < 1e-9, "{kind}");
        let map = |target| explain(target).layers.remove(0).map;
        let Some(TargetPlace::Box { anchor, .. }) = best.place else { panic!("{kind}: no box") };
        // The logits of two classes at one anchor, each as a part of a value of the graph.
        let graph = model("yolo_detect");
        let sigmoid = graph.graph().node.iter().rfind(|node| node.op() == "Sigmoid");
        let logits = &sigmoid.expect("a sigmoid").input[0];
        let part = |class: usize| {
            let builder = Explainer::builder(model("yolo_detect")).layer("model.8").engine(kind);
            let builder = builder.library_places(common::library());
            let part =
                builder.output(format!("{logits}[:,{class},{anchor}]")).method(best_method());
            let explained =
                part.build().expect("a part").explain(&x, Target::Class(0)).expect("a map");
            explained[0][0].layers[0].map.clone()
        };
        let want = part(1) - part(2);
        let got = map(Target::Difference(1, 2));
        let want: Vec<f64> = want.iter().map(|&number| f64::from(number)).collect();
        let got: Vec<f32> = got.iter().copied().collect();
        assert!(largest_error(&got, &want) < BOUND, "{kind}");
    }
}

/// A model of a file with something changed in its graph.
fn changed(file: &str, change: impl FnOnce(&mut GraphProto)) -> Model {
    let mut proto = model(file).proto().clone();
    change(proto.graph.as_mut().expect("a graph"));
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// The constants that Keras's export leaves behind as inputs of EfficientNet.
fn inputs_that_nothing_reads_are_not_asked_for() {
    let float = Fact::new(DataType::Float, [Dim::Fixed(3)]);
    let left_behind = changed("torch_script", |graph| graph.input.push(declare("Sub/y:0", &float)));
    let explainer = Explainer::builder(left_behind).build().expect("one input");
    let x = ArrayD::zeros(vec![1, 3, 8, 8]);
    explainer.explain_one_each(x.view(), &[Target::Class(0)]).expect("a map");
}

fn files_that_were_optimized_for_one_machine_are_refused() {
    let blocked = changed("torch_script", |graph| {
        graph.node[0].domain = Some("com.microsoft.nchwc".to_owned());
    });
    let error = Explainer::builder(blocked).build().expect_err("refused").to_string();
    assert!(error.contains("save the model at level extended"), "{error}");
}
