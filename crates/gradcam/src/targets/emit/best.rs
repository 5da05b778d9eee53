//! The best classes of each image.

use onnx_grad::{Result, builder::Builder, graph::ValueId, proto::tensor_proto::DataType};

use super::{TargetForm, TargetRequest, chosen};

/// The best classes of each image, emitted as far as they are needed.
pub(super) struct Best {
    /// The values whose arg-max is a class, [N, K].
    votes: ValueId,
    argmax: Option<ValueId>,
    /// These values without the classes found so far, [N, K] in float32.
    left: ValueId,
    /// The classes by score, [N, 1] as floats.
    found: Vec<ValueId>,
}

impl Best {
    /// `scores` order the classes behind the best one.
    pub(super) fn of(votes: ValueId, scores: ValueId) -> Self {
        Self { votes, argmax: None, left: scores, found: Vec::new() }
    }

    /// The order of the classes behind a first one, [N, 1] as floats.
    pub(super) fn behind(first: ValueId, scores: ValueId) -> Self {
        Self { votes: scores, argmax: None, left: scores, found: vec![first] }
    }

    /// The next class, [N], int64.
    pub(super) fn next(&mut self, b: &mut Builder<'_>) -> Result<ValueId> {
        let rank = self.found.len();
        self.rank(b, rank)
    }

    /// The class at a rank, [N], int64.
    fn rank(&mut self, b: &mut Builder<'_>, rank: usize) -> Result<ValueId> {
        while self.found.len() <= rank {
            self.find(b)?;
        }
        let batch = b.shape(self.votes)?[0];
        let class = b.reshape(self.found[rank], &[batch])?;
        b.cast(class, DataType::Int64)
    }

    /// The class of a target, [N], int64; for a difference the first one.
    pub(super) fn class(&mut self, b: &mut Builder<'_>, asked: TargetRequest) -> Result<ValueId> {
        let batch = b.shape(self.votes)?[0];
        if let TargetForm::Rank(rank) = asked.form {
            return self.rank(b, rank);
        }
        if let Some(class) = asked.class.filter(|_| asked.is_class_known) {
            return Ok(class);
        }
        let argmax = match self.argmax {
            Some(argmax) => argmax,
            None => {
                let first = first_largest(b, self.votes)?;
                b.reshape(first, &[batch])?
            }
        };
        self.argmax = Some(argmax);
        match asked.class {
            Some(class) => chosen(b, class, argmax),
            None => b.cast(argmax, DataType::Int64),
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
pub(super) fn places(b: &mut Builder<'_>, like: ValueId, dims: &[i64]) -> Result<ValueId> {
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let places: Vec<f64> = (0..dims.iter().product()).map(|place: i64| place as f64).collect();
    b.floats(like, dims, &places)
}

/// The place of the first largest entry along axis 1, as a float, with that axis at size 1.
///
/// Not ArgMax: engines differ on ties.
pub(super) fn first_largest(b: &mut Builder<'_>, scores: ValueId) -> Result<ValueId> {
    let rank = b.rank(scores)?;
    let count = b.size(scores, 1)?;
    let largest = b.max(scores, &[1])?;
    let hit = b.equal(scores, largest, scores)?;
    let mut dims = vec![1; rank];
    dims[1] = count;
    // The earlier an entry, the more it counts: K, K − 1, … 1.
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let earlier: Vec<f64> = (1..=count).rev().map(|place| place as f64).collect();
    let earlier = b.floats(scores, &dims, &earlier)?;
    let ranked = b.mul(hit, earlier)?;
    let first = b.max(ranked, &[1])?;
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let count = b.scalar(scores, count as f64)?;
    b.sub(count, first)
}
