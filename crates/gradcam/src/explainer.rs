//! Explains a model: finds the layer, emits target and method into the graph, runs it.

mod builder;
mod input;
mod run;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use ndarray::{Array2, ArrayView4, ArrayViewD, Axis};
use onnx_grad::Model;

pub use builder::ExplainerBuilder;
pub(crate) use input::ImageInput;
use run::{Compiled, Key};

use crate::{
    Result,
    engine::Engine,
    error::bail,
    explanation::{Explanation, Timings, Warning},
    image::{Photo, Placement, Resolved},
    layer::{Grid, LayerInfo},
    method::Method,
    target::{Head, Kind, Target, TargetSpec},
};

/// Explains images with one model. Any number of threads may use it at once.
pub struct Explainer {
    model: Model,
    method: Method,
    engine: Box<dyn Engine>,
    input: ImageInput,
    head: Head,
    grid: Grid,
    chosen: Vec<(String, String)>,
    list: Vec<LayerInfo>,
    labels: Option<Arc<Vec<String>>>,
    /// What is to be said of every explanation.
    warnings: Vec<Warning>,
    /// How photos are prepared, or why the model takes none.
    resolved: Result<Resolved, String>,
    limit: u64,
    compiled: Mutex<HashMap<Key, Arc<Compiled>>>,
}

impl std::fmt::Debug for Explainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let layers: Vec<_> = self.chosen.iter().map(|(layer, _)| layer).collect();
        f.debug_struct("Explainer")
            .field("layers", &layers)
            .field("method", &self.method)
            .field("engine", &self.engine.name())
            .finish_non_exhaustive()
    }
}

impl Explainer {
    /// Starts to say how `model` is to be explained.
    pub fn builder(model: Model) -> ExplainerBuilder {
        ExplainerBuilder::new(model)
    }

    /// The layers that are explained: module path and value name; for a method that explains the network's
    /// input, the input and its name.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.chosen.iter().map(|(path, value)| (path.as_str(), value.as_str()))
    }

    /// All layers of the model.
    pub fn layer_list(&self) -> &[LayerInfo] {
        &self.list
    }

    /// The labels of the classes, where the model has some.
    pub fn labels(&self) -> Option<&[String]> {
        self.labels.as_deref().map(Vec::as_slice)
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.head.form.classes()
    }

    /// How photos are prepared, and where each value came from.
    ///
    /// # Errors
    /// `Image` where the model's input takes no photos.
    pub fn preprocessing(&self) -> Result<&Resolved> {
        match &self.resolved {
            Ok(resolved) => Ok(resolved),
            Err(why) => bail!(Image, "{why}"),
        }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The engine's name.
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Reads a target as users write it: `argmax`, a class number, `top:K`, `A-B` or a label.
    ///
    /// # Errors
    /// `Target`, as [`TargetSpec::parse`].
    pub fn parse_target(&self, text: &str) -> Result<TargetSpec> {
        TargetSpec::parse(text, self.labels(), Some(self.classes()))
    }

    /// Prepares a photo: the network's input, and the part of the photo that it shows.
    ///
    /// # Errors
    /// `Image`.
    pub fn prepare(&self, photo: &Photo) -> Result<(ndarray::Array4<f32>, Placement)> {
        Ok(self.preprocessing()?.preprocess.apply(photo)?)
    }

    /// Makes the graph for inputs of a shape and targets of a kind ready, so that the first explanation is as
    /// fast as the next.
    ///
    /// # Errors
    /// As [`Explainer::explain_batch`].
    pub fn warm_up(&self, shape: &[usize], target: Target) -> Result<()> {
        self.input.check(shape)?;
        let key = Key { shape: shape.to_vec(), kind: Kind::of(target) };
        self.compiled(key, &mut Timings::default()).map(|_| ())
    }

    /// Explains one photo for several targets, one explanation for each.
    ///
    /// # Errors
    /// As [`Explainer::explain_batch`], and `Image`.
    pub fn explain_photo(
        &self,
        photo: &Photo,
        targets: &[TargetSpec],
    ) -> Result<(Vec<Explanation>, Placement)> {
        let (x, placement) = self.prepare(photo)?;
        let mut explanations = self.explain_each(x.view().into_dyn(), targets)?;
        if let Some(text) = &self.preprocessing()?.warning {
            for explanation in &mut explanations {
                explanation.warnings.push(Warning::new("preprocessing-guessed", text.clone()));
            }
        }
        Ok((explanations, placement))
    }

    /// Explains one image that is ready for the network, [1, …], for several targets.
    ///
    /// # Errors
    /// As [`Explainer::explain_batch`].
    pub fn explain_each(
        &self,
        x: ArrayViewD<'_, f32>,
        targets: &[TargetSpec],
    ) -> Result<Vec<Explanation>> {
        if x.shape().first() != Some(&1) {
            bail!(Input, "the input has shape {:?}; one image is [1, …]", x.shape());
        }
        let mut explanations: Vec<Explanation> = Vec::new();
        for spec in targets {
            let count = match spec {
                TargetSpec::One(target) => {
                    explanations.extend(self.explain_batch(x.view(), &[*target])?);
                    continue;
                }
                TargetSpec::Top(count) => *count,
            };
            let first = self.explain_batch(x.view(), &[Target::Argmax])?;
            let classes = first.first().map(|e| e.top(count)).unwrap_or_default();
            explanations.extend(first);
            for class in classes.iter().skip(1) {
                explanations.extend(self.explain_batch(x.view(), &[Target::Class(class.index)])?);
            }
        }
        Ok(explanations)
    }

    /// Explains a batch of images that are ready for the network, each for its own target, in one run
    /// (image by image where the model's batch is fixed to 1).
    ///
    /// `x` has the shape of the model's input, such as [N, C, H, W]; `targets` has N entries.
    ///
    /// # Errors
    /// `Input` where the shape does not fit or the targets are not as many as the images, `Target` where
    /// a class does not exist, `Unsupported` with every node of the path that has no gradient rule or
    /// that the engine lacks, `Layer` where a layer or the input does not reach the scores, `Memory`, `Engine`.
    pub fn explain_batch(
        &self,
        x: ArrayViewD<'_, f32>,
        targets: &[Target],
    ) -> Result<Vec<Explanation>> {
        let a_run = self.input.check(x.shape())?;
        let batch = x.shape()[0];
        if targets.len() != batch {
            bail!(
                Target,
                "there are {} targets for {batch} images; give one for each",
                targets.len()
            );
        }
        if a_run < batch {
            let mut all = Vec::with_capacity(batch);
            for (index, target) in targets.iter().enumerate() {
                let one = x.slice_axis(Axis(0), (index..=index).into());
                all.extend(self.run(one, std::slice::from_ref(target))?);
            }
            return Ok(all);
        }
        self.run(x, targets)
    }
}

/// The classic function: the raw Grad-CAM of the class with the largest score, [h, w], signed, before relu
/// and at the layer's own size.
///
/// `x` is one image that is ready for the network, [1, C, H, W]. Photos go through [`Explainer`].
///
/// # Errors
/// As [`ExplainerBuilder::build`] and [`Explainer::explain_batch`].
pub fn grad_cam(model: &Model, x: ArrayView4<'_, f32>, layer: &str) -> Result<Array2<f32>> {
    let explainer = Explainer::builder(model.clone()).layer(layer).build()?;
    let explanations = explainer.explain_each(x.into_dyn(), &[TargetSpec::One(Target::Argmax)])?;
    match explanations.first() {
        Some(explanation) => Ok(explanation.map2(0)?.to_owned()),
        None => bail!(Engine, "the engine gave no map"),
    }
}
