//! Explain ONNX image models: Grad-CAM and its family, without PyTorch.
#![doc = include_str!("../README.md")]

mod concepts;
mod error;
mod explainer;
mod explanation;
mod gradient;
mod head;
mod hint;
mod images;
mod input;
mod inspection;
mod layer;
pub mod measure;
mod memory;
mod method;
mod network;
mod profile;
mod program;
mod progress;
mod summary;
mod targets;
mod warning;

pub use concepts::{Component, ComponentSummary, Concepts, ImageConcepts};
pub use error::{Error, ErrorKind, Result};
pub use explainer::{
    EXPORTED_CLASS, EXPORTED_HEATMAP, EXPORTED_MAP, Explainer, ExplainerBuilder, ExplanationModel,
    ExportHeads, ExportSettings, ExportTargets, ExportWeights, ExportedModel, Inference, MapPlace,
    OutputMeaning, TARGET_INPUT, grad_cam, is_exported,
};
pub use explanation::{
    Augmentation, AugmentedMaps, Class, Deployed, Explanation, LayerMap, TargetPlace, Timings,
};
pub use gradcam_engine as engine;
pub use gradcam_image as image;
pub use gradient::{GradientModel, GradientSettings, with_gradients};
pub use head::{HeadInfo, HeadKind};
pub use hint::Hint;
pub use images::Images;
pub use input::ImageInput;
pub use inspection::{InspectedNode, inspect};
pub use layer::{Grid, LayerInfo, LayerReason};
pub use memory::MemoryLease;
pub use method::{METHODS, Method, MethodInfo, MethodSettings, PictureStyle, Site};
pub use ndarray;
pub use network::{
    BackwardCall, ForwardCall, ForwardPass, ForwardPreCall, FullBackwardCall, HookHandle,
    HookReply, Network, NetworkBuilder,
};
pub use onnx_grad;
pub use onnx_grad::Model;
pub use profile::{PROFILES, Profile, ProfileInfo};
pub use progress::{CancelToken, Progress};
pub use summary::{HeatmapSummary, LayerSummary, Summary, TimingsSummary, WarningSummary};
pub use targets::{Area, CustomTarget, Mask, Target, TargetSpec, Targets};
pub use warning::{Warning, WarningLevel};

/// The examples of the project's README run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ProjectReadme;

/// The examples of the page of targets run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/targets.md")]
struct TargetsPage;

/// The example of the page of gradients runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/onnx-grad.md")]
struct GradientsPage;
