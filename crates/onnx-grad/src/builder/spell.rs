//! Writes the builder's operations for the model's opset, from 7 to the newest.

use super::{Builder, CONSTANT_LIMIT, index};
use crate::{
    attrs,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::tensor_proto::DataType,
};

/// The longest row whose places are written as one constant.
const ONE_HOT_LIMIT: i64 = 1 << 12;

impl Builder<'_> {
    /// Equality as a boolean. Equal has no float form below opset 11.
    pub(super) fn spell_equal(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.graph().opset() >= 11 || !self.elem(a).is_float() {
            return self.raw("Equal", &[a, b], vec![]);
        }
        let less = self.raw("Less", &[a, b], vec![])?;
        let greater = self.raw("Greater", &[a, b], vec![])?;
        let different = self.raw("Or", &[less, greater], vec![])?;
        self.raw("Not", &[different], vec![])
    }

    /// Sign exists from opset 9.
    pub(super) fn spell_sign(&mut self, a: ValueId) -> Result<ValueId> {
        if self.graph().opset() >= 9 {
            return self.raw("Sign", &[a], vec![]);
        }
        let (above, below) = (self.above(a, 0.0)?, self.below(a, 0.0)?);
        self.sub(above, below)
    }

    /// Axes are an input from opset 13 (ReduceSum) or 18 (the other reductions).
    pub(super) fn spell_reduce(&mut self, op: &str, a: ValueId, axes: &[i64]) -> Result<ValueId> {
        let as_input_from = if op == "ReduceSum" { 13 } else { 18 };
        let keep = attrs::int("keepdims", 1);
        if self.graph().opset() >= as_input_from {
            let axes = self.list(axes)?;
            self.raw(op, &[a, axes], vec![keep])
        } else {
            self.raw(op, &[a], vec![attrs::ints("axes", axes), keep])
        }
    }

    /// Expand exists from opset 8; below, a product with ones broadcasts. An open size that the
    /// value already has is written as 1, which keeps the size.
    pub(super) fn spell_expand(&mut self, a: ValueId, shape: &[Dim]) -> Result<ValueId> {
        let have = self.shape(a)?;
        let kept = |(back, dim): (usize, &Dim)| match dim.fixed() {
            None if have.iter().rev().nth(back) == Some(dim) => Some(1),
            fixed => fixed,
        };
        let sizes = shape.iter().rev().enumerate().map(kept).collect::<Option<Vec<_>>>();
        let Some(mut sizes) = sizes else {
            bail!(Shape, "\"{}\" must be expanded to an open size", self.graph().name(a));
        };
        sizes.reverse();
        if self.graph().opset() >= 8 {
            let shape = self.list(&sizes)?;
            return self.raw("Expand", &[a, shape], vec![]);
        }
        let count = sizes.iter().try_fold(1i64, |n, &size| n.checked_mul(size));
        let count = count.filter(|&count| count <= CONSTANT_LIMIT);
        let Some(count) = count.and_then(|count| usize::try_from(count).ok()) else {
            bail!(TooLarge, "\"{}\" would be expanded to {sizes:?}", self.graph().name(a));
        };
        let ones = self.floats(a, &sizes, &vec![1.0; count])?;
        self.raw("Mul", &[a, ones], vec![])
    }

    /// Expand to a run-time shape; below opset 8, a sum with zeros of that shape.
    pub(super) fn spell_expand_like(&mut self, a: ValueId, like: ValueId) -> Result<ValueId> {
        if self.graph().opset() >= 8 {
            let shape = self.raw("Shape", &[like], vec![])?;
            return self.raw("Expand", &[a, shape], vec![]);
        }
        // Not like − like, which is NaN for infinite elements.
        let zeros = self.less(like, like)?;
        self.raw("Add", &[a, zeros], vec![])
    }

    /// Inputs and steps of Slice exist from opset 10; below, a step is a Gather.
    pub(super) fn spell_slice(
        &mut self,
        a: ValueId,
        axis: usize,
        start: i64,
        count: i64,
        step: i64,
    ) -> Result<ValueId> {
        let end = start + (count - 1) * step + 1;
        let axis_number = index(axis)?;
        if self.graph().opset() >= 10 {
            let (start, end) = (self.list(&[start])?, self.list(&[end])?);
            let (axes, steps) = (self.list(&[axis_number])?, self.list(&[step])?);
            return self.raw("Slice", &[a, start, end, axes, steps], vec![]);
        }
        if step != 1 {
            let picked = self.places(0, count)?;
            let picked: Vec<i64> = picked.into_iter().map(|i| start + i * step).collect();
            let picked = self.list(&picked)?;
            return self.gather(a, picked, axis);
        }
        let attributes = [("axes", axis_number), ("starts", start), ("ends", end)];
        let attributes = attributes.map(|(name, value)| attrs::ints(name, &[value])).to_vec();
        self.raw("Slice", &[a], attributes)
    }

    /// The sizes are an input from opset 13.
    pub(super) fn spell_split(
        &mut self,
        a: ValueId,
        axis: usize,
        sizes: &[i64],
    ) -> Result<Vec<ValueId>> {
        let axis = attrs::int("axis", index(axis)?);
        if self.graph().opset() >= 13 {
            let list = self.list(sizes)?;
            return self.raw_outputs("Split", &[Some(a), Some(list)], sizes.len(), vec![axis]);
        }
        let attributes = vec![axis, attrs::ints("split", sizes)];
        self.raw_outputs("Split", &[Some(a)], sizes.len(), attributes)
    }

    /// The bounds are inputs from opset 11.
    pub(super) fn spell_clip(&mut self, a: ValueId, low: f64, high: f64) -> Result<ValueId> {
        if self.graph().opset() >= 11 {
            let (low, high) = (self.scalar(a, low)?, self.scalar(a, high)?);
            return self.raw("Clip", &[a, low, high], vec![]);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the attributes are 32-bit floats")]
        let bounds = vec![attrs::float("min", low as f32), attrs::float("max", high as f32)];
        self.raw("Clip", &[a], bounds)
    }

    /// The pads are an input from opset 11.
    pub(super) fn spell_pad(
        &mut self,
        a: ValueId,
        begins: &[i64],
        ends: &[i64],
        number: f64,
    ) -> Result<ValueId> {
        let pads = [begins, ends].concat();
        if self.graph().opset() >= 11 {
            let pads = self.list(&pads)?;
            let number = self.scalar(a, number)?;
            return self.raw("Pad", &[a, pads, number], vec![]);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the attribute is a 32-bit float")]
        let number = attrs::float("value", number as f32);
        self.raw("Pad", &[a], vec![attrs::ints("pads", &pads), number])
    }

    /// One element of each row: GatherElements from opset 11; below, the sum of the masked row.
    pub(super) fn spell_pick(&mut self, x: ValueId, column: ValueId) -> Result<ValueId> {
        if self.graph().opset() >= 11 {
            return self.raw("GatherElements", &[x, column], vec![attrs::int("axis", 1)]);
        }
        let mask = self.one_hot(column, self.size(x, 1)?, x)?;
        let masked = self.mul(x, mask)?;
        self.sum(masked, &[1])
    }

    /// `[k = column[n]]` as 0 and 1, of shape [N, size] for an int64 `column` of shape [N, 1].
    ///
    /// A long row is a product of two short ones: of the blocks of the row, and of the places in a block.
    pub(crate) fn one_hot(&mut self, column: ValueId, size: i64, like: ValueId) -> Result<ValueId> {
        let hits = |b: &mut Self, column, size| {
            let all = b.places(0, size)?;
            let all = b.ints(&[1, size], &all)?;
            b.equal(column, all, like)
        };
        if size <= ONE_HOT_LIMIT {
            return hits(self, column, size);
        }
        let block = size.isqrt();
        let blocks = (size - 1) / block + 1;
        let images = self.shape(column)?[0];
        let width = self.ints(&[], &[block])?;
        let row = self.div(column, width)?;
        let before = self.mul(row, width)?;
        let place = self.sub(column, before)?;
        let (row, place) = (hits(self, row, blocks)?, hits(self, place, block)?);
        let row = self.reshape(row, &[images, Dim::Fixed(blocks), Dim::Fixed(1)])?;
        let place = self.reshape(place, &[images, Dim::Fixed(1), Dim::Fixed(block)])?;
        let product = self.mul(row, place)?;
        let flat = self.reshape(product, &[images, Dim::Fixed(blocks * block)])?;
        self.slice(flat, 1, 0, size, 1)
    }

    /// Indices as int64 that count from the start of an axis. Negative indices, which count from
    /// the end, exist from opset 11.
    pub(crate) fn non_negative_index(&mut self, index: ValueId, size: i64) -> Result<ValueId> {
        let index = self.cast(index, DataType::Int64)?;
        let known =
            self.fact(index).ints().is_some_and(|ints| ints.iter().all(|&place| place >= 0));
        if known || self.graph().opset() < 11 {
            return Ok(index);
        }
        let negative = self.below(index, 0.0)?;
        let size = self.ints(&[], &[size])?;
        let shift = self.mul(negative, size)?;
        self.add(index, shift)
    }
}
