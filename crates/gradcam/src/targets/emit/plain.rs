//! Scores without positions: one number for each class, and the logit of a binary model.

use onnx_grad::{Dim, Result, builder::Builder, graph::ValueId, proto::tensor_proto::DataType};

use super::{
    HeadValues, Score, Scorer, TargetForm, TargetRequest, TargetValues, best::Best, each, images,
    sigmoid,
};
use crate::head::{Form, Head, Part, Scale, Selection};

/// The classes that a contrast compares a class with.
const RIVALS: i64 = 3;

/// One score for each class.
struct Classes {
    scores: ValueId,
    best: Best,
    scale: Scale,
}

impl Scorer for Classes {
    fn class(&mut self, b: &mut Builder<'_>, asked: TargetRequest) -> Result<ValueId> {
        self.best.class(b, asked)
    }

    fn score(&self, b: &mut Builder<'_>, class: ValueId, _: Option<ValueId>) -> Result<Score> {
        Ok(Score::plain(b.pick(self.scores, class)?))
    }

    fn probability(&self, b: &mut Builder<'_>, score: ValueId, class: ValueId) -> Result<ValueId> {
        match self.scale {
            Scale::Softmax => {
                let (powers, all) = self.powers(b)?;
                let one = b.pick(powers, class)?;
                b.div(one, all)
            }
            Scale::Sigmoid => sigmoid(b, score),
            Scale::Probabilities | Scale::Values => Ok(score),
        }
    }

    /// Σ_i p_i·(z_c − z_i) / (Σ_i p_i + 1e-9), i the classes whose scores are nearest to z_c, p the softmax of the scores.
    /// Zhang et al. 2025, with α = 1, in the form of pytorch-grad-cam.
    fn contrast(&self, b: &mut Builder<'_>, score: ValueId, class: ValueId) -> Result<ValueId> {
        let batch = images(b, self.scores)?;
        let column = [batch[0], Dim::Fixed(1)];
        let own = b.reshape(score, &column)?;
        let above = b.sub(self.scores, own)?;
        let below = b.neg(above)?;
        let apart = b.maximum(above, below)?;
        let nearness = b.neg(apart)?;
        let elem = b.elem(self.scores);
        let first = b.cast(class, elem)?;
        let first = b.reshape(first, &column)?;
        let mut nearest = Best::behind(first, nearness);
        let (powers, all) = self.powers(b)?;
        let (mut sum, mut weight) = (b.scalar(score, 0.0)?, b.scalar(score, 1e-9)?);
        for _ in 0..RIVALS.min(b.size(self.scores, 1)? - 1) {
            let rival = nearest.next(b)?;
            let power = b.pick(powers, rival)?;
            let probability = b.div(power, all)?;
            let rival = b.pick(self.scores, rival)?;
            let ahead = b.sub(score, rival)?;
            let term = b.mul(probability, ahead)?;
            sum = b.add(sum, term)?;
            weight = b.add(weight, probability)?;
        }
        b.div(sum, weight)
    }
}

impl Classes {
    /// The powers of e below a softmax, [N, K], and their sum, [N].
    fn powers(&self, b: &mut Builder<'_>) -> Result<(ValueId, ValueId)> {
        let batch = images(b, self.scores)?;
        let largest = b.max(self.scores, &[1])?;
        let below = b.sub(self.scores, largest)?;
        let powers = b.exp(below)?;
        let all = b.sum(powers, &[1])?;
        Ok((powers, b.reshape(all, &batch)?))
    }
}

/// [N, K], or a part of any value, summed to [N, 1].
pub(super) fn classes(
    b: &mut Builder<'_>,
    head: &Head,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    let shape = b.shape(head.value)?;
    let scores = match &head.form {
        Form::Sum(selection) => summed(b, head.value, selection)?,
        _ => b.reshape(head.value, &[shape[0], shape.get(1).copied().unwrap_or(Dim::Fixed(1))])?,
    };
    if let [TargetRequest { form: TargetForm::Similarity, place: Some(vector), .. }] = asked {
        let target = similarity(b, scores, *vector)?;
        return Ok(HeadValues { scores, targets: vec![target], winners: None, anchors: None });
    }
    let mut scorer = Classes { scores, best: Best::of(scores, scores), scale: head.scale };
    Ok(HeadValues { scores, targets: each(b, asked, &mut scorer)?, winners: None, anchors: None })
}

/// The sum of a part of a value, [N, 1].
fn summed(b: &mut Builder<'_>, value: ValueId, selection: &Selection) -> Result<ValueId> {
    let mut value = value;
    for (axis, part) in selection.parts.iter().enumerate().skip(1) {
        if *part != Part::Range(None, None) {
            let (from, to) = Selection::places(*part, b.size(value, axis)?);
            value = b.slice(value, axis, from, to - from, 1)?;
        }
    }
    let batch = images(b, value)?;
    let axes: Vec<usize> = (1..b.rank(value)?).collect();
    let sum = if axes.is_empty() { value } else { b.sum(value, &axes)? };
    b.reshape(sum, &[batch[0], Dim::Fixed(1)])
}

/// The cosine of the angle between the scores and a vector of length 1, [N, K].
fn similarity(b: &mut Builder<'_>, scores: ValueId, vector: ValueId) -> Result<TargetValues> {
    let batch = images(b, scores)?;
    let products = b.mul(scores, vector)?;
    let product = b.sum(products, &[1])?;
    let squares = b.mul(scores, scores)?;
    let length = b.sum(squares, &[1])?;
    let length = b.sqrt(length)?;
    let cosine = b.div(product, length)?;
    let target = b.reshape(cosine, &batch)?;
    // No class is explained.
    let none = b.above(target, 2.0)?;
    let class = b.cast(none, DataType::Int64)?;
    Ok(TargetValues { target, class, pixels: None, anchor: None, contrast: None })
}

/// The logit of class 1 or its probability; class 0 has what is left.
struct Binary {
    value: ValueId,
    /// 1 where class 1 is the best, else 0.
    positive: ValueId,
    is_probability: bool,
}

impl Scorer for Binary {
    fn class(&mut self, b: &mut Builder<'_>, asked: TargetRequest) -> Result<ValueId> {
        match (asked.form, asked.class) {
            // There are two classes.
            (TargetForm::Rank(_), _) => {
                let unit = b.scalar(self.positive, 1.0)?;
                let other = b.sub(unit, self.positive)?;
                b.cast(other, DataType::Int64)
            }
            (_, Some(class)) if asked.is_class_known => Ok(class),
            (_, Some(class)) => super::chosen(b, class, self.positive),
            (_, None) => b.cast(self.positive, DataType::Int64),
        }
    }

    /// The logit of class 1, its negative for class 0; of a probability, 1 − p.
    fn score(&self, b: &mut Builder<'_>, class: ValueId, _: Option<ValueId>) -> Result<Score> {
        let elem = b.elem(self.value);
        let class = b.cast(class, elem)?;
        let twice = b.scale(class, 2.0)?;
        let unit = b.scalar(self.value, 1.0)?;
        let sign = b.sub(twice, unit)?;
        let mut score = b.mul(self.value, sign)?;
        if self.is_probability {
            let rest = b.sub(unit, class)?;
            score = b.add(score, rest)?;
        }
        Ok(Score::plain(score))
    }

    fn probability(&self, b: &mut Builder<'_>, score: ValueId, _: ValueId) -> Result<ValueId> {
        if self.is_probability { Ok(score) } else { sigmoid(b, score) }
    }
}

pub(super) fn binary(
    b: &mut Builder<'_>,
    head: &Head,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    let batch = b.shape(head.value)?[0];
    let scores = b.reshape(head.value, &[batch, Dim::Fixed(1)])?;
    let value = b.reshape(head.value, &[batch])?;
    let is_probability = head.scale == Scale::Probabilities;
    let positive = b.above(value, if is_probability { 0.5 } else { 0.0 })?;
    let mut scorer = Binary { value, positive, is_probability };
    Ok(HeadValues { scores, targets: each(b, asked, &mut scorer)?, winners: None, anchors: None })
}
