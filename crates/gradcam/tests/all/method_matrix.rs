//! Every method with every kind of model: it gives a map, or is refused with a reason.

use std::num::NonZeroUsize;

use gradcam::{
    ErrorKind, Explainer, Explanation, LayerInfo, METHODS, Method, Model, Result, Site, Target,
    engine::EngineKind,
};
use ndarray::{ArrayD, Axis};
use testkit::{Suite, head_cases, largest_error, zoo};

use crate::{last::network, one_each::OneEach};

/// The kinds of models.
pub(crate) const KINDS: [&str; 6] =
    ["classifier", "segmentation", "detector", "vision transformer", "1-D", "batch of 3"];

/// The methods that are refused: method, kind of model, and what the message says. All others give a map.
pub(crate) const REFUSALS: &[(&str, &str, &str)] = &[
    ("finercam", "segmentation", "this model's scores are of the kind segmentation"),
    ("finercam", "detector", "this model's scores are of the kind detection"),
    ("cam", "segmentation", "this model's scores are of the kind segmentation"),
    ("cam", "detector", "this model's scores are of the kind detection"),
    (
        "cam",
        "vision transformer",
        "needs a layer that only a global pooling and one linear layer follow",
    ),
];

/// The kinds of models whose concepts are refused, and what the message says.
pub(crate) const CONCEPT_REFUSALS: &[(&str, &str)] =
    &[("detector", "concepts are those of one layer, and there are 3")];

/// The kinds of models whose concepts have no classes, and what the note says.
pub(crate) const WITHOUT_CLASSES: &[(&str, &str)] = &[
    ("segmentation", "the scores of this model are those of segmentation, not of classes"),
    (
        "vision transformer",
        "the scores follow from other values too, such as a shortcut around the layer",
    ),
];

/// What the refusal of a method says at a kind of model, where it is refused.
pub(crate) fn refusal(method: &str, kind: &str) -> Option<&'static str> {
    REFUSALS.iter().find(|row| (row.0, row.1) == (method, kind)).map(|row| row.2)
}

pub(crate) fn tests(suite: &mut Suite) {
    for kind in KINDS {
        suite.test(format!("method_matrix::{kind}"), move || maps_or_refusals(kind));
        suite.test(format!("method_matrix::concepts::{kind}"), move || concepts_or_refusal(kind));
    }
    testkit::tests!(suite, refusals_are_of_methods_and_kinds);
}

fn refusals_are_of_methods_and_kinds() {
    for (method, kind, _) in REFUSALS {
        assert!(METHODS.iter().any(|row| row.id == *method), "{method}");
        assert!(KINDS.contains(kind), "{kind}");
    }
}

/// A model of a kind, and its images.
fn subject(kind: &str) -> (Model, ArrayD<f32>) {
    let of_heads = |name: &str| {
        let case = head_cases().into_iter().find(|case| case.name == name).expect("a head");
        let x = ArrayD::from_shape_vec(case.input.clone(), case.images()).expect("images");
        (Model::open(case.path()).expect("a model"), x)
    };
    let first = |(model, x): (Model, ArrayD<f32>)| (model, x.select(Axis(0), &[0]));
    match kind {
        "segmentation" => first(of_heads("segmenter")),
        "detector" => first(of_heads("yolov5")),
        "vision transformer" => {
            let known = zoo().into_iter().find(|model| model.name == "vit.dynamo");
            let known = known.expect("a model");
            let x = ArrayD::from_shape_vec(known.input.clone(), known.image()).expect("an image");
            (Model::open(known.path()).expect("a model"), x)
        }
        "1-D" => {
            let (model, known) = &*network("ecg");
            let x = ArrayD::from_shape_vec(known.input.as_slice(), known.image());
            first((model.clone(), x.expect("an input")))
        }
        "batch of 3" => {
            let (model, x) = of_heads("logits");
            (model, x.select(Axis(0), &[0, 1, 0]))
        }
        _ => first(of_heads("logits")),
    }
}

/// The default layer and another one.
fn two_layers(model: &Model) -> Result<Vec<String>> {
    let explainer = Explainer::builder(model.clone()).engine(EngineKind::Rten).build()?;
    let (default, value) = explainer.layers().next().expect("a layer");
    let all = explainer.layer_list();
    let is_other = |layer: &&LayerInfo| layer.value != value && layer.candidate;
    let other = all.iter().rev().find(is_other).expect("another layer");
    Ok(vec![default.to_owned(), other.value.clone()])
}

fn explained(model: &Model, x: &ArrayD<f32>, method: Method) -> Result<Vec<Explanation>> {
    let mut builder = Explainer::builder(model.clone()).engine(EngineKind::Rten).method(method);
    if let Site::Layers(_) = method.info().site {
        builder = builder.layers(two_layers(model)?);
    }
    builder.build()?.explain_one_each(x.view(), &vec![Target::Argmax; x.len_of(Axis(0))])
}

/// A map is finite, and of a batch that of each image alone.
fn check(model: &Model, x: &ArrayD<f32>, method: Method, explanations: &[Explanation]) {
    assert_eq!(explanations.len(), x.len_of(Axis(0)));
    for (at, explanation) in explanations.iter().enumerate() {
        let map = &explanation.layers[0].map;
        assert!(map.iter().all(|v| v.is_finite()), "{method}: {map}");
        if explanations.len() == 1 {
            continue;
        }
        let alone = explained(model, &x.select(Axis(0), &[at]), method).expect("a map");
        let alone: Vec<f64> = alone[0].layers[0].map.iter().map(|v| f64::from(*v)).collect();
        let together: Vec<f32> = map.iter().copied().collect();
        assert!(largest_error(&together, &alone) < 1e-5, "{method}, image {at}");
    }
}

fn maps_or_refusals(kind: &str) {
    let (model, x) = subject(kind);
    let mut failures = Vec::new();
    for row in METHODS {
        let method: Method = row.id.parse().expect("a method of the table");
        match (explained(&model, &x, method), refusal(row.id, kind)) {
            (Ok(explanations), None) => check(&model, &x, method, &explanations),
            (Err(error), Some(words))
                if error.to_string().contains(words)
                    && matches!(error.kind(), ErrorKind::Method | ErrorKind::Layer) => {}
            (Ok(_), Some(words)) => failures.push(format!("{method} does not say: {words}")),
            (Err(error), _) => failures.push(format!("{method}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{kind}: {}", failures.join("\n"));
}

/// Concepts of all images together, each with its maps and shares.
fn concepts_or_refusal(kind: &str) {
    let (model, x) = subject(kind);
    let explainer = Explainer::builder(model).engine(EngineKind::Rten).build().expect("a model");
    let two = NonZeroUsize::new(2).expect("a number");
    let refused = CONCEPT_REFUSALS.iter().find(|row| row.0 == kind);
    let concepts = match (explainer.concepts(x.view(), two), refused) {
        (Ok(concepts), None) => concepts,
        (Err(error), Some((_, words))) => {
            return assert!(error.to_string().contains(words), "{error}");
        }
        (Ok(_), Some((_, words))) => panic!("concepts do not say: {words}"),
        (Err(error), None) => panic!("{error}"),
    };
    assert_eq!(concepts.images.len(), x.len_of(Axis(0)));
    let without = WITHOUT_CLASSES.iter().find(|row| row.0 == kind);
    for component in &concepts.components {
        assert_eq!(component.classes.is_empty(), without.is_some(), "{:?}", concepts.warnings);
    }
    let says = |words: &str| concepts.warnings.iter().any(|one| one.to_string().contains(words));
    assert!(without.is_none_or(|(_, words)| says(words)), "{:?}", concepts.warnings);
    for image in &concepts.images {
        let map = &image.maps;
        assert_eq!(map.len_of(Axis(0)), 2);
        assert!(map.iter().all(|value| (0.0..=1.0).contains(value)), "{map}");
        assert!((image.shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
