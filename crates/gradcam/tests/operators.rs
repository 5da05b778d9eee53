//! Every operator of the rule table in thousands of drawn uses, on every engine: the gradient is right, or
//! the node is refused by name.

#![expect(clippy::panic, reason = "helpers of tests may panic")]

#[path = "engine/common.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "shared by several tests")]
mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use gradcam::engine::{Engine, EngineErrorKind, Tensor, TensorView};
use ndarray::ArrayD;
use onnx_grad::{ErrorKind, Model, Options, gradient};
use testkit::{Case, OperatorCase, largest_error, operator_cases};

/// How a case ends on an engine.
enum Outcome {
    Right,
    /// By the differentiator or by the engine, with its words.
    Refused(&'static str, String),
    Wrong(String),
}

fn run(drawn: &OperatorCase, engine: &dyn Engine) -> Outcome {
    let case = &drawn.case;
    let model = match Model::from_bytes(case.variants[0].model.as_slice()) {
        Ok(model) => model,
        Err(error) => return Outcome::Wrong(error.to_string()),
    };
    let options = Options { seed_input: Some("seed".to_owned()), ..Options::default() };
    let wrt: Vec<&str> = case.wrt.iter().map(String::as_str).collect();
    let differentiated = match gradient(&model, "y", &wrt, &options) {
        Ok(model) => model,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Outcome::Refused("differentiator", error.to_string());
        }
        Err(error) => return Outcome::Wrong(format!("{:?}: {error}", error.kind())),
    };
    let session = match engine.compile(&differentiated) {
        Ok(session) => session,
        Err(error) if error.kind() == EngineErrorKind::Unsupported => {
            return Outcome::Refused(engine.name(), error.to_string());
        }
        Err(error) => return Outcome::Wrong(format!("{:?}: {error}", error.kind())),
    };
    let mut values: BTreeMap<&str, ArrayD<f32>> =
        case.inputs.iter().map(|(name, tensor)| (name.as_str(), array(tensor))).collect();
    values.insert("seed", array(&case.seed));
    // What the gradient does not need is no input of the pruned graph any more.
    let declared: BTreeSet<String> =
        onnx_grad::inputs(&differentiated).into_iter().map(|(name, _)| name).collect();
    let inputs: Vec<(&str, TensorView<'_>)> = values
        .iter()
        .filter(|(name, _)| declared.contains(**name))
        .map(|(name, value)| (*name, TensorView::from(value)))
        .collect();
    let mut names = vec!["y".to_owned()];
    names.extend(wrt.iter().map(|name| format!("{name}.grad")));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outputs = match session.run(&inputs, &names) {
        Ok(outputs) => outputs,
        Err(error) => return Outcome::Wrong(format!("it does not run: {error}")),
    };
    let wanted = std::iter::once(&case.forward).chain(wrt.iter().map(|name| &case.grads[*name]));
    for ((name, output), want) in names.iter().zip(outputs).zip(wanted) {
        let Tensor::F32(output) = output else {
            return Outcome::Wrong(format!("{name} holds no floats"));
        };
        if output.shape() != want.shape {
            let shapes = format!("{:?}, wanted {:?}", output.shape(), want.shape);
            return Outcome::Wrong(format!("{name} has shape {shapes}"));
        }
        let got: Vec<f32> = output.iter().copied().collect();
        let error = largest_error(&got, &want.data);
        if error > drawn.bound {
            return Outcome::Wrong(format!("{name} is off by {error:.1e}"));
        }
    }
    Outcome::Right
}

fn array(tensor: &testkit::Tensor) -> ArrayD<f32> {
    ArrayD::from_shape_vec(tensor.shape.as_slice(), tensor.to_f32())
        .unwrap_or_else(|e| panic!("{e}"))
}

fn described(case: &Case) -> String {
    let model = Model::from_bytes(case.variants[0].model.as_slice());
    let text = model.map(|model| onnx_grad::to_text(&model)).unwrap_or_default();
    format!("{text}\n  {:?}", case.inputs.iter().map(|(n, t)| (n, &t.shape)).collect::<Vec<_>>())
}

#[test]
fn drawn_uses_of_every_operator_are_right_or_refused_by_name() {
    let drawn = operator_cases();
    let only = std::env::var("ONLY").ok();
    for engine in common::engines() {
        let (mut right, mut wrong) = (0, Vec::new());
        let mut refused: BTreeMap<String, usize> = BTreeMap::new();
        for one in &drawn.cases {
            if only.as_ref().is_some_and(|only| !only.split(',').any(|o| o == one.case.op)) {
                continue;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| run(one, engine.as_ref())))
                .unwrap_or_else(|_| Outcome::Wrong("it panics".to_owned()));
            match outcome {
                Outcome::Right => right += 1,
                Outcome::Refused(by, text) => {
                    let line = text.lines().last().unwrap_or_default().trim().to_owned();
                    *refused.entry(format!("{by}: {} {line}", one.case.op)).or_default() += 1;
                }
                Outcome::Wrong(why) => wrong.push((one, why)),
            }
        }
        eprintln!(
            "{}: {right} right, {} refused, {} wrong",
            engine.name(),
            refused.values().sum::<usize>(),
            wrong.len()
        );
        for (line, count) in &refused {
            eprintln!("  REFUSED {count} {line}");
        }
        for (one, why) in &wrong {
            eprintln!(
                "  WRONG {} {}: {}: {}",
                engine.name(),
                one.case.name,
                why.replace('\n', " "),
                if only.is_some() { described(&one.case) } else { String::new() }
            );
        }
    }
}
