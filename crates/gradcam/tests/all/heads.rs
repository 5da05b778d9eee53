//! Each kind of head, on small networks: the kind, the target's value, class and box, and raw maps against float64 PyTorch.

use std::sync::{Arc, LazyLock};

use gradcam::{
    Area, Explainer, ExplainerBuilder, Explanation, HeadKind, Mask, Method, Model, Target,
    TargetPlace, TargetSpec, engine::EngineKind, image::Photo,
};
use ndarray::ArrayD;
use onnx_grad::proto::{ModelProto, NodeProto, tensor_proto::DataType};
use prost::Message;
use testkit::build::{constant, f32s, node};
use testkit::{HeadCase, HeadTarget, Suite, head_cases, largest_error};

use crate::common;

/// Ten times what torch's own float32 is from its float64, which the generator checks.
const BOUND: f64 = 1e-4;

static CASES: LazyLock<Vec<HeadCase>> = LazyLock::new(head_cases);

pub(crate) fn tests(suite: &mut Suite) {
    for case in &*CASES {
        for kind in EngineKind::ALL {
            let name = format!("heads::{}::{kind}", case.name);
            suite.test(name, move || targets_equal_float64_pytorch(case, kind));
        }
        suite.test(format!("heads::{}::kind", case.name), move || the_kind_of_head(case));
        suite.test(format!("heads::{}::default", case.name), move || {
            without_a_target_the_best_class_is_explained(case);
        });
        if case.targets.iter().any(|asked| asked.scale_layers.is_some()) {
            suite.test(format!("heads::{}::scale", case.name), move || {
                the_layer_is_that_of_the_boxs_scale(case);
            });
        }
    }
    testkit::tests!(
        suite,
        every_kind_has_a_network,
        clipped_logits_of_a_detector_are_explained_as_they_were_before,
        rounded_predictions_of_a_detector_are_no_layer,
    );
}

fn builder(case: &HeadCase, output: Option<&str>) -> ExplainerBuilder {
    let builder = Explainer::builder(Model::open(case.path()).expect("a model"));
    match output {
        Some(output) => builder.output(output),
        None => builder,
    }
}

fn images(case: &HeadCase) -> ArrayD<f32> {
    ArrayD::from_shape_vec(case.input.clone(), case.images()).expect("images")
}

/// A mask of the size of the images, in which some rectangles are white.
fn mask(case: &HeadCase, rectangles: &[[usize; 4]]) -> Mask {
    let (height, width) = (case.input[2], case.input[3]);
    let mut rgb = vec![0; height * width * 3];
    for &[x, y, w, h] in rectangles {
        for row in y..y + h {
            rgb[(row * width + x) * 3..(row * width + x + w) * 3].fill(255);
        }
    }
    let side = |size: usize| u32::try_from(size).expect("a side");
    let picture = Photo::from_rgb8(side(width), side(height), rgb).expect("a picture");
    Mask::of(&picture).expect("a mask")
}

fn target(case: &HeadCase, asked: &HeadTarget, explainer: &Explainer) -> TargetSpec {
    if let Some([x, y, width, height]) = asked.place.map(|place| place.map(f64::from)) {
        return Target::Box(None, Area { x, y, width, height }).into();
    }
    if let Some(vector) = &asked.similar_to {
        return Target::Similar(vector.as_slice().into()).into();
    }
    let spec = asked
        .target
        .as_deref()
        .map_or(Ok(TargetSpec::One(Target::Argmax)), |text| explainer.parse_target(text));
    let spec = spec.expect("a target");
    let Some(rectangles) = &asked.mask else { return spec };
    let class = match spec {
        TargetSpec::One(Target::Class(class)) => Some(class),
        _ => None,
    };
    Target::Masked(class, Arc::new(mask(case, rectangles))).into()
}

fn targets_equal_float64_pytorch(case: &HeadCase, kind: EngineKind) {
    let methods = ["gradcam", "hirescam"].map(|id| id.parse::<Method>().expect("a method"));
    for asked in &case.targets {
        let builder = builder(case, asked.output.as_deref()).layer(&case.layer).methods(methods);
        let builder = builder.engine(kind).library_places(common::library());
        let explainer = builder.build().expect("an explainer");
        let target = target(case, asked, &explainer);
        let name = format!("{:?} {target:?}", asked.output);
        let explained = explainer.explain(images(case).view(), target).expect(&name);
        let of_method = |place: usize| explained.iter().map(move |of| &of[place]);
        for (place, method) in methods.iter().enumerate() {
            let want = &asked.maps[method.info().id];
            let got: Vec<f32> =
                of_method(place).flat_map(|e| e.layers[0].map.iter().copied()).collect();
            let first = of_method(place).next().expect("an image");
            assert_eq!(first.layers[0].map.shape(), &want.shape[1..], "{name}");
            assert_eq!(first.layers[0].value, case.value, "{name}");
            let error = largest_error(&got, &want.data);
            assert!(error <= BOUND, "{name} {method}: the map is {error:.1e} off");
        }
        let values: Vec<f32> = of_method(0).map(|explanation| explanation.value).collect();
        let error = largest_error(&values, &asked.values);
        assert!(error <= BOUND, "{name}: {values:?}, not {:?}", asked.values);
        if let Some(classes) = &asked.classes {
            let got: Vec<usize> = of_method(0).map(|explanation| explanation.class.index).collect();
            assert_eq!(&got, classes, "{name}");
        }
        for (image, explanation) in of_method(0).enumerate() {
            is_at_the_box(explanation, asked, image, &name);
        }
    }
}

fn is_at_the_box(explanation: &Explanation, asked: &HeadTarget, image: usize, name: &str) {
    let (Some(boxes), Some(anchors)) = (&asked.boxes, &asked.anchors) else { return };
    let Some(TargetPlace::Box { area, probability, anchor }) = explanation.place else {
        panic!("{name}: {:?} is no box", explanation.place)
    };
    assert_eq!(anchor, anchors[image], "{name}");
    let want = asked.probabilities.as_ref().expect("a probability of each box")[image];
    let off = (f64::from(probability) - want).abs();
    assert!(off <= BOUND, "{name}: the probability {probability} is not {want}");
    let got = [area.x, area.y, area.width, area.height];
    let off = got.iter().zip(boxes[image]).fold(0f64, |m, (g, w)| m.max((g - w).abs()));
    assert!(off <= 1e-3, "{name}: the box {got:?} is not {:?}", boxes[image]);
}

fn the_kind_of_head(case: &HeadCase) {
    let explainer = builder(case, None).build().expect("an explainer");
    let head = explainer.head();
    assert_eq!(head.kind.to_string(), case.kind, "{}: {}", case.why, head.why);
}

/// The class, and what a network without probabilities must not invent.
fn without_a_target_the_best_class_is_explained(case: &HeadCase) {
    let explainer = builder(case, None).build().expect("an explainer");
    let Some(default) = &case.default else { return };
    let explained = explainer.explain(images(case).view(), Target::Argmax).expect("maps");
    for (image, explanation) in explained.iter().map(|of| &of[0]).enumerate() {
        assert_eq!(explanation.class.index, default[image], "image {image}");
        match &case.probabilities {
            Some(all) => {
                let want = &all.data[image * all.shape[1]..][..all.shape[1]];
                if explanation.head.kind == HeadKind::Detection {
                    the_list_is_that_of_objects(explanation, want);
                    continue;
                }
                let error = largest_error(&explanation.probabilities, want);
                assert!(error <= BOUND, "image {image}: {:?}", explanation.probabilities);
            }
            None if explanation.head.kind != HeadKind::Detection => {
                assert!(explanation.probabilities.is_empty(), "image {image}");
            }
            None => {}
        }
    }
}

/// The classes of a detector by their probabilities, without the class that stands for nothing, whose probability is 0 here.
fn the_list_is_that_of_objects(explanation: &Explanation, probabilities: &[f64]) {
    let mut want: Vec<(usize, f64)> = probabilities.iter().copied().enumerate().collect();
    want.retain(|(_, p)| *p > 0.0);
    want.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let listed = explanation.top(usize::MAX);
    let classes: Vec<usize> = listed.iter().map(|class| class.index).collect();
    assert_eq!(classes, want.iter().map(|(class, _)| *class).collect::<Vec<_>>());
    for (class, (_, p)) in listed.iter().zip(&want) {
        let got = class.probability.expect("a probability");
        assert!((f64::from(got) - p).abs() <= BOUND, "class {}: {got}, not {p}", class.index);
    }
    assert_eq!(explanation.class.probability, listed[0].probability);
}

/// The last feature map of the scale that the box comes from: the one that the detector reads, or one behind it.
fn the_layer_is_that_of_the_boxs_scale(case: &HeadCase) {
    let explainer = builder(case, None).build().expect("an explainer");
    for asked in &case.targets {
        let wanted = asked.scale_layers.as_ref().expect("a scale of each box");
        let target = target(case, asked, &explainer);
        let explained = explainer.explain(images(case).view(), target.clone()).expect("maps");
        for (explanation, wanted) in explained.iter().map(|of| &of[0]).zip(wanted) {
            let layer = &explanation.layers[0].layer;
            assert!(layer.starts_with(wanted.as_str()), "{target:?}: {layer}, not {wanted}");
        }
    }
}

fn every_kind_has_a_network() {
    for (name, _) in HeadKind::ALL {
        assert!(CASES.iter().any(|case| case.kind == name), "{name}");
    }
}

/// A case's model in which pairs of QuantizeLinear and DequantizeLinear round what some nodes make, and with `parts` what they
/// read, to steps of 0.01 up to 1.27.
fn rounded(case: &HeadCase, parts: bool, is_rounded: impl Fn(&NodeProto) -> bool) -> Model {
    let bytes = std::fs::read(case.path()).expect("a file");
    let mut proto = ModelProto::decode(bytes.as_slice()).expect("a model");
    let graph = proto.graph.as_mut().expect("a graph");
    let mut nodes = Vec::new();
    let mut count = 0;
    let mut round = |nodes: &mut Vec<NodeProto>, value: &str| {
        count += 1;
        let (whole, float) = (format!("whole.{count}"), format!("float.{count}"));
        nodes.push(node("QuantizeLinear", &[value, "step", "zero"], &[&whole], vec![]));
        nodes.push(node("DequantizeLinear", &[&whole, "step", "zero"], &[&float], vec![]));
        float
    };
    for mut one in std::mem::take(&mut graph.node) {
        if !is_rounded(&one) {
            nodes.push(one);
            continue;
        }
        for input in one.input.iter_mut().filter(|_| parts) {
            *input = round(&mut nodes, input);
        }
        let before = format!("{}.before", one.output[0]);
        let made = std::mem::replace(&mut one.output[0], before.clone());
        nodes.push(one);
        let float = round(&mut nodes, &before);
        nodes.push(node("Identity", &[&float], &[&made], vec![]));
    }
    assert!(count >= 3, "{}: there are three scales", case.name);
    graph.node = nodes;
    graph.initializer.push(f32s("step", &[], &[0.01]));
    graph.initializer.push(constant("zero", DataType::Int8, &[], vec![0]));
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

fn case(name: &str) -> &'static HeadCase {
    CASES.iter().find(|case| case.name == name).expect("a case")
}

/// A quantized detector whose logits are rounded and clipped for each scale, and again where the scales are joined.
fn clipped_logits_of_a_detector_are_explained_as_they_were_before() {
    let case = case("yolov8");
    // Feature maps are joined along their channels, scores and boxes along their anchors. All logits of the best boxes are
    // above the range.
    let model = rounded(case, true, |node| {
        let along = |axis| node.attribute.iter().any(|a| a.name() == "axis" && a.i() == axis);
        node.op() == "Concat" && (along(2) || along(-1))
    });
    let method: Method = "hirescam".parse().expect("a method");
    for kind in EngineKind::ALL {
        let builder = Explainer::builder(model.clone()).layer(&case.value).method(method);
        let explainer = builder.engine(kind).library_places(common::library()).build();
        let explainer = explainer.expect("an explainer");
        for asked in &case.targets[..2] {
            let target = target(case, asked, &explainer);
            let explained = explainer.explain(images(case).view(), target).expect("a map");
            let explanation = &explained[0][0];
            let Some(TargetPlace::Box { anchor, .. }) = explanation.place else {
                panic!("{:?} is no box", explanation.place)
            };
            assert_eq!(Some(anchor), asked.anchors.as_ref().map(|anchors| anchors[0]));
            let got: Vec<f32> = explanation.layers[0].map.iter().copied().collect();
            assert!(largest_error(&got, &asked.maps["hirescam"].data) <= BOUND);
            assert!(largest_error(&[explanation.value], &asked.values) <= BOUND);
        }
    }
}

/// Where scores and boxes are made together, the prediction is no feature map, rounded or not.
fn rounded_predictions_of_a_detector_are_no_layer() {
    let case = case("yolov5");
    let layers = |model: Model| {
        let explainer = Explainer::builder(model).build().expect("an explainer");
        explainer.layers().map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    let float = layers(Model::open(case.path()).expect("a model"));
    assert!(float.len() > 1, "{float:?}");
    assert_eq!(layers(rounded(case, false, |node| node.op() == "Conv")), float);
}
