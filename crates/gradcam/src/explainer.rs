//! Explains a model: finds the layer, emits target and method into the graph, runs it.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use ndarray::{Array2, ArrayView4, ArrayViewD, Axis};
use onnx_grad::{
    DeclaredDim, Dim, Model,
    builder::Builder,
    differentiate,
    graph::{Graph, Sizes, ValueId},
    proto::tensor_proto::DataType,
    prune,
};

use crate::{
    Result,
    engine::{self, Engine, EngineKind, EngineOptions, Session, Tensor, TensorView},
    error::bail,
    explanation::{Explanation, LayerMap, Timings, Warning, map_warnings, range, scores_of},
    image::{self, Overrides, Photo, Placement, Preprocess, Resolved, preprocess::Layout},
    layer::{LayerInfo, Layers, has_space},
    memory,
    method::Method,
    target::{CLASS_INPUT, Head, Kind, OTHER_INPUT, Target, TargetSpec, emit, head},
};

/// Says how a model is to be explained; [`Explainer::builder`] makes one.
#[derive(Debug)]
pub struct ExplainerBuilder {
    model: Model,
    layers: Vec<String>,
    method: Method,
    engine: EngineKind,
    engine_options: EngineOptions,
    max_memory: Option<u64>,
    overrides: Overrides,
}

impl ExplainerBuilder {
    /// Adds a layer: a module path such as `layer4.2`, a node's or a value's name, or a negative number
    /// that counts from the last. Without any, the last feature map is taken.
    #[must_use]
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// Adds several layers; each gets a map of its own, all from one run.
    #[must_use]
    pub fn layers<S: Into<String>>(mut self, layers: impl IntoIterator<Item = S>) -> Self {
        self.layers.extend(layers.into_iter().map(Into::into));
        self
    }

    /// Sets the method; Grad-CAM where it is not called.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the engine; rten where it is not called.
    #[must_use]
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = engine;
        self
    }

    /// Sets the threads of a run; the engine's own choice where it is not called.
    #[must_use]
    pub fn threads(mut self, threads: std::num::NonZeroUsize) -> Self {
        self.engine_options.threads = Some(threads);
        self
    }

    /// Sets where the library of ONNX Runtime is looked for, in order.
    #[must_use]
    pub fn library_places(mut self, places: Vec<PathBuf>) -> Self {
        self.engine_options.library = places;
        self
    }

    /// Sets the bytes that a run may take, weights not counted; half of the machine's memory where it
    /// is not called.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Sets what is known better of the preprocessing than what the model says.
    #[must_use]
    pub fn preprocess(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Checks it all and makes the explainer. Nothing is compiled yet.
    ///
    /// # Errors
    /// `Layer` where a layer is unknown or cannot be explained, `Engine`, `Image` where sidecar files
    /// are malformed, `Input` where the model has no single image input, `Target` where its output holds
    /// no scores, `Model`.
    pub fn build(self) -> Result<Explainer> {
        let input = ImageInput::of(&self.model)?;
        let resolved = self.resolved(&input)?;
        let graph = Graph::new(&self.model, &input.default_sizes(&resolved)?)?;
        let head = head(&graph)?;
        let layers = Layers::new(&graph, head.value);
        let values = chosen_layers(&graph, &layers, &self.layers)?;
        let chosen = values.iter().map(|value| {
            (layers.path_of(&graph, *value).to_owned(), graph.name(*value).to_owned())
        });
        let engine = engine::engine(self.engine, &self.engine_options)?;
        Ok(Explainer {
            chosen: chosen.collect(),
            list: layers.list(&graph, input.rows_of(&graph)),
            labels: resolved.labels.clone().map(Arc::new),
            limit: self.max_memory.unwrap_or_else(memory::default_limit),
            model: self.model,
            method: self.method,
            engine,
            head,
            input,
            resolved,
            compiled: Mutex::default(),
        })
    }

    /// The layers of the model, also of one that cannot be explained: without scores, with several
    /// inputs, or with an input that takes no photos. Layer, method and engine do not matter here.
    ///
    /// # Errors
    /// `Model`.
    pub fn layer_list(&self) -> Result<Vec<LayerInfo>> {
        let input = ImageInput::of(&self.model).ok();
        let sizes = input.as_ref().and_then(|input| {
            let resolved = self.resolved(input).ok()?;
            input.default_sizes(&resolved).ok()
        });
        let sizes = sizes.unwrap_or_default();
        let graph = Graph::new(&self.model, &sizes)?;
        let scores = head(&graph).ok().map(|head| head.value);
        let Some(output) = scores.or_else(|| graph.outputs().first().copied()) else {
            bail!(Model, "the model has no output")
        };
        let rows = input.and_then(|input| input.rows_of(&graph));
        Ok(Layers::new(&graph, output).list(&graph, rows))
    }

    /// How photos are prepared for the input.
    fn resolved(&self, input: &ImageInput) -> Result<Resolved> {
        let metadata: Vec<(String, String)> =
            self.model.metadata().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Ok(image::resolve(&self.overrides, &metadata, self.model.path(), &input.declared)?)
    }
}

fn chosen_layers(graph: &Graph, layers: &Layers, names: &[String]) -> Result<Vec<ValueId>> {
    if names.is_empty() {
        return match layers.default() {
            Some(value) => Ok(vec![value]),
            None => bail!(
                Layer,
                "the model has no feature map with spatial extent that its whole output passes through; \
                 name a layer with --layer"
            ),
        };
    }
    names
        .iter()
        .map(|name| {
            let value = layers.find(graph, name)?;
            if !layers.reaches_scores(value) {
                bail!(
                    Layer,
                    "layer \"{name}\" does not reach the model's scores, so they have no gradient \
                     there; choose a layer that they are computed from"
                )
            }
            if !has_space(graph, value) {
                let shape = graph.fact(value).sizes().unwrap_or_default();
                bail!(
                    Layer,
                    "layer \"{name}\" has shape {shape:?}, without spatial extent; choose a layer of shape \
                     [N, K, H, W]"
                )
            }
            Ok(value)
        })
        .collect()
}

/// The one input that takes images.
#[derive(Clone, Debug)]
struct ImageInput {
    name: String,
    declared: Vec<Option<i64>>,
}

impl ImageInput {
    fn of(model: &Model) -> Result<Self> {
        let inputs = onnx_grad::inputs(model);
        match inputs.as_slice() {
            [(name, dims)] => {
                let size = |dim: &DeclaredDim| match dim {
                    DeclaredDim::Size(size) => Some(*size),
                    DeclaredDim::Name(_) | DeclaredDim::Unknown => None,
                };
                Ok(Self { name: name.clone(), declared: dims.iter().map(size).collect() })
            }
            [] => bail!(Input, "the model has no input"),
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| name.as_str()).collect();
                bail!(
                    Input,
                    "the model has several inputs ({}); one image input is supported",
                    names.join(", ")
                )
            }
        }
    }

    /// The shape for one image prepared as `resolved` says.
    fn default_sizes(&self, resolved: &Resolved) -> Result<Sizes> {
        let mut sizes = Sizes::new();
        if self.declared.is_empty() {
            return Ok(sizes);
        }
        let prepared = prepared_shape(&resolved.preprocess);
        let dim = |(axis, declared): (usize, &Option<i64>)| -> Dim {
            let fallback = if axis == 0 { 1 } else { prepared.get(axis).copied().unwrap_or(1) };
            Dim::Fixed(declared.unwrap_or(fallback))
        };
        sizes.insert(self.name.clone(), self.declared.iter().enumerate().map(dim).collect());
        Ok(sizes)
    }

    fn rows_of(&self, graph: &Graph) -> Option<i64> {
        let sizes = graph.fact(graph.find(&self.name)?).sizes()?;
        // [N, H, W, C] where the last axis can only be channels, else [N, C, H, W].
        match sizes.as_slice() {
            [_, rows, _, channels] if *channels <= 4 && *rows > 4 => Some(*rows),
            [_, _, rows, ..] => Some(*rows),
            _ => None,
        }
    }

    /// Checks a tensor against what the model declares, and says how many images a run takes.
    fn check(&self, shape: &[usize]) -> Result<usize> {
        let shown = || -> String {
            let dims = self.declared.iter().enumerate().map(|(axis, dim)| match dim {
                Some(size) => size.to_string(),
                None if axis == 0 => "N".to_owned(),
                None => "?".to_owned(),
            });
            dims.collect::<Vec<_>>().join(", ")
        };
        let fits = |(axis, (size, declared)): (usize, (&usize, &Option<i64>))| {
            axis == 0 || declared.is_none_or(|declared| i64::try_from(*size) == Ok(declared))
        };
        let batch = shape.first().copied().unwrap_or(0);
        if shape.len() != self.declared.len()
            || batch == 0
            || !shape.iter().zip(&self.declared).enumerate().all(fits)
        {
            bail!(
                Input,
                "the input has shape {shape:?}, the model's input \"{}\" takes [{}]",
                self.name,
                shown()
            );
        }
        match self.declared.first().copied().flatten() {
            Some(fixed) if i64::try_from(batch) == Ok(fixed) => Ok(batch),
            Some(1) => Ok(1),
            Some(fixed) => {
                bail!(Input, "the model takes batches of {fixed} images, the input has {batch}")
            }
            None => Ok(batch),
        }
    }
}

/// The shape of a prepared photo; sides of 224 where they depend on the photo.
fn prepared_shape(preprocess: &Preprocess) -> [i64; 4] {
    let (width, height) = preprocess.geometry.output().unwrap_or((224, 224));
    let (width, height) = (i64::from(width), i64::from(height));
    let channels = if preprocess.channels.count() == 1 { 1 } else { 3 };
    match preprocess.layout {
        Layout::Nchw => [1, channels, height, width],
        Layout::Nhwc => [1, height, width, channels],
    }
}

/// What a compiled graph was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    shape: Vec<usize>,
    kind: Kind,
}

struct Compiled {
    session: Box<dyn Session>,
    outputs: Vec<String>,
    layers: usize,
    pixels: bool,
}

/// Explains images with one model. Any number of threads may use it at once.
pub struct Explainer {
    model: Model,
    method: Method,
    engine: Box<dyn Engine>,
    input: ImageInput,
    head: Head,
    chosen: Vec<(String, String)>,
    list: Vec<LayerInfo>,
    labels: Option<Arc<Vec<String>>>,
    resolved: Resolved,
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

const SCORES: &str = "gradcam.scores";
const CLASS: &str = "gradcam.explained";
const PIXELS: &str = "gradcam.pixels";

impl Explainer {
    /// Starts to say how `model` is to be explained.
    pub fn builder(model: Model) -> ExplainerBuilder {
        ExplainerBuilder {
            model,
            layers: Vec::new(),
            method: Method::default(),
            engine: EngineKind::default(),
            engine_options: EngineOptions::default(),
            max_memory: None,
            overrides: Overrides::default(),
        }
    }

    /// The layers that are explained: module path and value name.
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
    pub fn preprocessing(&self) -> &Resolved {
        &self.resolved
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
        Ok(self.resolved.preprocess.apply(photo)?)
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
        if let Some(text) = &self.resolved.warning {
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
    /// that the engine lacks, `Layer` where a layer does not reach the scores, `Memory`, `Engine`.
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

    fn run(&self, x: ArrayViewD<'_, f32>, targets: &[Target]) -> Result<Vec<Explanation>> {
        let different = targets.iter().filter(|t| matches!(t, Target::Difference(..))).count();
        let kind = match different {
            0 => Kind::Class,
            n if n == targets.len() => Kind::Difference,
            _ => bail!(
                Target,
                "a batch has differences of classes for all of its images or for none"
            ),
        };
        let (class, other) = self.class_inputs(targets)?;
        let key = Key { shape: x.shape().to_vec(), kind };
        let mut timings = Timings::default();
        let compiled = self.compiled(key, &mut timings)?;
        let mut inputs = vec![
            (self.input.name.as_str(), TensorView::from(x.view())),
            (CLASS_INPUT, TensorView::from(class.view().into_dyn())),
        ];
        if kind == Kind::Difference {
            inputs.push((OTHER_INPUT, TensorView::from(other.view().into_dyn())));
        }
        let started = Instant::now();
        let names: Vec<&str> = compiled.outputs.iter().map(String::as_str).collect();
        let outputs = compiled.session.run(&inputs, &names)?;
        timings.run = started.elapsed();
        self.read(&compiled, outputs, targets, x.shape(), timings)
    }

    fn class_inputs(
        &self,
        targets: &[Target],
    ) -> Result<(ndarray::Array1<i64>, ndarray::Array1<i64>)> {
        let classes = self.classes();
        let index = |class: usize| -> Result<i64> {
            match i64::try_from(class) {
                Ok(index) if class < classes => Ok(index),
                _ => bail!(
                    Target,
                    "class {class} is out of range; the model has classes 0 to {}",
                    classes.max(1) - 1
                ),
            }
        };
        let pair = |target: &Target| -> Result<(i64, i64)> {
            match target {
                Target::Argmax => Ok((-1, -1)),
                Target::Class(class) => Ok((index(*class)?, -1)),
                Target::Difference(a, b) => Ok((index(*a)?, index(*b)?)),
            }
        };
        let pairs = targets.iter().map(pair).collect::<Result<Vec<_>>>()?;
        let (classes, others): (Vec<i64>, Vec<i64>) = pairs.into_iter().unzip();
        Ok((classes.into(), others.into()))
    }

    fn compiled(&self, key: Key, timings: &mut Timings) -> Result<Arc<Compiled>> {
        let lock = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = lock().get(&key) {
            return Ok(compiled.clone());
        }
        let started = Instant::now();
        let (model, outputs, pixels) = self.differentiated(&key)?;
        timings.differentiate = started.elapsed();
        memory::check(&model, self.limit)?;
        let started = Instant::now();
        let session = self.engine.compile(&model)?;
        timings.compile = started.elapsed();
        let compiled = Arc::new(Compiled { session, outputs, layers: self.chosen.len(), pixels });
        lock().insert(key, compiled.clone());
        Ok(compiled)
    }

    /// The graph that computes scores, weights and maps for inputs of one shape.
    fn differentiated(&self, key: &Key) -> Result<(Model, Vec<String>, bool)> {
        let dim = |size: &usize| i64::try_from(*size).map(Dim::Fixed);
        let shape: Vec<Dim> = match key.shape.iter().map(dim).collect() {
            Ok(shape) => shape,
            Err(_) => bail!(Input, "the input has the impossible shape {:?}", key.shape),
        };
        let batch = shape[..1].to_vec();
        let sizes = Sizes::from([(self.input.name.clone(), shape)]);
        let mut graph = Graph::new(&self.model, &sizes)?;
        let head = head(&graph)?;
        let layers = self
            .chosen
            .iter()
            .map(|(_, value)| graph.value(value))
            .collect::<Result<Vec<_>, _>>()?;
        let class = graph.push_input(CLASS_INPUT, DataType::Int64, batch.clone())?;
        let other = match key.kind {
            Kind::Class => None,
            Kind::Difference => Some(graph.push_input(OTHER_INPUT, DataType::Int64, batch)?),
        };
        let mut b = Builder::new(&mut graph, "cam");
        let target = emit(&mut b, &head, class, other)?;
        let seed = b.scalar(target.target, 1.0)?;
        let method = self.method.info();
        let wanted: Vec<_> = layers.iter().map(|layer| (*layer, method.want)).collect();
        let gradients = differentiate(&mut b, &[(target.target, seed)], &wanted)?;
        b.set_scope("cam");
        let mut emitted = Vec::new();
        for (layer, gradient) in layers.iter().zip(gradients) {
            emitted.push((method.emit)(&mut b, *layer, gradient)?);
        }
        let mut named = vec![(SCORES.to_owned(), target.scores), (CLASS.to_owned(), target.class)];
        named.extend(target.pixels.map(|pixels| (PIXELS.to_owned(), pixels)));
        for (index, made) in emitted.iter().enumerate() {
            named.push((format!("gradcam.map.{index}"), made.map));
            named.push((format!("gradcam.weights.{index}"), made.weights));
        }
        let mut outputs = Vec::new();
        let mut names = Vec::new();
        for (name, value) in named {
            let value = match graph.fact(value).elem {
                DataType::Float | DataType::Int64 => value,
                _ => Builder::new(&mut graph, "cam/out").cast(value, DataType::Float)?,
            };
            outputs.push(graph.alias(value, &name)?);
            names.push(name);
        }
        Ok((prune(&graph, &outputs)?, names, target.pixels.is_some()))
    }

    fn read(
        &self,
        compiled: &Compiled,
        outputs: Vec<Tensor>,
        targets: &[Target],
        shape: &[usize],
        timings: Timings,
    ) -> Result<Vec<Explanation>> {
        let mut outputs = outputs.into_iter();
        #[expect(clippy::cast_precision_loss, reason = "a class number")]
        let mut floats = || match outputs.next() {
            Some(Tensor::F32(array)) => Ok(array),
            Some(Tensor::I64(array)) => Ok(array.mapv(|class| class as f32)),
            None => bail!(Engine, "the engine gave fewer outputs than it was asked for"),
        };
        let (scores, classes) = (floats()?, floats()?);
        let pixels = if compiled.pixels { Some(floats()?) } else { None };
        let maps =
            (0..compiled.layers).map(|_| Ok((floats()?, floats()?))).collect::<Result<Vec<_>>>()?;
        let input_size = match self.resolved.preprocess.layout {
            Layout::Nchw => (2, 3),
            Layout::Nhwc => (1, 2),
        };
        let side = |axis: usize| shape.get(axis).copied().unwrap_or(1);
        let mut all = Vec::with_capacity(targets.len());
        for (item, target) in targets.iter().enumerate() {
            let row: Vec<f32> = scores.index_axis(Axis(0), item).iter().copied().collect();
            let (scores, probabilities) = scores_of(&self.head, &row);
            let layers =
                self.chosen.iter().zip(&maps).map(|((layer, value), (map, weights))| LayerMap {
                    layer: layer.clone(),
                    value: value.clone(),
                    map: map.index_axis(Axis(0), item).to_owned(),
                    weights: weights.index_axis(Axis(0), item).iter().copied().collect(),
                });
            let mut explanation = Explanation {
                layers: layers.collect(),
                target: *target,
                class: crate::Class { index: 0, label: None, score: 0.0, probability: None },
                other: None,
                scores,
                probabilities,
                input_size: (side(input_size.0), side(input_size.1)),
                method: self.method.id(),
                engine: self.engine.name(),
                warnings: Vec::new(),
                timings,
                labels: self.labels.clone(),
            };
            let explained = classes.iter().nth(item).copied().unwrap_or(-1.0);
            explanation.class = explanation.class_at(whole(explained, &explanation.scores)?);
            if let Target::Difference(_, other) = target {
                explanation.other = Some(explanation.class_at(*other));
            }
            explanation.warnings =
                self.warnings(&explanation, pixels.as_ref().and_then(|p| p.iter().nth(item)));
            all.push(explanation);
        }
        Ok(all)
    }

    fn warnings(&self, explanation: &Explanation, pixels: Option<&f32>) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = explanation.layers.iter().flat_map(map_warnings).collect();
        if let Some(activation) = self.head.activation {
            let text = format!(
                "the model ends in {}; the score that is explained is the logit under it",
                activation.op()
            );
            warnings.push(Warning::new("softmax-output", text));
        }
        if pixels == Some(&0.0) {
            let text = format!(
                "no pixel is of class {}; its score is summed over all pixels",
                explanation.class.index
            );
            warnings.push(Warning::new("empty-mask", text));
        }
        for layer in explanation.layers.iter().filter(|l| !range(&l.map).1.is_finite()) {
            let text =
                format!("the map at layer \"{}\" holds values that are not finite", layer.layer);
            warnings.push(Warning::new("not-finite", text));
        }
        warnings
    }
}

/// A class that came out of the graph, as an index of `scores`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked: a whole number in range"
)]
fn whole(class: f32, scores: &[f32]) -> Result<usize> {
    if class >= 0.0 && (class as usize) < scores.len() {
        return Ok(class as usize);
    }
    bail!(Engine, "the model's scores are not numbers, so no class is the largest")
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
