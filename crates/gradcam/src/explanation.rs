//! Explanations: maps, scores, classes and warnings.

mod heatmaps;

use std::{mem, sync::Arc, time::Duration};

use ndarray::{ArcArray, IxDyn};

use serde::Serialize;

use crate::{
    head::{Form, Head, HeadInfo, HeadKind, Scale},
    image::{HeatmapSettings, Placement, preprocess::Channels},
    method::Site,
    profile::Profile,
    targets::{Area, Target},
    warning::Warning,
};

/// A class of the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Class {
    /// Its number.
    pub index: usize,
    /// Its label, where the model has labels.
    pub label: Option<String>,
    /// Its score: the logit, or the value of a regressor. For a segmentation or a sequence, the sum of its scores over all
    /// pixels or time steps; for a detector, its highest score.
    pub score: f32,
    /// Its probability by the model's last activation, or by softmax where logits end the model. `None` where the scores have
    /// none: values, segmentations, sequences, embeddings.
    pub probability: Option<f32>,
}

/// Where a target is, where it is a part of the image that the model found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TargetPlace {
    /// A box of a detector.
    Box {
        /// In pixels of the photo, or of the network's input where a tensor was explained.
        area: Area,
        /// The probability of the class there.
        probability: f32,
        /// The number of the anchor.
        anchor: usize,
    },
    /// Consecutive time steps of a sequence.
    Steps {
        /// The first step.
        from: usize,
        /// The step behind the last one.
        to: usize,
    },
}

/// The map of one layer.
#[derive(Clone, Debug)]
pub struct LayerMap {
    /// The layer's module path, or the name of its value; the input's name where the method explains that.
    pub layer: String,
    /// The value's name in the model.
    pub value: String,
    /// The raw map, signed, before relu: `[h, w]` (`[l]` for a 1-D model, `[d, h, w]` for a 3-D one). For a method that
    /// explains the network's input: `[C, H, W]`, channels first even where the input has them last; `[H, W]` for one that
    /// explains its positions. The site of the method says which ([`MethodInfo::site`](crate::MethodInfo)).
    pub map: ArcArray<f32, IxDyn>,
    /// The channel weights, `[K]`, in Grad-CAM the gradient's mean over space. Empty where the method has none.
    pub weights: Arc<[f32]>,
    /// The completeness error of integrated gradients: Σ map − (score − score of the baseline). 0 if the quadrature were exact.
    pub completeness_error: Option<f32>,
    /// With a budget of inferences, the share of Σ_k |w_k|·Σ |A_k| of the channels that were run: w_k the gradient's mean
    /// over space as in Grad-CAM, the inner sum over positions. 1 where all were.
    pub coverage: Option<f32>,
}

/// How an image is changed for a further pass, whose heatmap is averaged with that of the image itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Augmentation {
    /// Whether it is flipped, left to right; so is the map of the pass.
    pub flipped: bool,
    /// What the network's input is multiplied by.
    pub factor: f32,
}

impl Augmentation {
    /// The image as it is.
    pub(crate) const NONE: Self = Self { flipped: false, factor: 1.0 };
}

/// The maps of an image that was changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AugmentedMaps {
    /// How it was changed.
    pub augmentation: Augmentation,
    /// One map for each layer, of the image as it was changed: flipped where that was.
    pub layers: Vec<LayerMap>,
}

/// The result of the file with the engine's defaults, where products of 8-bit integers saturate on this processor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deployed {
    /// The class with the largest score.
    pub best: Class,
    /// The class that is explained.
    pub class: Class,
    /// The largest difference from the explanation's scores, relative to the largest of these.
    pub error: f32,
}

/// How long the parts of an explanation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Differentiating the graph; zero where the cache had the program.
    pub differentiate: Duration,
    /// Compiling it in the engine, weights read; zero where the cache had the program.
    pub compile: Duration,
    /// Running it, for the whole batch, with the further runs of a method that runs parts of the network again.
    pub run: Duration,
}

/// The explanation of one image for one target by one method.
///
/// Clones share maps and scores.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// One map for each layer, in the order in which the layers were named.
    pub layers: Vec<LayerMap>,
    /// The maps of the further passes of test-time augmentation; empty without it.
    pub augmented: Vec<AugmentedMaps>,
    /// How the maps become heatmaps: one for each layer, or one of all of them.
    pub heatmap_settings: HeatmapSettings,
    /// Whether the maps are principal components of the weighted channels, and not their sums.
    pub eigen_smooth: bool,
    /// What the model's scores are, and why.
    pub head: Arc<HeadInfo>,
    /// The target.
    pub target: Target,
    /// Where the target is, where it is a part of the image that the model found.
    pub place: Option<TargetPlace>,
    /// The value of the target: what is differentiated.
    pub value: f32,
    /// What a sequence reads, where the classes have labels.
    pub text: Option<String>,
    /// The class that is explained; the first one of a difference.
    pub class: Class,
    /// The second class of a difference.
    pub other: Option<Class>,
    /// The score of every class, `[K]`: logits.
    pub scores: Arc<[f32]>,
    /// The probability of every class, `[K]`, in a detector the largest of its anchors; empty where scores have none.
    pub probabilities: Arc<[f32]>,
    /// The size of the network's input: `[height, width]`, `[length]` or `[depth, height, width]`.
    pub input_size: Vec<usize>,
    /// The part of the photo that the network saw. `None` where a tensor was explained.
    pub placement: Option<Placement>,
    /// The method.
    pub method: &'static str,
    /// The library whose numbers the heatmaps have.
    pub profile: Profile,
    /// The engine.
    pub engine: &'static str,
    /// The result of the file with the engine's defaults, where it was asked for and can differ.
    pub deployed: Option<Deployed>,
    /// The warnings, those about the model among them.
    pub warnings: Vec<Warning>,
    /// The time that it took.
    pub timings: Timings,
    /// Of a detector the classes that objects can have, the most probable first.
    pub(crate) ranking: Option<Arc<[usize]>>,
    pub(crate) labels: Option<Arc<Vec<String>>>,
    pub(crate) site: Site,
    /// The channels of the network's input.
    pub(crate) channels: Channels,
}

impl Explanation {
    /// Whether its maps are of layers, and not of the network's input.
    pub fn is_of_layers(&self) -> bool {
        self.site.takes_layer()
    }

    /// What its only score is called, where there are no classes: `value` of a regressor, `foreground` of a segmentation.
    pub fn only_score(&self) -> Option<&'static str> {
        match (self.head.kind, self.scores.len()) {
            (HeadKind::Regression, 1) => Some("value"),
            (HeadKind::Segmentation, 1) => Some("foreground"),
            _ => None,
        }
    }

    /// The `count` classes with the largest scores, the largest first. Of a detector those with the largest probabilities, and
    /// no class that stands for nothing.
    pub fn top(&self, count: usize) -> Vec<Class> {
        let order = match &self.ranking {
            Some(ranking) => ranking.to_vec(),
            None => self.by_score(0..self.scores.len()),
        };
        order.into_iter().take(count).map(|index| self.class_at(index)).collect()
    }

    /// Classes by their scores, the largest first.
    fn by_score(&self, classes: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut order: Vec<usize> = classes.into_iter().collect();
        order.sort_by(|a, b| self.scores[*b].total_cmp(&self.scores[*a]));
        order
    }

    /// Takes the probabilities of a detector's classes and their ranking.
    pub(crate) fn rank(&mut self, probabilities: Arc<[f32]>, ranking: Arc<[usize]>) {
        self.probabilities = probabilities;
        self.ranking = Some(ranking);
        self.class = self.class_at(self.class.index);
        self.other = self.other.take().map(|other| self.class_at(other.index));
    }

    /// Compares the scores with those of the engine's defaults.
    pub(crate) fn compare(&mut self, scores: Arc<[f32]>, probabilities: Arc<[f32]>) {
        let largest = self.scores.iter().fold(0.0, |most: f32, score| most.max(score.abs()));
        let pairs = self.scores.iter().zip(scores.iter());
        let apart = pairs.fold(0.0, |most: f32, (here, there)| most.max((here - there).abs()));
        let error = if largest > 0.0 { apart / largest } else { apart };
        let here = [(&mut self.scores, scores), (&mut self.probabilities, probabilities)]
            .map(|(here, there)| mem::replace(here, there));
        let class = self.class_at(self.class.index);
        let order = match &self.ranking {
            Some(ranking) => self.by_score(ranking.iter().copied()),
            None => self.by_score(0..self.scores.len()),
        };
        let best = order.first().map_or_else(|| class.clone(), |best| self.class_at(*best));
        [self.scores, self.probabilities] = here;
        self.deployed = Some(Deployed { best, class, error });
    }

    pub(crate) fn class_at(&self, index: usize) -> Class {
        Class {
            index,
            label: self.labels.as_ref().and_then(|labels| labels.get(index).cloned()),
            score: self.scores.get(index).copied().unwrap_or(f32::NAN),
            probability: self.probabilities.get(index).copied(),
        }
    }
}

/// The smallest and the largest entry of a map; infinite for an empty map.
pub(crate) fn range(map: &ArcArray<f32, IxDyn>) -> (f32, f32) {
    map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), v| (lo.min(*v), hi.max(*v)))
}

/// The warning about a map and its weights, where there is one.
pub(crate) fn map_warning(map: &LayerMap) -> Option<Warning> {
    let (min, max) = range(&map.map);
    let layer = map.layer.clone();
    let zero = map.weights.iter().all(|weight| *weight == 0.0) && min == 0.0 && max == 0.0;
    if zero {
        Some(Warning::ZeroGradient { layer })
    } else if min == max {
        Some(Warning::Flat { layer })
    } else if max <= 0.0 {
        Some(Warning::AllNegative { layer })
    } else {
        None
    }
}

/// The warning about a gradient at the network's input, where there is one.
pub(crate) fn gradient_warning(map: &LayerMap) -> Option<Warning> {
    let zero = map.map.iter().all(|value| *value == 0.0);
    zero.then(|| Warning::ZeroInputGradient { input: map.layer.clone() })
}

/// Scores as [K] and their probabilities; a binary model's logit z becomes [−z, z], a probability p becomes [1 − p, p].
pub(crate) fn scores_of(head: &Head, row: &[f32]) -> (Arc<[f32]>, Arc<[f32]>) {
    let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
    let (scores, probabilities) = match (&head.form, head.scale) {
        (Form::Binary, scale) => {
            let z = row.first().copied().unwrap_or(f32::NAN);
            match scale {
                Scale::Probabilities => (vec![1.0 - z, z], vec![1.0 - z, z]),
                _ => (vec![-z, z], vec![sigmoid(-z), sigmoid(z)]),
            }
        }
        (_, Scale::Values) => (row.to_vec(), vec![]),
        (_, Scale::Probabilities) => (row.to_vec(), row.to_vec()),
        (_, Scale::Sigmoid) => (row.to_vec(), row.iter().map(|z| sigmoid(*z)).collect()),
        // The softmax is in the model, as other operators.
        (_, Scale::Softmax) if head.operator.is_none() && is_distribution(row) => {
            (row.to_vec(), row.to_vec())
        }
        // A detector's anchors each have a softmax of their own.
        (Form::Anchors(_), Scale::Softmax) => (row.to_vec(), vec![]),
        (_, Scale::Softmax) => {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exp: Vec<f32> = row.iter().map(|z| (z - max).exp()).collect();
            let sum: f32 = exp.iter().sum();
            (row.to_vec(), exp.into_iter().map(|e| e / sum).collect())
        }
    };
    (scores.into(), probabilities.into())
}

/// Whether values are probabilities that add up to 1.
fn is_distribution(row: &[f32]) -> bool {
    let sum: f64 = row.iter().map(|value| f64::from(*value)).sum();
    row.iter().all(|value| (0.0..=1.0).contains(value)) && (sum - 1.0).abs() < 1e-4
}
