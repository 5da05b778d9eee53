//! Explain ONNX image models: Grad-CAM and its family, without PyTorch.
#![doc = include_str!("../README.md")]

mod error;
mod explainer;
mod explanation;
mod input;
mod layer;
pub mod measure;
mod memory;
mod method;
mod network;
mod program;
mod progress;
mod targets;

pub use error::{Error, ErrorKind, Result};
pub use explainer::{Explainer, ExplainerBuilder, Inference, grad_cam};
pub use explanation::{Class, Deployed, Explanation, LayerMap, Timings, Warning};
pub use gradcam_engine as engine;
pub use gradcam_image as image;
pub use input::ImageInput;
pub use layer::{Grid, LayerInfo};
pub use method::{Drawn, METHODS, Method, MethodInfo, Site};
pub use ndarray;
pub use network::{
    BackwardCall, ForwardCall, ForwardPreCall, FullBackwardCall, HookHandle, HookReply, Network,
    NetworkBuilder,
};
pub use onnx_grad;
pub use onnx_grad::Model;
pub use progress::Progress;
pub use targets::{Target, TargetSpec};

/// The examples of the project's README run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ProjectReadme;
