//! One suite for all engines.

mod cases;
mod nodes;

use std::{env, fs, path::Path, sync::LazyLock};

use cases::Case;

use gradcam_engine::{Engine, EngineKind, Tensor, TensorView};
use ndarray::{Array4, ArrayD};
use onnx_grad::Model;
use prost::Message;
use testkit::Suite;

use crate::common::{demo_model, engine_with, shared, wave};

static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases::all);

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(suite, engines_agree_on_the_demo_model, the_number_of_threads_changes_nothing,);
    if let Some(folder) = env::var_os("GRADCAM_WRITE_CASES") {
        suite.test("engine::cases::written", move || write_cases(folder.as_ref()));
        return;
    }
    for case in &*CASES {
        for kind in EngineKind::ALL {
            let name = format!("engine::cases::{}::{kind}", case.name);
            suite.test(name, move || gives_the_numbers_of_the_reference(case, kind));
        }
    }
}

fn demo_input(batch: usize) -> ArrayD<f32> {
    let at = |(n, c, h, w): (usize, usize, usize, usize)| wave(((n * 3 + c) * 224 + h) * 224 + w);
    Array4::from_shape_fn((batch, 3, 224, 224), at).into_dyn()
}

fn engines_agree_on_the_demo_model() {
    let file = Model::open(demo_model()).unwrap();
    let memory = Model::from_bytes(fs::read(demo_model()).unwrap()).unwrap();
    let x = demo_input(1);
    let mut all = Vec::new();
    for engine in EngineKind::ALL.map(shared) {
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

/// The numbers of the reference evaluator; `expected.py` says how they are made anew.
fn expected(case: &Case) -> Option<(Vec<usize>, Vec<f64>)> {
    let line = include_str!("engine/expected.txt").lines().find_map(|line| {
        let (name, rest) = line.split_once(" : ")?;
        (name == case.name).then_some(rest)
    });
    let (shape, numbers) = line?.split_once(" : ")?;
    let shape = shape.split_whitespace().map(|n| n.parse().unwrap()).collect();
    Some((shape, numbers.split_whitespace().map(|n| n.parse().unwrap()).collect()))
}

fn gives_the_numbers_of_the_reference(case: &Case, kind: EngineKind) {
    let (shape, numbers) = expected(case).expect("no expected numbers; see expected.py");
    let outcome = run_case(shared(kind), case).and_then(|y| compare(&y, &shape, &numbers));
    let excluded = case.excluded.iter().find(|(name, _)| *name == kind.name());
    match (excluded, outcome) {
        (None, Ok(())) => {}
        (None, Err(why)) => panic!("{why}"),
        (Some(_), Ok(())) => panic!("is excluded but passes"),
        (Some((_, reason)), Err(why)) => {
            assert!(why.contains(reason), "fails, not with {reason:?}: {why}");
        }
    }
}

fn write_cases(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for case in &*CASES {
        let message = case.reference.as_ref().unwrap_or(&case.model).encode_to_vec();
        fs::write(folder.join(format!("{}.onnx", case.name)), message).unwrap();
    }
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
