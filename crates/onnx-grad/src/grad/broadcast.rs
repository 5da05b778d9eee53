//! Sums of cotangents over space and over broadcast axes.

use crate::{
    builder::Builder,
    error::Result,
    facts::{Dim, Fact},
    graph::ValueId,
};

/// The number of elements after the first two axes, if known.
pub(crate) fn spatial_count(fact: &Fact) -> Option<i64> {
    let shape = fact.shape.as_ref().filter(|shape| shape.len() >= 2)?;
    shape[2..].iter().try_fold(1i64, |n, dim| n.checked_mul(dim.fixed()?))
}

/// Σ over space of a cotangent that may still be broadcastable: [N, C], or broadcastable to it.
/// Each channel has `count` elements; in a flattened value they are on its last axis.
pub(crate) fn spatial_sum(
    b: &mut Builder<'_>,
    of: ValueId,
    cotangent: ValueId,
    count: i64,
) -> Result<ValueId> {
    let mut shape = b.shape(of)?;
    let mut cotangent = at_rank(b, cotangent, shape.len())?;
    if shape.len() == 2 && count > 1 {
        let channels = b.size(of, 1)? / count;
        shape = vec![shape[0], Dim::Fixed(channels), Dim::Fixed(count)];
        let full = b.expand_like(cotangent, of)?;
        cotangent = b.reshape(full, &shape)?;
    }
    let have = b.shape(cotangent)?;
    let axes: Vec<usize> = (2..shape.len()).collect();
    let mut times = 1i64;
    for &axis in &axes {
        if have[axis] == Dim::Fixed(1) {
            times = times.saturating_mul(shape[axis].fixed().unwrap_or(1));
        }
    }
    let sum = b.sum(cotangent, &axes)?;
    let sum = b.reshape(sum, &have[..2])?;
    #[expect(clippy::cast_precision_loss, reason = "a number of pixels")]
    b.scale(sum, times as f64)
}

/// Prepends axes of size 1 up to the given rank.
pub(crate) fn at_rank(b: &mut Builder<'_>, value: ValueId, rank: usize) -> Result<ValueId> {
    let shape = b.shape(value)?;
    let missing = rank.saturating_sub(shape.len());
    b.reshape(value, &[vec![Dim::Fixed(1); missing], shape].concat())
}

/// Sums a cotangent of the broadcast result `y` to the shape of the operand `x`, axis by axis.
pub(crate) fn unbroadcast(
    b: &mut Builder<'_>,
    g: ValueId,
    y: ValueId,
    x: ValueId,
) -> Result<ValueId> {
    let (y_shape, x_shape) = (b.shape(y)?, b.shape(x)?);
    let rank = y_shape.len();
    let missing = rank.saturating_sub(x_shape.len());
    let x_at = |axis: usize| if axis < missing { Dim::Fixed(1) } else { x_shape[axis - missing] };
    let mut g = at_rank(b, g, rank)?;
    let broadcast = |axis: &usize| x_at(*axis) == Dim::Fixed(1) && y_shape[*axis] != Dim::Fixed(1);
    let axes: Vec<usize> = (0..rank).filter(broadcast).collect();
    let g_shape = b.shape(g)?;
    let lazy_open =
        axes.iter().any(|&a| g_shape[a] == Dim::Fixed(1) && y_shape[a].fixed().is_none());
    if lazy_open {
        g = b.expand_like(g, y)?;
    }
    let g_shape = b.shape(g)?;
    let lazy = axes.iter().filter(|&&axis| g_shape[axis] == Dim::Fixed(1));
    let times = lazy.fold(1i64, |n, &axis| n.saturating_mul(y_shape[axis].fixed().unwrap_or(1)));
    let summed = b.sum(g, &axes)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of elements")]
    let scaled = b.scale(summed, times as f64)?;
    let shape = b.shape(scaled)?;
    b.reshape(scaled, &shape[missing..])
}
