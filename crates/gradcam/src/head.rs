//! The head: the value of a model that holds its scores, what the scores are, and why.

mod activation;
mod detector;
mod index;
mod output;

use std::{fmt, str::FromStr, sync::Arc};

use onnx_grad::{
    Dim,
    graph::{Graph, ValueId},
};
use serde::Serialize;

use crate::{
    Error, ErrorKind, Result,
    error::bail,
    layer::{Grid, ScoreValue, Spread, Views},
};

use activation::{Ending, ending};
pub(crate) use detector::{Anchors, Corners, grids};
pub(crate) use index::{Part, Selection};
use output::outputs_of;

/// What the scores of a model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HeadKind {
    /// One class is right: the probabilities of all add up to 1.
    Softmax,
    /// Each class is a label of its own, with a probability of its own.
    Sigmoid,
    /// Two classes by one number, the logit of class 1.
    Binary,
    /// Values without a probability.
    Regression,
    /// The scores of classes at each pixel, or of one class against the background.
    Segmentation,
    /// The scores of classes at each anchor, with boxes.
    Detection,
    /// The scores of classes at each time step.
    Sequence,
    /// A vector that is compared with others.
    Embedding,
}

impl HeadKind {
    /// Every kind, with its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("softmax", Self::Softmax),
        ("sigmoid", Self::Sigmoid),
        ("binary", Self::Binary),
        ("regression", Self::Regression),
        ("segmentation", Self::Segmentation),
        ("detection", Self::Detection),
        ("sequence", Self::Sequence),
        ("embedding", Self::Embedding),
    ];

    /// Whether a target is a small part of the image: a box, or a time step.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Detection | Self::Sequence)
    }

    /// Whether it has classes, of which one can be the largest.
    pub(crate) fn has_best(self) -> bool {
        self != Self::Embedding
    }
}

impl fmt::Display for HeadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for HeadKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        let names = || Self::ALL.map(|(name, _)| name).join(", ");
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            Error::new(
                ErrorKind::Target,
                format!("\"{text}\" is no kind of scores; there are: {}", names()),
            )
        })
    }
}

/// What the scores of a model are, where they are, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeadInfo {
    /// The kind.
    pub kind: HeadKind,
    /// The reason for the kind.
    pub why: String,
    /// The output of the model that the scores belong to, or the value that the user named.
    pub output: String,
    /// The reason for the output.
    pub output_why: String,
    /// Whether the output was chosen among several.
    #[serde(skip)]
    pub is_chosen: bool,
}

/// What is known of a head beside the graph.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeadSettings {
    /// The kind that the user names.
    pub(crate) kind: Option<HeadKind>,
    /// The output or value that the user names, with an index.
    pub(crate) output: Option<Selection>,
    /// The kind that a file beside the model or its metadata name, and which.
    pub(crate) task: Option<(HeadKind, String)>,
    /// The number of labels, where there are some.
    pub(crate) labels: Option<usize>,
    /// Whether PyTorch wrote the file. It gives NonMaxSuppression its boxes x first, and not y first as the standard has them.
    pub(crate) is_of_pytorch: bool,
    /// The class that stands for nothing, where a label says so: the background, or the blank of a sequence.
    pub(crate) background: Option<usize>,
}

/// The scores of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    /// The value that is differentiated: the logits, where they are known.
    pub(crate) value: ValueId,
    /// The form of the scores in it.
    pub(crate) form: Form,
    /// How probabilities follow from the scores.
    pub(crate) scale: Scale,
    /// The operator that makes probabilities of the value at the end of the model, if one does.
    pub(crate) operator: Option<&'static str>,
    /// The class of a sequence that stands between two others.
    pub(crate) blank: Option<usize>,
    /// The logits of time steps or crops, of whose probabilities the value is the mean.
    pub(crate) under_mean: Option<ValueId>,
    pub(crate) info: Arc<HeadInfo>,
}

impl Head {
    /// The head of a graph whose batch is a number: there the axis of the images looks like that of time.
    pub(crate) fn with_axes_of(mut self, open: &Self) -> Self {
        if matches!(self.form, Form::Steps { .. }) {
            self.form.clone_from(&open.form);
        }
        self
    }

    /// The scores as the search for layers sees them.
    pub(crate) fn score_value(&self) -> ScoreValue {
        ScoreValue {
            value: self.under_mean.unwrap_or(self.value),
            anchors: match &self.form {
                Form::Anchors(anchors) => {
                    Some((anchors.count, anchors.boxes.map(|boxes| boxes.value)))
                }
                _ => None,
            },
            is_map: self.under_mean.is_some()
                || matches!(self.form, Form::Pixels(_) | Form::Mask | Form::Steps { .. }),
        }
    }
}

/// The form of scores in their value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One score for each class: [N, K], or [N, K, 1, …]. A single value may be [N].
    Classes(usize),
    /// One logit, of class 1; that of class 0 is its negative: [N], [N, 1], or [N, 1, 1, …].
    Binary,
    /// Scores of each class at each pixel: [N, K, H, W].
    Pixels(usize),
    /// The score of one class against the background at each pixel: [N, 1, H, W] or [N, H, W].
    Mask,
    /// Scores of each class at each anchor of a detector.
    Anchors(Anchors),
    /// Scores of each class at each time step.
    Steps {
        /// The number of classes.
        classes: usize,
        /// Whether the time is the first axis, and the images are the second.
        time_first: bool,
    },
    /// The sum of a part of the value, for each image.
    Sum(Selection),
}

impl Form {
    /// Whether the score of a class is an affine function of the value.
    pub(crate) fn is_affine(&self) -> bool {
        matches!(self, Self::Classes(_) | Self::Binary)
    }

    /// Whether the scores are those of pixels, as many as the image has or a share of them.
    pub(crate) fn is_dense(&self) -> bool {
        matches!(self, Self::Pixels(_) | Self::Mask)
    }

    /// The number of classes.
    pub(crate) fn classes(&self) -> usize {
        match self {
            Self::Classes(classes) | Self::Pixels(classes) | Self::Steps { classes, .. } => {
                *classes
            }
            Self::Anchors(anchors) => anchors.classes,
            Self::Binary => 2,
            Self::Mask | Self::Sum(_) => 1,
        }
    }
}

/// How probabilities follow from scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// By softmax: the operator is in the model, or it is the usual reading of logits.
    Softmax,
    /// By the sigmoid of each.
    Sigmoid,
    /// The scores are probabilities.
    Probabilities,
    /// They have none.
    Values,
}

/// Finds the scores of a model. Where Softmax, LogSoftmax or Sigmoid makes them, they are the logits under it; where a
/// quantized output ends the model, the scores before.
pub(crate) fn head(graph: &Graph, settings: &HeadSettings) -> Result<Head> {
    let output = output::choose(graph, settings)?;
    let ending = ending(graph, output.value);
    let under_mean = ending.under_mean;
    let finder = Finder { graph, settings, output: output.value, ending };
    let found = match output.selection {
        Some(selection) => finder.selected(selection),
        None => finder.found()?,
    };
    let info = Arc::new(HeadInfo {
        kind: found.kind,
        why: found.why,
        output: output.name,
        output_why: output.why.to_owned(),
        is_chosen: output.is_chosen,
    });
    // Labels of sounds are several at once, and none is a blank. Most recognizers of text have the blank first.
    let blank = match found.form {
        Form::Steps { .. } if found.operator != Some("Sigmoid") => {
            Some(settings.background.unwrap_or(0))
        }
        _ => None,
    };
    let Found { value, form, scale, operator, .. } = found;
    let under_mean = under_mean.filter(|_| scale == Scale::Probabilities);
    Ok(Head { value, form, scale, operator, blank, under_mean, info })
}

/// The scores as a search finds them.
struct Found {
    value: ValueId,
    form: Form,
    scale: Scale,
    operator: Option<&'static str>,
    kind: HeadKind,
    why: String,
}

/// The search for the scores in one output.
struct Finder<'a> {
    graph: &'a Graph,
    settings: &'a HeadSettings,
    output: ValueId,
    ending: Ending,
}

impl Finder<'_> {
    /// The part of a value that the user names, summed.
    fn selected(&self, selection: Selection) -> Found {
        Found {
            value: self.output,
            form: Form::Sum(selection),
            scale: Scale::Values,
            operator: None,
            kind: HeadKind::Regression,
            why: "the user names a part of a value, and its sum is explained".to_owned(),
        }
    }

    fn found(&self) -> Result<Found> {
        let (kind, why) = match (self.settings.kind, &self.settings.task) {
            (Some(kind), _) => (Some(kind), "the user says so".to_owned()),
            (None, Some((kind, source))) => (Some(*kind), format!("{source} says so")),
            (None, None) => (None, String::new()),
        };
        let by_user = self.settings.kind.is_some();
        let detector = match kind {
            None | Some(HeadKind::Detection) => {
                detector::find(self.graph, self.output, self.settings)
            }
            Some(_) => None,
        };
        if let Some(detector) = detector {
            let why = if kind.is_some() { why } else { detector.why.to_owned() };
            return Ok(Found {
                value: detector.value,
                form: Form::Anchors(detector.anchors),
                scale: detector.scale,
                operator: detector.operator,
                kind: HeadKind::Detection,
                why,
            });
        }
        let shape = self.shape(self.ending.value)?;
        let usual = self.usual(&shape);
        let Some(usual) = usual else { return self.refuse(&shape, None) };
        let Some(kind) = kind else { return Ok(usual) };
        match self.as_kind(kind, &shape) {
            Some(found) => Ok(Found { why, ..found }),
            None if by_user => self.refuse(&shape, Some(kind)),
            // What a file says need not fit the output that is explained.
            None => Ok(usual),
        }
    }

    /// The shape of a value, images included.
    fn shape(&self, value: ValueId) -> Result<Vec<Dim>> {
        match &self.graph.fact(value).shape {
            Some(shape) => Ok(shape.to_vec()),
            None => {
                let name = self.graph.name(value);
                bail!(Target, GiveSize; "the shape of the scores \"{name}\" is not known for inputs of this size")
            }
        }
    }

    /// What the scores are by the graph alone.
    fn usual(&self, shape: &[Dim]) -> Option<Found> {
        let kind = match Extent::of(self.graph, self.ending.value, shape)? {
            Extent::One => match (self.ending.activation, self.settings.labels) {
                (Some(_), _) | (None, Some(2)) => HeadKind::Binary,
                (None, _) => HeadKind::Regression,
            },
            Extent::Classes(_) if self.ending.is_unit || self.is_called_embedding() => {
                HeadKind::Embedding
            }
            Extent::Classes(_) => match self.ending.activation {
                Some(Scale::Sigmoid) => HeadKind::Sigmoid,
                _ => HeadKind::Softmax,
            },
            Extent::Pixels(_) | Extent::Plane => HeadKind::Segmentation,
            Extent::Steps { .. } => HeadKind::Sequence,
        };
        let mut found = self.as_kind(kind, shape)?;
        found.why = self.reason(kind);
        Some(found)
    }

    /// The reason for a kind that the graph shows.
    fn reason(&self, kind: HeadKind) -> String {
        let op = self.ending.operator;
        match (kind, op) {
            (HeadKind::Softmax | HeadKind::Sigmoid | HeadKind::Binary, Some(op)) => {
                format!("{op} ends the model")
            }
            (HeadKind::Softmax, None) => {
                "one number for each class and no activation at the end: logits, as classifiers are trained".to_owned()
            }
            (HeadKind::Binary, None) => "one number and two labels".to_owned(),
            (HeadKind::Regression, _) => "one number without a Sigmoid is a value".to_owned(),
            (HeadKind::Embedding, _) if self.ending.is_unit => "the vector is normalized to length 1".to_owned(),
            (HeadKind::Embedding, _) => "the output is called so, and there are no labels".to_owned(),
            (HeadKind::Segmentation, _) => "the output has two axes of pixels".to_owned(),
            (HeadKind::Sequence, _) => "the output has an axis of time steps".to_owned(),
            (HeadKind::Sigmoid | HeadKind::Detection, _) => String::new(),
        }
    }

    fn is_called_embedding(&self) -> bool {
        let name = self.graph.name(self.output).to_ascii_lowercase();
        self.settings.labels.is_none() && self.ending.activation.is_none() && name.contains("embed")
    }

    /// The scores read as a kind, where their shape allows it.
    fn as_kind(&self, kind: HeadKind, shape: &[Dim]) -> Option<Found> {
        let extent = Extent::of(self.graph, self.ending.value, shape)?;
        let under = self.ending.value;
        // The activation of the model decides; without one, the kind says how probabilities follow.
        let scale = |without: Scale| match self.ending.under_mean.is_some() {
            true => Scale::Probabilities,
            false => self.ending.activation.unwrap_or(without),
        };
        let (value, form, scale) = match (kind, extent) {
            (HeadKind::Softmax, Extent::Classes(k)) => {
                (under, Form::Classes(k), scale(Scale::Softmax))
            }
            (HeadKind::Sigmoid, Extent::Classes(k)) => {
                (under, Form::Classes(k), scale(Scale::Sigmoid))
            }
            (HeadKind::Sigmoid, Extent::One) | (HeadKind::Binary, Extent::One) => {
                (under, Form::Binary, scale(Scale::Sigmoid))
            }
            // A regressor's last activation bounds its value and belongs to it.
            (HeadKind::Regression, Extent::One) => (self.output, Form::Classes(1), Scale::Values),
            (HeadKind::Regression, Extent::Classes(k)) => {
                (self.output, Form::Classes(k), Scale::Values)
            }
            (HeadKind::Regression, Extent::Plane | Extent::Pixels(_) | Extent::Steps { .. }) => {
                (self.output, Form::Sum(Selection::whole(shape.len())), Scale::Values)
            }
            (HeadKind::Embedding, Extent::Classes(k)) => {
                (self.output, Form::Classes(k), Scale::Values)
            }
            (HeadKind::Segmentation, Extent::Pixels(k)) => (under, Form::Pixels(k), Scale::Values),
            (HeadKind::Segmentation, Extent::Plane) => (under, Form::Mask, Scale::Values),
            (HeadKind::Sequence, Extent::Steps { classes, time_first }) => {
                (under, Form::Steps { classes, time_first }, Scale::Values)
            }
            _ => return None,
        };
        let operator = self.ending.operator.filter(|_| value == under);
        Some(Found { value, form, scale, operator, kind, why: String::new() })
    }

    fn refuse(&self, shape: &[Dim], kind: Option<HeadKind>) -> Result<Found> {
        let shown = shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        let name = self.graph.name(self.output);
        let message = match kind {
            Some(kind) => format!(
                "the output \"{name}\" of shape [{shown}] cannot be read as {kind}: {}",
                match kind {
                    HeadKind::Softmax | HeadKind::Sigmoid | HeadKind::Embedding => "that is [N, K]",
                    HeadKind::Binary => "that is one number for each image, [N] or [N, 1]",
                    HeadKind::Regression => "that is [N], [N, K] or a map",
                    HeadKind::Segmentation => "that is [N, K, H, W], [N, 1, H, W] or [N, H, W]",
                    HeadKind::Detection =>
                        "that is boxes and scores of anchors, such as [N, 4 + K, anchors], or two outputs",
                    HeadKind::Sequence => "that is [N, T, K] or [T, N, K]",
                }
            ),
            None => format!(
                "the output \"{name}\" has shape [{shown}]; scores are [N], [N, K], [N, K, H, W], [N, T, K] for time \
                 steps, or boxes and scores of anchors, such as [N, 4 + K, anchors]"
            ),
        };
        match self.graph.outputs().len() {
            0 | 1 => bail!(Target, "{message}"),
            _ => bail!(Target, NameOutput; "{message}; the model has: {}", outputs_of(self.graph)),
        }
    }
}

/// The extent of scores, by their shape.
enum Extent {
    One,
    Classes(usize),
    Pixels(usize),
    /// One number for each pixel.
    Plane,
    Steps {
        classes: usize,
        time_first: bool,
    },
}

impl Extent {
    fn of(graph: &Graph, value: ValueId, shape: &[Dim]) -> Option<Self> {
        let count = |dim: &Dim| dim.fixed().and_then(|size| usize::try_from(size).ok());
        let flat = |dims: &[Dim]| dims.iter().all(|dim| *dim == Dim::Fixed(1));
        match shape {
            [_] => Some(Self::One),
            [_, Dim::Fixed(1), rest @ ..] if flat(rest) => Some(Self::One),
            [_, dim, rest @ ..] if flat(rest) => count(dim).map(Self::Classes),
            [_, Dim::Fixed(1), _, _] => Some(Self::Plane),
            [_, dim, _, _] => count(dim).map(Self::Pixels),
            [first, second, last] => {
                let spread = Views::new(graph, None, Grid::default()).spread(value);
                if spread == Some(Spread::Plane) {
                    return Some(Self::Plane);
                }
                let is_batch = |dim: &Dim| matches!(dim, Dim::Batch(_) | Dim::Fixed(1));
                let time_first = is_batch(second) && !is_batch(first);
                Some(Self::Steps { classes: count(last)?, time_first })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
