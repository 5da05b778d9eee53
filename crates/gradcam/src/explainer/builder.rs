//! The settings of an explainer, and their checks.

use std::{ops::ControlFlow, path::PathBuf, sync::Arc};

use onnx_grad::{Input, Model, graph::Graph, proto::NodeProto};

use super::{Explainer, Setup};
use crate::{
    Result,
    engine::{self, EngineKind, EngineOptions, Provider, Tensor},
    error::bail,
    head::{Form, Head, HeadKind, HeadSettings, Selection, head},
    image::{
        self, ImageErrorKind, Overrides, PreprocessChoice,
        preprocess::{Layout, Numbers, SettingOrigin, Task, with_blank},
    },
    input::{ImageInput, Inputs, image_of, usual_sizes},
    layer::{DefaultLayer, Grid, LayerInfo, LayerReason, Layers, ScoreValue},
    memory,
    method::Method,
    program::{Cache, Runtime},
    progress::{Observer, Progress},
    warning::Warning,
};

/// The settings of an explainer; [`Explainer::builder`] makes one.
#[derive(Debug)]
pub struct ExplainerBuilder {
    model: Model,
    layers: Vec<String>,
    methods: Vec<Method>,
    engine: EngineKind,
    engine_options: EngineOptions,
    max_memory: Option<u64>,
    overrides: Overrides,
    grid: Grid,
    inputs: Vec<(String, Tensor)>,
    output: Option<String>,
    head: Option<HeadKind>,
    compare_deployed: bool,
    observer: Option<Observer>,
}

impl ExplainerBuilder {
    pub(super) fn new(model: Model) -> Self {
        Self {
            model,
            layers: Vec::new(),
            methods: Vec::new(),
            engine: EngineKind::default(),
            engine_options: EngineOptions::default(),
            max_memory: None,
            overrides: Overrides::default(),
            grid: Grid::default(),
            inputs: Vec::new(),
            output: None,
            head: None,
            compare_deployed: false,
            observer: None,
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

    /// Gives an input of the model beside the image its value, an array of f32 or i64 (0 and 1 for booleans). The input
    /// without a value takes the images. If several remain, the only 4-D one with 1 or 3 channels takes them.
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
    /// `Layer` where a layer is unknown or cannot be explained, `Method` where the method takes no layer or explains an input
    /// of integers, `Engine`, `Image` where sidecar files are malformed, `Input` where the values of inputs are not what the
    /// model declares or the image's input takes no numbers, `Target` where the output holds no scores or there are not as
    /// many labels as classes, `Unsupported` where the file was optimized for one machine, `Model`.
    pub fn build(mut self) -> Result<Explainer> {
        refuse_blocked(&self.model)?;
        let mut inputs = Inputs::of(&self.model, &self.inputs)?;
        inputs.image.check_type()?;
        let Resolution { preprocess: resolved, labels, layout, task } =
            self.resolved(&inputs.image)?;
        inputs.image.layout = layout;
        let input = &inputs.image;
        let preprocess = resolved.as_ref().ok().map(|resolved| &resolved.preprocess);
        let graph = Graph::new(&self.model, &inputs.default_sizes(preprocess))?;
        let head_settings = self.head_settings(labels.as_ref(), task)?;
        let head = head(&graph, &head_settings)?;
        let labels = labels.map(|labels| labels.of(&head)).transpose()?;
        let (labels, left_out) = labels.unwrap_or_default();
        let mut warnings: Vec<Warning> = left_out.into_iter().collect();
        if head.info.is_chosen {
            let (output, why) = (head.info.output.clone(), head.info.output_why.clone());
            warnings.push(Warning::OutputChosen { output, why });
        }
        if self.methods.is_empty() {
            self.methods.push(if head.info.kind.is_local() {
                Method::places()
            } else {
                Method::default()
            });
            if head.info.kind.is_local() {
                warnings.push(Warning::MethodChosen { method: Method::places().id() });
            }
        }
        let layers = Layers::new(&graph, input.in_graph(&graph), head.score_value(), self.grid);
        let of_input = |method: &&Method| method.info().is_of_input();
        for method in self.methods.iter().filter(of_input) {
            refuse_layers(*method, &self.layers)?;
            input.check_gradient(*method)?;
        }
        let (chosen, layer_reason) = match self.methods.iter().all(|method| of_input(&method)) {
            true => (Vec::new(), None),
            false => {
                let (chosen, reason) = chosen_layers(&graph, &layers, &self.layers, &mut warnings)?;
                (chosen, Some(reason))
            }
        };
        let scales = match self.layers.is_empty() && !chosen.is_empty() {
            true => layers.scales().iter().map(|scale| scale.anchors.clone()).collect(),
            false => Vec::new(),
        };
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
            list: layers.list(&graph, input.rows_of(&graph)),
            labels: labels.map(Arc::new),
            warnings,
            model: self.model,
            methods: self.methods,
            runtime: Runtime::new(engine, limit),
            head,
            head_settings,
            scales,
            compare_deployed,
            observer: self.observer,
            grid: self.grid,
            resolved,
        };
        let programs = Arc::new(Cache::new());
        Ok(Explainer { setup: Arc::new(setup), inputs: Arc::new(inputs), programs })
    }

    /// The layers of the model, even if it cannot be explained: without scores, with several inputs, or with an input that
    /// takes no photos. Settings of layer, method and engine do not matter.
    ///
    /// # Errors
    /// `Model`.
    pub fn layer_list(&self) -> Result<Vec<LayerInfo>> {
        let inputs = onnx_grad::inputs(&self.model);
        let given = |input: &&Input| self.inputs.iter().any(|(name, _)| *name == input.name);
        let open: Vec<&Input> = inputs.iter().filter(|input| !given(input)).collect();
        let mut input = image_of(&open).map(ImageInput::of);
        let mut sizes = usual_sizes(&inputs);
        if let Some(input) = &mut input {
            let resolution = self.resolved(input).ok();
            let flag = self.overrides.layout.unwrap_or(input.layout);
            input.layout = resolution.as_ref().map_or(flag, |resolution| resolution.layout);
            let choice = resolution.and_then(|resolution| resolution.preprocess.ok());
            sizes.extend(input.default_sizes(choice.as_ref().map(|choice| &choice.preprocess)));
        }
        let graph = Graph::new(&self.model, &sizes)?;
        let settings = self.head_settings(None, None)?;
        let rows = input.as_ref().and_then(|input| input.rows_of(&graph));
        let image = input.and_then(|input| input.in_graph(&graph));
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
        task: Option<(HeadKind, String)>,
    ) -> Result<HeadSettings> {
        Ok(HeadSettings {
            kind: self.head,
            output: self.output.as_deref().map(str::parse::<Selection>).transpose()?,
            task,
            labels: labels.map(|labels| labels.names.len()),
            is_of_pytorch: self.model.proto().producer_name.as_deref() == Some("pytorch"),
            background: labels.and_then(Labels::nothing),
        })
    }

    /// The preprocessing of photos for the input, the labels, and the layout.
    fn resolved(&self, input: &ImageInput) -> Result<Resolution> {
        let metadata: Vec<(String, String)> =
            self.model.metadata().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let resolve = |shape: &[Option<i64>]| {
            let numbers = if input.elem.is_float() { Numbers::Floats } else { Numbers::Integers };
            image::resolve(&self.overrides, &metadata, self.model.path(), shape, numbers)
        };
        match resolve(&input.shape) {
            Ok(resolved) => {
                let labels = Labels::of_resolved(&resolved);
                let layout = resolved.preprocess.layout;
                let task = task_of(&resolved);
                Ok(Resolution { preprocess: Ok(resolved), labels, layout, task })
            }
            // Tensors can still be explained. Labels do not depend on the input, nor does a layout from another source than
            // the shape.
            Err(error) if error.kind() == ImageErrorKind::Invalid && !input.takes_photos() => {
                let resolved = resolve(&[None; 4])?;
                let labels = Labels::of_resolved(&resolved);
                let layout = match resolved.origins.layout {
                    SettingOrigin::ImagenetDefault => input.layout,
                    _ => resolved.preprocess.layout,
                };
                let task = task_of(&resolved);
                Ok(Resolution { preprocess: Err(error.to_string()), labels, layout, task })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What the sources of preprocessing say of a model.
struct Resolution {
    /// The preprocessing of photos, or why the model takes none.
    preprocess: Result<PreprocessChoice, String>,
    labels: Option<Labels>,
    /// The order of the input's axes: from flags, metadata or the shape, in this order.
    layout: Layout,
    /// The kind of scores that a file names, and which file.
    task: Option<(HeadKind, String)>,
}

/// The kind of scores that a file beside the model, or its metadata, names.
fn task_of(resolved: &PreprocessChoice) -> Option<(HeadKind, String)> {
    let (task, origin) = resolved.task?;
    let kind = match task {
        Task::SingleLabel => HeadKind::Softmax,
        Task::MultiLabel => HeadKind::Sigmoid,
        Task::Regression => HeadKind::Regression,
        Task::Detection => HeadKind::Detection,
        Task::Segmentation => HeadKind::Segmentation,
        _ => return None,
    };
    Some((kind, origin.to_string()))
}

/// The labels of the classes, and where they come from.
#[derive(Debug)]
struct Labels {
    names: Vec<String>,
    origin: SettingOrigin,
}

impl Labels {
    fn of_resolved(resolved: &PreprocessChoice) -> Option<Self> {
        let origin = resolved.origins.labels?;
        Some(Self { names: resolved.labels.clone()?, origin })
    }

    /// The class of no object, or of nothing between two others.
    fn nothing(&self) -> Option<usize> {
        const NAMES: [&str; 8] = [
            "background",
            "__background__",
            "no object",
            "no_object",
            "blank",
            "<blank>",
            "[blank]",
            "<pad>",
        ];
        self.names.iter().position(|name| NAMES.contains(&name.to_lowercase().as_str()))
    }

    /// The labels, if there is one for each class. A list of another length would name classes after their neighbors: a list
    /// from the user is then an error, a list that was found is left out with a warning. A list may leave out the class that
    /// stands for nothing, and that of the space between words behind the others.
    fn of(mut self, head: &Head) -> Result<(Option<Vec<String>>, Option<Warning>)> {
        let classes = head.form.classes();
        self.names = with_blank(self.origin, self.names, classes);
        let nothing = match &head.form {
            Form::Anchors(anchors) => anchors.background,
            _ => head.blank,
        };
        if let Some(nothing) =
            nothing.filter(|nothing| self.nothing().is_none() && *nothing <= self.names.len())
        {
            if self.names.len() + 1 == classes || self.names.len() + 2 == classes {
                self.names.insert(nothing, String::new());
            }
            if self.names.len() + 1 == classes && head.blank.is_some() {
                self.names.push(" ".to_owned());
            }
        }
        let count = self.names.len();
        if count == classes {
            return Ok((Some(self.names), None));
        }
        match self.origin {
            SettingOrigin::Flag => bail!(
                Target,
                "the file of labels has {count} labels, but the model has {classes} classes; give one line, or one JSON \
                 entry, for each class"
            ),
            origin => {
                let source = origin.to_string();
                Ok((None, Some(Warning::LabelsLeftOut { source, labels: count, classes })))
            }
        }
    }
}

fn refuse_layers(method: Method, names: &[String]) -> Result<()> {
    match names.first() {
        None => Ok(()),
        Some(name) => bail!(
            Method, DropLayers;
            "method {method} explains the network's input and takes no layer, not \"{name}\""
        ),
    }
}

/// The layers that are explained, module path and value name, and why these. A module keeps the path that the user wrote.
fn chosen_layers(
    graph: &Graph,
    layers: &Layers,
    names: &[String],
    warnings: &mut Vec<Warning>,
) -> Result<(Vec<(String, String)>, LayerReason)> {
    let named = |path: &str, value| (path.to_owned(), graph.name(value).to_owned());
    if names.is_empty() && !layers.scales().is_empty() {
        let chosen = layers
            .scales()
            .iter()
            .map(|scale| named(layers.path_of(graph, scale.value), scale.value));
        return Ok((chosen.collect(), LayerReason::SCALE));
    }
    if names.is_empty() {
        return match layers.default() {
            Some(DefaultLayer { value, reason }) => {
                Ok((vec![named(layers.path_of(graph, value), value)], reason))
            }
            None => bail!(
                Layer, NameLayer;
                "the model has no feature map with spatial extent that its whole output passes through"
            ),
        };
    }
    let mut chosen: Vec<(String, String)> = Vec::new();
    for name in names {
        let value = layers.find(graph, name)?;
        if !layers.reaches_scores(value) {
            bail!(
                Layer,
                "layer \"{name}\" does not reach the model's scores, so they have no gradient there; choose a \
                 layer that they are computed from"
            )
        }
        if !layers.has_space(graph, value) {
            let shape = graph.fact(value).sizes().unwrap_or_default();
            bail!(
                Layer, GiveGrid;
                "layer \"{name}\" has shape {shape:?}, without spatial extent; choose a layer of positions and \
                 channels, such as [N, K, H, W]"
            )
        }
        if chosen.iter().all(|(_, known)| known != graph.name(value)) {
            let path = if layers.is_module(name) { name } else { layers.path_of(graph, value) };
            chosen.push(named(path, value));
            warnings.extend(layers.folded_norm(graph, name, value));
        }
    }
    Ok((chosen, LayerReason::NAMED))
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
