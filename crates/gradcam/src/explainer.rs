//! Explains a model: finds the layer, emits target and method into the graph, runs it.

mod batches;
mod bias;
mod builder;
mod call;
mod choice;
mod concepts;
mod cost;
mod export;
mod graph;
mod heatmaps;
mod key;
mod labels;
mod locate;
mod maps;
mod passes;
mod place;
mod pooled;
mod read;
mod reading;
mod run;
mod slot;
mod smooth;

use std::{
    collections::HashSet,
    ops::Range,
    sync::{Arc, OnceLock},
};

use ndarray::{Array2, ArrayView4, ArrayViewD, Axis};
use onnx_grad::{
    Model,
    graph::{Graph, Sizes},
};

pub use builder::ExplainerBuilder;
pub use cost::Inference;
pub use export::{
    EXPORTED_CLASS, EXPORTED_HEATMAP, EXPORTED_MAP, ExplanationModel, ExportHeads, ExportSettings,
    ExportTargets, ExportWeights, ExportedModel, TARGET_INPUT, is_exported,
};
use heatmaps::MapSettings;
use key::{ExplainerProgram, Key};
pub use key::{MapPlace, OutputMeaning};
use place::{PhotoPlacement, PlacedTarget};
use slot::Slot;

use crate::{
    Error, Result,
    error::bail,
    explanation::Explanation,
    head::{Head, HeadInfo, HeadSettings, head},
    image::{Fusion, Photo, Placement, PreprocessChoice, preprocess::SettingOrigin},
    images::Images,
    input::{ImageInput, Inputs},
    layer::{Grid, LayerInfo, LayerReason, Layers},
    memory::{Holder, MemoryLease, human},
    method::{Method, MethodSettings},
    program::{Cache, Runtime},
    progress::{CancelToken, Observer},
    targets::{Target, TargetKind, TargetSpec, Targets},
    warning::Warning,
};

/// Explains images with one model.
///
/// Any number of threads may use it at once. Clones share the model, the engine, the compiled programs and the memory
/// limit.
#[derive(Clone)]
pub struct Explainer {
    setup: Arc<Setup>,
    inputs: Arc<Inputs>,
    /// By the shapes of all inputs for one image, and what they compute.
    programs: Arc<Cache<(Sizes, Key), ExplainerProgram>>,
    /// Checked before each run.
    cancel: CancelToken,
    /// The most images of a run, where the model leaves the batch open.
    most_images: usize,
}

/// What is the same for all explanations.
struct Setup {
    model: Model,
    /// Whether the model was exported with an explanation, which is left out of `model`.
    is_exported: bool,
    methods: Vec<Method>,
    maps: MapSettings,
    runtime: Runtime,
    head: Head,
    head_settings: HeadSettings,
    grid: Grid,
    /// The layers that are explained: module path and value name.
    layers: Vec<(String, String)>,
    /// For the layers of a detector's scales, of which the one is explained that a box comes from: the anchors of each.
    scales: Vec<Range<usize>>,
    /// Why these layers, where a method explains layers.
    layer_reason: Option<LayerReason>,
    /// The network's input, as methods explain it that take no layer.
    image: [(String, String); 1],
    /// All layers; found at the first use.
    list: OnceLock<Vec<LayerInfo>>,
    labels: Option<Arc<Vec<String>>>,
    /// Warnings attached to every explanation.
    warnings: Vec<Warning>,
    /// Whether the scores that the engine's defaults give are computed too.
    compare_deployed: bool,
    observer: Option<Observer>,
    method_settings: MethodSettings,
    /// How photos are prepared, or why the model takes none.
    resolved: Result<PreprocessChoice, String>,
    /// The methods whose overriding rules match no node of the model.
    plain: HashSet<Method>,
}

/// The most images of a run that may be canceled.
const CHUNK: usize = 8;

/// The most targets of one run; each has gradients of its own in the graph.
const MOST_TARGETS: usize = 16;

impl Setup {
    /// The number of maps of one image and one target by a method.
    fn maps_of(&self, method: Method) -> usize {
        let is_single = method.info().is_of_input() || !self.scales.is_empty();
        if is_single { 1 } else { self.layers.len() }
    }
}

impl std::fmt::Debug for Explainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let layers: Vec<_> = self.setup.layers.iter().map(|(layer, _)| layer).collect();
        f.debug_struct("Explainer")
            .field("layers", &layers)
            .field("methods", &self.setup.methods)
            .field("engine", &self.setup.runtime.engine_name())
            .finish_non_exhaustive()
    }
}

impl Explainer {
    /// A builder for an explainer of `model`.
    pub fn builder(model: Model) -> ExplainerBuilder {
        ExplainerBuilder::new(model)
    }

    /// The layers that are explained, module path and value name of each. Where a method explains the network's input, its
    /// name stands at the end, twice.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_input = self.setup.methods.iter().any(|method| method.info().is_of_input());
        let image = self.setup.image.iter().filter(move |_| of_input);
        self.setup.layers.iter().chain(image).map(|(path, value)| (path.as_str(), value.as_str()))
    }

    /// Why these layers: the user named them, or the strategy that chose the default. `None` where no method explains a layer.
    pub fn layer_reason(&self) -> Option<LayerReason> {
        self.setup.layer_reason
    }

    /// The number of maps of one image and one target, over all methods and layers.
    pub fn maps_per_target(&self) -> usize {
        self.setup.methods.iter().map(|method| self.setup.maps_of(*method)).sum()
    }

    /// The number of heatmaps of one image and one target: as many as maps, or one for each method where layers are fused.
    pub fn heatmaps_per_target(&self) -> usize {
        let heatmaps = |method: &Method| match self.setup.maps.fusion_of(*method) {
            Fusion::None => self.setup.maps_of(*method),
            _ => 1,
        };
        self.setup.methods.iter().map(heatmaps).sum()
    }

    /// All layers of the model.
    pub fn layer_list(&self) -> &[LayerInfo] {
        self.setup.list.get_or_init(|| self.list().unwrap_or_default())
    }

    fn list(&self) -> Result<Vec<LayerInfo>> {
        let preprocess = self.setup.resolved.as_ref().ok().map(|choice| &choice.preprocess);
        let graph = Graph::new(&self.setup.model, &self.inputs.default_sizes(preprocess))?;
        let image = &self.inputs.image;
        let head = head(&graph, &self.setup.head_settings)?;
        let layers =
            Layers::new(&graph, image.in_graph(&graph), head.score_value(), self.setup.grid);
        Ok(layers.list(&graph, image.rows_of(&graph)))
    }

    /// The labels of the classes, where the model has some.
    pub fn labels(&self) -> Option<&[String]> {
        self.setup.labels.as_deref().map(Vec::as_slice)
    }

    /// What the scores of the model are, and why.
    pub fn head(&self) -> &HeadInfo {
        &self.setup.head.info
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.setup.head.form.classes()
    }

    /// How photos are prepared, and where each value came from.
    ///
    /// # Errors
    /// `Image` where the model's input takes no photos.
    pub fn preprocessing(&self) -> Result<&PreprocessChoice> {
        match &self.setup.resolved {
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
        &self.setup.methods
    }

    /// The engine's name.
    pub fn engine_name(&self) -> &'static str {
        self.setup.runtime.engine_name()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.setup.model
    }

    /// Reads a target as users write it: `argmax`, a class number, `top:K`, `A-B` or a label.
    ///
    /// # Errors
    /// `Target`, as [`TargetSpec::parse`].
    pub fn parse_target(&self, text: &str) -> Result<TargetSpec> {
        TargetSpec::parse(text, self.labels(), Some(self.classes()))
    }

    /// Takes a share of the memory limit for what a caller holds, such as photos that are decoded and drawn, and gives it back when
    /// the lease is dropped. Waits for other callers where the limit is reached.
    ///
    /// # Errors
    /// `Memory` for more than the whole limit.
    pub fn take_memory(&self, bytes: u64) -> Result<MemoryLease> {
        let memory = self.setup.runtime.memory();
        if bytes > memory.limit {
            bail!(
                Memory, RaiseMemoryLimit;
                "decoding and drawing would need {} of memory, the limit is {}",
                human(bytes),
                human(memory.limit)
            );
        }
        Ok(memory.take(bytes, Holder::Caller))
    }

    /// As [`Explainer::take_memory`]; `None` where it would wait, or fail.
    pub fn try_take_memory(&self, bytes: u64) -> Option<MemoryLease> {
        let memory = self.setup.runtime.memory();
        memory.try_take(bytes, Holder::Caller).filter(|_| bytes <= memory.limit)
    }

    /// Checks that the model's scores have a target, and that the methods explain it.
    ///
    /// # Errors
    /// `Target` where a class does not exist, the scores have nothing of this kind, such as boxes, or the target does not go with
    /// test-time augmentation; `Method` where a method needs a class, or other classes to compare it with.
    pub fn check_target(&self, target: &TargetSpec) -> Result<()> {
        self.setup.check(match target {
            TargetSpec::One(target) => target,
            TargetSpec::Top(_) => &Target::Argmax,
        })
    }

    /// Prepares a photo: gives the network's input, and the part of the photo that it shows.
    ///
    /// # Errors
    /// `Image`.
    pub fn prepare(&self, photo: &Photo) -> Result<(ndarray::Array4<f32>, Placement)> {
        Ok(self.preprocessing()?.preprocess.apply(photo)?)
    }

    /// Compiles the graph for inputs of a shape and targets of a kind, so that the first explanation is as fast as the
    /// next.
    ///
    /// # Errors
    /// As [`Explainer::explain`].
    pub fn warm_up(&self, shape: &[usize], target: Target) -> Result<()> {
        self.inputs.image.check(shape)?;
        let mut shape = shape.to_vec();
        if let Some(batch) = self.inputs.image.batch() {
            shape[0] = batch;
        }
        let placed = target.is_placed(&self.setup.head);
        let layers = if self.setup.scales.is_empty() { self.setup.layers.len() } else { 1 };
        let kinds = vec![TargetKind::of(&target, placed)];
        self.compiled(Key::Explanation(shape, kinds, 0..layers)).map(|_| ())
    }

    /// Explains images: photos or tensors, one or many, for shared targets or for one target each. Gives for each image its
    /// explanations: method by method, and for each method in the order of the targets.
    ///
    /// Images of one size are explained in one run. A model of a fixed batch is run as often as needed; the last batch is
    /// padded by repeating its last image. An input beside the image with a row for each image needs photos of one size.
    ///
    /// # Errors
    /// `Image` where the model takes no photos, `Input` where the shape does not fit, `Target` where a class does not exist
    /// or the targets are not as many as the images, `Unsupported` with every node of the path that has no gradient rule or
    /// that the engine lacks, `Layer` where a layer or the input does not reach the scores, `Memory`, `Engine`, `Canceled`.
    pub fn explain<'a>(
        &self,
        images: impl Into<Images<'a>>,
        targets: impl Into<Targets>,
    ) -> Result<Vec<Vec<Explanation>>> {
        let targets = targets.into();
        match images.into() {
            Images::Tensor(x) => {
                targets.check(self.inputs.image.check(x.shape())?)?;
                self.tensor(x, &targets, None)
            }
            Images::Photos(photos) => self.photos(&photos, &targets),
        }
    }

    /// Explains photos. Consecutive photos that become inputs of one size are one batch.
    fn photos(&self, photos: &[&Photo], targets: &Targets) -> Result<Vec<Vec<Explanation>>> {
        targets.check(photos.len())?;
        let prepared =
            photos.iter().map(|photo| self.cancel.check().and_then(|()| self.prepare(photo)));
        let prepared = prepared.collect::<Result<Vec<_>>>()?;
        let guess = &self.preprocessing()?.guess;
        let guess =
            guess.as_ref().map(|guess| Warning::PreprocessingGuessed { guess: guess.clone() });
        let mut all = Vec::with_capacity(photos.len());
        for batch in prepared.chunk_by(|(a, _), (b, _)| a.shape() == b.shape()) {
            let views: Vec<_> = batch.iter().map(|(x, _)| x.view()).collect();
            let Ok(x) = ndarray::concatenate(Axis(0), &views) else {
                bail!(Image, "the photos become inputs of different sizes")
            };
            let of_batch = targets.rows(all.len()..all.len() + batch.len());
            let placements =
                photos[all.len()..].iter().zip(batch).map(|(photo, (_, placement))| {
                    PhotoPlacement {
                        placement: *placement,
                        width: photo.width(),
                        height: photo.height(),
                    }
                });
            let placements: Vec<PhotoPlacement> = placements.collect();
            let explained = self.tensor(x.view().into_dyn(), &of_batch, Some(&placements));
            let mut explained = explained.map_err(|error| self.with_size(error, x.shape()))?;
            for (explanations, (_, placement)) in explained.iter_mut().zip(batch) {
                for explanation in explanations {
                    explanation.placement = Some(*placement);
                    explanation.warnings.extend(guess.clone());
                }
            }
            all.extend(explained);
        }
        Ok(all)
    }

    /// An error about photos, with the size that they were prepared for where the model does not fit it.
    fn with_size(&self, error: Error, shape: &[usize]) -> Error {
        let graph = Graph::new(&self.setup.model, &self.inputs.sizes(shape));
        let size = self.preprocessing().map(|choice| choice.origins.size);
        let assumed = size.is_ok_and(|origin| origin == SettingOrigin::ImagenetDefault);
        match graph {
            Ok(graph) => reading::with_size(error, &graph, &self.inputs.image, assumed),
            Err(_) => error,
        }
    }

    /// Explains a batch that is ready for the network.
    fn tensor(
        &self,
        x: ArrayViewD<'_, f32>,
        targets: &Targets,
        photos: Option<&[PhotoPlacement]>,
    ) -> Result<Vec<Vec<Explanation>>> {
        let count = x.shape().first().copied().unwrap_or(0);
        let mut wanted = match targets {
            Targets::OneEach(targets) => {
                vec![Slot::Each(targets.iter().cloned().map(PlacedTarget::from).collect())]
            }
            Targets::Shared(specs) => self.slots(specs, count),
        };
        for slot in &wanted {
            slot.check(&self.setup)?;
        }
        // Each slot keeps its number, because those of one kind are explained together.
        let mut numbered = wanted.drain(..).enumerate().collect::<Vec<_>>();
        let placed = numbered.extract_if(.., |(_, slot)| slot.is_placed(&self.setup.head));
        let placed: Vec<(usize, Slot)> = placed.collect();
        let mut all: Vec<Vec<(usize, Explanation)>> = vec![Vec::new(); count];
        let layers = 0..self.setup.layers.len();
        for some in numbered.chunks_mut(MOST_TARGETS) {
            some.iter_mut().for_each(|(_, slot)| slot.resolve(&all));
            let (numbers, slots): (Vec<usize>, Vec<Slot>) = some.iter().cloned().unzip();
            for (number, of_slot) in numbers.iter().zip(self.batched(x.view(), &slots, &layers)?) {
                for (of_image, explained) in all.iter_mut().zip(of_slot) {
                    of_image.extend(explained.into_iter().map(|one| (*number, one)));
                }
            }
        }
        if !placed.is_empty() {
            let of_images = self.at_places(x, &placed, photos)?;
            all.iter_mut().zip(of_images).for_each(|(of_image, placed)| of_image.extend(placed));
        }
        Ok(all.into_iter().map(|of_image| self.in_order(of_image)).collect())
    }

    /// The explanations of an image, method by method, and for each method in the order of the targets.
    fn in_order(&self, mut explained: Vec<(usize, Explanation)>) -> Vec<Explanation> {
        let method = |one: &Explanation| {
            self.setup.methods.iter().position(|method| method.id() == one.method)
        };
        explained.sort_by_key(|(number, one)| (method(one), *number));
        explained.into_iter().map(|(_, one)| one).collect()
    }

    /// The slots of a graph for targets that `count` images share.
    fn slots(&self, specs: &[TargetSpec], count: usize) -> Vec<Slot> {
        let mut slots = Vec::new();
        for spec in specs {
            match spec {
                TargetSpec::One(target) => {
                    slots.push(Slot::Each(vec![target.clone().into(); count]));
                }
                TargetSpec::Top(best) => {
                    slots.push(Slot::Each(vec![Target::Argmax.into(); count]));
                    slots.extend((1..(*best).min(self.classes())).map(Slot::Rank));
                }
            }
        }
        slots
    }
}

/// The classic function: the raw Grad-CAM of the class with the largest score, [h, w], signed, before relu
/// and at the layer's own size.
///
/// `x` is one image that is ready for the network, [1, C, H, W]. Photos go through [`Explainer`].
///
/// # Errors
/// As [`ExplainerBuilder::build`] and [`Explainer::explain`].
pub fn grad_cam(model: &Model, x: ArrayView4<'_, f32>, layer: &str) -> Result<Array2<f32>> {
    let explainer = Explainer::builder(model.clone()).layer(layer).build()?;
    if x.shape().first() != Some(&1) {
        bail!(Input, "the input has shape {:?}; one image is [1, C, H, W]", x.shape());
    }
    let explanations = explainer.explain(x, Target::Argmax)?;
    match explanations.iter().flatten().next() {
        Some(explanation) => Ok(explanation.map2(0)?.to_owned()),
        None => bail!(Engine, "the engine gave no map"),
    }
}
