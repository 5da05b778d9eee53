//! Hooks: their arguments, their replies, and the list of registered hooks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ndarray::{Array, ArrayD, Dimension};

use crate::{
    Result,
    error::{HookFailure, bail},
};

/// The path of the network itself, as torch has it.
pub(super) const NETWORK: &str = "";

/// A layer in messages.
pub(super) fn shown(path: &str) -> String {
    if path == NETWORK { "the network".to_owned() } else { format!("layer \"{path}\"") }
}

/// The argument of a forward pre-hook, before its layer runs.
#[derive(Debug)]
#[non_exhaustive]
pub struct ForwardPreCall<'a> {
    /// The layer's path.
    pub path: &'a str,
    /// The inputs of the layer: floats that depend on the network's input, in the order in which the layer first reads them. A
    /// hook may reply with as many tensors.
    pub inputs: Vec<&'a ArrayD<f32>>,
}

/// The argument of a forward hook, after its layer has run.
#[derive(Debug)]
#[non_exhaustive]
pub struct ForwardCall<'a> {
    /// The layer's path.
    pub path: &'a str,
    /// The inputs of the layer, as in [`ForwardPreCall::inputs`].
    pub inputs: Vec<&'a ArrayD<f32>>,
    /// The output of the layer. A hook may reply with a tensor that replaces it.
    pub output: &'a ArrayD<f32>,
}

/// The argument of a backward hook, when the gradient of its layer's output is complete.
#[derive(Debug)]
#[non_exhaustive]
pub struct BackwardCall<'a> {
    /// The layer's path.
    pub path: &'a str,
    /// The gradient of the layer's only output, in its shape. A hook may reply with a tensor that replaces it.
    pub grad_output: [&'a ArrayD<f32>; 1],
}

/// The argument of a full backward hook, when the gradients of its layer's inputs are complete.
#[derive(Debug)]
#[non_exhaustive]
pub struct FullBackwardCall<'a> {
    /// The layer's path.
    pub path: &'a str,
    /// The gradients of the layer's inputs ([`ForwardPreCall::inputs`]), through this layer alone: other readers of the same
    /// values do not count. A hook may reply with as many tensors that replace them.
    pub grad_input: Vec<&'a ArrayD<f32>>,
    /// The gradient of the layer's only output.
    pub grad_output: [&'a ArrayD<f32>; 1],
}

/// An error of any type that a hook returns.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The tensors that replace a hook's, if any, or the hook's error.
pub(super) type Answer = Result<Option<Vec<ArrayD<f32>>>, BoxError>;

/// What a hook may return: nothing, `()`; one or several tensors that replace those that it got; an [`Option`] of these; or a
/// [`Result`], whose error stops the pass.
pub trait HookReply {
    /// The tensors that replace those that the hook got; `None` where it replaces nothing.
    ///
    /// # Errors
    /// The hook's own.
    fn tensors(self) -> Result<Option<Vec<ArrayD<f32>>>, Box<dyn std::error::Error + Send + Sync>>;
}

impl HookReply for () {
    fn tensors(self) -> Answer {
        Ok(None)
    }
}

impl<D: Dimension> HookReply for Array<f32, D> {
    fn tensors(self) -> Answer {
        Ok(Some(vec![self.into_dyn()]))
    }
}

impl HookReply for Vec<ArrayD<f32>> {
    fn tensors(self) -> Answer {
        Ok(Some(self))
    }
}

impl<R: HookReply> HookReply for Option<R> {
    fn tensors(self) -> Answer {
        self.map_or(Ok(None), R::tensors)
    }
}

impl<R: HookReply, E: Into<BoxError>> HookReply for Result<R, E> {
    fn tensors(self) -> Answer {
        self.map_err(Into::into)?.tensors()
    }
}

/// Removes a hook. Dropping the handle does nothing: a hook stays until it is removed or its network is
/// dropped.
#[derive(Clone, Debug)]
pub struct HookHandle {
    removed: Arc<AtomicBool>,
}

impl HookHandle {
    /// Removes the hook: it is not called again. Its network drops the closure when it is used next.
    /// May be called from anywhere, hooks included, and more than once.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    /// Whether the hook was removed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }
}

/// Floats that the kept values of a pass, its hooks and its segments share.
pub(super) type Floats = Arc<ArrayD<f32>>;

/// The hooks of one kind, in the order in which they were registered.
pub(super) struct HookList<F: ?Sized> {
    /// The name of this kind of hook in messages.
    name: &'static str,
    entries: Vec<HookEntry<F>>,
}

struct HookEntry<F: ?Sized> {
    layer: String,
    /// Counts registrations, over all kinds.
    number: u64,
    removed: Arc<AtomicBool>,
    call: Box<F>,
}

impl<F: ?Sized> HookEntry<F> {
    fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }
}

impl<F: ?Sized> HookList<F> {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, entries: Vec::new() }
    }

    pub(super) fn register(&mut self, layer: String, number: u64, call: Box<F>) -> HookHandle {
        let removed = Arc::new(AtomicBool::new(false));
        self.entries.push(HookEntry { layer, number, removed: removed.clone(), call });
        HookHandle { removed }
    }

    /// Drops the hooks that were removed.
    pub(super) fn sweep(&mut self) {
        self.entries.retain(|entry| !entry.is_removed());
    }

    /// The layers that have hooks of this kind.
    pub(super) fn layers(&self) -> impl Iterator<Item = &String> {
        self.entries.iter().map(|entry| &entry.layer)
    }

    /// Calls the hooks of a layer that were registered before number `end`, in order. Each gets the values that the one before
    /// it left; gives those that the last one left.
    pub(super) fn call<V: AsMut<[Floats]>>(
        &mut self,
        layer: &str,
        end: u64,
        mut values: V,
        mut invoke: impl FnMut(&mut F, &V) -> Answer,
    ) -> Result<V> {
        let name = self.name;
        let due = |entry: &&mut HookEntry<F>| entry.layer == layer && entry.number < end;
        for entry in self.entries.iter_mut().filter(due) {
            if entry.is_removed() {
                continue;
            }
            let answer = invoke(&mut entry.call, &values).map_err(|source| HookFailure {
                hook: name,
                layer: shown(layer),
                source,
            })?;
            let Some(tensors) = answer else { continue };
            let old = values.as_mut();
            let shapes = |tensors: &[&[usize]]| {
                let shapes: Vec<_> = tensors.iter().map(|shape| format!("{shape:?}")).collect();
                shapes.join(", ")
            };
            let got: Vec<&[usize]> = tensors.iter().map(ArrayD::shape).collect();
            let wanted: Vec<&[usize]> = old.iter().map(|old| old.shape()).collect();
            if got != wanted {
                bail!(
                    Input,
                    "the {name} of {} returned {} of shape {}, it must return {} of shape {}, or none",
                    shown(layer),
                    count(got.len()),
                    shapes(&got),
                    count(wanted.len()),
                    shapes(&wanted)
                );
            }
            for (old, new) in old.iter_mut().zip(tensors) {
                *old = Arc::new(new);
            }
        }
        Ok(values)
    }
}

fn count(tensors: usize) -> String {
    if tensors == 1 { "1 tensor".to_owned() } else { format!("{tensors} tensors") }
}
