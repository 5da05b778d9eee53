//! Rules of operators that only move elements.

use super::{Call, Cotangent, Cotangents, Push, Pushed, linear::spread, one, unbroadcast};
use crate::{
    builder::Builder,
    error::{Result, bail},
    facts::Dim,
};

/// Reshape, Flatten, Squeeze and Unsqueeze keep the order of elements: dx is g in the shape of x.
fn restored(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let g = n.full(b)?;
    let shape = b.shape(n.x(0)?)?;
    one(b.reshape(g, &shape)?)
}

/// Reshape. dx = g in the shape of x. <https://onnx.ai/onnx/operators/onnx__Reshape.html>
pub(super) fn reshape(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    n.attrs().ignore(&["allowzero"]);
    restored(b, n)
}

/// Flatten. dx = g in the shape of x. <https://onnx.ai/onnx/operators/onnx__Flatten.html>
pub(super) fn flatten(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    n.attrs().ignore(&["axis"]);
    restored(b, n)
}

/// Squeeze. dx = g in the shape of x. <https://onnx.ai/onnx/operators/onnx__Squeeze.html>
pub(super) fn squeeze(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    n.attrs().ignore(&["axes"]);
    restored(b, n)
}

/// Unsqueeze. dx = g in the shape of x. <https://onnx.ai/onnx/operators/onnx__Unsqueeze.html>
pub(super) fn unsqueeze(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    n.attrs().ignore(&["axes"]);
    restored(b, n)
}

/// Expand, y = x repeated along axes of size 1. dx = g summed over those axes.
/// <https://onnx.ai/onnx/operators/onnx__Expand.html>
pub(super) fn expand(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let g = n.cot(b)?;
    one(unbroadcast(b, g, n.y(), n.x(0)?)?)
}

/// Transpose, axis i of y is axis perm[i] of x. dx = g under the inverse permutation.
/// <https://onnx.ai/onnx/operators/onnx__Transpose.html>
pub(super) fn transpose(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let rank = b.rank(n.x(0)?)?;
    let mut inverse = vec![0; rank];
    match n.attrs().ints("perm") {
        None => inverse = (0..rank).rev().collect(),
        Some(perm) if perm.len() == rank => {
            for (place, &axis) in perm.iter().enumerate() {
                inverse[n.axis(axis, rank)?] = place;
            }
        }
        Some(perm) => bail!(InvalidModel, "its perm is {perm:?} for {rank} axes"),
    }
    let g = n.cot(b)?;
    one(b.transpose(g, &inverse)?)
}

/// Concat along an axis. Each operand gets its slice of g.
/// <https://onnx.ai/onnx/operators/onnx__Concat.html>
pub(super) fn concat(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let axis = n.axis(n.attrs().int_or("axis", 1), b.rank(n.y())?)?;
    let g = n.cot(b)?;
    // A cotangent that is constant along the axis needs no slicing.
    let constant = b.size(g, axis)? == 1;
    let mut start = 0;
    let mut grads = Vec::with_capacity(n.input_count());
    for input in 0..n.input_count() {
        let size = b.size(n.x(input)?, axis)?;
        let part = if constant || !n.wants(input) { g } else { b.slice(g, axis, start, size, 1)? };
        grads.push(Some(Cotangent::Dense(part)));
        start += size;
    }
    Ok(grads)
}

/// Split along an axis. dx joins the cotangents, zeros where a part is not read.
/// <https://onnx.ai/onnx/operators/onnx__Split.html> Sizes are an attribute before 13; from 18 a
/// number of parts, of which the last may be smaller.
pub(super) fn split(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let x = n.x(0)?;
    let axis = n.axis(n.attrs().int_or("axis", 0), b.rank(x)?)?;
    let total = b.size(x, axis)?;
    let parts = n.output_count();
    let sizes = match (n.list(b, "split", 1)?, n.attrs().int("num_outputs")) {
        (Some(sizes), _) => sizes,
        (None, _) => {
            // `num_outputs` is the number of outputs that the node has.
            let count = crate::builder::index(parts)?.max(1);
            let each = (total + count - 1) / count;
            (0..count).map(|part| each.min(total - part * each)).collect()
        }
    };
    if sizes.len() != parts {
        bail!(InvalidModel, "it has {parts} outputs for the sizes {sizes:?}");
    }
    let mut sum = None;
    let mut start = 0;
    for (part, &size) in sizes.iter().enumerate() {
        if let (Some(cotangent), Some(output)) = (n.form(part), n.output(part)) {
            let dense = cotangent.dense(b, output)?;
            let full = b.expand_like(dense, output)?;
            let placed = b.pad_axis(full, axis, start, total - start - size)?;
            sum = Some(match sum {
                None => placed,
                Some(sum) => b.add(sum, placed)?,
            });
        }
        start += size;
    }
    Ok(vec![sum.map(Cotangent::Dense)])
}

/// Slice, y[i] = x[start + i·step] along each axis. dx puts g back, zeros elsewhere; a negative step
/// turns g round first. <https://onnx.ai/onnx/operators/onnx__Slice.html> Attributes before 10.
pub(super) fn slice(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let x = n.x(0)?;
    let rank = b.rank(x)?;
    let (starts, ends) = (n.list(b, "starts", 1)?, n.list(b, "ends", 2)?);
    let (Some(starts), Some(_)) = (starts, ends) else {
        bail!(InvalidModel, "it has no starts or no ends");
    };
    let axes = match n.list(b, "axes", 3)? {
        Some(axes) => axes,
        None => (0..crate::builder::index(starts.len())?).collect(),
    };
    let steps = n.list(b, "steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if axes.len() != starts.len() || steps.len() != starts.len() {
        bail!(InvalidModel, "its starts, axes and steps differ in number");
    }
    let mut g = n.full(b)?;
    for ((&axis, &start), &step) in axes.iter().zip(&starts).zip(&steps) {
        let axis = n.axis(axis, rank)?;
        let (size, count) = (b.size(x, axis)?, b.size(n.y(), axis)?);
        if step == 0 {
            bail!(InvalidModel, "its step is 0");
        }
        // A step beyond the axis takes one element, as one of the axis' size does.
        let step = step.clamp(-size.max(1), size.max(1));
        let start = if start < 0 { start.saturating_add(size) } else { start };
        let first = if step > 0 { start.clamp(0, size) } else { start.clamp(0, (size - 1).max(0)) };
        if step < 0 {
            g = b.reverse(g, axis)?;
        }
        let lowest = if step > 0 { first } else { first + (count - 1) * step };
        g = spread(b, g, axis, step.abs(), -lowest, size)?;
    }
    one(g)
}

/// Pad with a constant. dx = g without what was added; what was cropped gets zeros.
/// <https://onnx.ai/onnx/operators/onnx__Pad.html> Counts are an attribute before 11; axes from 18.
pub(super) fn pad(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let mode = n.attrs().text("mode").unwrap_or("constant").to_owned();
    n.attrs().ignore(&["value"]);
    if mode != "constant" {
        bail!(Unsupported, "attribute mode is {mode:?}; supported: \"constant\"");
    }
    let rank = b.rank(n.x(0)?)?;
    let Some(counts) = n.list(b, "pads", 1)? else {
        bail!(InvalidModel, "it has no pads");
    };
    let axes = match n.list(b, "axes", 3)? {
        Some(axes) => axes,
        None => (0..crate::builder::index(rank)?).collect(),
    };
    if counts.len() != 2 * axes.len() {
        bail!(InvalidModel, "it has {} pads for {} axes", counts.len(), axes.len());
    }
    let (mut begins, mut ends) = (vec![0; rank], vec![0; rank]);
    for (place, &axis) in axes.iter().enumerate() {
        let axis = n.axis(axis, rank)?;
        let (begin, end) = (counts[place].checked_neg(), counts[axes.len() + place].checked_neg());
        let (Some(begin), Some(end)) = (begin, end) else {
            bail!(InvalidModel, "its pads {counts:?} are beyond 64 bits");
        };
        (begins[axis], ends[axis]) = (begin, end);
    }
    let g = n.full(b)?;
    one(b.pad(g, &begins, &ends, 0.0)?)
}

/// Reshape, Flatten, Squeeze: [N, C, …] to [N, C·S], or to another shape behind N and C.
pub(super) const PUSH_RESHAPE: Push = Push {
    when: |graph, n, input, count| {
        let (x, y) = (&graph.fact(n.optional(input)?).shape, &graph.fact(n.y()).shape);
        let (x, y) = (x.as_deref()?, y.as_deref()?);
        let flat = y.len() == 2 && y[0] == x[0] && y[1].fixed()? == x[1].fixed()? * count;
        let behind = y.len() >= 2 && y[..2] == x[..2];
        (input == 0 && x.len() > 2 && (flat || behind)).then_some(Pushed::Sum(count))
    },
    emit: |b, n, _, _| n.cotangent_of_sum(b),
};

/// A join of channels: each operand gets its channels of the sum.
pub(super) const PUSH_CONCAT: Push = Push {
    when: |graph, n, input, count| {
        let rank = graph.fact(n.optional(input)?).rank()?;
        let axis = n.axis(n.attrs().int_or("axis", 1), rank).ok()?;
        (axis == 1 && rank > 2).then_some(Pushed::Sum(count))
    },
    emit: |b, n, input, _| {
        let g = n.cotangent_of_sum(b)?;
        if b.shape(g)?[1] == Dim::Fixed(1) {
            return Ok(g);
        }
        let before = (0..input).map(|i| b.size(n.x(i)?, 1)).sum::<Result<i64>>()?;
        b.slice(g, 1, before, b.size(n.x(input)?, 1)?, 1)
    },
};
