//! Emits targets as nodes: one scalar per image, from the scores.

use onnx_grad::{Dim, Result, builder::Builder, graph::ValueId, proto::tensor_proto::DataType};

use super::{
    Target,
    scores::{Form, Head},
};

/// The kinds of target that a graph is made for; the classes are inputs of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One class an image; −1 stands for the arg-max.
    Class,
    /// The difference of two classes.
    Difference,
}

impl Kind {
    /// The kind of a target.
    pub(crate) fn of(target: Target) -> Self {
        match target {
            Target::Argmax | Target::Class(_) => Self::Class,
            Target::Difference(..) => Self::Difference,
        }
    }
}

/// What a target made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emitted {
    /// The scalars that are differentiated, [N].
    pub(crate) target: ValueId,
    /// The score of every class, [N, K]; one logit, [N, 1], for a binary model.
    pub(crate) scores: ValueId,
    /// The class that is explained, [N], int64.
    pub(crate) class: ValueId,
    /// For segmentations: the number of pixels whose class it is, [N].
    pub(crate) pixels: Option<ValueId>,
}

/// The names of the inputs that say which classes are explained, [N], int64.
pub(crate) const CLASS_INPUT: &str = "gradcam.class";
/// The second class of a difference.
pub(crate) const OTHER_INPUT: &str = "gradcam.other";

/// Emits the target of a kind. The inputs of the graph must have been added before.
pub(crate) fn emit(
    b: &mut Builder<'_>,
    head: &Head,
    class: ValueId,
    other: Option<ValueId>,
) -> Result<Emitted> {
    let batch = b.shape(head.value)?[0];
    match head.form {
        Form::Classes(_) => {
            let width = b.shape(head.value)?[1];
            let scores = b.reshape(head.value, &[batch, width])?;
            let class = or_argmax(b, class, scores)?;
            let mut target = b.pick(scores, class)?;
            if let Some(other) = other {
                let less = b.pick(scores, other)?;
                target = b.sub(target, less)?;
            }
            Ok(Emitted { target, scores, class, pixels: None })
        }
        Form::Binary => {
            let scores = b.reshape(head.value, &[batch, Dim::Fixed(1)])?;
            let logit = b.reshape(head.value, &[batch])?;
            let positive = b.above(logit, 0.0)?;
            let class = chosen(b, class, positive)?;
            let mut target = signed(b, logit, class)?;
            if let Some(other) = other {
                let less = signed(b, logit, other)?;
                target = b.sub(target, less)?;
            }
            Ok(Emitted { target, scores, class, pixels: None })
        }
        Form::Pixels(_) => pixels(b, head.value, class, other),
        Form::Anchors(_) => anchors(b, head.value, class, other),
    }
}

/// `index` where it is not negative, else the first largest of `scores` [N, K].
fn or_argmax(b: &mut Builder<'_>, index: ValueId, scores: ValueId) -> Result<ValueId> {
    let first = first_largest(b, scores)?;
    let batch = b.shape(scores)?[0];
    let first = b.reshape(first, &[batch])?;
    chosen(b, index, first)
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

/// The place of the first largest entry along axis 1, as a float, with that axis at size 1.
///
/// Not ArgMax: engines differ on ties.
fn first_largest(b: &mut Builder<'_>, scores: ValueId) -> Result<ValueId> {
    let rank = b.rank(scores)?;
    let count = b.size(scores, 1)?;
    let largest = b.max(scores, &[1])?;
    let hit = b.equal(scores, largest, scores)?;
    let mut dims = vec![1; rank];
    dims[1] = count;
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let places: Vec<f64> = (0..count).map(|place| place as f64).collect();
    let places = b.floats(scores, &dims, &places)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let ahead = b.scale(hit, -(count as f64))?;
    let ranked = b.add(places, ahead)?;
    let first = b.min(ranked, &[1])?;
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let back = b.scalar(scores, count as f64)?;
    b.add(first, back)
}

/// The logit of class 1, its negative for class 0.
fn signed(b: &mut Builder<'_>, logit: ValueId, class: ValueId) -> Result<ValueId> {
    let elem = b.elem(logit);
    let class = b.cast(class, elem)?;
    let twice = b.scale(class, 2.0)?;
    let unit = b.scalar(logit, 1.0)?;
    let sign = b.sub(twice, unit)?;
    b.mul(logit, sign)
}

/// A segmentation [N, K, H, W]: Σ out[k]·[arg-max = k] with the mask held constant; over all pixels
/// where none is of class k. The arg-max of the image is its most frequent class.
fn pixels(
    b: &mut Builder<'_>,
    out: ValueId,
    class: ValueId,
    other: Option<ValueId>,
) -> Result<Emitted> {
    let shape = b.shape(out)?;
    let count = b.size(out, 1)?;
    let winner = first_largest(b, out)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let places: Vec<f64> = (0..count).map(|place| place as f64).collect();
    let places = b.floats(out, &[1, count, 1, 1], &places)?;
    let won = b.equal(winner, places, out)?;
    let frequency = b.sum(won, &[2, 3])?;
    let frequency = b.reshape(frequency, &shape[..2])?;
    let scores = b.sum(out, &[2, 3])?;
    let scores = b.reshape(scores, &shape[..2])?;
    let class = or_argmax(b, class, frequency)?;
    let (mut target, pixels) = masked(b, out, winner, class)?;
    if let Some(other) = other {
        let (less, _) = masked(b, out, winner, other)?;
        target = b.sub(target, less)?;
    }
    Ok(Emitted { target, scores, class, pixels: Some(pixels) })
}

/// A detector's scores [N, K, A]: the score of class k is that of its highest anchor, of equal ones the first.
fn anchors(
    b: &mut Builder<'_>,
    out: ValueId,
    class: ValueId,
    other: Option<ValueId>,
) -> Result<Emitted> {
    let shape = b.shape(out)?;
    let (classes, anchors) = (b.size(out, 1)?, b.size(out, 2)?);
    let scores = b.max(out, &[2])?;
    let scores = b.reshape(scores, &shape[..2])?;
    let class = or_argmax(b, class, scores)?;
    // float16 cannot count them.
    let places = b.transpose(out, &[0, 2, 1])?;
    let places = b.cast(places, DataType::Float)?;
    let places = first_largest(b, places)?;
    let places = b.reshape(places, &shape[..2])?;
    // A reshape to a wrong size would be refused.
    let flat = b.reshape(out, &[shape[0], Dim::Fixed(classes.saturating_mul(anchors))])?;
    let highest = |b: &mut Builder<'_>, class: ValueId| -> Result<ValueId> {
        let place = b.pick(places, class)?;
        let place = b.cast(place, DataType::Int64)?;
        let width = b.ints(&[1], &[anchors])?;
        let row = b.mul(class, width)?;
        let index = b.add(row, place)?;
        b.pick(flat, index)
    };
    let mut target = highest(b, class)?;
    if let Some(other) = other {
        let less = highest(b, other)?;
        target = b.sub(target, less)?;
    }
    Ok(Emitted { target, scores, class, pixels: None })
}

/// Σ out[n, class[n]]·mask and the number of pixels in the mask, each [N].
fn masked(
    b: &mut Builder<'_>,
    out: ValueId,
    winner: ValueId,
    class: ValueId,
) -> Result<(ValueId, ValueId)> {
    let shape = b.shape(out)?;
    let elem = b.elem(out);
    let column = b.reshape(class, &[shape[0], Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(1)])?;
    let column = b.cast(column, elem)?;
    let mask = b.equal(winner, column, out)?;
    let count = b.sum(mask, &[2, 3])?;
    // An empty mask becomes a full one: no division, no branch.
    let empty = b.below(count, 0.5)?;
    let mask = b.add(mask, empty)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let places: Vec<f64> = (0..b.size(out, 1)?).map(|place| place as f64).collect();
    let places = b.floats(out, &[1, b.size(out, 1)?, 1, 1], &places)?;
    let channel = b.equal(places, column, out)?;
    let selected = b.mul(mask, channel)?;
    let shown = b.mul(out, selected)?;
    let sum = b.sum(shown, &[1, 2, 3])?;
    Ok((b.reshape(sum, &shape[..1])?, b.reshape(count, &shape[..1])?))
}
