//! Explainers for single calls, which differ in what belongs to a call.

use std::sync::Arc;

use super::Explainer;
use crate::{Result, engine::Tensor};

impl Explainer {
    /// This explainer with another value for an input beside the image, such as the data of one patient: for one call,
    /// `explainer.with_input("age", age)?.explain(…)`, or for several. It is as cheap as a clone, and shares the compiled
    /// programs, of values of other shapes too.
    ///
    /// # Errors
    /// `Input` where the model declares no such input or another type or shape.
    pub fn with_input(&self, name: &str, value: impl Into<Tensor>) -> Result<Self> {
        let inputs = Arc::new(self.inputs.with(&self.setup.model, name, value.into())?);
        Ok(Self { inputs, ..self.clone() })
    }
}
