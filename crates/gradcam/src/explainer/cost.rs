//! The cost of an explanation, measured against plain inference on the same engine.

use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD};
use onnx_grad::{graph::Graph, prune};

use super::Explainer;
use crate::{
    Result,
    engine::{Tensor, TensorView},
    error::bail,
    head::head,
    images::Images,
    measure::Cost,
    program::Program,
    targets::Targets,
};

/// Plain inference of the model on an explainer's engine, for inputs of one shape.
pub struct Inference<'a> {
    explainer: &'a Explainer,
    program: Program,
}

impl Inference<'_> {
    /// Computes the scores of a batch of images.
    ///
    /// # Errors
    /// `Engine`, and `Input` where the shape is not the one that the program was compiled for.
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
    /// Compiles the model alone, as it runs without explanations, for inputs of a shape. Only the output that holds the
    /// scores is computed.
    ///
    /// # Errors
    /// `Input` where the shape does not fit, `Model`, `Engine`.
    pub fn inference(&self, shape: &[usize]) -> Result<Inference<'_>> {
        self.inputs.image.check(shape)?;
        let graph = Graph::new(&self.setup.model, &self.inputs.sizes(shape))?;
        // The whole head, as a program runs it.
        let output = graph.find(&self.setup.head.info.output);
        let output = output.filter(|output| graph.outputs().contains(output));
        let output = output.unwrap_or(head(&graph, &self.setup.head_settings)?.value);
        Ok(Inference {
            explainer: self,
            program: self.setup.runtime.program(&prune(&graph, &[output])?)?,
        })
    }

    /// What the model's output holds for one image, without an explanation: the vector of an embedding.
    ///
    /// # Errors
    /// As [`Explainer::explain`].
    pub fn embedding<'a>(&self, image: impl Into<Images<'a>>) -> Result<Arc<[f32]>> {
        let prepared;
        let x = match image.into() {
            Images::Tensor(x) => x,
            Images::Photos(photos) => match photos.as_slice() {
                [photo] => {
                    prepared = self.prepare(photo)?.0.into_dyn();
                    prepared.view()
                }
                photos => {
                    bail!(Input, "an embedding is that of one photo, not of {}", photos.len())
                }
            },
        };
        match self.inference(x.shape())?.run(x)? {
            Tensor::F32(vector) => Ok(vector.iter().copied().collect()),
            Tensor::I64(_) => bail!(Engine, "the engine gave integers for an embedding"),
        }
    }

    /// An example input of the usual size, for one image or for the batch that the model fixes. Its numbers come from a formula:
    /// between −1 and 1, or small whole numbers where the model takes integers.
    ///
    /// # Errors
    /// `Input` where the model does not say how many axes its input has.
    pub fn example(&self) -> Result<ArrayD<f32>> {
        let image = &self.inputs.image;
        let preprocess = self.setup.resolved.as_ref().ok().map(|resolved| &resolved.preprocess);
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

    /// Measures explanations of a batch against plain inference, in `pairs` of runs in turn.
    ///
    /// # Errors
    /// As [`Explainer::explain`].
    pub fn cost(
        &self,
        x: ArrayViewD<'_, f32>,
        targets: impl Into<Targets>,
        pairs: usize,
    ) -> Result<Cost> {
        let targets = targets.into();
        let inference = self.inference(x.shape())?;
        let plain = || inference.run(x.view()).map(drop);
        Cost::of(pairs, plain, || self.explain(x.view(), targets.clone()).map(drop))
    }
}
