//! Scores at positions: the pixels of a segmentation, and the time steps of a sequence. The score of a class is its sum over
//! the positions that are of this class, or over those that are given.

use onnx_grad::{Dim, Result, builder::Builder, graph::ValueId, proto::tensor_proto::DataType};

use super::{
    HeadValues, Score, Scorer, TargetRequest,
    best::{Best, first_largest, places},
    each,
};
use crate::head::Head;

/// Scores of classes at positions, [N, K, …].
struct Positions {
    out: ValueId,
    /// The class that wins each position, [N, 1, …], as floats.
    winner: ValueId,
    /// The spatial axes.
    space: Vec<usize>,
    best: Best,
}

impl Positions {
    /// A value of the shape [N, 1, …] with one number for each image.
    fn column(&self, b: &mut Builder<'_>, numbers: ValueId) -> Result<ValueId> {
        let mut shape = vec![b.shape(self.out)?[0]];
        shape.resize(self.space.len() + 2, Dim::Fixed(1));
        b.reshape(numbers, &shape)
    }
}

impl Scorer for Positions {
    fn class(&mut self, b: &mut Builder<'_>, asked: TargetRequest) -> Result<ValueId> {
        self.best.class(b, asked)
    }

    /// Σ out[n, class[n]]·mask and the number of positions in the mask. The mask is held constant; it is full where no position
    /// is of the class.
    fn score(&self, b: &mut Builder<'_>, class: ValueId, place: Option<ValueId>) -> Result<Score> {
        let images = vec![b.shape(self.out)?[0]];
        let elem = b.elem(self.out);
        let column = self.column(b, class)?;
        let column = b.cast(column, elem)?;
        let (mask, count) = match place {
            Some(mask) => (b.cast(mask, elem)?, None),
            None => {
                let mask = b.equal(self.winner, column, self.out)?;
                let count = b.sum(mask, &self.space)?;
                (filled(b, mask, count)?, Some(count))
            }
        };
        let mut dims = vec![1; self.space.len() + 2];
        dims[1] = b.size(self.out, 1)?;
        let places = places(b, self.out, &dims)?;
        let channel = b.equal(places, column, self.out)?;
        let selected = b.mul(mask, channel)?;
        let shown = b.mul(self.out, selected)?;
        let axes: Vec<usize> = (1..self.space.len() + 2).collect();
        let sum = b.sum(shown, &axes)?;
        let pixels = count.map(|count| b.reshape(count, &images)).transpose()?;
        Ok(Score { score: b.reshape(sum, &images)?, pixels, anchor: None })
    }
}

/// A mask that is full where it was empty: no division, no branch.
fn filled(b: &mut Builder<'_>, mask: ValueId, count: ValueId) -> Result<ValueId> {
    let empty = b.below(count, 0.5)?;
    b.add(mask, empty)
}

/// A segmentation [N, K, H, W]. The arg-max of an image is its most frequent class.
pub(super) fn pixels(
    b: &mut Builder<'_>,
    out: ValueId,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    let winner = first_largest(b, out)?;
    let values = at_positions(b, out, winner, None, asked)?;
    Ok(HeadValues { winners: None, ..values })
}

/// A sequence [N, T, K] or [T, N, K]. The arg-max of an image is the class of the most time steps, the blank left out.
pub(super) fn steps(
    b: &mut Builder<'_>,
    head: &Head,
    time_first: bool,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    let perm = if time_first { [1, 2, 0] } else { [0, 2, 1] };
    let out = b.transpose(head.value, &perm)?;
    let winner = first_largest(b, out)?;
    at_positions(b, out, winner, head.blank, asked)
}

fn at_positions(
    b: &mut Builder<'_>,
    out: ValueId,
    winner: ValueId,
    blank: Option<usize>,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    let shape = b.shape(out)?;
    let space: Vec<usize> = (2..shape.len()).collect();
    let mut dims = vec![1; shape.len()];
    dims[1] = b.size(out, 1)?;
    let numbers = places(b, out, &dims)?;
    let won = b.equal(winner, numbers, out)?;
    let frequency = b.sum(won, &space)?;
    let mut frequency = b.reshape(frequency, &shape[..2])?;
    let scores = b.sum(out, &space)?;
    let scores = b.reshape(scores, &shape[..2])?;
    if let Some(blank) = blank {
        // No class has fewer than no step.
        let votes: Vec<f64> = (0..dims[1])
            .map(|class| if usize::try_from(class) == Ok(blank) { -1e9 } else { 0.0 })
            .collect();
        // float16 has no such number.
        frequency = b.cast(frequency, DataType::Float)?;
        let votes = b.floats(frequency, &[1, dims[1]], &votes)?;
        frequency = b.add(frequency, votes)?;
    }
    let best = Best::of(frequency, scores);
    let mut scorer = Positions { out, winner, space, best };
    let targets = each(b, asked, &mut scorer)?;
    let flat: Vec<Dim> =
        shape.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, dim)| *dim).collect();
    let winners = Some(b.reshape(winner, &flat)?);
    Ok(HeadValues { scores, targets, winners, anchors: None })
}

/// The score of one class against the background at each pixel, [N, 1, H, W] or [N, H, W]: the sum where it is above 0.
struct Foreground {
    out: ValueId,
}

impl Scorer for Foreground {
    fn class(&mut self, b: &mut Builder<'_>, _: TargetRequest) -> Result<ValueId> {
        let shape = b.shape(self.out)?;
        let axes: Vec<usize> = (1..shape.len()).collect();
        let most = b.max(self.out, &axes)?;
        let most = b.reshape(most, &shape[..1])?;
        // The only class is 0.
        let none = b.above(most, f64::from(f32::MAX))?;
        b.cast(none, DataType::Int64)
    }

    fn score(&self, b: &mut Builder<'_>, _: ValueId, place: Option<ValueId>) -> Result<Score> {
        let shape = b.shape(self.out)?;
        let axes: Vec<usize> = (1..shape.len()).collect();
        let (mask, count) = match place {
            Some(mask) => {
                let elem = b.elem(self.out);
                (b.cast(mask, elem)?, None)
            }
            None => {
                let mask = b.above(self.out, 0.0)?;
                let count = b.sum(mask, &axes)?;
                (filled(b, mask, count)?, Some(count))
            }
        };
        let shown = b.mul(self.out, mask)?;
        let sum = b.sum(shown, &axes)?;
        let pixels = count.map(|count| b.reshape(count, &shape[..1])).transpose()?;
        Ok(Score { score: b.reshape(sum, &shape[..1])?, pixels, anchor: None })
    }
}

pub(super) fn mask(
    b: &mut Builder<'_>,
    out: ValueId,
    asked: &[TargetRequest],
) -> Result<HeadValues> {
    let shape = b.shape(out)?;
    let mut scorer = Foreground { out };
    let targets = each(b, asked, &mut scorer)?;
    let axes: Vec<usize> = (1..shape.len()).collect();
    let sum = b.sum(out, &axes)?;
    let scores = b.reshape(sum, &[shape[0], Dim::Fixed(1)])?;
    Ok(HeadValues { scores, targets, winners: None, anchors: None })
}
