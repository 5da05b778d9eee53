//! Small members of the families of image models, as both of torch's exporters write them: the default layer,
//! and raw maps there and at an early module against float64 PyTorch.

use std::sync::LazyLock;

use gradcam::{Explainer, Method, Model, Target, engine::EngineKind};
use ndarray::ArrayD;
use testkit::{Suite, ZooModel, largest_error, zoo};

use crate::common;
use crate::one_each::OneEach;

/// Ten times what torch's own float32 is from its float64, which the generator checks.
const BOUND: f64 = 1e-4;

static MODELS: LazyLock<Vec<ZooModel>> = LazyLock::new(zoo);

pub(crate) fn tests(suite: &mut Suite) {
    for model in &*MODELS {
        for kind in EngineKind::ALL {
            let name = format!("zoo::{}::{kind}", model.name);
            suite.test(name, move || equals_float64_pytorch(model, kind));
        }
        let name = format!("zoo::{}::default_layer", model.name);
        suite.test(name, move || the_default_layer(model));
    }
    testkit::tests!(suite, every_family_has_a_model,);
}

fn equals_float64_pytorch(model: &ZooModel, kind: EngineKind) {
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
            assert_eq!(got.shape(), &want.shape[1..], "{layer}");
            let got: Vec<f32> = got.iter().copied().collect();
            let error = largest_error(&got, &want.data);
            assert!(error <= BOUND, "{layer} {method}: {error:.1e}");
        }
    }
}

fn the_default_layer(model: &ZooModel) {
    let file = Model::open(model.path()).expect("a model");
    let explainer = Explainer::builder(file).build().expect("an explainer");
    let default = explainer.layers().next().map(|(path, _)| path.to_owned());
    assert_eq!(default.as_deref(), Some(&*model.default), "{}", model.why);
}

fn every_family_has_a_model() {
    assert!(MODELS.len() >= 30, "{} models", MODELS.len());
}
