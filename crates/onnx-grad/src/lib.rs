//! Graph in, graph out: load, save, cut and differentiate ONNX models.
//!
//! Differentiation is a graph-to-graph transformation, and its result is ordinary ONNX: any engine
//! that runs the model runs its gradient.

mod error;
mod facts;
mod model;
pub mod proto;
mod tensor;

pub use error::{Error, ErrorKind, Result};
pub use facts::{DeclaredDim, Dim, Fact, Value};
pub use model::{Model, Weight};
