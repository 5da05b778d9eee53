//! Emits targets as nodes: one scalar per image, from the scores.

mod anchors;
mod best;
mod plain;
mod positions;
mod unrounded;

use onnx_grad::{Dim, Result, builder::Builder, graph::ValueId, proto::tensor_proto::DataType};

use super::TargetForm;
use crate::head::{Form, Head};

use anchors::AnchorValues;

/// A target to emit: its form, and the inputs that hold what it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetRequest {
    pub(crate) form: TargetForm,
    /// Its class, [N], int64; −1 is the arg-max.
    pub(crate) class: Option<ValueId>,
    /// Whether its class is never −1.
    pub(crate) is_class_known: bool,
    /// The second class of a difference, [N], int64.
    pub(crate) other: Option<ValueId>,
    /// Where it is: the anchor, [N], int64; or the weight of each pixel or time step; or the vector of a similarity, [N, K].
    pub(crate) place: Option<ValueId>,
    /// Whether the contrast of the class is emitted too.
    pub(crate) with_contrast: bool,
}

/// The values of a graph for scores and targets.
#[derive(Debug)]
pub(crate) struct HeadValues {
    /// The score of every class, [N, K]; one logit, [N, 1], for a binary model.
    pub(crate) scores: ValueId,
    /// The values of each target.
    pub(crate) targets: Vec<TargetValues>,
    /// Of a sequence: the class that wins each time step, [N, T], as floats.
    pub(crate) winners: Option<ValueId>,
    /// Of a detector: the scores and boxes of all anchors.
    pub(crate) anchors: Option<AnchorValues>,
}

/// The values of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetValues {
    /// The scalars that are differentiated, [N].
    pub(crate) target: ValueId,
    /// The class that is explained, [N], int64.
    pub(crate) class: ValueId,
    /// For segmentations and sequences: the number of pixels or time steps whose class it is, [N].
    pub(crate) pixels: Option<ValueId>,
    /// Of a detector: the anchor whose score it is, [N], int64.
    pub(crate) anchor: Option<ValueId>,
    /// Where it is asked for: the score of the class against those of the nearest classes, [N].
    pub(crate) contrast: Option<ValueId>,
}

/// The name of the input that holds the classes of a target, [N], int64.
pub(crate) fn class_input(target: usize) -> String {
    format!("gradcam.class.{target}")
}

/// The name of the input that holds the second classes of a difference, [N], int64.
pub(crate) fn other_input(target: usize) -> String {
    format!("gradcam.other.{target}")
}

/// The name of the input that says where a target is.
pub(crate) fn place_input(target: usize) -> String {
    format!("gradcam.place.{target}")
}

/// The score of a class, [N], and the number of positions that it is the sum of, or the anchor that it belongs to.
struct Score {
    score: ValueId,
    pixels: Option<ValueId>,
    anchor: Option<ValueId>,
}

impl Score {
    /// A score without positions.
    fn plain(score: ValueId) -> Self {
        Self { score, pixels: None, anchor: None }
    }
}

/// The scores of a head in a graph, as targets are made of them.
trait Scorer {
    /// The class of a target, [N], int64; for a difference the first one.
    fn class(&mut self, b: &mut Builder<'_>, asked: TargetRequest) -> Result<ValueId>;

    /// The score of a class, at a place if one is given.
    fn score(&self, b: &mut Builder<'_>, class: ValueId, place: Option<ValueId>) -> Result<Score>;

    /// The probability that follows from a score; `class` is that of the score. Sums over positions have none, and such
    /// targets are refused before.
    fn probability(&self, _: &mut Builder<'_>, score: ValueId, _class: ValueId) -> Result<ValueId> {
        Ok(score)
    }

    /// The score of a class against those of the classes whose scores are nearest to it. Scores at positions have none, and
    /// such targets are refused before.
    fn contrast(&self, _: &mut Builder<'_>, score: ValueId, _class: ValueId) -> Result<ValueId> {
        Ok(score)
    }
}

/// Emits targets; shared parts are emitted once. The inputs of the graph must exist.
pub(crate) fn emit(
    b: &mut Builder<'_>,
    head: &Head,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    match &head.form {
        Form::Classes(_) | Form::Sum(_) => plain::classes(b, head, asked),
        Form::Binary => plain::binary(b, head, asked),
        Form::Pixels(_) => positions::pixels(b, head.value, asked),
        Form::Mask => positions::mask(b, head.value, asked),
        Form::Steps { time_first, .. } => positions::steps(b, head, *time_first, asked),
        Form::Anchors(anchors) => anchors::anchors(b, head, anchors, asked),
    }
}

/// Emits each target by what a head says of the scores.
fn each(
    b: &mut Builder<'_>,
    asked: &[TargetRequest],
    scorer: &mut dyn Scorer,
) -> Result<Vec<TargetValues>> {
    let targets = asked.iter().map(|asked| {
        let class = scorer.class(b, *asked)?;
        let Score { score, pixels, anchor } = scorer.score(b, class, asked.place)?;
        let target = match (asked.form, asked.other) {
            (TargetForm::Difference, Some(other)) => {
                let less = scorer.score(b, other, asked.place)?;
                b.sub(score, less.score)?
            }
            (TargetForm::Negative, _) => b.neg(score)?,
            (TargetForm::Probability, _) => scorer.probability(b, score, class)?,
            _ => score,
        };
        let contrast = match asked.with_contrast {
            true => Some(scorer.contrast(b, score, class)?),
            false => None,
        };
        Ok(TargetValues { target, class, pixels, anchor, contrast })
    });
    targets.collect()
}

/// `index` [N] where it is not negative, else `fallback` [N], whole numbers written as floats.
fn chosen(b: &mut Builder<'_>, index: ValueId, fallback: ValueId) -> Result<ValueId> {
    let elem = b.elem(fallback);
    let given = b.cast(index, elem)?;
    let open = b.below(given, 0.0)?;
    let apart = b.sub(fallback, given)?;
    let filled = b.mul(open, apart)?;
    let class = b.add(given, filled)?;
    b.cast(class, DataType::Int64)
}

/// 1 / (1 + e^−z), without an exponential that overflows.
fn sigmoid(b: &mut Builder<'_>, z: ValueId) -> Result<ValueId> {
    let half = b.scale(z, 0.5)?;
    let bent = b.tanh(half)?;
    let small = b.scale(bent, 0.5)?;
    let middle = b.scalar(z, 0.5)?;
    b.add(small, middle)
}

/// The shape [N] of a value whose first axis is the images.
fn images(b: &Builder<'_>, value: ValueId) -> Result<Vec<Dim>> {
    Ok(b.shape(value)?.into_iter().take(1).collect())
}
