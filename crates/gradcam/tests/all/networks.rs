//! Maps of whole networks against float64 PyTorch, on every engine.

use std::sync::LazyLock;

use gradcam::{
    Explainer, ExplainerBuilder, Explanation, Method, Model, Target, TargetSpec,
    engine::EngineKind,
    grad_cam,
    image::{Limits, Photo},
};
use ndarray::Array4;
use testkit::{LayerReference, Lite0Reference, Suite, fixture, largest_error, lite0};

use crate::common;
use crate::one_each::OneEach;

/// What the design promises for a raw map, of its largest entry; float32 against float64.
const BOUND: f64 = 1e-4;

static CASES: LazyLock<Vec<Lite0Reference>> = LazyLock::new(lite0);

pub(crate) fn tests(suite: &mut Suite) {
    for case in &*CASES {
        let name = format!("networks::built_in::{}::class_{}", case.photo, case.class);
        for method in methods() {
            for kind in EngineKind::ALL {
                suite.test(format!("{name}::{method}::{kind}"), move || {
                    equals_float64_pytorch_at_three_layers(case, method, kind);
                });
            }
        }
        suite.test(format!("{name}::heatmap"), || heatmap_equals_that_of_pytorch_grad_cam(case));
    }
    testkit::tests!(
        suite,
        weights_at_the_last_layer_are_the_classifiers_row,
        layers_by_every_kind_of_name,
        targets_of_a_batch,
    );
}

fn on(kind: EngineKind, builder: ExplainerBuilder) -> ExplainerBuilder {
    match kind {
        EngineKind::OnnxRuntime => builder.engine(kind).library_places(common::library()),
        _ => builder.engine(kind),
    }
}

fn methods() -> impl Iterator<Item = Method> {
    LayerReference::METHODS.into_iter().map(|id| id.parse().expect("a method of the table"))
}

fn map_of(explanation: &Explanation, layer: usize) -> Vec<f32> {
    explanation.layers[layer].map.iter().copied().collect()
}

/// The error of item `item` of a batch against the reference.
fn error_of(
    explanation: &Explanation,
    layer: usize,
    reference: &LayerReference,
    item: usize,
) -> f64 {
    let want = reference.maps(explanation.method).expect("a reference of each method");
    let size = want.data.len() / want.shape[0];
    assert_eq!(explanation.layers[layer].map.shape(), &want.shape[1..], "shape of the map");
    largest_error(&map_of(explanation, layer), &want.data[item * size..(item + 1) * size])
}

/// A photo of the references, as the built-in model takes it: (x − 127) / 128.
fn lite0_input(photo: &str) -> Array4<f32> {
    let path = fixture(&format!("networks/{photo}_224.png"));
    let photo = Photo::open(path, &Limits::default()).expect("a fixture");
    Array4::from_shape_fn((1, 3, 224, 224), |(_, c, y, x)| {
        (f32::from(photo.rgb()[(y * 224 + x) * 3 + c]) - 127.0) / 128.0
    })
}

fn equals_float64_pytorch_at_three_layers(case: &Lite0Reference, method: Method, kind: EngineKind) {
    let built_in = Model::open(common::demo_model()).expect("the built-in model");
    let model = case.settled(&built_in);
    let layers: Vec<&String> = case.layers.keys().collect();
    let builder = Explainer::builder(model).layers(layers.iter().copied());
    let explainer = on(kind, builder).method(method).build().expect("an explainer");
    let x = lite0_input(&case.photo);
    let target = [Target::Class(case.class)];
    let explanation = &explainer.explain_one_each(x.view().into_dyn(), &target).expect("maps")[0];
    assert!(largest_error(&explanation.scores, &case.logits.data) <= BOUND, "logits");
    for (place, layer) in layers.iter().enumerate() {
        let reference = &case.layers[*layer];
        let error = error_of(explanation, place, reference, 0);
        assert!(error <= BOUND, "{layer}: {error:.1e}");
        assert_eq!(explanation.layers[place].value, reference.value, "{layer}");
        assert_eq!(explanation.layers[place].layer, **layer);
        let weights = reference.weights.as_ref().expect("weights");
        let error = largest_error(&explanation.layers[place].weights, &weights.data);
        assert!(error <= BOUND, "weights of {layer}: {error:.1e}");
    }
}

fn heatmap_equals_that_of_pytorch_grad_cam(case: &Lite0Reference) {
    let model = Model::open(common::demo_model()).expect("the built-in model");
    let explainer = Explainer::builder(model).layer("bn2").build().expect("an explainer");
    let x = lite0_input(&case.photo);
    let target = [Target::Class(case.class)];
    let explanation = &explainer.explain_one_each(x.view().into_dyn(), &target).expect("maps")[0];
    let heatmap = explanation.heatmap(0).expect("a heatmap");
    for (row, want) in &case.heatmap_rows {
        let got = heatmap.row(*row).to_vec();
        let off = got.iter().zip(want).fold(0f64, |m, (g, w)| m.max((f64::from(*g) - w).abs()));
        assert!(off <= BOUND, "row {row}: {off}");
    }
}

/// At the last feature map before global pooling and one linear layer, Grad-CAM is known in closed form:
/// the classifier's row over the number of positions.
fn weights_at_the_last_layer_are_the_classifiers_row() {
    let model = Model::open(common::demo_model()).expect("the built-in model");
    let graph = model.graph();
    let gemm = graph.node.iter().find(|node| node.op() == "Gemm").expect("a classifier");
    // The weights are stored as float16 behind a Cast.
    let cast = graph.node.iter().find(|node| node.output[0] == gemm.input[1]).expect("a Cast");
    let tensor = graph.initializer.iter().find(|t| t.label() == cast.input[0]).expect("weights");
    let bytes = model.tensor_bytes(tensor).expect("bytes");
    let half = |pair: &[u8]| {
        let bits = u16::from_le_bytes([pair[0], pair[1]]);
        let (exponent, fraction) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023));
        let size = if exponent == 0 {
            fraction * 2f64.powi(-24)
        } else {
            (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15)
        };
        if bits >> 15 == 1 { -size } else { size }
    };
    let explainer = Explainer::builder(model.clone()).build().expect("an explainer");
    let x = lite0_input("cat_over_coffee");
    for class in [0, 285, 967, 999] {
        let explanation = &explainer
            .explain_one_each(x.view().into_dyn(), &[Target::Class(class)])
            .expect("maps")[0];
        let row = &bytes[class * 1280 * 2..(class + 1) * 1280 * 2];
        let want: Vec<f64> = row.chunks(2).map(|pair| half(pair) / 49.0).collect();
        let error = largest_error(&explanation.layers[0].weights, &want);
        assert!(error <= 1e-6, "class {class}: {error:.1e}");
    }
}

fn layers_by_every_kind_of_name() {
    let model = Model::open(common::demo_model()).expect("the built-in model");
    let value = "/blocks/blocks.4/blocks.4.2/Add_output_0";
    for name in ["blocks.4.2", "blocks.4", "/blocks/blocks.4/blocks.4.2/Add", value, "4.2"] {
        let explainer = Explainer::builder(model.clone()).layer(name).build().expect(name);
        assert_eq!(explainer.layers().next().map(|(_, value)| value), Some(value), "{name}");
    }
    let last = Explainer::builder(model.clone()).layer("-1").build().expect("a layer");
    assert_eq!(last.layers().next().map(|(_, value)| value), Some("/bn2/act/Clip_output_0"));
    let wrong = [
        ("blocks.4.3", "closest: \"blocks.4.0\", \"blocks.4.1\", \"blocks.4.2\""),
        ("conv_pw", "fits several layers"),
        ("-1000", "to -"),
        ("classifier", "without spatial extent"),
    ];
    for (name, phrase) in wrong {
        let error = Explainer::builder(model.clone()).layer(name).build().expect_err(name);
        assert!(error.to_string().contains(phrase), "{name}: {error}");
    }
}

fn targets_of_a_batch() {
    let model = Model::open(common::demo_model()).expect("the built-in model");
    let explainer = Explainer::builder(model.clone()).build().expect("an explainer");
    let x = lite0_input("cat_over_coffee");
    let two = ndarray::concatenate![ndarray::Axis(0), x, lite0_input("cat_beside_coffee")];
    let short = explainer.explain_one_each(two.view().into_dyn(), &[Target::Argmax]);
    let message = short.expect_err("one target for two images").to_string();
    assert!(message.contains("is 1, that of the images 2"), "{message}");

    let of = |target: Target| -> Explanation {
        explainer.explain_one_each(x.view().into_dyn(), &[target]).expect("a map").remove(0)
    };
    let (cat, cup) = (of(Target::Class(285)), of(Target::Class(967)));
    // The arg-max is the espresso, and its map is that of the class by number, bit for bit.
    assert_eq!(of(Target::Argmax).class.index, 967);
    assert_eq!(of(Target::Argmax).layers[0].map, cup.layers[0].map);
    assert_eq!(of(Target::Argmax).class.label.as_deref(), Some("espresso"));
    // The method is linear in the target.
    let difference = of(Target::Difference(285, 967));
    let want: Vec<f64> =
        cat.layers[0].map.iter().zip(&cup.layers[0].map).map(|(a, b)| f64::from(a - b)).collect();
    assert!(largest_error(&map_of(&difference, 0), &want) <= 1e-5);
    assert_eq!(difference.other.map(|class| class.index), Some(967));
    let top = explainer.explain(&x, TargetSpec::Top(3)).expect("maps").remove(0);
    let classes: Vec<usize> = top.iter().map(|e| e.class.index).collect();
    assert_eq!(classes, [967, 968, 285]);
    // The classic function gives the same bits.
    let classic = grad_cam(&model, x.view(), "bn2").expect("a map");
    assert_eq!(classic.into_dyn(), cup.layers[0].map);
}
