//! Explain ONNX image models: Grad-CAM and its family, without PyTorch.
#![doc = include_str!("../README.md")]

pub mod engine;
mod error;
mod explainer;
mod explanation;
pub mod image;
mod layer;
pub mod measure;
mod memory;
mod method;
mod network;
mod target;

pub use error::{Error, ErrorKind, Result};
pub use explainer::{Explainer, ExplainerBuilder, ImageInput, Inference, grad_cam};
pub use explanation::{Class, Deployed, Explanation, LayerMap, Timings, Warning};
pub use layer::{Grid, LayerInfo};
pub use method::{Drawn, METHODS, Method, MethodInfo, Site};
pub use ndarray;
pub use network::{
    BackwardCall, ForwardCall, ForwardPreCall, FullBackwardCall, HookHandle, HookReply, Network,
    NetworkBuilder,
};
pub use onnx_grad;
pub use onnx_grad::Model;
pub use target::{Target, TargetSpec};

/// The examples of the project's README run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ProjectReadme;
