//! The native module of the Python package `onnx_gradcam`.
//!
//! It holds what needs Rust: explainers, explanations, networks, and arrays on their way in and out. What only arranges
//! Python objects is written in Python, beside it.

mod arrays;
mod command;
mod concepts;
mod engine;
mod errors;
mod explainer;
mod explanation;
mod hints;
mod hooks;
mod network;
mod settings;
mod tables;
mod targets;

use pyo3::prelude::pymodule;

/// The native part of `onnx_gradcam`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{
        command::command_line,
        concepts::Concepts,
        explainer::Explainer,
        explanation::Explanation,
        hooks::HookHandle,
        network::{ForwardPass, Network},
        tables::{layers, methods},
    };
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name of a package's version")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
