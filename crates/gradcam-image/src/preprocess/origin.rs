//! The sources of preprocessing values, and the values that one source gives.

use std::fmt;

use serde::Serialize;

use super::{Channels, Geometry, Layout};
use crate::Filter;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Origin {
    /// Given by the caller.
    #[serde(rename = "flag")]
    Flag,
    /// `gradcam.preprocess` or `gradcam.labels` in the model's metadata.
    #[serde(rename = "gradcam metadata")]
    GradcamMetadata,
    /// Hugging Face `preprocessor_config.json` (or `processor_config.json`).
    #[serde(rename = "preprocessor_config.json")]
    PreprocessorConfig,
    /// Hugging Face `config.json`.
    #[serde(rename = "config.json")]
    HuggingFaceConfig,
    /// timm's `config.json`.
    #[serde(rename = "timm config.json")]
    TimmConfig,
    /// What ultralytics writes into the model's metadata.
    #[serde(rename = "ultralytics metadata")]
    Ultralytics,
    /// `Image.*` in the model's metadata.
    #[serde(rename = "onnx Image metadata")]
    OnnxImage,
    /// `<model>.labels.txt` beside `<model>.onnx`.
    #[serde(rename = "model labels.txt")]
    ModelLabelsTxt,
    /// `labels.txt` beside the model.
    #[serde(rename = "labels.txt")]
    LabelsTxt,
    /// `synset.txt` beside the model.
    #[serde(rename = "synset.txt")]
    SynsetTxt,
    /// The shape of the model's input.
    #[serde(rename = "model input shape")]
    ModelShape,
    /// The type of the model's input: integers are pixels as they are.
    #[serde(rename = "model input type")]
    ModelType,
    /// Nothing said anything: what most ImageNet models take.
    #[serde(rename = "imagenet default")]
    ImagenetDefault,
}

/// As in JSON.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Where each value of the preprocessing came from, and the labels where there are some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is the origin of the value of its name")]
pub struct Origins {
    pub channels: Origin,
    pub filter: Origin,
    pub geometry: Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Origin>,
    pub layout: Origin,
    pub mean: Origin,
    pub rescale: Origin,
    pub size: Origin,
    pub std: Origin,
}

/// What one source says.
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub(super) geometry: Option<Geometry>,
    pub(super) filter: Option<Filter>,
    pub(super) rescale: Option<f64>,
    pub(super) mean: Option<Vec<f32>>,
    pub(super) std: Option<Vec<f32>>,
    pub(super) layout: Option<Layout>,
    pub(super) channels: Option<Channels>,
}
