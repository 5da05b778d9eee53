//! Exported models: in each engine they give what `explain` gives, and what the model gave before.

mod message;

use gradcam::{
    ErrorKind, Explainer, ExplainerBuilder, Explanation, ExportSettings, ExportTargets, Model,
    Target, TargetSpec,
    engine::{self, EngineKind, EngineOptions, Tensor, TensorView},
    image::Fusion,
};
use ndarray::{Array1, ArrayD, ArrayViewD, Axis};
use onnx_grad::{
    Dim,
    proto::{ModelProto, tensor_proto::DataType, type_proto},
};
use prost::Message;
use testkit::{
    Suite, ZooModel,
    build::{self, int, ints, node, weights},
    fixture, zoo,
};

use crate::common;

/// Of the largest entry of a map, and of a heatmap, which is in 0..1.
const BOUND: f32 = 1e-5;

pub(crate) fn tests(suite: &mut Suite) {
    for model in zoo() {
        for kind in EngineKind::ALL {
            let model = model.clone();
            let name = format!("export::{}::{kind}", model.name);
            suite.test(name, move || of_the_zoo(&model, kind));
        }
    }
    testkit::tests!(
        suite,
        targets_are_a_part_of_the_model,
        a_class_is_an_input,
        methods_of_the_graph,
        layers_are_apart_or_fused,
        heatmaps_at_every_opset,
        signals_and_volumes,
        a_detector_shows_the_scale_of_its_box,
    );
    message::tests(suite);
}

fn compiled(kind: EngineKind, model: &Model) -> Box<dyn engine::Session> {
    let mut options = EngineOptions::default();
    options.library = common::library();
    let engine = engine::engine(kind, &options).expect("an engine");
    engine.compile(model).expect("a session")
}

fn built(builder: ExplainerBuilder, kind: EngineKind) -> Explainer {
    builder.engine(kind).library_places(common::library()).build().expect("an explainer")
}

/// Numbers between −1 and 1.
fn images(shape: &[usize]) -> ArrayD<f32> {
    let count = shape.iter().product();
    let numbers = (0u64..).take(count).map(|index| testkit::uniform(7, "x", index)).collect();
    ArrayD::from_shape_vec(shape, numbers).expect("images")
}

/// Runs outputs of a model, written and read again, on images.
fn ran(
    kind: EngineKind,
    model: &Model,
    x: &ArrayD<f32>,
    classes: Option<&[i64]>,
    names: &[&str],
) -> Vec<Tensor> {
    let model = Model::from_bytes(model.to_bytes().expect("bytes")).expect("a model");
    let input = onnx_grad::inputs(&model)[0].name.clone();
    let mut inputs = vec![(input.as_str(), TensorView::from(x.view()))];
    let classes = classes.map(|classes| Array1::from(classes.to_vec()).into_dyn());
    inputs.extend(classes.iter().map(|classes| ("gradcam.target", classes.view().into())));
    compiled(kind, &model).run(&inputs, names).expect("outputs")
}

fn floats(tensor: &Tensor) -> ArrayViewD<'_, f32> {
    match tensor {
        Tensor::F32(array) => array.view(),
        Tensor::I64(_) => panic!("integers"),
    }
}

fn largest(array: &ArrayViewD<'_, f32>) -> f32 {
    array.iter().fold(0.0, |most, number| number.abs().max(most))
}

/// The map, the heatmap and the class of one image and target, against an explanation.
fn same(
    what: &str,
    map: &ArrayViewD<'_, f32>,
    heatmap: &ArrayViewD<'_, f32>,
    of: &Explanation,
    layer: usize,
) {
    let want = of.layers[layer].map.view();
    assert_eq!(map.shape(), want.shape(), "{what}: the map");
    let apart = largest(&(map - &want).view()) / largest(&want).max(f32::MIN_POSITIVE);
    assert!(apart <= BOUND, "{what}: the map is {apart:.1e} apart");
    let want = of.heatmap_nd(layer).expect("a heatmap");
    assert_eq!(heatmap.shape(), want.shape(), "{what}: the heatmap");
    let apart = largest(&(heatmap - &want).view());
    assert!(apart <= BOUND, "{what}: the heatmap is {apart:.1e} apart");
}

/// Exports a model, runs it, and compares with the explanations of `targets`, for each image.
fn check(
    what: &str,
    kind: EngineKind,
    explainer: &Explainer,
    x: &ArrayD<f32>,
    specs: &[TargetSpec],
) {
    let targets = ExportTargets::Fixed(specs.to_vec());
    let exported = explainer.export(&ExportSettings { targets, ..ExportSettings::default() });
    let exported = exported.expect(what);
    assert_eq!(exported.fixed_batch, None, "{what}");
    let names = ["gradcam.map", "gradcam.heatmap", "gradcam.class"];
    let made = ran(kind, &exported.model, x, None, &names);
    let Tensor::I64(classes) = &made[2] else { panic!("classes are integers") };
    let explained = explainer.explain(x, specs).expect("explanations");
    for (image, explanations) in explained.iter().enumerate() {
        for (target, one) in explanations.iter().enumerate() {
            let what = format!("{what}, image {image}, target {}", one.target);
            let of = |of: ArrayViewD<'_, f32>| {
                let of_image = of.index_axis_move(Axis(0), image).to_owned();
                let single = explanations.len() == 1;
                if single { of_image } else { of_image.index_axis_move(Axis(0), target) }
            };
            let (map, heatmap) = (of(floats(&made[0])), of(floats(&made[1])));
            same(&what, &map.view(), &heatmap.view(), one, 0);
            let class = classes.iter().nth(image * explanations.len() + target);
            assert_eq!(class.copied(), i64::try_from(one.class.index).ok(), "{what}");
        }
    }
}

/// The model with an open number of images.
fn with_open_batch(model: &Model) -> Model {
    let mut proto = ModelProto::decode(model.to_bytes().expect("bytes").as_slice()).expect("proto");
    let graph = proto.graph.as_mut().expect("a graph");
    graph.value_info.clear();
    for output in &mut graph.output {
        if let Some(type_proto::Value::TensorType(tensor)) =
            output.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        {
            tensor.shape = None;
        }
    }
    let old = graph.input[0].clone();
    let dims = onnx_grad::inputs(model)[0].dims.clone().expect("dims");
    let dims: Vec<i64> = dims
        .iter()
        .map(|dim| match dim {
            onnx_grad::DeclaredDim::Size(size) => *size,
            _ => -1,
        })
        .collect();
    let open = [&[-1], &dims[1..]].concat();
    graph.input[0] = build::value(old.name(), DataType::Float, Some(&open));
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// Fixtures have one image. Where their nodes allow it, three are explained at once.
fn of_the_zoo(model: &ZooModel, kind: EngineKind) {
    let file = Model::open(model.path()).expect("a model");
    let argmax = [TargetSpec::One(Target::Argmax)];
    let x = images(&model.input);
    check(&model.name, kind, &built(Explainer::builder(file.clone()), kind), &x, &argmax);
    let open = with_open_batch(&file);
    let explainer = built(Explainer::builder(open), kind);
    let exported = explainer.export(&ExportSettings::default()).expect("a model");
    let takes_several =
        explainer.explain(images(&[&[3], &model.input[1..]].concat()).view(), Target::Argmax);
    match (&exported.fixed_batch, takes_several) {
        (None, Ok(_)) => {
            let several = images(&[&[3], &model.input[1..]].concat());
            check(&model.name, kind, &explainer, &several, &argmax);
        }
        (Some(_), Err(_)) => assert_eq!(exported.image_shape[0], Dim::Fixed(1)),
        // The model says that it takes several, and its first blocks do not.
        (None, Err(error)) => assert_eq!(error.kind(), ErrorKind::Engine, "{error}"),
        (fixed, several) => panic!("{}: {fixed:?} {:?}", model.name, several.err()),
    }
}

/// x [N, 3, H, W] → f = Relu(Conv) at half the size → the mean over space → y [N, 4].
fn proto(opset: i64, sides: [i64; 2]) -> ModelProto {
    let nodes = vec![
        node("Conv", &["x", "v"], &["c"], vec![ints("pads", &[1; 4]), ints("strides", &[2, 2])]),
        node("Relu", &["c"], &["e"], vec![]),
        node("Conv", &["e", "w"], &["d"], vec![ints("pads", &[1; 4])]),
        node("Relu", &["d"], &["f"], vec![]),
        node("GlobalAveragePool", &["f"], &["p"], vec![]),
        node("Flatten", &["p"], &["t"], vec![]),
        node("Gemm", &["t", "k", "b"], &["y"], vec![]),
    ];
    let inputs = [("x", DataType::Float, &[-1, 3, sides[0], sides[1]][..])];
    let constants = vec![
        weights("v", &[4, 3, 3, 3]),
        weights("w", &[6, 4, 3, 3]),
        weights("k", &[6, 4]),
        weights("b", &[4]),
    ];
    build::model(opset, &inputs, &[("y", DataType::Float)], constants, nodes)
}

fn model() -> Model {
    Model::from_bytes(proto(17, [10, 7]).encode_to_vec()).expect("a model")
}

fn targets_are_a_part_of_the_model() {
    let sets = [
        vec![Target::Argmax.into()],
        vec![Target::Class(1).into()],
        vec![Target::Difference(0, 2).into()],
        vec![Target::Negative(3).into()],
        vec![Target::Probability(2).into()],
        vec![TargetSpec::Top(3)],
        vec![Target::Class(0).into(), Target::Argmax.into(), TargetSpec::Top(2)],
    ];
    for kind in EngineKind::ALL {
        for specs in &sets {
            let explainer = built(Explainer::builder(model()), kind);
            check(&format!("{kind} {specs:?}"), kind, &explainer, &images(&[3, 3, 10, 7]), specs);
        }
    }
    let vector: Vec<f32> = vec![0.5, -1.0, 2.0, 0.25];
    let similar = [TargetSpec::One(Target::Similar(vector.into()))];
    for kind in EngineKind::ALL {
        let explainer = Explainer::builder(model()).head(gradcam::HeadKind::Embedding);
        check("similarity", kind, &built(explainer, kind), &images(&[2, 3, 10, 7]), &similar);
    }
}

fn a_class_is_an_input() {
    let x = images(&[3, 3, 10, 7]);
    for kind in EngineKind::ALL {
        let explainer = built(Explainer::builder(model()), kind);
        let settings =
            ExportSettings { targets: ExportTargets::Input, ..ExportSettings::default() };
        let exported = explainer.export(&settings).expect("a model");
        let inputs = onnx_grad::inputs(&exported.model);
        assert_eq!(inputs[1].name, "gradcam.target");
        assert_eq!(inputs[1].elem, DataType::Int64);
        assert_eq!(inputs[1].dims.as_ref().and_then(|dims| dims.first()), {
            inputs[0].dims.as_ref().and_then(|dims| dims.first())
        });
        let names = ["gradcam.map", "gradcam.heatmap", "gradcam.class"];
        let made = ran(kind, &exported.model, &x, Some(&[2, -1, 0]), &names);
        let targets = [Target::Class(2), Target::Argmax, Target::Class(0)];
        let explained = explainer.explain(&x, gradcam::Targets::each(targets)).expect("maps");
        let Tensor::I64(classes) = &made[2] else { panic!("classes are integers") };
        for (image, one) in explained.iter().map(|of| &of[0]).enumerate() {
            let of = |at: usize| floats(&made[at]).index_axis_move(Axis(0), image).to_owned();
            same("an input", &of(0).view(), &of(1).view(), one, 0);
            assert_eq!(classes[[image]], i64::try_from(one.class.index).expect("a class"));
        }
    }
}

fn methods_of_the_graph() {
    let mut exported = Vec::new();
    for row in gradcam::METHODS {
        for kind in EngineKind::ALL {
            let builder = Explainer::builder(model()).method(row.id.parse().expect("a method"));
            let builder = match row.site {
                gradcam::Site::Layers(_) => builder.layers(["e", "f"]),
                _ => builder,
            };
            let explainer = built(builder, kind);
            let x = images(&[2, 3, 10, 7]);
            match explainer.export(&ExportSettings::default()) {
                Ok(made) if row.site.takes_layer() && made.outputs.len() == 3 => {
                    check(row.id, kind, &explainer, &x, &[Target::Argmax.into()]);
                    exported.push(row.id);
                }
                Ok(_) => exported.push(row.id),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Method, "{}", row.id),
            }
        }
    }
    exported.dedup();
    let all = [
        "gradcam",
        "hirescam",
        "gradcam-elementwise",
        "gradcam++",
        "refinecam",
        "xgradcam",
        "layercam",
        "shapleycam",
        "finercam",
        "cam",
        "saliency",
        "guided-backprop",
    ];
    assert_eq!(exported, all);
    for (id, kind) in ["saliency", "guided-backprop"].into_iter().zip(EngineKind::ALL) {
        let builder = Explainer::builder(model()).method(id.parse().expect("a method"));
        let explainer = built(builder, kind);
        check(id, kind, &explainer, &images(&[2, 3, 10, 7]), &[Target::Class(1).into()]);
    }
}

fn layers_are_apart_or_fused() {
    let x = images(&[2, 3, 10, 7]);
    for (fusion, method) in [
        (Fusion::None, "gradcam"),
        (Fusion::Mean, "gradcam"),
        (Fusion::Max, "layercam"),
        (Fusion::Product, "hirescam"),
        (Fusion::None, "refinecam"),
    ] {
        for kind in EngineKind::ALL {
            let builder = Explainer::builder(model()).layers(["e", "f"]).fusion(fusion);
            let explainer = built(builder.method(method.parse().expect("a method")), kind);
            let exported = explainer.export(&ExportSettings::default()).expect("a model");
            let names: Vec<&str> = exported.outputs.iter().map(|(name, _)| name.as_str()).collect();
            let is_fused = fusion != Fusion::None || method == "refinecam";
            let heatmaps = if is_fused { 1 } else { 2 };
            let want = match is_fused {
                true => vec!["gradcam.map.0", "gradcam.map.1", "gradcam.heatmap", "gradcam.class"],
                false => vec![
                    "gradcam.map.0",
                    "gradcam.map.1",
                    "gradcam.heatmap.0",
                    "gradcam.heatmap.1",
                    "gradcam.class",
                ],
            };
            assert_eq!(names, want);
            let made = ran(kind, &exported.model, &x, None, &names);
            let explained = explainer.explain(&x, Target::Argmax).expect("maps");
            for (image, one) in explained.iter().map(|of| &of[0]).enumerate() {
                let of = |at: usize| floats(&made[at]).index_axis_move(Axis(0), image).to_owned();
                for layer in 0..2 {
                    let want = one.layers[layer].map.view();
                    let apart = largest(&(&of(layer) - &want).view()) / largest(&want);
                    assert!(apart <= BOUND, "{fusion} {layer}: {apart:.1e}");
                }
                for heatmap in 0..heatmaps {
                    let want = one.heatmap_nd(heatmap).expect("a heatmap");
                    let apart = largest(&(of(2 + heatmap) - want).view());
                    assert!(apart <= BOUND, "{fusion}, heatmap {heatmap}: {apart:.1e}");
                }
            }
        }
    }
}

/// Sizes that are multiples of the layer's, and others; the operators of each opset.
/// Small maps are resized by matrices, large ones by Resize from opset 11; by whole factors and by others.
fn heatmaps_at_every_opset() {
    for opset in [7, 8, 9, 10, 11, 12, 13, 17, 18, 21] {
        for sides in [[8, 8], [10, 7], [128, 130], [129, 131]] {
            let file = Model::from_bytes(proto(opset, sides).encode_to_vec()).expect("a model");
            let [height, width] = sides.map(|side| usize::try_from(side).expect("a side"));
            for kind in EngineKind::ALL {
                let explainer = built(Explainer::builder(file.clone()), kind);
                let what = format!("opset {opset}, {sides:?}, {kind}");
                let targets = [Target::Class(1).into(), Target::Argmax.into()];
                check(&what, kind, &explainer, &images(&[3, 3, height, width]), &targets);
            }
        }
    }
}

fn signals_and_volumes() {
    for sides in [vec![9], vec![6, 5, 4]] {
        let space = sides.len();
        let axes: Vec<i64> = (2..).take(space).collect();
        let mean = vec![ints("axes", &axes), int("keepdims", 0)];
        let strided = vec![ints("pads", &vec![1; 2 * space]), ints("strides", &vec![2; space])];
        let nodes = vec![
            node("Conv", &["x", "v"], &["c"], strided),
            node("Relu", &["c"], &["f"], vec![]),
            node("ReduceMean", &["f"], &["p"], mean),
            node("Gemm", &["p", "k"], &["y"], vec![]),
        ];
        let kernel = [vec![4, 2], vec![3; space]].concat();
        let constants = vec![weights("v", &kernel), weights("k", &[4, 3])];
        let shape = [vec![-1, 2], sides.clone()].concat();
        let inputs = [("x", DataType::Float, &shape[..])];
        let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
        let file = Model::from_bytes(proto.encode_to_vec()).expect("a model");
        let sizes = sides.iter().map(|side| usize::try_from(*side).expect("a side"));
        let shape: Vec<usize> = [2, 2].into_iter().chain(sizes).collect();
        // rten has no convolutions of volumes.
        let kinds =
            EngineKind::ALL.into_iter().filter(|kind| space < 3 || *kind != EngineKind::Rten);
        for kind in kinds {
            let explainer = built(Explainer::builder(file.clone()), kind);
            check(
                &format!("{sides:?} {kind}"),
                kind,
                &explainer,
                &images(&shape),
                &[Target::Argmax.into()],
            );
        }
    }
}

/// Class 1 is best at an anchor of the fine scale, for which its bias is raised; the others at the coarse one.
fn a_detector_shows_the_scale_of_its_box() {
    let file = Model::open(fixture("exporters/yolo_detect.onnx")).expect("a model");
    let mut proto = ModelProto::decode(file.to_bytes().expect("bytes").as_slice()).expect("proto");
    let tensors = &mut proto.graph.as_mut().expect("a graph").initializer;
    let is_bias =
        |tensor: &&mut onnx_grad::proto::TensorProto| tensor.label() == "model.12.cv3.0.2.bias";
    let bias = tensors.iter_mut().find(is_bias).expect("a bias");
    bias.raw_data = Some([-50.0f32, 2.0, -50.0].iter().flat_map(|n| n.to_le_bytes()).collect());
    let file = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    for kind in EngineKind::ALL {
        let explainer = built(Explainer::builder(file.clone()), kind);
        for (class, repeats) in [(0, 2), (1, 1)] {
            let targets = ExportTargets::Fixed(vec![Target::Class(class).into()]);
            let settings = ExportSettings { targets, ..ExportSettings::default() };
            let exported = explainer.export(&settings).expect("a model");
            let x = images(&[1, 3, 64, 64]);
            let made = ran(kind, &exported.model, &x, None, &["gradcam.map", "gradcam.heatmap"]);
            let explained = explainer.explain(&x, Target::Class(class)).expect("a map");
            let want = &explained[0][0].layers[0].map;
            let raw = floats(&made[0]).index_axis_move(Axis(0), 0).to_owned();
            assert_eq!(raw.shape(), [16, 16]);
            let repeated =
                ArrayD::from_shape_fn(raw.shape(), |at| want[[at[0] / repeats, at[1] / repeats]]);
            let apart = largest(&(&raw - &repeated).view()) / largest(&want.view());
            assert!(apart <= BOUND, "{class}: {apart:.1e}");
            let heatmap = floats(&made[1]).index_axis_move(Axis(0), 0).to_owned();
            let want = explained[0][0].heatmap_nd(0).expect("a heatmap");
            let apart = largest(&(heatmap - want).view());
            assert!(apart <= BOUND, "{class}: {apart:.1e}");
        }
    }
}
