//! Elementwise arithmetic with broadcasting, matrix products and reductions.
//!
//! Masks are 0 and 1 in the type of the values that they multiply. They are not boolean conditions.

use super::{Builder, index};
use crate::{attrs, error::Result, facts::Dim, graph::ValueId, proto::tensor_proto::DataType};

impl Builder<'_> {
    pub(super) fn binary(&mut self, op: &str, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.raw(op, &[a, b], vec![])
    }

    /// Whether `small` broadcasts into the shape of `big` without changing it.
    pub(crate) fn fits_into(&self, small: ValueId, big: ValueId) -> bool {
        let (Some(small), Some(big)) = (&self.fact(small).shape, &self.fact(big).shape) else {
            return false;
        };
        small.len() <= big.len()
            && small.iter().rev().zip(big.iter().rev()).all(|(s, b)| *s == Dim::Fixed(1) || s == b)
    }

    /// `a + b`.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.is_all(a, 0.0) && self.fits_into(a, b) {
            return Ok(b);
        }
        if self.is_all(b, 0.0) && self.fits_into(b, a) {
            return Ok(a);
        }
        self.binary("Add", a, b)
    }

    /// `a − b`.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.is_all(b, 0.0) && self.fits_into(b, a) {
            return Ok(a);
        }
        self.binary("Sub", a, b)
    }

    /// `a · b`.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.is_all(a, 1.0) && self.fits_into(a, b) {
            return Ok(b);
        }
        if self.is_all(b, 1.0) && self.fits_into(b, a) {
            return Ok(a);
        }
        self.binary("Mul", a, b)
    }

    /// `a / b`.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.is_all(b, 1.0) && self.fits_into(b, a) {
            return Ok(a);
        }
        self.binary("Div", a, b)
    }

    /// `number · a`.
    pub fn scale(&mut self, a: ValueId, number: f64) -> Result<ValueId> {
        let number = self.scalar(a, number)?;
        self.mul(a, number)
    }

    /// `−a`.
    pub fn neg(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Neg", &[a], vec![])
    }

    /// Square root.
    pub fn sqrt(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Sqrt", &[a], vec![])
    }

    /// `e^a`.
    pub fn exp(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Exp", &[a], vec![])
    }

    /// Natural logarithm.
    pub fn log(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Log", &[a], vec![])
    }

    /// `a` to the power `b`; both have one type.
    pub fn pow(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary("Pow", a, b)
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Tanh", &[a], vec![])
    }

    /// The larger of two values, element by element.
    pub fn maximum(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary("Max", a, b)
    }

    /// `a` between two bounds.
    pub(crate) fn clip(&mut self, a: ValueId, low: f64, high: f64) -> Result<ValueId> {
        self.spell_clip(a, low, high)
    }

    /// `max(a, 0)`.
    pub fn relu(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Relu", &[a], vec![])
    }

    /// The sign: −1, 0 or 1.
    pub(crate) fn sign(&mut self, a: ValueId) -> Result<ValueId> {
        self.spell_sign(a)
    }

    /// `a` where the condition is true, else `b`; from opset 9.
    pub(crate) fn select(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.raw("Where", &[condition, a, b], vec![])
    }

    fn as_mask(&mut self, condition: ValueId, like: ValueId) -> Result<ValueId> {
        let elem = self.elem(like);
        self.cast(condition, elem)
    }

    /// `[a > b]` as 0 and 1, in the type of `a`.
    pub fn greater(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let condition = self.binary("Greater", a, b)?;
        self.as_mask(condition, a)
    }

    /// `[a < b]` as 0 and 1, in the type of `a`.
    pub fn less(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let condition = self.binary("Less", a, b)?;
        self.as_mask(condition, a)
    }

    /// `[a > number]` as 0 and 1.
    pub fn above(&mut self, a: ValueId, number: f64) -> Result<ValueId> {
        let number = self.scalar(a, number)?;
        self.greater(a, number)
    }

    /// `[a < number]` as 0 and 1.
    pub fn below(&mut self, a: ValueId, number: f64) -> Result<ValueId> {
        let number = self.scalar(a, number)?;
        self.less(a, number)
    }

    /// `[low < a]·[a < high]` as 0 and 1, in the type of `a`. One mask costs half as much as two.
    pub fn between(&mut self, a: ValueId, low: ValueId, high: ValueId) -> Result<ValueId> {
        let above = self.binary("Greater", a, low)?;
        let below = self.binary("Less", a, high)?;
        let both = self.raw("And", &[above, below], vec![])?;
        self.as_mask(both, a)
    }

    /// `[a = b]` as 0 and 1, in the type of `like`.
    pub fn equal(&mut self, a: ValueId, b: ValueId, like: ValueId) -> Result<ValueId> {
        let condition = self.spell_equal(a, b)?;
        self.as_mask(condition, like)
    }

    /// Converts to another element type.
    pub fn cast(&mut self, a: ValueId, elem: DataType) -> Result<ValueId> {
        if self.elem(a) == elem {
            return Ok(a);
        }
        self.raw("Cast", &[a], vec![attrs::int("to", i64::from(elem as i32))])
    }

    /// Matrix product over the last two axes; the other axes broadcast.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary("MatMul", a, b)
    }

    /// Sum over the given axes, which remain with size 1.
    pub fn sum(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceSum", a, axes)
    }

    /// Mean over the given axes, which remain with size 1.
    pub fn mean(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceMean", a, axes)
    }

    /// Maximum over the given axes, which remain with size 1.
    pub fn max(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceMax", a, axes)
    }

    /// Product over the given axes, which remain with size 1.
    pub(crate) fn prod(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceProd", a, axes)
    }

    /// Minimum over the given axes, which remain with size 1.
    pub fn min(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceMin", a, axes)
    }

    fn reduce(&mut self, op: &str, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        let shape = self.shape(a)?;
        let mut axes: Vec<i64> = axes
            .iter()
            .filter(|&&axis| shape.get(axis) != Some(&Dim::Fixed(1)))
            .map(|&axis| index(axis))
            .collect::<Result<_>>()?;
        axes.sort_unstable();
        if axes.is_empty() {
            return Ok(a);
        }
        self.spell_reduce(op, a, &axes)
    }
}
