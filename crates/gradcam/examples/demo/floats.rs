//! Floats into a compiled model and out of it, for examples.

use std::error::Error;

use gradcam::{
    Model,
    engine::{self, EngineKind, EngineOptions, Session, TensorView},
    ndarray::ArrayD,
};

/// A model, compiled for the engine that is built in.
pub(crate) struct Compiled(Box<dyn Session>);

impl Compiled {
    pub(crate) fn new(model: &Model) -> Result<Self, Box<dyn Error>> {
        Ok(Self(engine::engine(EngineKind::Rten, &EngineOptions::default())?.compile(model)?))
    }

    /// Outputs of the model for these inputs.
    pub(crate) fn run<const N: usize>(
        &self,
        inputs: &[(&str, &ArrayD<f32>)],
        outputs: [&str; N],
    ) -> Result<[ArrayD<f32>; N], Box<dyn Error>> {
        let inputs: Vec<_> = inputs.iter().map(|(name, x)| (*name, TensorView::from(*x))).collect();
        let found = self.0.run(&inputs, &outputs)?.into_iter();
        let floats: Option<Vec<_>> = found.map(engine::Tensor::into_f32).collect();
        floats.and_then(|floats| floats.try_into().ok()).ok_or_else(|| "no floats".into())
    }
}

/// Σ ab.
#[allow(dead_code, reason = "not every example needs it")]
pub(crate) fn dot(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
