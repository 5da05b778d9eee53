//! Emits targets as nodes: one scalar per image, from the scores.

use onnx_grad::{Dim, Result, builder::Builder, graph::ValueId, proto::tensor_proto::DataType};

use super::{
    Target,
    scores::{Form, Head},
};

/// The kind of a target. A graph is made for kinds; the classes are its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TargetKind {
    /// One class for each image; −1 is the arg-max.
    Class,
    /// The difference of two classes.
    Difference,
    /// The class at this rank (1 is the second best). It has no input.
    Rank(usize),
}

impl TargetKind {
    /// The kind of a target.
    pub(crate) fn of(target: Target) -> Self {
        match target {
            Target::Argmax | Target::Class(_) => Self::Class,
            Target::Difference(..) => Self::Difference,
        }
    }
}

/// A target to emit: its kind, and the inputs that hold its classes, [N], int64.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetRequest {
    /// One class for each image.
    Class(ValueId),
    /// The difference of two classes.
    Difference(ValueId, ValueId),
    /// The class at a rank.
    Rank(usize),
}

/// The values of a graph for scores and targets.
#[derive(Debug)]
pub(crate) struct HeadValues {
    /// The score of every class, [N, K]; one logit, [N, 1], for a binary model.
    pub(crate) scores: ValueId,
    /// The values of each target.
    pub(crate) targets: Vec<TargetValues>,
}

/// The values of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetValues {
    /// The scalars that are differentiated, [N].
    pub(crate) target: ValueId,
    /// The class that is explained, [N], int64.
    pub(crate) class: ValueId,
    /// For segmentations: the number of pixels whose class it is, [N].
    pub(crate) pixels: Option<ValueId>,
}

/// The name of the input that holds the classes of a target, [N], int64.
pub(crate) fn class_input(target: usize) -> String {
    format!("gradcam.class.{target}")
}

/// The name of the input that holds the second classes of a difference, [N], int64.
pub(crate) fn other_input(target: usize) -> String {
    format!("gradcam.other.{target}")
}

/// Emits targets; shared parts are emitted once. The inputs of the graph must exist.
pub(crate) fn emit(
    b: &mut Builder<'_>,
    head: &Head,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    let batch = b.shape(head.value)?[0];
    match head.form {
        Form::Classes(_) => {
            let width = b.shape(head.value)?[1];
            let scores = b.reshape(head.value, &[batch, width])?;
            let mut best = Best::of(scores, scores);
            each(asked, scores, |asked| {
                let class = best.class(b, asked)?;
                let mut target = b.pick(scores, class)?;
                if let TargetRequest::Difference(_, other) = asked {
                    let less = b.pick(scores, other)?;
                    target = b.sub(target, less)?;
                }
                Ok(TargetValues { target, class, pixels: None })
            })
        }
        Form::Binary => {
            let scores = b.reshape(head.value, &[batch, Dim::Fixed(1)])?;
            let logit = b.reshape(head.value, &[batch])?;
            let positive = b.above(logit, 0.0)?;
            each(asked, scores, |asked| {
                let class = match asked {
                    TargetRequest::Class(class) | TargetRequest::Difference(class, _) => {
                        chosen(b, class, positive)?
                    }
                    // A binary model has two classes.
                    TargetRequest::Rank(_) => {
                        let unit = b.scalar(positive, 1.0)?;
                        let other = b.sub(unit, positive)?;
                        b.cast(other, DataType::Int64)?
                    }
                };
                let mut target = signed(b, logit, class)?;
                if let TargetRequest::Difference(_, other) = asked {
                    let less = signed(b, logit, other)?;
                    target = b.sub(target, less)?;
                }
                Ok(TargetValues { target, class, pixels: None })
            })
        }
        Form::Pixels(_) => pixels(b, head.value, asked),
        Form::Anchors(_) => anchors(b, head.value, asked),
    }
}

fn each(
    asked: &[TargetRequest],
    scores: ValueId,
    emit: impl FnMut(TargetRequest) -> Result<TargetValues>,
) -> Result<HeadValues> {
    let targets = asked.iter().copied().map(emit).collect::<Result<_>>()?;
    Ok(HeadValues { scores, targets })
}

/// The best classes of each image, emitted as far as they are needed.
struct Best {
    /// The values whose arg-max is a class, [N, K].
    votes: ValueId,
    argmax: Option<ValueId>,
    /// These values without the classes found so far, [N, K] in float32.
    left: ValueId,
    /// The classes by score, [N, 1] as floats.
    found: Vec<ValueId>,
}

impl Best {
    fn of(votes: ValueId, scores: ValueId) -> Self {
        Self { votes, argmax: None, left: scores, found: Vec::new() }
    }

    /// The class of a target, [N], int64; for a difference the first one.
    fn class(&mut self, b: &mut Builder<'_>, asked: TargetRequest) -> Result<ValueId> {
        let batch = b.shape(self.votes)?[0];
        match asked {
            TargetRequest::Class(class) | TargetRequest::Difference(class, _) => {
                let argmax = match self.argmax {
                    Some(argmax) => argmax,
                    None => {
                        let first = first_largest(b, self.votes)?;
                        b.reshape(first, &[batch])?
                    }
                };
                self.argmax = Some(argmax);
                chosen(b, class, argmax)
            }
            TargetRequest::Rank(rank) => {
                while self.found.len() <= rank {
                    self.find(b)?;
                }
                let class = b.reshape(self.found[rank], &[batch])?;
                b.cast(class, DataType::Int64)
            }
        }
    }

    /// Finds the next class. TopK would break ties in any order.
    fn find(&mut self, b: &mut Builder<'_>) -> Result<()> {
        self.left = b.cast(self.left, DataType::Float)?;
        if let Some(last) = self.found.last() {
            let count = b.size(self.left, 1)?;
            let places = places(b, self.left, &[1, count])?;
            let taken = b.equal(places, *last, self.left)?;
            let below_all = b.scale(taken, f64::from(f32::MIN) / 2.0)?;
            self.left = b.add(self.left, below_all)?;
        }
        self.found.push(first_largest(b, self.left)?);
        Ok(())
    }
}

/// 0, 1, 2, … along the one axis of `dims` that is not 1, in the type of `like`.
fn places(b: &mut Builder<'_>, like: ValueId, dims: &[i64]) -> Result<ValueId> {
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let places: Vec<f64> = (0..dims.iter().product()).map(|place: i64| place as f64).collect();
    b.floats(like, dims, &places)
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
    let places = places(b, scores, &dims)?;
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

/// A segmentation [N, K, H, W]: Σ out[k]·[arg-max = k] with the mask held constant; over all pixels where no pixel is of
/// class k. The arg-max of an image is its most frequent class.
fn pixels(b: &mut Builder<'_>, out: ValueId, asked: &[TargetRequest]) -> Result<HeadValues> {
    let shape = b.shape(out)?;
    let winner = first_largest(b, out)?;
    let places = places(b, out, &[1, b.size(out, 1)?, 1, 1])?;
    let won = b.equal(winner, places, out)?;
    let frequency = b.sum(won, &[2, 3])?;
    let frequency = b.reshape(frequency, &shape[..2])?;
    let scores = b.sum(out, &[2, 3])?;
    let scores = b.reshape(scores, &shape[..2])?;
    let mut best = Best::of(frequency, scores);
    each(asked, scores, |asked| {
        let class = best.class(b, asked)?;
        let (mut target, pixels) = masked(b, out, winner, class)?;
        if let TargetRequest::Difference(_, other) = asked {
            let (less, _) = masked(b, out, winner, other)?;
            target = b.sub(target, less)?;
        }
        Ok(TargetValues { target, class, pixels: Some(pixels) })
    })
}

/// A detector's scores [N, K, A]: the score of class k is that of its highest anchor, the first of equal ones.
fn anchors(b: &mut Builder<'_>, out: ValueId, asked: &[TargetRequest]) -> Result<HeadValues> {
    let shape = b.shape(out)?;
    let (classes, anchors) = (b.size(out, 1)?, b.size(out, 2)?);
    let scores = b.max(out, &[2])?;
    let scores = b.reshape(scores, &shape[..2])?;
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
    let mut best = Best::of(scores, scores);
    each(asked, scores, |asked| {
        let class = best.class(b, asked)?;
        let mut target = highest(b, class)?;
        if let TargetRequest::Difference(_, other) = asked {
            let less = highest(b, other)?;
            target = b.sub(target, less)?;
        }
        Ok(TargetValues { target, class, pixels: None })
    })
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
    let places = places(b, out, &[1, b.size(out, 1)?, 1, 1])?;
    let channel = b.equal(places, column, out)?;
    let selected = b.mul(mask, channel)?;
    let shown = b.mul(out, selected)?;
    let sum = b.sum(shown, &[1, 2, 3])?;
    Ok((b.reshape(sum, &shape[..1])?, b.reshape(count, &shape[..1])?))
}
