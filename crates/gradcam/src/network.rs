//! The eager view of a model, shaped as PyTorch's: forward, backward, and hooks at its layers.
//!
//! Hooks are called at places in topological order, and the network is cut there. The part between two places is a
//! segment, compiled once. The values that are live at a cut go from one segment to the next, so a layer inside a
//! residual branch is a layer like any other. The backward pass of a segment is a graph of its own, which starts from
//! the values that the forward pass saved.

mod builder;
mod exclusive;
mod hook;
mod pass;
mod plan;
mod segment;

use std::sync::Arc;

use ndarray::{ArrayBase, ArrayD, Data, Dimension};
use onnx_grad::{
    Model,
    graph::{Graph, Sizes},
};

pub use builder::NetworkBuilder;
use exclusive::{Exclusive, Hold};
use hook::{Answer, HookList};
pub use hook::{
    BackwardCall, ForwardCall, ForwardPreCall, FullBackwardCall, HookHandle, HookReply,
};
use pass::SavedForward;
use plan::{HookKind, HookSites, Plan};

use crate::{Result, engine::Tensor, error::bail, input::Inputs, layer::Layers, program::Runtime};

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
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    inputs: Arc<Inputs>,
}

/// What clones of a network share. Its address tells its passes from those of other networks.
struct Shared {
    model: Model,
    runtime: Runtime,
    /// The graph for inputs of a usual size. Names are looked up in it.
    graph: Graph,
    layers: Layers,
    paths: Vec<String>,
    state: Exclusive<NetworkState>,
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
    network: Arc<Shared>,
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
    sizes: Sizes,
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
            .field("inputs", &self.inputs)
            .field("engine", &self.shared.runtime.engine_name())
            .field("plans", &self.shared.state.peek(|state| state.plans.len()))
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
        NetworkBuilder::new(model)
    }

    /// This network with another value for an input beside the image, for one pass,
    /// `network.with_input("age", age)?.forward(&x)`, or for several. It is as cheap as a clone: hooks, passes and compiled graphs
    /// are those of this network.
    ///
    /// # Errors
    /// `Input` where the model declares no such input or another type or shape.
    pub fn with_input(&self, name: &str, value: impl Into<Tensor>) -> Result<Self> {
        let inputs = Arc::new(self.inputs.with(&self.shared.model, name, value.into())?);
        Ok(Self { inputs, ..self.clone() })
    }

    /// The paths of its modules, outer modules before their parts, as torch's `named_modules` without the network itself.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.shared.paths.iter().map(String::as_str)
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
        let mut state = self.shared.state.hold("the registration of a hook")?;
        state.hooks.sweep();
        let path = plan::layer(&self.shared.graph, &self.shared.layers, layer, kind)?.path;
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
        let mut state = self.shared.state.hold("forward")?;
        state.hooks.sweep();
        let plan = self.plan(&mut state, x.shape())?;
        let rows: Vec<usize> = (0..x.shape()[0]).collect();
        let given = self
            .inputs
            .given
            .iter()
            .map(|given| Ok((given.name.as_str(), given.rows(&rows, rows.len())?)));
        let mut inputs = given.collect::<Result<Vec<_>>>()?;
        inputs.push((self.inputs.image.name.as_str(), Tensor::F32(x.view().into_dyn().to_owned())));
        let (scores, saved) = pass::forward(&plan, &mut state.hooks, inputs)?;
        Ok(ForwardPass { scores, saved, network: self.shared.clone() })
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
        if !Arc::ptr_eq(&pass.network, &self.shared) {
            bail!(
                Input,
                "the forward pass is that of another network; give one that this network's forward returned"
            )
        }
        let mut state = self.shared.state.hold("backward")?;
        pass::backward(&pass.saved, &mut state.hooks, &self.shared.runtime, seed.view().into_dyn())
    }

    fn plan(&self, state: &mut NetworkState, shape: &[usize]) -> Result<Arc<Plan>> {
        self.inputs.image.check(shape)?;
        if let Some(a_run) = self.inputs.image.batch().filter(|batch| *batch != shape[0]) {
            bail!(
                Input,
                "the model's batch is fixed to {a_run}, the input has {:?}; give one after the other, or \
                 export the model with an open batch",
                shape
            );
        }
        let key = PlanKey { sizes: self.inputs.sizes(shape), sites: pass::sites(&state.hooks) };
        let plan = match state.plans.iter().position(|(known, _)| *known == key) {
            Some(place) => state.plans.remove(place).1,
            None => {
                let graph = Graph::new(&self.shared.model, &key.sizes)?;
                let image = &self.inputs.image;
                Arc::new(Plan::new(graph, image, &key.sites, &self.shared.runtime)?)
            }
        };
        if state.plans.len() >= KEPT {
            state.plans.remove(0);
        }
        state.plans.push((key, plan.clone()));
        Ok(plan)
    }
}
