//! The sources of preprocessing settings, and the settings of one source.

use std::fmt;

use serde::Serialize;

use super::{Channels, Geometry, Layout};
use crate::Filter;

/// The source of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum SettingOrigin {
    /// The caller.
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
    /// The metadata that ultralytics writes into the model.
    #[serde(rename = "ultralytics metadata")]
    Ultralytics,
    /// `Image.*` in the model's metadata.
    #[serde(rename = "onnx Image metadata")]
    OnnxImage,
    /// The metadata that OpenVINO's Model API reads.
    #[serde(rename = "OpenVINO model_info metadata")]
    OpenVino,
    /// `character` in the model's metadata, as PaddlePaddle's models have it.
    #[serde(rename = "Paddle character metadata")]
    PaddleMetadata,
    /// PaddlePaddle's `inference.yml` beside the model.
    #[serde(rename = "inference.yml")]
    PaddleConfig,
    /// Triton's `config.pbtxt`.
    #[serde(rename = "config.pbtxt")]
    Triton,
    /// `<model>.labels.txt` beside `<model>.onnx`.
    #[serde(rename = "model labels.txt")]
    ModelLabelsTxt,
    /// `<model>.txt` beside `<model>.onnx`.
    #[serde(rename = "model .txt")]
    ModelTxt,
    /// `<model>.json` beside `<model>.onnx`, if it holds labels.
    #[serde(rename = "model .json")]
    ModelJson,
    /// `labels.txt` beside the model.
    #[serde(rename = "labels.txt")]
    LabelsTxt,
    /// `labels.json` beside the model.
    #[serde(rename = "labels.json")]
    LabelsJson,
    /// `classes.txt` beside the model.
    #[serde(rename = "classes.txt")]
    ClassesTxt,
    /// Keras' `class_indices.json` beside the model.
    #[serde(rename = "class_indices.json")]
    ClassIndices,
    /// `synset.txt` beside the model.
    #[serde(rename = "synset.txt")]
    SynsetTxt,
    /// The shape of the model's input.
    #[serde(rename = "model input shape")]
    ModelShape,
    /// The operators of the model that read its input.
    #[serde(rename = "model graph")]
    ModelGraph,
    /// The type of the model's input: integers are pixel values.
    #[serde(rename = "model input type")]
    ModelType,
    /// The defaults of most ImageNet models, because no source has the setting.
    #[serde(rename = "imagenet default")]
    ImagenetDefault,
}

/// As in JSON.
impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Where each value of the preprocessing came from, and the labels where there are some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is the origin of the value of its name")]
pub struct Origins {
    pub channels: SettingOrigin,
    pub filter: SettingOrigin,
    pub geometry: SettingOrigin,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<SettingOrigin>,
    pub layout: SettingOrigin,
    pub mean: SettingOrigin,
    pub rescale: SettingOrigin,
    pub size: SettingOrigin,
    pub std: SettingOrigin,
}

/// What one source says.
#[derive(Debug, Default)]
pub(super) struct SourceSettings {
    pub(super) geometry: Option<Geometry>,
    pub(super) filter: Option<Filter>,
    pub(super) rescale: Option<f64>,
    pub(super) mean: Option<Vec<f32>>,
    pub(super) std: Option<Vec<f32>>,
    pub(super) layout: Option<Layout>,
    pub(super) channels: Option<Channels>,
}
