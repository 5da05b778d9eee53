//! Whole networks against float64 PyTorch, on every engine: raw maps at two layers and the gradient of the image,
//! for a batch of three with a class each.

use std::collections::BTreeMap;

use gradcam::{
    Explainer, GradientSettings, Method, Model, Target,
    engine::{EngineKind, Tensor, TensorView},
    with_gradients,
};
use ndarray::{Array2, ArrayD};
use onnx_grad::{DeclaredDim, Dim, Sizes};
use testkit::{LayerReference, NETWORKS, ReferenceNetwork, Suite, largest_error};

use crate::one_each::OneEach;
use crate::{common, last::network};

/// What the design promises of the largest entry; float32 against float64.
const BOUND: f64 = 1e-4;

/// What an engine refuses, and what it says. A network that runs all the same is an error, so this list cannot
/// grow stale.
const REFUSED: &[(EngineKind, &str, &str)] =
    &[(EngineKind::Rten, "r3d_18", "it has 3 spatial axes; rten takes 1 and 2")];

pub(crate) fn tests(suite: &mut Suite) {
    for name in NETWORKS {
        for kind in EngineKind::ALL {
            suite.test(format!("parity::maps::{name}::{kind}"), move || {
                raw_maps_equal_float64_pytorch(name, kind);
            });
        }
        for kind in EngineKind::ALL {
            suite.test(format!("parity::image_gradient::{name}::{kind}"), move || {
                gradient_of_the_image_equals_float64_pytorch(name, kind);
            });
        }
    }
    testkit::tests!(suite, methods_are_told_apart_on_known_networks,);
}

fn refusal(kind: EngineKind, name: &str) -> Option<&'static str> {
    let row = REFUSED.iter().find(|(engine, network, _)| *engine == kind && *network == name)?;
    Some(row.2)
}

fn images(known: &ReferenceNetwork) -> ArrayD<f32> {
    ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input")
}

/// Raw maps by method, item of the batch and layer, the layers in the order of the reference.
fn maps(
    model: &Model,
    known: &ReferenceNetwork,
    kind: EngineKind,
    methods: &[Method],
) -> gradcam::Result<Vec<Vec<Vec<ArrayD<f32>>>>> {
    let builder = Explainer::builder(model.clone()).layers(known.layers.keys()).engine(kind);
    let builder = builder.methods(methods.iter().copied()).library_places(common::library());
    let explainer = builder.build()?;
    for ((_, value), reference) in explainer.layers().zip(known.layers.values()) {
        assert_eq!(value, reference.value);
    }
    let targets: Vec<Target> = known.classes.iter().map(|&class| Target::Class(class)).collect();
    let explanations = explainer.explain_one_each(images(known).view(), &targets)?;
    // Item by item, and of each method by method.
    let mut all = vec![Vec::new(); methods.len()];
    for (place, explanation) in explanations.into_iter().enumerate() {
        let maps = explanation.layers.into_iter().map(|layer| layer.map.into_owned());
        all[place % methods.len()].push(maps.collect());
    }
    Ok(all)
}

fn methods() -> impl Iterator<Item = Method> {
    LayerReference::METHODS.into_iter().map(|id| id.parse().expect("a method of the table"))
}

/// Layers at which the methods differ. A test that compares a method with its own reference says nothing where two
/// methods give one map, as they do at the layer before a global pooling.
const TOLD_APART: &[(&str, &str)] = &[
    ("googlenet", "inception3a"),
    ("squeezenet1_1", "features.4"),
    ("squeezenet1_1", "features.12"),
    ("vgg16", "features.15"),
    ("vgg16", "features.29"),
    ("ecg", "blocks.0"),
];

fn methods_are_told_apart_on_known_networks() {
    assert!(TOLD_APART.iter().all(|(name, _)| NETWORKS.contains(name)));
}

fn raw_maps_equal_float64_pytorch(name: &'static str, kind: EngineKind) {
    let (model, known) = &*network(name);
    let mut failures = Vec::new();
    // By layer: the maps of each method, of all items.
    let mut of_layers: BTreeMap<&str, Vec<Vec<f32>>> = BTreeMap::new();
    let mut found = Vec::new();
    // Grad-CAM as it is run mostly, alone; the others share their gradients.
    let (alone, together): (Vec<Method>, _) = methods().partition(|m| *m == Method::GRAD_CAM);
    for some in [alone, together] {
        match (maps(model, known, kind, &some), refusal(kind, name)) {
            (Ok(maps), None) => found.extend(some.into_iter().zip(maps)),
            (Err(error), Some(why)) if error.to_string().contains(why) => {}
            (Ok(_), Some(_)) => panic!("it runs, but is excluded"),
            (Err(error), _) => panic!("{error}"),
        }
    }
    assert_eq!(found.len(), if refusal(kind, name).is_some() { 0 } else { methods().count() });
    let mut count = 0;
    for (method, maps) in &found {
        for (place, (layer, reference)) in known.layers.iter().enumerate() {
            let want = reference.maps(method.info().id).expect("a reference");
            for (item, layers) in maps.iter().enumerate() {
                let map = &layers[place];
                count += 1;
                assert_eq!(map.shape(), &want.shape[1..], "{layer}");
                let want = &want.data[item * map.len()..(item + 1) * map.len()];
                let got: Vec<f32> = map.iter().copied().collect();
                let error = largest_error(&got, want);
                if error > BOUND {
                    failures.push(format!("{method} at {layer}, item {item}: {error:.1e}"));
                }
            }
            let all = maps.iter().flat_map(|layers| &layers[place]).copied().collect();
            of_layers.entry(layer).or_default().push(all);
        }
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(count, found.len() * 3 * 2, "three images at two layers");
    for (_, layer) in TOLD_APART.iter().filter(|(network, _)| *network == name) {
        let maps = &of_layers[layer];
        assert_eq!(maps.len(), methods().count());
        for (place, one) in maps.iter().enumerate() {
            for other in &maps[place + 1..] {
                let other: Vec<f64> = other.iter().map(|&v| f64::from(v)).collect();
                let apart = largest_error(one, &other);
                assert!(apart >= 1e-2, "{layer}: two methods give one map");
            }
        }
    }
}

/// d(the score of each image's class)/d(the images).
fn image_gradient(
    model: &Model,
    known: &ReferenceNetwork,
    kind: EngineKind,
) -> Result<Vec<f32>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut sizes: Vec<Dim> =
        known.input.iter().map(|&size| Dim::Fixed(i64::try_from(size).unwrap_or(0))).collect();
    // The batch stays open where the model leaves it open.
    let declared = onnx_grad::inputs(model).swap_remove(0).dims.expect("a shape");
    if !matches!(declared[0], DeclaredDim::Size(_)) {
        sizes[0] = Dim::Batch(1);
    }
    let settings = GradientSettings {
        sizes: Sizes::from([("input".to_owned(), sizes)]),
        of: "logits".to_owned(),
        wrt: vec!["input".to_owned()],
        seed: Some("seed".to_owned()),
    };
    let made = with_gradients(model, &settings).map_err(|e| text(&e))?;
    let classes = made.of.1[1].fixed().expect("a number of classes");
    let mut seed = Array2::zeros((known.classes.len(), usize::try_from(classes).unwrap_or(0)));
    for (item, &class) in known.classes.iter().enumerate() {
        seed[[item, class]] = 1.0;
    }
    let engine = common::engine_with(kind, 2);
    let session = engine.compile(&made.model).map_err(|e| text(&e))?;
    let (images, seed) = (images(known), seed.into_dyn());
    let inputs = [("input", TensorView::from(&images)), ("seed", TensorView::from(&seed))];
    let outputs = session.run(&inputs, &["input.grad"]).map_err(|e| text(&e))?;
    match outputs.into_iter().next().and_then(Tensor::into_f32) {
        Some(gradient) => Ok(gradient.iter().copied().collect()),
        None => Err("no floats".to_owned()),
    }
}

fn gradient_of_the_image_equals_float64_pytorch(name: &'static str, kind: EngineKind) {
    let (model, known) = &*network(name);
    match (image_gradient(model, known, kind), refusal(kind, name)) {
        (Ok(_), Some(_)) => panic!("it runs, but is excluded"),
        (Ok(got), None) => {
            assert_eq!(got.len(), known.input.iter().product::<usize>());
            let error = known.gradient.largest_error(&got);
            assert!(error <= BOUND, "{error:.1e}");
        }
        (Err(text), Some(why)) if text.contains(why) => {}
        (Err(text), _) => panic!("{text}"),
    }
}
