//! Layout operations: reshapes, transposes, slices, pads and gathers; and convolutions.

use super::{Builder, index};
use crate::{
    attrs,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::AttributeProto,
};

impl Builder<'_> {
    /// The same elements in another shape. At most one dim may contain the open batch size.
    pub fn reshape(&mut self, a: ValueId, shape: &[Dim]) -> Result<ValueId> {
        if self.fact(a).shape.as_deref() == Some(shape) {
            return Ok(a);
        }
        let open = shape.iter().filter(|dim| dim.fixed().is_none()).count();
        if open > 1 {
            bail!(
                Shape,
                "cannot reshape \"{}\" to a shape with two open sizes",
                self.graph.name(a)
            );
        }
        let target: Vec<i64> = shape.iter().map(|dim| dim.fixed().unwrap_or(-1)).collect();
        let target = self.list(&target)?;
        self.raw("Reshape", &[a, target], vec![])
    }

    /// Repeats axes of size 1 up to the given shape.
    pub fn expand(&mut self, a: ValueId, shape: &[Dim]) -> Result<ValueId> {
        if self.fact(a).shape.as_deref() == Some(shape) {
            return Ok(a);
        }
        self.spell_expand(a, shape)
    }

    /// Like [`Builder::expand`], to the run-time shape of another value.
    pub fn expand_like(&mut self, a: ValueId, like: ValueId) -> Result<ValueId> {
        let shape = self.shape(like)?;
        if shape.iter().all(|dim| dim.fixed().is_some()) || self.shape(a)? == shape {
            return self.expand(a, &shape);
        }
        self.spell_expand_like(a, like)
    }

    /// Like [`Builder::expand`], to the first two run-time sizes of another value.
    pub(crate) fn expand_to_front(&mut self, a: ValueId, like: ValueId) -> Result<ValueId> {
        let shape = self.shape(like)?;
        let front = &shape[..2];
        if front.iter().all(|dim| dim.fixed().is_some()) || self.shape(a)? == front {
            return self.expand(a, front);
        }
        // One element of each channel has those sizes, at every opset.
        let mut first = like;
        for axis in 2..shape.len() {
            first = self.slice(first, axis, 0, 1, 1)?;
        }
        let first = self.reshape(first, front)?;
        self.spell_expand_like(a, first)
    }

    /// Reorders axes: axis `i` of the result is axis `perm[i]` of `a`.
    pub fn transpose(&mut self, a: ValueId, perm: &[usize]) -> Result<ValueId> {
        if perm.iter().enumerate().all(|(i, &axis)| i == axis) {
            return Ok(a);
        }
        if let Some((before, order)) = self.before_transpose(a)? {
            let perm: Option<Vec<usize>> =
                perm.iter().map(|&axis| order.get(axis).copied()).collect();
            if let Some(perm) = perm {
                return self.transpose(before, &perm);
            }
        }
        let perm = perm.iter().map(|&axis| index(axis)).collect::<Result<Vec<_>>>()?;
        self.raw("Transpose", &[a], vec![attrs::ints("perm", &perm)])
    }

    /// Concatenates values along an axis.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId> {
        match parts {
            [one] => Ok(*one),
            parts => self.raw("Concat", parts, vec![attrs::int("axis", index(axis)?)]),
        }
    }

    /// That many equal parts of one axis.
    pub fn split(&mut self, a: ValueId, axis: usize, parts: usize) -> Result<Vec<ValueId>> {
        if parts == 1 {
            return Ok(vec![a]);
        }
        let (size, count) = (self.size(a, axis)?, index(parts)?);
        if count == 0 || size % count != 0 {
            bail!(Shape, "\"{}\" does not split into {parts} equal parts", self.graph.name(a));
        }
        self.spell_split(a, axis, &vec![size / count; parts])
    }

    /// Elements `start, start + step, …` (`count` elements) of one axis.
    pub fn slice(
        &mut self,
        a: ValueId,
        axis: usize,
        start: i64,
        count: i64,
        step: i64,
    ) -> Result<ValueId> {
        if start == 0 && step == 1 && self.size(a, axis)? == count {
            return Ok(a);
        }
        self.spell_slice(a, axis, start, count, step)
    }

    /// Reverses one axis.
    pub fn reverse(&mut self, a: ValueId, axis: usize) -> Result<ValueId> {
        let size = self.size(a, axis)?;
        if size == 1 {
            return Ok(a);
        }
        let mut order = self.places(0, size)?;
        order.reverse();
        let order = self.list(&order)?;
        self.gather(a, order, axis)
    }

    /// Pads with `number`: `begins[i]` elements before and `ends[i]` after axis `i`; negative counts crop.
    pub fn pad(
        &mut self,
        a: ValueId,
        begins: &[i64],
        ends: &[i64],
        number: f64,
    ) -> Result<ValueId> {
        if begins.iter().chain(ends).all(|&count| count == 0) {
            return Ok(a);
        }
        self.spell_pad(a, begins, ends, number)
    }

    /// Like [`Builder::pad`], with zeros and on one axis.
    pub fn pad_axis(&mut self, a: ValueId, axis: usize, begin: i64, end: i64) -> Result<ValueId> {
        let rank = self.rank(a)?;
        let (mut begins, mut ends) = (vec![0; rank], vec![0; rank]);
        begins[axis] = begin;
        ends[axis] = end;
        self.pad(a, &begins, &ends, 0.0)
    }

    /// Rows of `a` along an axis, selected by `indices`.
    pub fn gather(&mut self, a: ValueId, indices: ValueId, axis: usize) -> Result<ValueId> {
        self.raw("Gather", &[a, indices], vec![attrs::int("axis", index(axis)?)])
    }

    /// `y[n] = x[n, index[n]]` for `x` `[N, K]` and int64 `index` `[N]`; the result is `[N]`.
    pub fn pick(&mut self, x: ValueId, index: ValueId) -> Result<ValueId> {
        let shape = self.shape(x)?;
        let column = self.reshape(index, &[shape[0], Dim::Fixed(1)])?;
        let picked = self.spell_pick(x, column)?;
        self.reshape(picked, &shape[..1])
    }

    /// A convolution with explicit strides, dilations, groups and pads.
    pub(crate) fn conv(
        &mut self,
        op: &str,
        x: ValueId,
        w: ValueId,
        attributes: Vec<AttributeProto>,
    ) -> Result<ValueId> {
        self.raw(op, &[x, w], attributes)
    }
}
