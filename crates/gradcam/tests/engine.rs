//! One suite for all engines.

#[path = "engine/common.rs"]
mod common;

use common::{demo_model, engine_with, engines, wave};
use gradcam::engine::{EngineKind, TensorView};
use ndarray::{Array4, ArrayD};
use onnx_grad::Model;

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
