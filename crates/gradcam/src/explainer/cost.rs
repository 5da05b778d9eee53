//! What an explanation costs: it is measured against the model alone, on the same engine.

use ndarray::{ArrayD, ArrayViewD};
use onnx_grad::{
    graph::{Graph, ValueId},
    prune,
};

use super::Explainer;
use crate::{
    Result,
    engine::{Tensor, TensorView},
    error::bail,
    measure::Cost,
    program::Program,
    targets::TargetSpec,
};

/// The model alone, on the engine of an explainer, for inputs of one shape.
pub struct Inference<'a> {
    explainer: &'a Explainer,
    program: Program,
}

impl Inference<'_> {
    /// Computes the scores of a batch of images.
    ///
    /// # Errors
    /// `Engine`, and `Input` where the shape is another than the model was prepared for.
    pub fn run(&self, x: ArrayViewD<'_, f32>) -> Result<Tensor> {
        let inputs = &self.explainer.inputs;
        let count = x.shape().first().copied().unwrap_or(0);
        let rows: Vec<usize> = (0..count).collect();
        let given = inputs.given.iter().map(|given| given.rows(&rows, count));
        let given = given.collect::<Result<Vec<_>>>()?;
        let integers = inputs.image.integers(&x)?;
        let images = integers.as_ref().map_or(TensorView::from(x.view()), |x| x.view().into());
        let mut named = vec![(inputs.image.name.as_str(), images)];
        let names = inputs.given.iter().map(|given| given.name.as_str());
        named.extend(names.zip(given.iter().map(Tensor::view)));
        match self.program.run(&named)?.pop() {
            Some(scores) => Ok(scores),
            None => bail!(Engine, "the engine gave no scores"),
        }
    }
}

impl Explainer {
    /// Prepares the model alone, as it would be run without explanations, for inputs of a shape. The output
    /// that holds the scores is computed.
    ///
    /// # Errors
    /// `Input` where the shape does not fit, `Model`, `Engine`.
    pub fn inference(&self, shape: &[usize]) -> Result<Inference<'_>> {
        self.inputs.image.check(shape)?;
        let graph = Graph::new(&self.model, &self.inputs.sizes(shape))?;
        let floats = |output: &&ValueId| graph.fact(**output).elem.is_float();
        let output = match &self.output {
            Some(name) => graph.value(name)?,
            None => match graph.outputs().iter().find(floats) {
                Some(output) => *output,
                None => bail!(Model, "the model has no output of floats"),
            },
        };
        Ok(Inference {
            explainer: self,
            program: self.runtime.program(&prune(&graph, &[output])?)?,
        })
    }

    /// An input for a run of one image, or of as many as the model fixes, of the usual size, with numbers
    /// between −1 and 1 from a formula, or small whole ones where the model takes those.
    ///
    /// # Errors
    /// `Input` where the model does not say how many axes its input has.
    pub fn example(&self) -> Result<ArrayD<f32>> {
        let image = &self.inputs.image;
        let preprocess = self.resolved.as_ref().ok().map(|resolved| &resolved.preprocess);
        let sizes = self.inputs.default_sizes(preprocess);
        let size = |dim: &onnx_grad::Dim| usize::try_from(dim.fixed()?).ok();
        let shape: Option<Vec<usize>> =
            sizes.get(&image.name).and_then(|dims| dims.iter().map(size).collect());
        let Some(shape) = shape.filter(|shape| shape.len() > 1) else {
            bail!(Input, "the model does not say what sizes its input \"{}\" has", image.name)
        };
        let last = shape.len() - 1;
        let whole = image.elem.range();
        let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>().max(1);
        let (channel, row) = (stride(1), stride(last - 1));
        let mut place = 0..;
        Ok(ArrayD::from_shape_simple_fn(shape.clone(), || {
            let place = place.next().unwrap_or(0);
            let at = |axis: usize, stride: usize| place / stride % shape[axis];
            let step =
                u8::try_from((at(1, channel) * 7 + at(last - 1, row) * 3 + at(last, 1) * 5) % 17);
            let step = step.unwrap_or_default();
            match whole {
                // Booleans are numbers up to 1.
                Some((_, most)) => f32::from(if most > 1 { step } else { step % 2 }),
                None => f32::from(step) / 8.0 - 1.0,
            }
        }))
    }

    /// Measures explanations of a batch against plain inference, in turn, so many times.
    ///
    /// # Errors
    /// As [`Explainer::explain_batch`].
    pub fn cost(
        &self,
        x: ArrayViewD<'_, f32>,
        targets: &[TargetSpec],
        pairs: usize,
    ) -> Result<Cost> {
        let inference = self.inference(x.shape())?;
        let plain = || inference.run(x.view()).map(drop);
        Cost::of(pairs, plain, || self.explain_all(x.view(), targets).map(drop))
    }
}
