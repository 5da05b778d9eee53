//! The settings of an explainer, and their checks.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use onnx_grad::{Input, Model, graph::Graph, proto::NodeProto};

use super::{
    Explainer, Setup,
    choice::{chosen_layers, refuse_layers},
    export::without_explanation,
    heatmaps::MapSettings,
    labels::Labels,
    pooled,
    reading::{InputReading, reading, takes_any_size, with_size},
};
use crate::{
    Error, Result,
    engine::{self, EngineKind, EngineOptions, Provider, Tensor},
    error::bail,
    head::{HeadKind, HeadSettings, Selection, head},
    image::{
        Fusion, Overrides, Preprocess,
        preprocess::{SettingOrigin, Task},
    },
    input::{ImageInput, InputSettings, Inputs, image_of, usual_sizes},
    layer::{Grid, LayerInfo, Layers, ScoreValue, Views},
    memory,
    method::{Method, MethodSettings, check_budget},
    profile::Profile,
    program::{Cache, Runtime},
    progress::{CancelToken, Observer, Progress},
    warning::Warning,
};

/// The settings of an explainer; [`Explainer::builder`] makes one.
#[derive(Debug)]
pub struct ExplainerBuilder {
    model: Model,
    is_exported: bool,
    layers: Vec<String>,
    methods: Vec<Method>,
    maps: MapSettings,
    engine: EngineKind,
    engine_options: EngineOptions,
    max_memory: Option<u64>,
    overrides: Overrides,
    grid: Grid,
    inputs: Vec<(String, Tensor)>,
    example: Option<Vec<usize>>,
    output: Option<String>,
    head: Option<HeadKind>,
    compare_deployed: bool,
    observer: Option<Observer>,
    method_settings: MethodSettings,
}

impl ExplainerBuilder {
    pub(super) fn new(model: Model) -> Self {
        let (model, is_exported) = without_explanation(model);
        Self {
            model,
            is_exported,
            layers: Vec::new(),
            methods: Vec::new(),
            maps: MapSettings::default(),
            engine: EngineKind::default(),
            engine_options: EngineOptions::default(),
            max_memory: None,
            overrides: Overrides::default(),
            grid: Grid::default(),
            inputs: Vec::new(),
            example: None,
            output: None,
            head: None,
            compare_deployed: false,
            observer: None,
            method_settings: MethodSettings::default(),
        }
    }

    /// Adds a layer: a module path such as `layer4.2`, a node's or a value's name, or a negative number
    /// that counts from the last. Without any, the last feature map is taken. Methods that explain the
    /// network's input take none ([`Site::Input`](crate::Site)).
    #[must_use]
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// Adds several layers. Each gets its own map, all from one run. Two names of one value are one layer.
    #[must_use]
    pub fn layers<S: Into<String>>(mut self, layers: impl IntoIterator<Item = S>) -> Self {
        self.layers.extend(layers.into_iter().map(Into::into));
        self
    }

    /// Adds a method. The default is Grad-CAM.
    #[must_use]
    pub fn method(self, method: Method) -> Self {
        self.methods([method])
    }

    /// Adds several methods. They share one run of the network; each gives its own explanations.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        for method in methods {
            if !self.methods.contains(&method) {
                self.methods.push(method);
            }
        }
        self
    }

    /// Sets the numbers that methods read: the seed, the number of samples, the noise.
    #[must_use]
    pub fn method_settings(mut self, settings: MethodSettings) -> Self {
        self.method_settings = settings;
        self
    }

    /// Sets the library whose numbers heatmaps have. The default is pytorch-grad-cam.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.maps.profile = profile;
        self
    }

    /// Makes one heatmap of the maps of several layers. The default is a heatmap for each.
    #[must_use]
    pub fn fusion(mut self, fusion: Fusion) -> Self {
        self.maps.fusion = fusion;
        self
    }

    /// Averages the heatmaps of six passes, as `aug_smooth` of pytorch-grad-cam does: of the image and the flipped image, each
    /// times 0.9, 1 and 1.1. Raw maps are those of the image itself, and those of the others are
    /// [`Explanation::augmented`](crate::Explanation). Where the class with the largest score is explained, it is that of the
    /// image itself.
    #[must_use]
    pub fn aug_smooth(mut self, smooth: bool) -> Self {
        self.maps.aug_smooth = smooth;
        self
    }

    /// Takes the first principal component of the weighted channels in place of their sum, as `eigen_smooth` of pytorch-grad-cam
    /// does. Its sign is the one with which the entry of the largest absolute value is positive.
    #[must_use]
    pub fn eigen_smooth(mut self, smooth: bool) -> Self {
        self.maps.eigen_smooth = smooth;
        self
    }

    /// Sets the engine. The default is rten.
    #[must_use]
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = engine;
        self
    }

    /// Sets the number of threads of a run. The default is the engine's.
    #[must_use]
    pub fn threads(mut self, threads: std::num::NonZeroUsize) -> Self {
        self.engine_options.threads = Some(threads);
        self
    }

    /// Sets the places where the library of ONNX Runtime is looked for, in order.
    #[must_use]
    pub fn library_places(mut self, places: Vec<PathBuf>) -> Self {
        self.engine_options.library = places;
        self
    }

    /// Sets ONNX Runtime's execution provider. The default is the processor.
    #[must_use]
    pub fn provider(mut self, provider: Provider) -> Self {
        self.engine_options.provider = Some(provider);
        self
    }

    /// Adds an entry to ONNX Runtime's session configuration, such as `session.intra_op.allow_spinning` and `0`; other
    /// engines have none.
    #[must_use]
    pub fn session_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.engine_options.session_config.push((key.into(), value.into()));
        self
    }

    /// Computes also the scores that the file gives with the engine's defaults, where they can differ on this processor:
    /// [`Explanation::deployed`](crate::Explanation). It costs one more run of the model alone.
    #[must_use]
    pub fn compare_deployed(mut self, compare: bool) -> Self {
        self.compare_deployed = compare;
        self
    }

    /// Sets a callback for the progress of methods that run parts of the network again, such as ScoreCAM. It is called after
    /// each run, from several threads where several explain. Where it returns `Break`, the explanation ends with an error of
    /// the kind `Canceled`.
    #[must_use]
    pub fn progress(
        mut self,
        observe: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Observer::new(observe));
        self
    }

    /// Sets the memory limit in bytes: what all concurrent runs may take together, weights not counted. The default is half
    /// of the memory that the process may use. A run that needs more is refused; one that does not fit beside the
    /// others waits for them.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Overrides what the model says of its preprocessing.
    #[must_use]
    pub fn preprocess(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Overrides what the graph says of a transformer's tokens.
    #[must_use]
    pub fn grid(mut self, grid: Grid) -> Self {
        self.grid = grid;
        self
    }

    /// Says the shape of the images, such as `[1, 3, 48, 320]`, where the model leaves sizes open; the default is the size that photos
    /// are prepared for. The network is read for this shape; images of other shapes can still be explained.
    #[must_use]
    pub fn image_shape(mut self, shape: &[usize]) -> Self {
        self.example = Some(shape.to_vec());
        self
    }

    /// Gives an input of the model beside the image its value, an array of f32 or i64 (0 and 1 for booleans). The input
    /// without a value takes the images. If several remain, the one takes them that the scores depend on, that is most like
    /// a photo, that has an image's name, and that is largest, in this order.
    ///
    /// The first axis of a value is the batch of the images where the model declares both open or with the same size. A
    /// value with 1 row, or without this axis, is used for each image; a value with N rows is used for a batch of N images.
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, value: impl Into<Tensor>) -> Self {
        self.inputs.push((name.into(), value.into()));
        self
    }

    /// Sets the output of the model that holds the scores, or any other value of the graph. An index behind the name, as NumPy
    /// writes it, takes a part of the value, whose sum is explained: `logits[:,3]`, `heatmap[:,17]`. The default is an output
    /// that is called as scores are, else the first output of floats.
    #[must_use]
    pub fn output(mut self, name: impl Into<String>) -> Self {
        self.output = Some(name.into());
        self
    }

    /// Says what the model's scores are. The default follows from the graph, and from the files beside the model.
    #[must_use]
    pub fn head(mut self, kind: HeadKind) -> Self {
        self.head = Some(kind);
        self
    }

    /// Checks the settings and makes the explainer. Nothing is compiled yet.
    ///
    /// # Errors
    /// `Layer` where a layer is unknown or cannot be explained, `Method` where the method takes no layer or no budget, explains an
    /// input of integers or does not go with profile, fusion or smoothing, `Engine`, `Image` where sidecar files are malformed,
    /// `Input` where the values of inputs are not what the
    /// model declares or the image's input takes no numbers, `Target` where the output holds no scores or there are not as
    /// many labels as classes, `Unsupported` where the file was optimized for one machine, `Model`.
    pub fn build(mut self) -> Result<Explainer> {
        refuse_blocked(&self.model)?;
        let settings = self.head_settings(None, None)?;
        let mut inputs = Inputs::of(&self.model, self.input_settings(&settings))?;
        inputs.image.check_type()?;
        let mut image = inputs.image.clone();
        let sizes = |image: &ImageInput, preprocess: Option<&Preprocess>| {
            inputs.sizes_for(image, preprocess)
        };
        let (graph, reading) = reading(&self.model, &self.overrides, &mut image, &sizes)?;
        let assumed = self.example.is_none() && self.overrides.size.is_none();
        let with_size = |error: Error| with_size(error, &graph, &image, assumed);
        let InputReading { preprocess: mut resolved, labels, task } = reading;
        let head_settings = self.head_settings(labels.as_ref(), task)?;
        let head = head(&graph, &head_settings).map_err(with_size)?;
        if let Ok(choice) = &mut resolved
            && head.form.is_dense()
            && takes_any_size(&self.model, &inputs, &image, choice, &head_settings)
        {
            choice.keep_aspect();
        }
        inputs.image.clone_from(&image);
        let input = &inputs.image;
        let labels = labels.map(|labels| labels.of(&head)).transpose()?;
        let (labels, left_out) = labels.unwrap_or_default();
        let mut warnings: Vec<Warning> = left_out.into_iter().collect();
        if head.info.is_chosen {
            let (output, why) = (head.info.output.clone(), head.info.output_why.clone());
            warnings.push(Warning::OutputChosen { output, why });
        }
        if self.methods.is_empty() {
            let method = Method::places();
            if head.info.kind.is_local() && self.maps.profile.has(method) {
                self.methods.push(method);
                warnings.push(Warning::MethodChosen { method: method.id() });
            } else {
                self.methods.push(Method::default());
            }
        }
        self.maps.check(&self.methods, input, head.info.kind)?;
        let layers = Layers::new(&graph, input.in_graph(&graph), head.score_value(), self.grid);
        let of_input = |method: &&Method| method.info().is_of_input();
        for method in self.methods.iter().filter(of_input) {
            refuse_layers(*method, &self.layers)?;
        }
        for method in self.methods.iter().filter(|method| method.info().differentiates_input()) {
            input.check_gradient(*method)?;
        }
        check_budget(&self.method_settings, &self.methods)?;
        let (chosen, layer_reason) = match self.methods.iter().all(|method| of_input(&method)) {
            true => (Vec::new(), None),
            false => {
                let chosen = chosen_layers(&graph, &layers, &self.layers, &mut warnings);
                let (chosen, reason) = chosen.map_err(with_size)?;
                (chosen, Some(reason))
            }
        };
        let views = Views::new(&graph, input.in_graph(&graph), self.grid);
        pooled::check(&self.methods, &graph, &head, &views, &chosen)?;
        let scales = match self.layers.is_empty() && !chosen.is_empty() {
            true => layers.scales().iter().map(|scale| scale.anchors.clone()).collect(),
            false => Vec::new(),
        };
        self.maps.check_layers(&self.methods, &chosen, !scales.is_empty())?;
        let plain = |method: &&Method| {
            let rules = method.info().overrides();
            let overridden = |id| rules.iter().any(|row| row.is_for(&graph, id));
            !rules.is_empty() && !graph.nodes().any(|(id, _)| overridden(id))
        };
        let plain = self.methods.iter().filter(plain).copied().collect();
        let engine = engine::engine(self.engine, &self.engine_options)?;
        let saturation = saturation_warning(&engine.saturating_nodes(&self.model));
        let compare_deployed = self.compare_deployed && saturation.is_some();
        warnings.extend(saturation);
        let limit = self.max_memory.unwrap_or_else(memory::default_limit);
        let setup = Setup {
            layers: chosen,
            layer_reason,
            image: [(input.name.clone(), input.name.clone())],
            plain,
            list: OnceLock::new(),
            labels: labels.map(Arc::new),
            warnings,
            model: self.model,
            is_exported: self.is_exported,
            methods: self.methods,
            maps: self.maps,
            runtime: Runtime::new(engine, limit),
            head,
            head_settings,
            scales,
            compare_deployed,
            observer: self.observer,
            method_settings: self.method_settings,
            grid: self.grid,
            resolved,
        };
        let programs = Arc::new(Cache::new());
        Ok(Explainer {
            setup: Arc::new(setup),
            inputs: Arc::new(inputs),
            programs,
            cancel: CancelToken::new(),
            most_images: usize::MAX,
        })
    }

    /// The layers of the model, even if it cannot be explained: without scores, with several inputs, or with an input that
    /// takes no photos. Settings of layer, method and engine do not matter.
    ///
    /// # Errors
    /// `Model`.
    pub fn layer_list(&self) -> Result<Vec<LayerInfo>> {
        let all = onnx_grad::inputs(&self.model);
        let given = |input: &&Input| self.inputs.iter().any(|(name, _)| *name == input.name);
        let open: Vec<&Input> = all.iter().filter(|input| !given(input)).collect();
        let settings = self.head_settings(None, None)?;
        let image = image_of(&self.model, &open, self.output_name(&settings));
        let mut image = image.map(|input| ImageInput::of(input, self.example.as_deref()));
        let sizes = |image: &ImageInput, preprocess: Option<&Preprocess>| {
            let mut sizes = usual_sizes(&all);
            sizes.extend(image.default_sizes(preprocess, self.example.as_deref()));
            sizes
        };
        let graph = match &mut image {
            Some(image) => match reading(&self.model, &self.overrides, image, &sizes) {
                Ok((graph, _)) => graph,
                // What is wrong with the preprocessing does not concern the layers.
                Err(_) => Graph::new(&self.model, &sizes(image, None))?,
            },
            None => Graph::new(&self.model, &usual_sizes(&all))?,
        };
        let rows = image.as_ref().and_then(|input| input.rows_of(&graph));
        let image = image.and_then(|input| input.in_graph(&graph));
        let scores = match (head(&graph, &settings), graph.outputs().first()) {
            (Ok(head), _) => head.score_value(),
            (Err(_), Some(output)) => ScoreValue::plain(*output),
            (Err(_), None) => bail!(Model, "the model has no output"),
        };
        Ok(Layers::new(&graph, image, scores, self.grid).list(&graph, rows))
    }

    /// What is known of the scores beside the graph.
    fn head_settings(
        &self,
        labels: Option<&Labels>,
        task: Option<(Task, SettingOrigin)>,
    ) -> Result<HeadSettings> {
        Ok(HeadSettings {
            kind: self.head,
            output: self.output.as_deref().map(str::parse::<Selection>).transpose()?,
            task: task.and_then(|(task, origin)| Some((kind_of(task)?, origin.to_string()))),
            labels: labels.map(Labels::count),
            is_of_pytorch: self.model.proto().producer_name.as_deref() == Some("pytorch"),
            background: labels.and_then(Labels::nothing),
        })
    }

    /// The model's output that the user names, if it is one.
    fn output_name<'a>(&self, settings: &'a HeadSettings) -> Option<&'a str> {
        let name = settings.output.as_ref()?.name.as_str();
        let outputs = &self.model.graph().output;
        outputs.iter().any(|output| output.name() == name).then_some(name)
    }

    fn input_settings<'a>(&'a self, settings: &'a HeadSettings) -> InputSettings<'a> {
        let (output, example) = (self.output_name(settings), self.example.as_deref());
        InputSettings { values: &self.inputs, output, example }
    }
}

/// The kind of scores of a task.
fn kind_of(task: Task) -> Option<HeadKind> {
    match task {
        Task::SingleLabel => Some(HeadKind::Softmax),
        Task::MultiLabel => Some(HeadKind::Sigmoid),
        Task::Regression => Some(HeadKind::Regression),
        Task::Detection => Some(HeadKind::Detection),
        Task::Segmentation => Some(HeadKind::Segmentation),
        _ => None,
    }
}

/// The warning for a file whose scores depend on the processor where it is deployed.
fn saturation_warning(nodes: &[String]) -> Option<Warning> {
    let first = nodes.first()?;
    Some(Warning::SaturatingKernels { first: first.clone(), nodes: nodes.len() })
}

/// Refuses files that ONNX Runtime wrote at its highest optimization level: their channels are in blocks as wide as the
/// machine's registers, and their values have no shapes.
fn refuse_blocked(model: &Model) -> Result<()> {
    let is_blocked = |node: &&NodeProto| node.op_domain() == "com.microsoft.nchwc";
    match model.graph().node.iter().find(is_blocked) {
        Some(node) => bail!(
            Unsupported,
            "node \"{}\" ({} of com.microsoft.nchwc) has a layout for one machine, which ONNX Runtime writes at \
             its highest optimization level; save the model at level extended (ORT_ENABLE_EXTENDED) or \
             take the file that it was made from",
            node.name.as_deref().unwrap_or_default(),
            node.op()
        ),
        None => Ok(()),
    }
}
