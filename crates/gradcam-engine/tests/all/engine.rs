//! One suite for all engines.

mod cases;
mod nodes;

use cases::Case;
use gradcam_engine::{Engine, EngineKind, Tensor, TensorView};
use ndarray::{Array4, ArrayD};
use onnx_grad::Model;
use prost::Message;

use crate::common::{demo_model, engine_with, engines, wave};

fn demo_input(batch: usize) -> ArrayD<f32> {
    let at = |(n, c, h, w): (usize, usize, usize, usize)| wave(((n * 3 + c) * 224 + h) * 224 + w);
    Array4::from_shape_fn((batch, 3, 224, 224), at).into_dyn()
}

#[test]
fn engines_agree_on_the_demo_model() {
    let file = Model::open(demo_model()).unwrap();
    let memory = Model::from_bytes(std::fs::read(demo_model()).unwrap()).unwrap();
    let x = demo_input(1);
    let mut all = Vec::new();
    for engine in engines() {
        for model in [&file, &memory] {
            let session = engine.compile(model).unwrap();
            let outputs = session.run(&[("input", TensorView::from(&x))], &["logits"]).unwrap();
            let [logits] = <[_; 1]>::try_from(outputs).unwrap();
            all.push(logits.into_f32().unwrap());
        }
    }
    let largest = all[0].iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest > 1.0, "logits are flat: {largest}");
    for logits in &all {
        assert_eq!(logits.shape(), [1, 1000]);
        let off = (logits - &all[0]).iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(off <= 1e-4 * largest, "{off} of {largest}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let model = Model::open(demo_model()).unwrap();
    let x = demo_input(2);
    for kind in EngineKind::ALL {
        let run = |threads| {
            let session = engine_with(kind, threads).compile(&model).unwrap();
            session.run(&[("input", TensorView::from(&x))], &["logits"]).unwrap()
        };
        assert_eq!(run(1), run(2), "{kind}");
    }
}

/// Runs all cases on all engines against the reference evaluator; `expected.py` says how the numbers
/// are made anew.
#[test]
fn cases_give_the_numbers_of_the_reference() {
    let all = cases::all();
    if let Some(folder) = std::env::var_os("GRADCAM_WRITE_CASES") {
        std::fs::create_dir_all(&folder).unwrap();
        for case in &all {
            let message = case.reference.as_ref().unwrap_or(&case.model).encode_to_vec();
            let file = format!("{}.onnx", case.name);
            std::fs::write(std::path::Path::new(&folder).join(file), message).unwrap();
        }
        return;
    }
    let expected = include_str!("engine/expected.txt");
    let mut failed = Vec::new();
    for (engine, case) in engines().iter().flat_map(|e| all.iter().map(move |c| (e, c))) {
        let line = expected.lines().find_map(|line| {
            let (name, rest) = line.split_once(" : ")?;
            (name == case.name).then_some(rest)
        });
        let Some((shape, numbers)) = line.and_then(|line| line.split_once(" : ")) else {
            failed.push(format!("{}: no expected numbers; see expected.py", case.name));
            continue;
        };
        let shape: Vec<usize> = shape.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let numbers: Vec<f64> = numbers.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let outcome = run_case(&**engine, case).and_then(|y| compare(&y, &shape, &numbers));
        let excluded = case.excluded.iter().find(|(name, _)| *name == engine.name());
        let wrong = match (excluded, outcome) {
            (None, Ok(())) => None,
            (None, Err(why)) => Some(why),
            (Some(_), Ok(())) => Some("is excluded but passes".to_owned()),
            (Some((_, reason)), Err(why)) if why.contains(reason) => None,
            (Some((_, reason)), Err(why)) => Some(format!("fails, not with {reason:?}: {why}")),
        };
        failed.extend(wrong.map(|why| format!("{}, {}: {why}", engine.name(), case.name)));
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

fn run_case(engine: &dyn Engine, case: &Case) -> Result<Tensor, String> {
    let model = Model::from_bytes(case.model.encode_to_vec()).map_err(|e| e.to_string())?;
    let x = cases::input(&case.model);
    let session = engine.compile(&model).map_err(|e| e.to_string())?;
    let mut outputs = session.run(&[("x", x.view())], &["y"]).map_err(|e| e.to_string())?;
    Ok(outputs.remove(0))
}

fn compare(got: &Tensor, shape: &[usize], numbers: &[f64]) -> Result<(), String> {
    if got.shape() != shape {
        return Err(format!("has the shape {:?}, not {shape:?}", got.shape()));
    }
    let got: Vec<f64> = match got {
        Tensor::F32(array) => array.iter().map(|v| f64::from(*v)).collect(),
        Tensor::I64(array) => array.iter().map(|v| *v as f64).collect(),
    };
    let off = got.iter().zip(numbers).find(|(a, b)| (**a - **b).abs() > 1e-5 * b.abs().max(1.0));
    off.map_or(Ok(()), |(a, b)| Err(format!("gives {a}, not {b}: {got:?}")))
}
