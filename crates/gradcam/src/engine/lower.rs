//! Writes in other words what an engine lacks or computes wrongly, and refuses the rest by name.

use onnx_grad::{Model, proto::ModelProto};

use super::error::Result;

/// The language of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Rten,
    OnnxRuntime,
}

pub(super) fn lower(model: &Model, _dialect: Dialect) -> Result<ModelProto> {
    Ok(model.proto().clone())
}
