//! Loads, saves, cuts and differentiates ONNX models.
#![doc = include_str!("../README.md")]

mod append;
pub mod attrs;
pub mod builder;
pub mod closest;
mod cost;
mod cut;
mod error;
mod facts;
mod grad;
pub mod graph;
mod inline;
mod model;
pub mod op;
pub mod proto;
mod prune;
mod tap;
mod tensor;
#[cfg(test)]
mod testing;
mod text;
mod verify;
pub mod window;

pub use append::append;
pub use cost::{Cost, cost};
pub use cut::{extract, extract_values, live_values, varying};
pub use error::{Error, ErrorKind, Result};
pub use facts::{ConstantValue, DeclaredDim, Dim, Fact};
pub use grad::{
    GUIDED_BACKPROP, Gradient, GradientForm, NEWEST_OPSET, OLDEST_OPSET, Options, Override,
    REFUSED_FORMS, Resampling, RuleInfo, differentiate, differentiate_apart, expand, gradient,
    gradient_values, has_definition, refused_values, resampling, rules,
};
pub use graph::{Graph, Input, Sizes, inputs};
pub use inline::MICROSOFT;
pub use model::{FileBytes, Files, MemoryFiles, Model, Weight, data_file};
pub use prune::{prune, with_outputs};
pub use tap::{inputs_of, tap};
pub use text::to_text;
pub use verify::{verify, verify_graph};
