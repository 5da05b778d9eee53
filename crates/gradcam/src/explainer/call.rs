//! Explainers for single calls, which differ in what belongs to a call.

use std::sync::Arc;

use super::{CHUNK, Explainer};
use crate::{Result, engine::Tensor, progress::CancelToken};

impl Explainer {
    /// This explainer, whose work ends with an error of the kind `Canceled` soon after `token` is canceled: when the run that is
    /// in progress is over, or the graph that is being compiled.
    ///
    /// So that this is soon, a run has at most 8 images, however many are given at once. It is as cheap as a clone.
    #[must_use]
    pub fn with_cancel_token(&self, token: &CancelToken) -> Self {
        Self { cancel: token.clone(), most_images: CHUNK, ..self.clone() }
    }

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
