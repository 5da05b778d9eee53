//! Explains a model: finds the layer, emits target and method into the graph, runs it.

mod builder;
mod cost;
mod graph;
mod passes;
mod run;

use std::{collections::HashSet, sync::Arc};

use ndarray::{Array2, ArrayView4, ArrayViewD, Axis};
use onnx_grad::Model;

pub use builder::ExplainerBuilder;
pub use cost::Inference;
use graph::{Compiled, Key};
use run::Slot;

use crate::{
    Result,
    engine::Tensor,
    error::bail,
    explanation::{Explanation, Warning},
    image::{Photo, Placement, PreprocessChoice},
    input::{ImageInput, Inputs},
    layer::{Grid, LayerInfo},
    method::Method,
    program::{Cache, Runtime},
    progress::Observer,
    targets::{Head, Kind, Target, TargetSpec},
};

/// Explains images with one model. Any number of threads may use it at once.
pub struct Explainer {
    model: Model,
    methods: Vec<Method>,
    runtime: Runtime,
    inputs: Inputs,
    head: Head,
    /// The output that holds the scores, where the user named it.
    output: Option<String>,
    grid: Grid,
    /// The layers that are explained: module path and value name.
    layers: Vec<(String, String)>,
    /// The network's input, as methods explain it that take no layer.
    image: [(String, String); 1],
    list: Vec<LayerInfo>,
    labels: Option<Arc<Vec<String>>>,
    /// What is to be said of every explanation.
    warnings: Vec<Warning>,
    /// Whether what the engine's defaults give is computed too.
    compare_deployed: bool,
    observer: Option<Observer>,
    /// How photos are prepared, or why the model takes none.
    resolved: Result<PreprocessChoice, String>,
    /// The methods whose overriding rules change nothing, for want of a node that they are for.
    plain: HashSet<Method>,
    programs: Cache<Key, Compiled>,
}

/// The most targets of one run; each has gradients of its own in the graph.
const MOST_TARGETS: usize = 16;

impl std::fmt::Debug for Explainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let layers: Vec<_> = self.layers.iter().map(|(layer, _)| layer).collect();
        f.debug_struct("Explainer")
            .field("layers", &layers)
            .field("methods", &self.methods)
            .field("engine", &self.runtime.engine_name())
            .finish_non_exhaustive()
    }
}

impl Explainer {
    /// Starts to say how `model` is to be explained.
    pub fn builder(model: Model) -> ExplainerBuilder {
        ExplainerBuilder::new(model)
    }

    /// What is explained: module path and value name of each layer, and the name of the network's input, twice, where a
    /// method explains that.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_input = self.methods.iter().any(|method| method.info().is_of_input());
        let image = self.image.iter().filter(move |_| of_input);
        self.layers.iter().chain(image).map(|(path, value)| (path.as_str(), value.as_str()))
    }

    /// The maps of one image and one target, of all methods and layers.
    pub fn maps_per_target(&self) -> usize {
        self.methods.iter().map(|method| self.places(*method).len()).sum()
    }

    /// Where a method explains.
    fn places(&self, method: Method) -> &[(String, String)] {
        if method.info().is_of_input() { &self.image } else { &self.layers }
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
    pub fn preprocessing(&self) -> Result<&PreprocessChoice> {
        match &self.resolved {
            Ok(resolved) => Ok(resolved),
            Err(why) => bail!(Image, "{why}"),
        }
    }

    /// The input that takes the images.
    pub fn image_input(&self) -> &ImageInput {
        &self.inputs.image
    }

    /// The methods, each once.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The engine's name.
    pub fn engine_name(&self) -> &'static str {
        self.runtime.engine_name()
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
        self.inputs.image.check(shape)?;
        let mut shape = shape.to_vec();
        if let Some(batch) = self.inputs.image.batch() {
            shape[0] = batch;
        }
        self.compiled(Key::Explanation(shape, vec![Kind::of(target)])).map(|_| ())
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
        let mut explained = self.explain_photos(&[photo], targets)?;
        match explained.pop() {
            Some(explained) => Ok(explained),
            None => bail!(Engine, "the engine gave no map"),
        }
    }

    /// Explains several photos at once; for each its explanations, one for each target, and the part of it
    /// that the network saw.
    ///
    /// # Errors
    /// As [`Explainer::explain_batch`], and `Image`, also where photos become inputs of different sizes.
    pub fn explain_photos(
        &self,
        photos: &[&Photo],
        targets: &[TargetSpec],
    ) -> Result<Vec<(Vec<Explanation>, Placement)>> {
        let prepared =
            photos.iter().map(|photo| self.prepare(photo)).collect::<Result<Vec<_>>>()?;
        let views: Vec<_> = prepared.iter().map(|(x, _)| x.view()).collect();
        let Ok(x) = ndarray::concatenate(Axis(0), &views) else {
            bail!(Image, "the photos become inputs of different sizes; explain them one by one")
        };
        let mut explained = self.explain_all(x.view().into_dyn(), targets)?;
        if let Some(text) = &self.preprocessing()?.warning {
            for explanation in explained.iter_mut().flatten() {
                explanation.warnings.push(Warning::new("preprocessing-guessed", text.clone()));
            }
        }
        Ok(explained
            .into_iter()
            .zip(prepared.into_iter().map(|(_, placement)| placement))
            .collect())
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
        Ok(self.explain_all(x, targets)?.into_iter().flatten().collect())
    }

    /// Explains a batch of images that are ready for the network, [N, …], for several targets, in one run; for each
    /// image its explanations. Of `top:K` each image has its own classes.
    ///
    /// # Errors
    /// As [`Explainer::explain_batch`].
    pub fn explain_all(
        &self,
        x: ArrayViewD<'_, f32>,
        targets: &[TargetSpec],
    ) -> Result<Vec<Vec<Explanation>>> {
        let count = x.shape().first().copied().unwrap_or(0);
        let mut wanted = Vec::new();
        for spec in targets {
            match spec {
                TargetSpec::One(target) => wanted.push(Slot::Each(vec![*target; count])),
                TargetSpec::Top(best) => {
                    wanted.push(Slot::Each(vec![Target::Argmax; count]));
                    wanted.extend((1..(*best).min(self.classes())).map(Slot::Rank));
                }
            }
        }
        let mut all: Vec<Vec<Explanation>> = vec![Vec::new(); count];
        for slots in wanted.chunks_mut(MOST_TARGETS) {
            for slot in slots.iter_mut() {
                slot.resolve(&all);
            }
            for of_slot in self.in_runs(x.view(), slots)? {
                all.iter_mut().zip(of_slot).for_each(|(of_image, some)| of_image.extend(some));
            }
        }
        // Method by method, and for each the targets in their order.
        let place =
            |one: &Explanation| self.methods.iter().position(|method| method.id() == one.method);
        all.iter_mut().for_each(|of_image| of_image.sort_by_key(place));
        Ok(all)
    }

    /// Explains a batch of images that are ready for the network, each for its own target, in one run. A model
    /// of a fixed batch is run as often as it takes; where images are missing, the last one stands in.
    ///
    /// `x` has the shape of the model's input, such as [N, C, H, W], with any N; `targets` has N entries. For a
    /// model that takes integers `x` holds whole numbers, such as 0 to 255.
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
        let count = self.inputs.image.check(x.shape())?;
        if targets.len() != count {
            bail!(
                Target,
                "there are {} targets for {count} images; give one for each",
                targets.len()
            );
        }
        let explained = self.in_runs(x, &[Slot::Each(targets.to_vec())])?;
        Ok(explained.into_iter().flatten().flatten().collect())
    }

    /// Explains a batch in as many runs as the model's batch asks for; for each slot and image its explanations, one for each
    /// method.
    fn in_runs(
        &self,
        x: ArrayViewD<'_, f32>,
        slots: &[Slot],
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        let count = self.inputs.image.check(x.shape())?;
        let a_run = self.inputs.image.batch().unwrap_or(count).max(1);
        let mut all: Vec<Vec<Vec<Explanation>>> = slots.iter().map(|_| Vec::new()).collect();
        for start in (0..count).step_by(a_run) {
            for (all, some) in all.iter_mut().zip(self.run(x.view(), slots, start, a_run)?) {
                all.extend(some);
            }
        }
        Ok(all)
    }

    /// Gives an input beside the image another value, such as what is known of the next patient. What is compiled
    /// is kept, unless the value has another shape.
    ///
    /// # Errors
    /// `Input` where the name or the value is not what the model declares; the old value stays.
    pub fn set_input(&mut self, name: &str, value: impl Into<Tensor>) -> Result<()> {
        let (inputs, same_shape) = self.inputs.with(&self.model, name, value.into())?;
        if !same_shape {
            self.programs.clear();
        }
        self.inputs = inputs;
        Ok(())
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
