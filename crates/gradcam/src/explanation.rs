//! What an explanation is made of.

use std::{mem, time::Duration};

use ndarray::{Array2, ArrayD, ArrayView, ArrayView2, Dimension, Ix3, IxDyn, ShapeError};
use serde_json::{Value, json};

use crate::{
    Result,
    error::bail,
    image::{self, OverlayStyle, Photo, Placement, preprocess::Channels},
    method::{Drawn, Site},
    targets::{Activation, Head, Target},
};

/// A class of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its number.
    pub index: usize,
    /// Its label, where the model has labels.
    pub label: Option<String>,
    /// Its score, the logit. For a segmentation the sum of its scores over all pixels.
    pub score: f32,
    /// Its probability by the model's own last activation, softmax where it has none; `None` for a
    /// segmentation.
    pub probability: Option<f32>,
}

/// The map of one layer.
#[derive(Clone, Debug)]
pub struct LayerMap {
    /// The layer's module path, or the name of its value; the input's name where the method explains that.
    pub layer: String,
    /// The value's name in the model.
    pub value: String,
    /// The raw map, signed, before relu: `[h, w]` (`[l]` for a 1-D model, `[d, h, w]` for a 3-D one). Of a
    /// method that explains the network's input `[C, H, W]`, channels first also where the input has
    /// them last.
    pub map: ArrayD<f32>,
    /// The channel weights α, `[K]`: the gradient's mean over space. None for the network's input.
    pub weights: Vec<f32>,
}

/// Something that a user should know about an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is, such as `all-negative`.
    pub id: &'static str,
    /// What it means and what to do.
    pub text: String,
}

impl Warning {
    pub(crate) fn new(id: &'static str, text: impl Into<String>) -> Self {
        Self { id, text: text.into() }
    }
}

/// What a program gives that runs the file with the engine's defaults, whose products of 8-bit integers saturate on
/// this processor.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployed {
    /// The class with the largest score.
    pub best: Class,
    /// The class that is explained.
    pub class: Class,
    /// The largest difference from the scores here, over the largest of these.
    pub error: f32,
}

/// How long the parts of an explanation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Differentiating the graph; zero where a graph made before was used.
    pub differentiate: Duration,
    /// Making it ready in the engine, weights read; zero likewise.
    pub compile: Duration,
    /// Running it, for the whole batch; for a method that runs parts of the network again with those runs.
    pub run: Duration,
}

/// Why a model gave the score that it gave, for one image and one target.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// One map for each layer, in the order in which the layers were named.
    pub layers: Vec<LayerMap>,
    /// What was asked for.
    pub target: Target,
    /// The class that is explained; the first one of a difference.
    pub class: Class,
    /// The second class of a difference.
    pub other: Option<Class>,
    /// The score of every class, `[K]`: logits.
    pub scores: Vec<f32>,
    /// The probability of every class, `[K]`; empty for a segmentation.
    pub probabilities: Vec<f32>,
    /// The size of the network's input: `[height, width]`, `[length]` or `[depth, height, width]`.
    pub input_size: Vec<usize>,
    /// The method.
    pub method: &'static str,
    /// The engine.
    pub engine: &'static str,
    /// What a program gives that runs the file with the engine's defaults, where that was asked for and can differ.
    pub deployed: Option<Deployed>,
    /// What a user should know.
    pub warnings: Vec<Warning>,
    /// How long it took.
    pub timings: Timings,
    pub(crate) labels: Option<std::sync::Arc<Vec<String>>>,
    pub(crate) site: Site,
    /// The channels of the network's input.
    pub(crate) channels: Channels,
}

impl Explanation {
    /// The map of one layer as [h, w].
    ///
    /// # Errors
    /// `Layer` where the layer has another number of spatial axes.
    pub fn map2(&self, layer: usize) -> Result<ArrayView2<'_, f32>> {
        self.map_of(layer)
    }

    fn map_of<D: Dimension>(&self, layer: usize) -> Result<ArrayView<'_, f32, D>> {
        let Some(map) = self.layers.get(layer) else {
            bail!(Layer, "the explanation has {} layers, not {}", self.layers.len(), layer + 1);
        };
        match map.map.view().into_dimensionality() {
            Ok(view) => Ok(view),
            Err(_) => bail!(
                Layer,
                "the map of layer \"{}\" has shape {:?}; a picture needs two spatial axes",
                map.layer,
                map.map.shape()
            ),
        }
    }

    /// The heatmap of one layer in 0..1, [H, W] at the size of the network's input: relu, normalised,
    /// resized and normalised again, as pytorch-grad-cam does. For a method that explains the network's input the
    /// largest |g| of the channels, normalised.
    ///
    /// # Errors
    /// `Layer` where the map is not two-dimensional, `Image` where it is not finite.
    pub fn heatmap(&self, layer: usize) -> Result<Array2<f32>> {
        let heatmap = self.heatmap_nd(layer)?;
        let axes = heatmap.ndim();
        heatmap.into_dimensionality().or_else(|_| {
            bail!(
                Layer,
                "the map of layer \"{}\" has {axes} spatial axes; a picture needs two",
                self.layers[layer].layer
            )
        })
    }

    /// The heatmap of one layer with as many axes as its map: `[L]` of a 1-D model, `[D, H, W]` of a 3-D one, `[H, W]`
    /// as [`Explanation::heatmap`]. Where the network's input has another number of axes, the map keeps its size.
    ///
    /// # Errors
    /// `Layer` where there is no such layer, `Image` where the map is not finite.
    pub fn heatmap_nd(&self, layer: usize) -> Result<ArrayD<f32>> {
        let map = self.map_of::<IxDyn>(layer)?;
        if self.site != Site::Layer {
            let space = map.shape().get(1..).unwrap_or_default().to_vec();
            let flat = (map.shape().first().copied().unwrap_or(1), 1, space.iter().product());
            let flat = map.to_shape(flat).map_err(|error| torn(&error))?;
            let heatmap = image::gradient_heatmap(flat.view())?;
            return heatmap.into_shape_with_order(space).map_err(|error| torn(&error));
        }
        if let (2, [height, width]) = (map.ndim(), &self.input_size[..]) {
            return Ok(image::heatmap(&[self.map2(layer)?], (*height, *width))?.into_dyn());
        }
        let same = map.ndim() == self.input_size.len();
        let size = if same { self.input_size.as_slice() } else { map.shape() };
        Ok(image::heatmap_nd(map.view(), size)?)
    }

    /// The map of the network's input as a picture of that size, as the method draws it. `None` for a method
    /// that explains layers, and for an input that is no picture.
    ///
    /// # Errors
    /// As [`Explanation::heatmap`], and `Image` where the input has no colours.
    pub fn input_picture(&self, layer: usize) -> Result<Option<Photo>> {
        let Site::Input(drawn) = self.site else { return Ok(None) };
        if self.input_size.len() != 2 {
            return Ok(None);
        }
        let map = self.map_of::<Ix3>(layer)?;
        let picture = match drawn {
            Drawn::Magnitude => image::magnitude_picture(map)?,
            Drawn::Colors => image::gradient_picture(map, self.channels)?,
        };
        Ok(Some(picture))
    }

    /// The heatmap over the photo, at the photo's size, where the network saw it.
    ///
    /// # Errors
    /// As [`Explanation::heatmap`].
    pub fn overlay(
        &self,
        layer: usize,
        photo: &Photo,
        placement: &Placement,
        style: &OverlayStyle,
    ) -> Result<Photo> {
        Ok(image::overlay(photo, self.heatmap(layer)?.view(), placement, style)?)
    }

    /// The classes with the largest scores, that many at most, the largest first.
    pub fn top(&self, count: usize) -> Vec<Class> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by(|a, b| self.scores[*b].total_cmp(&self.scores[*a]));
        order.into_iter().take(count).map(|index| self.class_at(index)).collect()
    }

    /// Compares the scores with those of the engine's defaults.
    pub(crate) fn compare(&mut self, scores: Vec<f32>, probabilities: Vec<f32>) {
        let largest = self.scores.iter().fold(0.0, |most: f32, score| most.max(score.abs()));
        let pairs = self.scores.iter().zip(&scores);
        let apart = pairs.fold(0.0, |most: f32, (here, there)| most.max((here - there).abs()));
        let error = if largest > 0.0 { apart / largest } else { apart };
        let here = [(&mut self.scores, scores), (&mut self.probabilities, probabilities)]
            .map(|(here, there)| mem::replace(here, there));
        let class = self.class_at(self.class.index);
        let best = self.top(1).pop().unwrap_or_else(|| class.clone());
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

    /// The explanation as JSON, without the maps' numbers: target, scores of the top classes, layers
    /// with the range of their raw maps, warnings, times in milliseconds.
    pub fn to_json(&self, top: usize) -> Value {
        let class = |class: &Class| {
            json!({
                "index": class.index, "label": class.label,
                "score": class.score, "probability": class.probability,
            })
        };
        let layer = |layer: &LayerMap| {
            let (min, max) = range(&layer.map);
            json!({
                "layer": layer.layer, "value": layer.value, "shape": layer.map.shape(),
                "raw_min": min, "raw_max": max,
            })
        };
        let target = match self.target {
            Target::Argmax => "argmax".to_owned(),
            Target::Class(class) => class.to_string(),
            Target::Difference(a, b) => format!("{a}-{b}"),
        };
        let ms = |time: Duration| (time.as_secs_f64() * 1e5).round() / 1e2;
        let warnings = self.warnings.iter().map(|w| json!({ "id": w.id, "text": w.text }));
        json!({
            "schema": 1,
            "method": self.method,
            "engine": self.engine,
            "target": target,
            "class": class(&self.class),
            "against": self.other.as_ref().map(class),
            "top": self.top(top).iter().map(class).collect::<Vec<_>>(),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "input_size": self.input_size,
            "deployed": self.deployed.as_ref().map(|deployed| json!({
                "best": class(&deployed.best), "class": class(&deployed.class), "error": deployed.error,
            })),
            "warnings": warnings.collect::<Vec<_>>(),
            "timings_ms": {
                "differentiate": ms(self.timings.differentiate),
                "compile": ms(self.timings.compile),
                "run": ms(self.timings.run),
            },
        })
    }
}

fn torn(error: &ShapeError) -> crate::Error {
    crate::Error::new(crate::ErrorKind::Layer, format!("the map has an impossible shape: {error}"))
}

/// The smallest and the largest entry; infinite for an empty map.
pub(crate) fn range(map: &ArrayD<f32>) -> (f32, f32) {
    map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), v| (lo.min(*v), hi.max(*v)))
}

/// What a user should know of a map and its weights.
pub(crate) fn map_warnings(map: &LayerMap) -> Vec<Warning> {
    let (min, max) = range(&map.map);
    let layer = &map.layer;
    let mut warnings = Vec::new();
    if map.weights.iter().all(|weight| *weight == 0.0) && min == 0.0 && max == 0.0 {
        let text = format!(
            "the score does not depend on layer \"{layer}\" here: its gradient is zero; choose another layer"
        );
        warnings.push(Warning::new("zero-gradient", text));
    } else if min == max {
        let text = format!("the map at layer \"{layer}\" has the same value everywhere");
        warnings.push(Warning::new("flat", text));
    } else if max <= 0.0 {
        let text = format!(
            "every value of the map at layer \"{layer}\" is negative: all of it speaks against the \
             target, and the heatmap is empty; the raw map has the values"
        );
        warnings.push(Warning::new("all-negative", text));
    }
    warnings
}

/// What a user should know of a gradient at the network's input.
pub(crate) fn gradient_warning(map: &LayerMap) -> Option<Warning> {
    let zero = map.map.iter().all(|value| *value == 0.0);
    let text = format!(
        "the score does not depend on the input \"{}\" here: its gradient is zero everywhere",
        map.layer
    );
    zero.then(|| Warning::new("zero-gradient", text))
}

/// Scores as [K] and their probabilities; a binary model's logit z becomes [−z, z].
pub(crate) fn scores_of(head: &Head, row: &[f32]) -> (Vec<f32>, Vec<f32>) {
    use crate::targets::Form;
    let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
    match (head.form, head.activation) {
        (Form::Binary, _) => {
            let z = row.first().copied().unwrap_or(f32::NAN);
            (vec![-z, z], vec![sigmoid(-z), sigmoid(z)])
        }
        (Form::Pixels(_), _) => (row.to_vec(), vec![]),
        (Form::Classes(_) | Form::Anchors(_), Some(Activation::Sigmoid)) => {
            (row.to_vec(), row.iter().map(|z| sigmoid(*z)).collect())
        }
        (Form::Classes(_) | Form::Anchors(_), _) => {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exp: Vec<f32> = row.iter().map(|z| (z - max).exp()).collect();
            let sum: f32 = exp.iter().sum();
            (row.to_vec(), exp.into_iter().map(|e| e / sum).collect())
        }
    }
}
