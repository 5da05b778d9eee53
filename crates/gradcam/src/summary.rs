//! The summary of an explanation, without its maps, for JSON.

use std::time::Duration;

use serde::Serialize;

use crate::{
    explanation::{Augmentation, Class, Deployed, Explanation, TargetPlace, range},
    head::HeadInfo,
    hint::Hint,
    image::Fusion,
    warning::{Warning, WarningLevel},
};

/// An explanation without the numbers of its maps.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The version of these fields.
    pub schema: u32,
    /// The method.
    pub method: &'static str,
    /// The engine.
    pub engine: &'static str,
    /// What the model's scores are, and why.
    pub head: HeadInfo,
    /// The target as users write it, with numbers for classes.
    pub target: String,
    /// Where the target is, where it is a part of the image that the model found.
    pub place: Option<TargetPlace>,
    /// The value of the target: what is differentiated.
    pub value: f32,
    /// What a sequence reads.
    pub text: Option<String>,
    /// The class that is explained; the first one of a difference.
    pub class: Class,
    /// The second class of a difference.
    pub against: Option<Class>,
    /// The classes with the largest scores, the largest first.
    pub top: Vec<Class>,
    /// The map of each layer.
    pub layers: Vec<LayerSummary>,
    /// How the maps become heatmaps.
    pub heatmap: HeatmapSummary,
    /// The size of the network's input: `[height, width]`, `[length]` or `[depth, height, width]`.
    pub input_size: Vec<usize>,
    /// The result of the file with the engine's defaults, where it was asked for and can differ.
    pub deployed: Option<Deployed>,
    /// The warnings.
    pub warnings: Vec<WarningSummary>,
    /// What is usual, but good to know.
    pub notes: Vec<WarningSummary>,
    /// The time that it took, in milliseconds.
    pub timings_ms: TimingsSummary,
}

/// A layer and the range of its raw map.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerSummary {
    /// The layer's module path, or the name of its value.
    pub layer: String,
    /// The value's name in the model.
    pub value: String,
    /// The shape of the raw map.
    pub shape: Vec<usize>,
    /// The smallest entry of the raw map.
    pub raw_min: f32,
    /// The largest entry of the raw map.
    pub raw_max: f32,
    /// The completeness error of integrated gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completeness_error: Option<f32>,
    /// With a budget of inferences, the share of Σ_k |w_k|·Σ |A_k| of the channels that were run, w_k as in Grad-CAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f32>,
}

/// A warning, with its hint in the words of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WarningSummary {
    /// The id, such as `all-negative`.
    pub id: &'static str,
    /// The message, and what to do.
    pub text: String,
}

/// How the maps of an explanation become heatmaps.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HeatmapSummary {
    /// The id of the library whose numbers they have.
    pub profile: &'static str,
    /// How one heatmap is made of the maps of all layers; `none` where each layer has a heatmap of its own.
    pub fusion: Fusion,
    /// Whether the maps are principal components of the weighted channels, and not their sums.
    pub eigen_smooth: bool,
    /// The changes of the image for the further passes of test-time augmentation; empty without it.
    pub augmentations: Vec<Augmentation>,
}

/// The times of the parts of an explanation, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TimingsSummary {
    /// Differentiating the graph; zero where the cache had the program.
    pub differentiate: f64,
    /// Compiling it in the engine; zero where the cache had the program.
    pub compile: f64,
    /// Running it.
    pub run: f64,
}

impl Summary {
    /// The summary of an explanation, with the `top` best classes. `words` writes a hint in the words of an interface, such as
    /// `Hint::to_string`.
    pub fn of(explanation: &Explanation, top: usize, words: impl Fn(&Hint) -> String) -> Self {
        let ms = |time: Duration| (time.as_secs_f64() * 1e5).round() / 1e2;
        let timings = explanation.timings;
        let said = |notes: bool| {
            let warnings = explanation
                .warnings
                .iter()
                .filter(|one| (one.level() < WarningLevel::Warning) == notes);
            let summary = |one: &Warning| WarningSummary { id: one.id(), text: one.worded(&words) };
            warnings.map(summary).collect()
        };
        Self {
            schema: 1,
            method: explanation.method,
            engine: explanation.engine,
            head: HeadInfo::clone(&explanation.head),
            target: explanation.target.to_string(),
            place: explanation.place,
            value: explanation.value,
            text: explanation.text.clone(),
            class: explanation.class.clone(),
            against: explanation.other.clone(),
            top: explanation.top(top),
            layers: explanation
                .layers
                .iter()
                .map(|map| {
                    let (raw_min, raw_max) = range(&map.map);
                    LayerSummary {
                        layer: map.layer.clone(),
                        value: map.value.clone(),
                        shape: map.map.shape().to_vec(),
                        raw_min,
                        raw_max,
                        completeness_error: map.completeness_error,
                        coverage: map.coverage,
                    }
                })
                .collect(),
            heatmap: HeatmapSummary {
                profile: explanation.profile.id(),
                fusion: explanation.heatmap_settings.fusion,
                eigen_smooth: explanation.eigen_smooth,
                augmentations: explanation.augmented.iter().map(|one| one.augmentation).collect(),
            },
            input_size: explanation.input_size.clone(),
            deployed: explanation.deployed.clone(),
            warnings: said(false),
            notes: said(true),
            timings_ms: TimingsSummary {
                differentiate: ms(timings.differentiate),
                compile: ms(timings.compile),
                run: ms(timings.run),
            },
        }
    }
}
