//! Models that somebody made wrong, by hand or by a fuzzer: each ends with an error that says what is
//! wrong, or with a map, and none with a panic.

#![expect(clippy::expect_used, reason = "helpers of tests may panic")]

use std::{fs, panic::catch_unwind, path::Path};

use gradcam::{
    Explainer, Model, Target,
    ndarray::ArrayD,
    onnx_grad::{DeclaredDim, Dim, Options, gradient, inputs},
};
use testkit::fixture;

/// What an image may take here; some of the models want terabytes.
const MEMORY: u64 = 64 << 20;

/// File and a phrase of the first error; `MAP` where the model can be explained after all.
const MODELS: &[(&str, &str)] = &[];

/// As a phrase: there is no error.
const MAP: &str = "a map";

/// The sizes of the model's first input, 2 where the model leaves them open.
fn sizes(model: &Model) -> Option<(String, Vec<i64>)> {
    let (name, dims) = inputs(model).into_iter().next()?;
    let size = |dim: DeclaredDim| if let DeclaredDim::Size(size) = dim { size } else { 2 };
    Some((name, dims.into_iter().map(size).collect()))
}

/// The gradient of the first output with respect to the first input.
fn differentiated(model: &Model) -> Result<(), String> {
    let output = model.graph().output.first().and_then(|output| output.name.as_deref());
    let output = output.ok_or("the model has no output")?;
    let (input, dims) = sizes(model).ok_or("the model has no input")?;
    let dims = dims.into_iter().map(Dim::Fixed).collect();
    let options = Options { sizes: [(input.clone(), dims)].into(), ..Options::default() };
    gradient(model, output, &[&input], &options).map(|_| ()).map_err(|error| error.to_string())
}

/// A map of an image of zeros, by the embedded engine.
fn explained(model: Model) -> Result<(), String> {
    let shape: Vec<usize> = sizes(&model)
        .and_then(|(_, dims)| dims.iter().map(|&dim| usize::try_from(dim).ok()).collect())
        .ok_or("an input of impossible size")?;
    let text = |error: gradcam::Error| error.to_string();
    let explainer = Explainer::builder(model).max_memory(MEMORY).build().map_err(text)?;
    let pixels = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    if pixels.is_none_or(|pixels| pixels > 1 << 20) {
        return Err("an image that is too large to be made".to_owned());
    }
    explainer
        .explain_batch(ArrayD::zeros(shape).view(), &[Target::Argmax])
        .map(|_| ())
        .map_err(text)
}

fn outcome(path: &Path) -> String {
    let model = match Model::open(path) {
        Ok(model) => model,
        Err(error) => return error.to_string(),
    };
    let (gradient, map) = (differentiated(&model), explained(model));
    gradient.and(map).err().unwrap_or_else(|| MAP.to_owned())
}

#[test]
fn bad_models_end_with_an_error_or_a_map() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(fixture("bad_models")).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        eprintln!("{name}");
        let ended = catch_unwind(|| outcome(&path)).unwrap_or_else(|_| "a panic".to_owned());
        match MODELS.iter().find(|(model, _)| *model == name) {
            Some((_, phrase)) if ended.contains(phrase) => seen += 1,
            Some((_, phrase)) => wrong.push(format!("{name}: {ended}\n  not \"{phrase}\"")),
            None => wrong.push(format!("{name} is not in the table: {ended}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, MODELS.len(), "a model of the table is no file");
}
