//! A detector's scores: the score of a class is that of one anchor.

use onnx_grad::{Dim, Result, builder::Builder, graph::ValueId, proto::tensor_proto::DataType};

use super::{
    HeadValues, Score, Scorer, TargetRequest,
    best::{Best, first_largest},
    each, sigmoid,
    unrounded::unrounded,
};
use crate::head::{Anchors, Head, Scale};

/// The scores and boxes of all anchors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnchorValues {
    /// The scores of classes, [N, K, A].
    pub(crate) scores: ValueId,
    /// The four numbers of each box, [N, 4, A].
    pub(crate) boxes: Option<ValueId>,
}

/// The scores of classes at anchors, [N, K, A].
struct AtAnchors {
    /// As [N, K·A].
    flat: ValueId,
    /// The anchor with the highest score of each class, [N, K], as floats.
    highest: ValueId,
    count: i64,
    best: Best,
    scale: Scale,
}

impl Scorer for AtAnchors {
    fn class(&mut self, b: &mut Builder<'_>, asked: TargetRequest) -> Result<ValueId> {
        self.best.class(b, asked)
    }

    /// The score of the class at an anchor: the given one, else the highest of this class, the first of equal ones.
    fn score(&self, b: &mut Builder<'_>, class: ValueId, place: Option<ValueId>) -> Result<Score> {
        let place = match place {
            Some(anchor) => anchor,
            None => {
                let place = b.pick(self.highest, class)?;
                b.cast(place, DataType::Int64)?
            }
        };
        let width = b.ints(&[1], &[self.count])?;
        let row = b.mul(class, width)?;
        let index = b.add(row, place)?;
        Ok(Score { score: b.pick(self.flat, index)?, pixels: None, anchor: Some(place) })
    }

    fn probability(&self, b: &mut Builder<'_>, score: ValueId, _: ValueId) -> Result<ValueId> {
        if self.scale == Scale::Sigmoid { sigmoid(b, score) } else { Ok(score) }
    }
}

pub(super) fn anchors(
    b: &mut Builder<'_>,
    head: &Head,
    anchors: &Anchors,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    let value = unrounded(b, head.value)?;
    let out = of_classes(b, value, anchors)?;
    let shape = b.shape(out)?;
    let (classes, count) = (b.size(out, 1)?, b.size(out, 2)?);
    let scores = b.max(out, &[2])?;
    let scores = b.reshape(scores, &shape[..2])?;
    // Boxes are ranked by probabilities. Those of a softmax depend on the other classes of an anchor.
    let (ranked, best) = match head.scale {
        Scale::Softmax => {
            let ranked = softmax(b, out)?;
            let best = b.max(ranked, &[2])?;
            (ranked, b.reshape(best, &shape[..2])?)
        }
        _ => (out, scores),
    };
    // float16 cannot count them.
    let places = b.transpose(ranked, &[0, 2, 1])?;
    let places = b.cast(places, DataType::Float)?;
    let places = first_largest(b, places)?;
    let highest = b.reshape(places, &shape[..2])?;
    // A reshape to a wrong size would be refused.
    let flat = b.reshape(out, &[shape[0], Dim::Fixed(classes.saturating_mul(count))])?;
    let votes = match anchors.background {
        Some(background) => {
            let numbers: Vec<f64> = (0..classes)
                .map(|class| if usize::try_from(class) == Ok(background) { -1e30 } else { 0.0 })
                .collect();
            // float16 has no such number.
            let best = b.cast(best, DataType::Float)?;
            let below_all = b.floats(best, &[1, classes], &numbers)?;
            b.add(best, below_all)?
        }
        None => best,
    };
    let best = Best::of(votes, votes);
    let mut scorer = AtAnchors { flat, highest, count, best, scale: head.scale };
    let targets = each(b, asked, &mut scorer)?;
    let boxes = anchors.boxes.map(|boxes| {
        let corners = b.slice(boxes.value, boxes.axis, 0, 4, 1)?;
        if boxes.axis == 1 { Ok(corners) } else { b.transpose(corners, &[0, 2, 1]) }
    });
    let anchors = AnchorValues { scores: out, boxes: boxes.transpose()? };
    Ok(HeadValues { scores, targets, winners: None, anchors: Some(anchors) })
}

/// The softmax over the classes of each anchor, [N, K, A].
fn softmax(b: &mut Builder<'_>, scores: ValueId) -> Result<ValueId> {
    let largest = b.max(scores, &[1])?;
    let below = b.sub(scores, largest)?;
    let powers = b.exp(below)?;
    let all = b.sum(powers, &[1])?;
    b.div(powers, all)
}

/// The scores of classes, [N, K, A], multiplied by the score that anything is there, where there is one.
fn of_classes(b: &mut Builder<'_>, value: ValueId, anchors: &Anchors) -> Result<ValueId> {
    let number = |place: usize| i64::try_from(place).unwrap_or(i64::MAX);
    let axis = anchors.class_axis;
    let mut out = b.slice(value, axis, number(anchors.first), number(anchors.classes), 1)?;
    if let Some(place) = anchors.objectness.map(number) {
        let there = b.slice(value, axis, place, 1, 1)?;
        out = b.mul(out, there)?;
    }
    if axis == 1 { Ok(out) } else { b.transpose(out, &[0, 2, 1]) }
}
