//! Every operator of the rule table in thousands of drawn uses, on every engine: the gradient is right, or
//! the node is refused by name.

#![expect(clippy::panic, reason = "helpers of tests may panic")]

#[path = "engine/common.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "shared by several tests")]
mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gradcam::engine::{Engine, EngineErrorKind, Tensor, TensorView};
use ndarray::ArrayD;
use onnx_grad::{ErrorKind, Model, Options, gradient};
use testkit::{OperatorCase, largest_error, operator_cases};

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

/// The text of docs/operators.md, where refusals must have a row.
struct Documented {
    general: Vec<String>,
    rows: BTreeMap<String, [Vec<String>; 3]>,
}

/// The columns of the table behind operator and opsets.
const COLUMNS: [&str; 3] = ["differentiator", "rten", "onnxruntime"];

impl Documented {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operators.md");
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let general = text.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned);
        let forms = |cell: &str| -> Vec<String> {
            let cell = cell.replace('\u{1}', "|");
            let parts = cell.trim().split("<br>").flat_map(|part| {
                let no = (part == "no").then(|| "… has no …".to_owned());
                no.into_iter().chain(part.strip_prefix("refused: ").map(str::to_owned))
            });
            parts.collect()
        };
        let row = |line: &str| {
            let line = line.strip_prefix("| ")?.replace("\\|", "\u{1}");
            let cells: Vec<&str> = line.split('|').collect();
            let [op, _, gradient, rten, runtime, _] = cells.as_slice() else { return None };
            let op = op.trim().trim_start_matches('[').split(']').next()?.to_owned();
            Some((op, [forms(gradient), forms(rten), forms(runtime)]))
        };
        Self { general: general.collect(), rows: text.lines().filter_map(row).collect() }
    }

    /// The form of the row, or of those for any operator, that a message has.
    fn form(&self, by: &str, op: &str, message: &str) -> Option<&str> {
        let column = COLUMNS.iter().position(|column| *column == by)?;
        let own = self.rows.get(op).map(|row| &row[column]).into_iter().flatten();
        own.chain(&self.general).find(|form| fits(message, form)).map(String::as_str)
    }
}

/// Whether a message has the parts of a form, which are between its …, in their order.
fn fits(message: &str, form: &str) -> bool {
    let mut rest = message;
    form.split('…').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// The operator and the reason in each line of an error: `"y" (Pad, opset 11): it reflects …`.
fn reasons(text: &str) -> Vec<(String, String)> {
    let reason = |line: &str| {
        let (before, after) = line.split_once("): ")?;
        let (_, inside) = before.rsplit_once('(')?;
        let op = inside.split(", opset").next().unwrap_or(inside);
        Some((op.to_owned(), after.to_owned()))
    };
    text.lines().filter_map(reason).collect()
}

#[test]
fn drawn_uses_of_every_operator_are_right_or_refused_by_name() {
    let (drawn, documented) = (operator_cases().cases, Documented::read());
    assert!(drawn.len() >= 2_000, "only {} cases", drawn.len());
    let engines = common::engines();
    let mut failures = Vec::new();
    let mut met: BTreeSet<(&str, String, String)> = BTreeSet::new();
    let mut right: Vec<usize> = vec![0; engines.len()];
    let mut agreed = 0;
    for one in &drawn {
        let mut agrees = false;
        for (engine, right) in engines.iter().zip(&mut right) {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(one, engine.as_ref())));
            let at = format!("{} on {}", one.case.name, engine.name());
            match outcome.unwrap_or_else(|_| Outcome::Wrong("it panics".to_owned())) {
                Outcome::Right => {
                    agrees = true;
                    *right += 1;
                }
                Outcome::Wrong(why) => failures.push(format!("{at}: {why}")),
                Outcome::Refused(by, text) => {
                    let reasons = reasons(&text);
                    if reasons.is_empty() {
                        failures.push(format!("{at}: refused without a reason: {text}"));
                    }
                    for (op, reason) in reasons {
                        match documented.form(by, &op, &reason) {
                            Some(form) => drop(met.insert((by, op, form.to_owned()))),
                            None => {
                                failures.push(format!("{at}: not in the table: {op}: {reason}"))
                            }
                        }
                    }
                }
            }
        }
        agreed += usize::from(agrees);
    }
    for (engine, right) in engines.iter().zip(&right) {
        println!("{}: {right} of {} are right", engine.name(), drawn.len());
    }
    println!("{agreed} are right somewhere, the others are refused by name");
    // What the table says is refused must be what the rules say.
    for (op, row) in &documented.rows {
        let missing =
            row[0].iter().filter(|form| !met.contains(&(COLUMNS[0], op.clone(), (*form).clone())));
        failures.extend(
            missing
                .filter(|_| drawn.iter().any(|one| one.case.op == *op))
                .map(|form| format!("{op}: no case is refused with: {form}")),
        );
    }
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
    assert!(agreed * 10 >= drawn.len() * 9, "{agreed} of {}", drawn.len());
}
