//! Small members of the families of image models, as both of torch's exporters write them: the default layer,
//! and raw maps there and at an early module against float64 PyTorch.

use gradcam::{Explainer, Method, Model, Target, engine::EngineKind};
use ndarray::ArrayD;
use testkit::{ZooModel, largest_error, zoo};

use crate::common;
use crate::one_each::OneEach;

/// Ten times what torch's own float32 is from its float64, which the generator checks.
const BOUND: f64 = 1e-4;

fn check(model: &ZooModel, kind: EngineKind) {
    let name = &model.name;
    let file = Model::open(model.path()).expect("a model");
    let x = ArrayD::from_shape_vec(model.input.clone(), model.image()).expect("an image");
    let layers: Vec<&String> = model.layers.keys().collect();
    let methods = ["gradcam", "hirescam"].map(|id| id.parse::<Method>().expect("a method"));
    let builder = Explainer::builder(file).layers(layers.iter().copied()).methods(methods);
    let builder = builder.engine(kind).library_places(common::library());
    let explainer = builder.build().expect("an explainer");
    let target = [Target::Class(model.class)];
    let explained = explainer.explain_one_each(x.view(), &target).expect("explanations");
    assert_eq!(explained.len(), methods.len());
    for explanation in &explained {
        let method = explanation.method;
        for (place, layer) in layers.iter().copied().enumerate() {
            let got = &explanation.layers[place].map;
            let want = &model.layers[layer][method];
            assert_eq!(got.shape(), &want.shape[1..], "{name} {layer}");
            let got: Vec<f32> = got.iter().copied().collect();
            let error = largest_error(&got, &want.data);
            assert!(error <= BOUND, "{name} {layer} {method} on {kind}: {error:.1e}");
        }
    }
}

fn every_family_equals_float64_pytorch(kind: EngineKind) {
    let models = zoo();
    assert!(models.len() >= 30, "{} models", models.len());
    models.iter().for_each(|model| check(model, kind));
}

#[test]
fn every_family_equals_float64_pytorch_on_rten() {
    every_family_equals_float64_pytorch(EngineKind::Rten);
}

#[test]
fn every_family_equals_float64_pytorch_on_onnxruntime() {
    every_family_equals_float64_pytorch(EngineKind::OnnxRuntime);
}

#[test]
fn the_default_layer_of_every_family() {
    for model in zoo() {
        let file = Model::open(model.path()).expect("a model");
        let explainer = Explainer::builder(file).build().expect("an explainer");
        let default = explainer.layers().next().map(|(path, _)| path.to_owned());
        assert_eq!(default.as_deref(), Some(&*model.default), "{}: {}", model.name, model.why);
    }
}
