//! Runs a case of a gradient rule on an engine, and compares it with what PyTorch says.

use std::collections::{BTreeMap, BTreeSet};

use gradcam_engine::{Engine, EngineErrorKind, Tensor, TensorView};
use ndarray::ArrayD;
use onnx_grad::{
    ErrorKind, GradientForm, Model, Options,
    builder::Builder,
    differentiate, gradient,
    graph::{Graph, Sizes},
    prune,
};
use testkit::{RuleCase, largest_error};

/// How a case ends.
pub(crate) enum Outcome {
    /// The largest error of output and gradients.
    Ran(f64),
    /// By the differentiator or the engine of that name, in its words.
    Refused(&'static str, String),
    Failed(String),
}

pub(crate) fn outcome(case: &RuleCase, model: &Model, engine: &dyn Engine) -> Outcome {
    let options = Options { seed_input: Some("seed".to_owned()), ..Options::default() };
    let wrt: Vec<&str> = case.wrt.iter().map(String::as_str).collect();
    let differentiated = match gradient(model, "y", &wrt, &options) {
        Ok(model) => model,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Outcome::Refused("differentiator", error.to_string());
        }
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let session = match engine.compile(&differentiated) {
        Ok(session) => session,
        Err(error) if error.kind() == EngineErrorKind::Unsupported => {
            return Outcome::Refused(engine.name(), error.to_string());
        }
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let mut values: BTreeMap<&str, ArrayD<f32>> =
        case.inputs.iter().map(|(name, tensor)| (name.as_str(), array(tensor))).collect();
    values.insert("seed", array(&case.seed));
    let mut names = vec!["y".to_owned()];
    names.extend(wrt.iter().map(|name| format!("{name}.grad")));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outputs = match session.run(&feeds(&differentiated, &values), &names) {
        Ok(outputs) => outputs,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let wanted = std::iter::once(&case.forward).chain(wrt.iter().map(|name| &case.grads[*name]));
    let mut worst = 0f64;
    for ((name, output), want) in names.iter().zip(outputs).zip(wanted) {
        let Tensor::F32(output) = output else {
            return Outcome::Failed(format!("{name} holds no floats"));
        };
        if output.shape() != want.shape {
            let shapes = format!("{:?}, wanted {:?}", output.shape(), want.shape);
            return Outcome::Failed(format!("{name} has shape {shapes}"));
        }
        let got: Vec<f32> = output.iter().copied().collect();
        worst = worst.max(largest_error(&got, &want.data));
    }
    Outcome::Ran(worst)
}

/// The inputs that a model still has: what a gradient does not need is pruned away.
pub(crate) fn feeds<'a>(
    model: &Model,
    values: &'a BTreeMap<&'a str, ArrayD<f32>>,
) -> Vec<(&'a str, TensorView<'a>)> {
    let declared: BTreeSet<String> =
        onnx_grad::inputs(model).into_iter().map(|input| input.name).collect();
    let kept = values.iter().filter(|(name, _)| declared.contains(**name));
    kept.map(|(name, value)| (*name, TensorView::from(value))).collect()
}

pub(crate) fn array(tensor: &testkit::FixtureTensor) -> ArrayD<f32> {
    ArrayD::from_shape_vec(tensor.shape.as_slice(), tensor.to_f32())
        .unwrap_or_else(|e| panic!("{e}"))
}

/// The error of the sum of a gradient over space that is pushed towards the output, of what was summed.
pub(crate) fn pushed(case: &RuleCase, name: &str, engine: &dyn Engine) -> Result<f64, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let model = Model::from_bytes(case.variants[0].model.as_slice()).map_err(|e| text(&e))?;
    let mut graph = Graph::new(&model, &Sizes::new()).map_err(|e| text(&e))?;
    let (x, y) = (graph.value(name).map_err(|e| text(&e))?, graph.outputs()[0]);
    let mut b = Builder::new(&mut graph, "sum");
    let dims: Vec<i64> = case.seed.shape.iter().map(|&d| d.try_into().unwrap_or(0)).collect();
    let seed = b.floats(y, &dims, &case.seed.data).map_err(|e| text(&e))?;
    let sums = differentiate(&mut b, &[(y, seed)], &[(x, GradientForm::SpatialSum)], &[])
        .map_err(|e| text(&e))?;
    let sum = graph.alias(sums[0], "sum").map_err(|e| text(&e))?;
    let pruned = prune(&graph, &[sum]).map_err(|e| text(&e))?;
    let values: BTreeMap<&str, ArrayD<f32>> =
        case.inputs.iter().map(|(name, tensor)| (name.as_str(), array(tensor))).collect();
    let session = engine.compile(&pruned).map_err(|e| text(&e))?;
    let output = session.run(&feeds(&pruned, &values), &["sum"]).map_err(|e| text(&e))?.remove(0);
    let got: Vec<f32> = output.into_f32().map(|a| a.iter().copied().collect()).unwrap_or_default();
    let full = &case.grads[name];
    let positions: usize = full.shape[2..].iter().product();
    let want: Vec<f64> = full.data.chunks(positions).map(|run| run.iter().sum()).collect();
    // A sum may cancel: its error is measured against what was summed.
    let largest = full.data.chunks(positions).map(|run| run.iter().map(|v| v.abs()).sum::<f64>());
    let largest = largest.fold(0.0, f64::max);
    let scale = want.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
    let error = largest_error(&got, &want);
    Ok(if scale > 0.0 && largest > 0.0 { error * scale / largest } else { error })
}
