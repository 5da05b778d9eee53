//! Targets that a user of the library writes as nodes.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use onnx_grad::{Dim, Result, builder::Builder, graph::ValueId};

type EmitTarget = dyn Fn(&mut Builder<'_>, ValueId) -> Result<ValueId> + Send + Sync;

/// A target of your own: nodes that make one scalar for each image from the scores.
///
/// Two targets are equal if one is a clone of the other. Make a target once and clone it: a program is compiled for each.
#[derive(Clone)]
pub struct CustomTarget {
    name: Arc<str>,
    emit: Arc<EmitTarget>,
}

impl CustomTarget {
    /// A target that `emit` appends to the graph. It gets the value that holds the scores, in the model's own shape: `[N, K]` of
    /// a classifier, `[N, K, H, W]` of a segmentation, and returns `[N]`. The scores are logits where the model has them, before
    /// its softmax or sigmoid.
    ///
    /// The nodes must have gradient rules, and each image's scalar must depend on its own scores alone. `name` is shown where
    /// the target is, such as in JSON.
    pub fn new(
        name: impl Into<Arc<str>>,
        emit: impl Fn(&mut Builder<'_>, ValueId) -> Result<ValueId> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), emit: Arc::new(emit) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Emits it, and checks that it is one scalar for each image.
    pub(crate) fn emit(
        &self,
        b: &mut Builder<'_>,
        scores: ValueId,
        images: Dim,
    ) -> crate::Result<ValueId> {
        let target = (self.emit)(b, scores)?;
        let shape = b.shape(target)?;
        if shape != [images] {
            let shown = shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
            crate::error::bail!(
                Target,
                "the target \"{}\" has the shape [{shown}], and a target is one number for each image, [{images}]",
                self.name
            );
        }
        Ok(target)
    }
}

impl PartialEq for CustomTarget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.emit, &other.emit)
    }
}

impl Eq for CustomTarget {}

impl Hash for CustomTarget {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.emit).cast::<()>().hash(state);
    }
}

impl fmt::Debug for CustomTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CustomTarget").field(&self.name).finish()
    }
}
