//! The eager view of a model, shaped as PyTorch's: forward, backward, and hooks at its layers.
//!
//! Hooks are called at places in topological order, and the network is cut there. The part between two places is a
//! segment, compiled once. The values that are live at a cut go from one segment to the next, so a layer inside a
//! residual branch is a layer like any other. The backward pass of a segment is a graph of its own, which starts from
//! the values that the forward pass saved.

mod exclusive;
mod hook;
mod pass;
mod plan;
mod segment;

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use ndarray::{ArrayBase, ArrayD, Data, Dimension};
use onnx_grad::{
    Dim, Model,
    graph::{Graph, Sizes},
};

use exclusive::{Exclusive, Hold};
use hook::{Answer, HookList};
pub use hook::{
    BackwardCall, ForwardCall, ForwardPreCall, FullBackwardCall, HookHandle, HookReply,
};
use pass::SavedForward;
use plan::{HookKind, HookSites, Plan};

use crate::{
    Result,
    engine::{self, EngineKind, EngineOptions, Provider},
    error::bail,
    input::ImageInput,
    layer::{Grid, Layers, ScoreValue},
    memory,
    program::Runtime,
};

/// A network that is run by hand: [`forward`](Network::forward), [`backward`](Network::backward), and
/// hooks that see and replace what passes through its layers.
///
/// Names and meanings are PyTorch's. A hook may return nothing, or a tensor that replaces the one that it got; everything
/// after it, forward and backward, is computed from the replacement. Hooks of several layers run in the order of the
/// layers, backward in the reverse order; several hooks of one layer run in the order of their registration. A hook stays
/// until [`HookHandle::remove`] or until the network is dropped.
///
/// | here | `torch.nn.Module` | a returned tensor replaces |
/// |---|---|---|
/// | `register_forward_pre_hook` | the same | the layer's inputs, for this layer alone |
/// | `register_forward_hook` | the same | the layer's output |
/// | `register_backward_hook` | `register_full_backward_pre_hook` | the gradient of the output |
/// | `register_full_backward_hook` | the same | the gradients of the inputs through this layer |
///
/// The code of a hook is not differentiated: the gradient of a replacement is used as the gradient of the value that it
/// replaces, as if torch's hook returned `output + (replacement - output).detach()`. If a hook scales, a backward hook of
/// the same layer can scale too.
///
/// Threads may share a network. It does one pass at a time, and other threads wait for it. A hook that calls its own network
/// gets an error, because the pass that called the hook is not over; removing hooks is allowed.
///
/// Only what hooks need is computed: without backward hooks nothing is saved or differentiated, and with them only the
/// part behind the first layer that has one.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use gradcam::{Model, Network};
/// use ndarray::{Array4, ArrayD};
///
/// # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../gradcam-cli/assets/efficientnet_lite0.onnx");
/// let network = Network::new(Model::open(file)?)?;
/// let activation = Arc::new(Mutex::new(None));
/// let gradient = Arc::new(Mutex::new(None));
///
/// let store = activation.clone();
/// network.register_forward_hook("blocks.4", move |call| {
///     *store.lock().unwrap() = Some(call.output.clone());
/// })?;
/// let store = gradient.clone();
/// network.register_backward_hook("blocks.4", move |call| {
///     *store.lock().unwrap() = Some(call.grad_output[0].clone());
/// })?;
///
/// let pass = network.forward(&Array4::zeros((1, 3, 224, 224)))?;
/// let mut seed = ArrayD::zeros(pass.scores().shape());
/// seed[[0, 285]] = 1.0; // the gradient of class 285
/// network.backward(&pass, &seed)?;
///
/// let (activation, gradient) = (activation.lock().unwrap(), gradient.lock().unwrap());
/// assert_eq!(activation.as_ref().map(ArrayD::shape), gradient.as_ref().map(ArrayD::shape));
/// # Ok::<(), gradcam::Error>(())
/// ```
pub struct Network {
    model: Model,
    runtime: Runtime,
    input: ImageInput,
    /// The graph for inputs of a usual size. Names are looked up in it.
    graph: Graph,
    layers: Layers,
    paths: Vec<String>,
    state: Exclusive<NetworkState>,
    /// Tells the passes of this network from those of others.
    identity: Arc<()>,
}

/// What passes change.
struct NetworkState {
    hooks: Hooks,
    /// The most recently used plan is last.
    plans: Vec<(PlanKey, Arc<Plan>)>,
}

/// A forward pass of a [`Network`]: its scores, and the values that backward passes start from. It holds them until it is
/// dropped; other passes leave them as they are.
pub struct ForwardPass {
    scores: ArrayD<f32>,
    saved: SavedForward,
    network: Arc<()>,
}

impl ForwardPass {
    /// The scores: the first output of the model, as the hooks left it.
    pub fn scores(&self) -> &ArrayD<f32> {
        &self.scores
    }

    /// The scores alone.
    pub fn into_scores(self) -> ArrayD<f32> {
        self.scores
    }
}

impl std::fmt::Debug for ForwardPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardPass").field("scores", &self.scores).finish_non_exhaustive()
    }
}

/// The key of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlanKey {
    shape: Vec<usize>,
    sites: HookSites,
}

/// The capacity of the cache of plans. Inputs of ever new sizes would fill the memory.
const KEPT: usize = 8;

struct Hooks {
    /// The number of hooks registered so far, removed ones included.
    registered: u64,
    forward_pre: HookList<dyn FnMut(&ForwardPreCall<'_>) -> Answer + Send>,
    forward: HookList<dyn FnMut(&ForwardCall<'_>) -> Answer + Send>,
    backward: HookList<dyn FnMut(&BackwardCall<'_>) -> Answer + Send>,
    full_backward: HookList<dyn FnMut(&FullBackwardCall<'_>) -> Answer + Send>,
}

impl Hooks {
    fn new() -> Self {
        Self {
            registered: 0,
            forward_pre: HookList::new("forward pre-hook"),
            forward: HookList::new("forward hook"),
            backward: HookList::new("backward hook"),
            full_backward: HookList::new("full backward hook"),
        }
    }

    /// Drops the hooks that were removed.
    fn sweep(&mut self) {
        self.forward_pre.sweep();
        self.forward.sweep();
        self.backward.sweep();
        self.full_backward.sweep();
    }

    fn next(&mut self) -> u64 {
        self.registered += 1;
        self.registered - 1
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("input", &self.input)
            .field("engine", &self.runtime.engine_name())
            .field("plans", &self.state.peek(|state| state.plans.len()))
            .finish_non_exhaustive()
    }
}

impl Network {
    /// The network of a model, on the embedded engine. [`Network::builder`] offers a choice of engine.
    ///
    /// # Errors
    /// As [`NetworkBuilder::build`].
    pub fn new(model: Model) -> Result<Self> {
        Self::builder(model).build()
    }

    /// A builder for a network of `model`.
    pub fn builder(model: Model) -> NetworkBuilder {
        NetworkBuilder {
            model,
            engine: EngineKind::default(),
            options: EngineOptions::default(),
            max_memory: None,
        }
    }

    /// The paths of its modules, outer modules before their parts, as torch's `named_modules` without the network itself.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// Calls `hook` before the layer runs, with its inputs. Returned tensors, as many as the inputs, take
    /// their place in this layer; what else reads the same values is not changed.
    ///
    /// `layer` is a module path, or the name of a node or a value; `""` is the network itself, as in torch: its inputs are
    /// those of the model, and its output is the scores.
    ///
    /// # Errors
    /// `Layer` where no layer has that name or the layer has no values for a hook, `Unsupported` where not all of its inputs
    /// exist when it begins.
    pub fn register_forward_pre_hook<R: HookReply>(
        &self,
        layer: &str,
        mut hook: impl FnMut(&ForwardPreCall<'_>) -> R + Send + 'static,
    ) -> Result<HookHandle> {
        let (path, number, mut state) = self.register(layer, HookKind::ForwardPre)?;
        let call = Box::new(move |call: &ForwardPreCall<'_>| hook(call).tensors());
        Ok(state.hooks.forward_pre.register(path, number, call))
    }

    /// Calls `hook` when the layer has run, with its inputs and its output. A returned tensor takes the
    /// place of the output.
    ///
    /// # Errors
    /// `Layer` where no layer has that name, or its output is no single tensor of floats that depends on
    /// the network's input.
    pub fn register_forward_hook<R: HookReply>(
        &self,
        layer: &str,
        mut hook: impl FnMut(&ForwardCall<'_>) -> R + Send + 'static,
    ) -> Result<HookHandle> {
        let (path, number, mut state) = self.register(layer, HookKind::Forward)?;
        let call = Box::new(move |call: &ForwardCall<'_>| hook(call).tensors());
        Ok(state.hooks.forward.register(path, number, call))
    }

    /// Calls `hook` in the backward pass with the gradient of the layer's output. A returned tensor goes
    /// on in its place: it is what torch calls a full backward pre-hook. A layer that the scores do not
    /// depend on has no gradient, and its hook is not called.
    ///
    /// # Errors
    /// As [`Network::register_forward_hook`].
    pub fn register_backward_hook<R: HookReply>(
        &self,
        layer: &str,
        mut hook: impl FnMut(&BackwardCall<'_>) -> R + Send + 'static,
    ) -> Result<HookHandle> {
        let (path, number, mut state) = self.register(layer, HookKind::Backward)?;
        let call = Box::new(move |call: &BackwardCall<'_>| hook(call).tensors());
        Ok(state.hooks.backward.register(path, number, call))
    }

    /// Calls `hook` in the backward pass with the gradient of the layer's output and those of its
    /// inputs, once these are known; for the network itself, `""`, that is the gradient of the image. Returned
    /// tensors, as many as the inputs, go on in the place of the inputs' gradients.
    ///
    /// # Errors
    /// As [`Network::register_forward_pre_hook`].
    pub fn register_full_backward_hook<R: HookReply>(
        &self,
        layer: &str,
        mut hook: impl FnMut(&FullBackwardCall<'_>) -> R + Send + 'static,
    ) -> Result<HookHandle> {
        let (path, number, mut state) = self.register(layer, HookKind::FullBackward)?;
        let call = Box::new(move |call: &FullBackwardCall<'_>| hook(call).tensors());
        Ok(state.hooks.full_backward.register(path, number, call))
    }

    /// The path of a layer that can have hooks of a kind, the number of the next hook, and where it goes.
    fn register(
        &self,
        layer: &str,
        kind: HookKind,
    ) -> Result<(String, u64, Hold<'_, NetworkState>)> {
        let mut state = self.state.hold("the registration of a hook")?;
        state.hooks.sweep();
        let path = plan::layer(&self.graph, &self.layers, layer, kind)?.path;
        let number = state.hooks.next();
        Ok((path, number, state))
    }

    /// Runs the network on a batch that is ready for it, such as [N, C, H, W]. The pass has the first output as it is, and
    /// what [`Network::backward`] needs.
    ///
    /// Graphs are compiled at the first pass with inputs of one shape and hooks at the same layers.
    ///
    /// # Errors
    /// `Input` where the shape does not fit or a hook returns a wrong one; `Hook` where a hook fails,
    /// with the hook's error as source, or where a hook of this network calls; `Unsupported` with the nodes between the first layer with
    /// a backward hook and the scores that have no gradient rule, or that the engine lacks; `Memory`;
    /// `Engine`. The network can be used afterwards.
    pub fn forward<S: Data<Elem = f32>, D: Dimension>(
        &self,
        x: &ArrayBase<S, D>,
    ) -> Result<ForwardPass> {
        let mut state = self.state.hold("forward")?;
        state.hooks.sweep();
        let plan = self.plan(&mut state, x.shape())?;
        let x = x.view().into_dyn();
        let (scores, saved) = pass::forward(&plan, &mut state.hooks, &self.input.name, x)?;
        Ok(ForwardPass { scores, saved, network: self.identity.clone() })
    }

    /// Propagates a gradient of the scores back through the network, from the values that a forward pass saved, and calls
    /// the backward hooks. `seed` has the shape of the scores: 1 at a class and 0 elsewhere gives the gradients of that class.
    /// May be called several times for each pass, and for several passes in any order.
    ///
    /// Hooks that were registered after the forward pass take part from the next one on, as in torch; hooks that were removed
    /// are not called.
    ///
    /// # Errors
    /// `Input` where the pass is that of another network, the seed's shape is not that of the scores, or a hook returns a
    /// wrong shape; `Hook` as in [`Network::forward`];
    /// `Unsupported` where the engine lacks something; `Engine`. The network can be used afterwards.
    pub fn backward<S: Data<Elem = f32>, D: Dimension>(
        &self,
        pass: &ForwardPass,
        seed: &ArrayBase<S, D>,
    ) -> Result<()> {
        if !Arc::ptr_eq(&pass.network, &self.identity) {
            bail!(
                Input,
                "the forward pass is that of another network; give one that this network's forward returned"
            )
        }
        let mut state = self.state.hold("backward")?;
        pass::backward(&pass.saved, &mut state.hooks, &self.runtime, seed.view().into_dyn())
    }

    fn plan(&self, state: &mut NetworkState, shape: &[usize]) -> Result<Arc<Plan>> {
        self.input.check(shape)?;
        if let Some(a_run) = self.input.batch().filter(|batch| *batch != shape[0]) {
            bail!(
                Input,
                "the model's batch is fixed to {a_run}, the input has {:?}; give one after the other, or \
                 export the model with an open batch",
                shape
            );
        }
        let key = PlanKey { shape: shape.to_vec(), sites: pass::sites(&state.hooks) };
        let plan = match state.plans.iter().position(|(known, _)| *known == key) {
            Some(place) => state.plans.remove(place).1,
            None => {
                let dim = |size: &usize| i64::try_from(*size).map(Dim::Fixed);
                let Ok(dims) = shape.iter().map(dim).collect::<Result<Vec<Dim>, _>>() else {
                    bail!(Input, "the input has the impossible shape {shape:?}")
                };
                let sizes = Sizes::from([(self.input.name.clone(), dims)]);
                let graph = Graph::new(&self.model, &sizes)?;
                Arc::new(Plan::new(graph, &self.input, &key.sites, &self.runtime)?)
            }
        };
        if state.plans.len() >= KEPT {
            state.plans.remove(0);
        }
        state.plans.push((key, plan.clone()));
        Ok(plan)
    }
}

/// The settings of a network; [`Network::builder`] makes one.
#[derive(Debug)]
pub struct NetworkBuilder {
    model: Model,
    engine: EngineKind,
    options: EngineOptions,
    max_memory: Option<u64>,
}

impl NetworkBuilder {
    /// Sets the engine. The default is rten.
    #[must_use]
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = engine;
        self
    }

    /// Sets the number of threads of a run. The default is the engine's.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// Sets the places where the library of ONNX Runtime is looked for, in order.
    #[must_use]
    pub fn library_places(mut self, places: Vec<PathBuf>) -> Self {
        self.options.library = places;
        self
    }

    /// Sets ONNX Runtime's execution provider. The default is the processor.
    #[must_use]
    pub fn provider(mut self, provider: Provider) -> Self {
        self.options.provider = Some(provider);
        self
    }

    /// Sets the memory limit in bytes: what a forward and a backward pass may take together, weights not counted. The default
    /// is half of the memory that the process may use.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Checks the settings and makes the network. Nothing is compiled yet.
    ///
    /// # Errors
    /// `Input` where the model has no single input of floats, `Engine`, `Model`.
    pub fn build(self) -> Result<Network> {
        let inputs = onnx_grad::inputs(&self.model);
        let [input] = inputs.as_slice() else {
            let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
            bail!(
                Input,
                "a network takes one input; the model has {}: {}",
                names.len(),
                names.join(", ")
            )
        };
        let input = ImageInput::of(input, None);
        if !input.elem.is_float() {
            let elem = input.elem.numpy_name();
            bail!(
                Input,
                "the model's input \"{}\" takes {elem}; a network takes floats",
                input.name
            )
        }
        let graph = Graph::new(&self.model, &input.default_sizes(None, None))?;
        let Some(&scores) = graph.outputs().first() else {
            bail!(Model, "the model has no output")
        };
        let layers =
            Layers::new(&graph, input.in_graph(&graph), ScoreValue::plain(scores), Grid::default());
        let paths = layers.paths().map(str::to_owned).collect();
        let engine = engine::engine(self.engine, &self.options)?;
        let limit = self.max_memory.unwrap_or_else(memory::default_limit);
        Ok(Network {
            runtime: Runtime::new(engine, limit),
            model: self.model,
            input,
            graph,
            layers,
            paths,
            state: Exclusive::new(NetworkState { hooks: Hooks::new(), plans: Vec::new() }),
            identity: Arc::new(()),
        })
    }
}
