//! The message of an exported model: what is kept, what is added, and what is refused.

use gradcam::{
    Area, ErrorKind, Explainer, ExplainerBuilder, ExportHeads, ExportSettings, ExportTargets,
    ExportWeights, Model, Profile, Target, TargetSpec,
    engine::{EngineKind, Tensor},
};
use ndarray::ArrayD;
use onnx_grad::{Dim, proto::tensor_proto::DataType};
use prost::Message;
use testkit::{Suite, ZooModel, build, fixture, zoo};

use super::{built, check, floats, images, model, proto, ran};

pub(crate) fn tests(suite: &mut Suite) {
    for small in zoo() {
        let name = format!("export::own_outputs_are_the_same_bits::{}", small.name);
        suite.test(name, move || own_outputs_are_the_same_bits(&small));
    }
    testkit::tests!(
        suite,
        the_boxes_are_the_same_bits,
        the_own_message_is_kept,
        gradients_say_of_what,
        only_the_explanation,
        weights_of_16_bits,
        an_exported_model_is_explained_as_before,
        an_old_model_keeps_its_constants,
        what_is_no_graph_is_refused,
        long_rows_of_scores_are_picked_from,
        nodes_are_inspected,
    );
}

fn export(builder: ExplainerBuilder, settings: &ExportSettings) -> gradcam::ExportedModel {
    builder.build().expect("an explainer").export(settings).expect("a model")
}

/// ONNX Runtime fuses the nodes of the model as it does without a gradient. The layers are the default one and those of the references.
fn own_outputs_are_the_same_bits(small: &ZooModel) {
    let file = Model::open(small.path()).expect("a model");
    let x = images(&small.input);
    let names: Vec<&str> = file.graph().output.iter().map(|info| info.name()).collect();
    let bits = |model: &Model| -> Vec<ArrayD<u32>> {
        let outputs = ran(EngineKind::OnnxRuntime, model, &x, None, &names);
        outputs.iter().map(|tensor| floats(tensor).mapv(f32::to_bits)).collect()
    };
    let before = bits(&file);
    let layers = small.layers.keys().map(|layer| Some(layer.as_str()));
    for layer in layers.chain([None]) {
        let mut builder = Explainer::builder(file.clone());
        if let Some(layer) = layer {
            builder = builder.layer(layer);
        }
        let exported = export(builder, &ExportSettings::default());
        assert_eq!(bits(&exported.model), before, "{} at {layer:?}", small.name);
    }
}

/// The same of detectors, whose gradients pass through most of their nodes.
fn the_boxes_are_the_same_bits() {
    for name in ["yolov8", "yolo11", "yolox_decoded", "rtdetr", "ssd"] {
        let file = Model::open(fixture(&format!("heads/{name}.onnx"))).expect("a model");
        let exported = export(Explainer::builder(file.clone()), &ExportSettings::default());
        let names: Vec<&str> = file.graph().output.iter().map(|info| info.name()).collect();
        let sides: Vec<usize> = exported.image_shape.iter().map(side).collect();
        let x = images(&sides);
        let [before, after] = [&file, &exported.model]
            .map(|model| ran(EngineKind::OnnxRuntime, model, &x, None, &names));
        for (before, after) in before.iter().zip(&after) {
            match (before, after) {
                (Tensor::I64(before), Tensor::I64(after)) => assert_eq!(before, after, "{name}"),
                _ => {
                    let bits = |tensor| floats(tensor).mapv(f32::to_bits);
                    assert_eq!(bits(before), bits(after), "{name}");
                }
            }
        }
    }
}

fn side(dim: &Dim) -> usize {
    dim.fixed().and_then(|size| usize::try_from(size).ok()).unwrap_or(1)
}

fn the_own_message_is_kept() {
    let file = model();
    let builder = Explainer::builder(file.clone()).layer("e");
    let targets = ExportTargets::Fixed(vec![TargetSpec::Top(2)]);
    let exported = export(builder, &ExportSettings { targets, ..ExportSettings::default() });
    let (old, new) = (file.graph(), exported.model.graph());
    assert_eq!(old.node[..], new.node[..old.node.len()]);
    assert_eq!(old.initializer[..], new.initializer[..old.initializer.len()]);
    assert_eq!(old.input, new.input);
    assert_eq!(old.output[..], new.output[..old.output.len()]);
    assert_eq!(exported.model.weights().len(), file.weights().len());
    let metadata: Vec<(&str, &str)> = exported.model.metadata().collect();
    let want = [
        ("gradcam.version", env!("CARGO_PKG_VERSION")),
        ("gradcam.method", "gradcam"),
        ("gradcam.layer", "e"),
        ("gradcam.target", "top:2"),
    ];
    assert_eq!(metadata, want);
    let shapes: Vec<String> =
        exported.outputs.iter().map(|(_, shape)| format!("{shape:?}")).collect();
    let dims = |sizes: &str| format!("[Batch(1), Fixed(2){sizes}]");
    let want = [", Fixed(5), Fixed(4)", ", Fixed(10), Fixed(7)", ""].map(dims);
    assert_eq!(shapes, want);
}

fn gradients_say_of_what() {
    let exported = export(Explainer::builder(model()).layer("e"), &ExportSettings::default());
    let said = exported.model.graph().node.iter().filter_map(|node| node.doc_string.as_deref());
    let mut said: Vec<&str> = said.collect();
    said.dedup();
    let want = ["y", "t", "p", "f", "d"];
    let ops = ["Gemm", "Flatten", "GlobalAveragePool", "Relu", "Conv"];
    let graph = model();
    let named = |(value, op): (&&str, &&str)| {
        let made = |node: &&onnx_grad::proto::NodeProto| node.output[0] == **value;
        let node = graph.graph().node.iter().find(made).expect("a node");
        assert_eq!(node.op(), *op);
        format!("gradient of {} ({op})", node.label())
    };
    let of_nodes = want.iter().zip(&ops).map(named);
    let want: Vec<String> =
        ["gradient of the target".to_owned()].into_iter().chain(of_nodes).collect();
    assert_eq!(said, want);
}

fn only_the_explanation() {
    for kind in EngineKind::ALL {
        let explainer = built(Explainer::builder(model()), kind);
        let all = explainer.export(&ExportSettings::default()).expect("a model");
        let settings = ExportSettings { heads: ExportHeads::CamOnly, ..ExportSettings::default() };
        let alone = explainer.export(&settings).expect("a model");
        let names: Vec<&str> = alone.model.graph().output.iter().map(|info| info.name()).collect();
        assert_eq!(names, ["gradcam.map", "gradcam.heatmap", "gradcam.class"]);
        let x = images(&[2, 3, 10, 7]);
        let run = |model: &Model| ran(kind, model, &x, None, &names[..2]);
        for (one, other) in run(&all.model).iter().zip(&run(&alone.model)) {
            let apart = floats(one).to_owned() - floats(other);
            assert!(apart.iter().all(|apart| apart.abs() <= 1e-6), "{kind}");
        }
    }
}

fn weights_of_16_bits() {
    let file = Model::open(fixture("zoo/resnet.legacy.onnx")).expect("a model");
    let weights: usize = file.weights().iter().map(onnx_grad::Weight::len).sum();
    let (mut whole, mut half) = (0, 0);
    for kind in EngineKind::ALL {
        let explainer = built(Explainer::builder(file.clone()), kind);
        let plain = explainer.export(&ExportSettings::default()).expect("a model");
        let settings = ExportSettings { weights: ExportWeights::Half, ..ExportSettings::default() };
        let small = explainer.export(&settings).expect("a model");
        whole = plain.model.to_bytes().expect("bytes").len();
        half = small.model.to_bytes().expect("bytes").len();
        let x = images(&[1, 3, 32, 32]);
        let names = ["gradcam.heatmap"];
        let plain = ran(kind, &plain.model, &x, None, &names).remove(0);
        let small = ran(kind, &small.model, &x, None, &names).remove(0);
        let apart = floats(&plain).to_owned() - floats(&small);
        let most = apart.iter().fold(0.0f32, |most, apart| apart.abs().max(most));
        // Weights of 11 bits.
        assert!(most > 0.0 && most < 0.02, "{kind}: {most}");
    }
    assert!(half + weights * 4 / 10 < whole, "{half} bytes, {whole} before, {weights} of weights");
    // A number that float16 cannot hold stays as it is.
    let mut large = proto(17, [10, 7]);
    let graph = large.graph.as_mut().expect("a graph");
    let numbers = [1e6f32; 4 * 3 * 9].iter().flat_map(|n| n.to_le_bytes()).collect();
    graph.initializer[0] = build::constant("v", DataType::Float, &[4, 3, 3, 3], numbers);
    let numbers = [0.1f32; 512 * 4].iter().flat_map(|n| n.to_le_bytes()).collect();
    graph.initializer.push(build::constant("idle", DataType::Float, &[512, 4], numbers));
    let large = Model::from_bytes(large.encode_to_vec()).expect("a model");
    let large = large.with_half_weights().expect("a model");
    let types = large.graph().initializer.iter().map(|tensor| (tensor.label(), tensor.elem()));
    let types: Vec<(&str, DataType)> = types.collect();
    assert!(types.contains(&("v", DataType::Float)), "{types:?}");
    assert!(types.contains(&("idle.float16", DataType::Float16)), "{types:?}");
}

/// `explain` and `layers` leave the explanation out of it.
fn an_exported_model_is_explained_as_before() {
    let before = Explainer::builder(model()).build().expect("an explainer");
    let settings = ExportSettings { targets: ExportTargets::Input, ..ExportSettings::default() };
    let exported = before.export(&settings).expect("a model");
    let again = Explainer::builder(exported.model).build().expect("an explainer");
    let paths = |explainer: &Explainer| -> Vec<String> {
        explainer.layer_list().iter().map(|layer| layer.path.clone()).collect()
    };
    assert_eq!(paths(&before), paths(&again));
    assert_eq!(before.layers().collect::<Vec<_>>(), again.layers().collect::<Vec<_>>());
    let x = images(&[1, 3, 10, 7]);
    let map = |explainer: &Explainer| {
        explainer.explain(&x, Target::Argmax).expect("a map").remove(0).remove(0).layers.remove(0)
    };
    assert_eq!(map(&before).map, map(&again).map);
    let error = again.export(&ExportSettings::default()).expect_err("exported already");
    assert_eq!(error.kind(), ErrorKind::Model);
    assert!(error.to_string().contains("exported already"), "{error}");
}

/// Before IR version 4 the inputs list the constants, which would be no constants from then on.
fn an_old_model_keeps_its_constants() {
    let mut old = proto(8, [8, 8]);
    old.ir_version = Some(3);
    let graph = old.graph.as_mut().expect("a graph");
    let listed = graph
        .initializer
        .iter()
        .map(|tensor| build::value(tensor.label(), DataType::Float, Some(&tensor.dims)));
    let listed: Vec<_> = listed.collect();
    graph.input.extend(listed);
    let file = Model::from_bytes(old.encode_to_vec()).expect("a model");
    let exported = export(Explainer::builder(file.clone()), &ExportSettings::default());
    assert_eq!(exported.model.proto().ir_version, Some(4));
    let inputs: Vec<&str> = exported.model.graph().input.iter().map(|info| info.name()).collect();
    assert_eq!(inputs, ["x"]);
    for kind in EngineKind::ALL {
        let explainer = built(Explainer::builder(file.clone()), kind);
        check("IR 3", kind, &explainer, &images(&[2, 3, 8, 8]), &[Target::Argmax.into()]);
    }
}

fn what_is_no_graph_is_refused() {
    let area = Area { x: 0.0, y: 0.0, width: 4.0, height: 4.0 };
    let method = |id: &str| Explainer::builder(model()).method(id.parse().expect("a method"));
    let profile: Profile = "torchcam".parse().expect("a profile");
    let detector = || {
        let file = Model::open(fixture("exporters/yolo_detect.onnx")).expect("a model");
        Explainer::builder(file)
    };
    let of = |target: Target| ExportTargets::Fixed(vec![target.into()]);
    let argmax = ExportTargets::default;
    let rows: Vec<(ExplainerBuilder, ExportTargets, ErrorKind, &str)> = vec![
        (method("scorecam"), argmax(), ErrorKind::Method, "method scorecam runs the network again"),
        (method("eigencam"), argmax(), ErrorKind::Method, "choose one of gradcam, hirescam"),
        (
            method("gradcam").method("layercam".parse().expect("a method")),
            argmax(),
            ErrorKind::Method,
            "one method, and there are gradcam, layercam",
        ),
        (method("gradcam").eigen_smooth(true), argmax(), ErrorKind::Method, "leave it out"),
        (method("gradcam").aug_smooth(true), argmax(), ErrorKind::Method, "leave it out"),
        (method("gradcam").profile(profile), argmax(), ErrorKind::Method, "not of torchcam"),
        (method("gradcam"), of(Target::Class(4)), ErrorKind::Target, "class 4 is out of range"),
        (detector(), of(Target::Nth(1, 2)), ErrorKind::Target, "1@2 is at a place"),
        (detector(), of(Target::Box(None, area)), ErrorKind::Target, "export a class"),
        (
            method("gradcam"),
            ExportTargets::Fixed(vec![Target::Class(0).into(); 17]),
            ErrorKind::Target,
            "1 to 16 targets, and there are 17",
        ),
        (method("gradcam"), ExportTargets::Fixed(vec![]), ErrorKind::Target, "there are 0"),
        (
            Explainer::builder(model()).head(gradcam::HeadKind::Embedding),
            ExportTargets::Input,
            ErrorKind::Target,
            "the model gives an embedding",
        ),
    ];
    for (builder, targets, kind, phrase) in rows {
        let settings = ExportSettings { targets, ..ExportSettings::default() };
        let error = builder.build().expect("an explainer").export(&settings).expect_err(phrase);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(phrase), "{error}");
    }
}

/// A one-hot row of 5000 is a product of two short ones. Behind a Reshape it is written out; without it, it stays a row of the
/// linear layer's weight.
fn long_rows_of_scores_are_picked_from() {
    let classes = 5000;
    let model = |reshaped: bool| {
        let mut proto = proto(17, [10, 7]);
        let graph = proto.graph.as_mut().expect("a graph");
        graph.initializer[2] = build::weights("k", &[6, classes]);
        graph.initializer[3] = build::weights("b", &[classes]);
        if reshaped {
            graph.node[6].output[0] = "z".to_owned();
            graph.initializer.push(build::i64s("s", &[2], &[-1, classes]));
            graph.node.push(build::node("Reshape", &["z", "s"], &["y"], vec![]));
        }
        Model::from_bytes(proto.encode_to_vec()).expect("a model")
    };
    let x = images(&[2, 3, 10, 7]);
    for class in [0, 69, 70, 71, 4899, 4900, 4999] {
        for kind in EngineKind::ALL {
            let maps = [false, true].map(|reshaped| {
                let explainer = built(Explainer::builder(model(reshaped)), kind);
                let mut of = explainer.explain(&x, Target::Class(class)).expect("maps");
                of.remove(1).remove(0).layers.remove(0).map
            });
            let apart = maps[0].to_owned() - &maps[1];
            let most = maps[0].iter().fold(0.0f32, |most, number| number.abs().max(most));
            assert!(most > 0.0, "{class}");
            assert!(apart.iter().all(|apart| apart.abs() <= 1e-6 * most), "{kind} {class}");
        }
    }
}

fn nodes_are_inspected() {
    let exported = export(Explainer::builder(model()).layer("e"), &ExportSettings::default());
    let nodes = gradcam::inspect(&exported.model).expect("nodes");
    assert_eq!(nodes.len(), exported.model.graph().node.len());
    let own: Vec<_> = nodes.iter().filter(|node| !node.is_explanation).collect();
    assert_eq!(own.len(), model().graph().node.len());
    let path: Vec<&str> =
        own.iter().filter(|node| node.is_on_path).map(|node| node.op.as_str()).collect();
    // The first Relu is the layer; its convolution is before it.
    assert_eq!(path, ["Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]);
    let conv = own.iter().find(|node| node.op == "Conv").expect("a convolution");
    assert_eq!(conv.shape, [1, 4, 5, 4]);
    // 4·5·4 outputs of 3·3·3 products.
    assert_eq!(conv.cost.expect("a cost").operations, 2 * 80 * 27);
    assert!(gradcam::is_exported(&exported.model) && !gradcam::is_exported(&model()));
    let plain = gradcam::inspect(&model()).expect("nodes");
    assert!(plain.iter().all(|node| !node.is_explanation && !node.is_on_path));
}
