//! Rules of layout operators.

use super::{
    Cotangent, Cotangents, Push, PushOperand, RuleCall, call::product_dim, linear::spread, one,
    unbroadcast,
};
use crate::{
    attrs,
    builder::{Builder, constant_size},
    error::{Error, ErrorKind, Result, bail},
    facts::Dim,
    graph::ValueId,
};

/// Mᵀ·g along an axis. The rows of the matrix M [out, size] are the outputs of an operator as combinations of its
/// inputs; g has `out` elements on that axis.
pub(super) fn along(
    b: &mut Builder<'_>,
    g: ValueId,
    axis: usize,
    size: i64,
    matrix: &[f64],
) -> Result<ValueId> {
    let mut shape = b.shape(g)?;
    let out = b.size(g, axis)?;
    let matrix = b.floats(g, &[out, size], matrix)?;
    if axis > 0 && axis + 1 == shape.len() {
        return b.matmul(g, matrix);
    }
    let open = || Error::new(ErrorKind::Shape, "its shape is not linear in the batch size");
    let before = product_dim(&shape[..axis]).ok_or_else(open)?;
    let after = product_dim(&shape[axis + 1..]).ok_or_else(open)?;
    let matrix = b.transpose(matrix, &[1, 0])?;
    let rows = b.reshape(g, &[before, Dim::Fixed(out), after])?;
    let product = b.matmul(matrix, rows)?;
    shape[axis] = Dim::Fixed(size);
    b.reshape(product, &shape)
}

/// Reshape, Flatten, Squeeze and Unsqueeze preserve the order of elements: dx is g in the shape of x.
fn restored(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let g = n.full(b)?;
    let shape = b.shape(n.x(0)?)?;
    one(b.reshape(g, &shape)?)
}

/// Reshape. dx = g in the shape of x. <https://onnx.ai/onnx/operators/onnx__Reshape.html>
pub(super) fn reshape(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["allowzero"]);
    restored(b, n)
}

/// Flatten. dx = g in the shape of x. <https://onnx.ai/onnx/operators/onnx__Flatten.html>
pub(super) fn flatten(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["axis"]);
    restored(b, n)
}

/// Squeeze. dx = g in the shape of x. <https://onnx.ai/onnx/operators/onnx__Squeeze.html>
pub(super) fn squeeze(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["axes"]);
    restored(b, n)
}

/// Unsqueeze. dx = g in the shape of x. <https://onnx.ai/onnx/operators/onnx__Unsqueeze.html>
pub(super) fn unsqueeze(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["axes"]);
    restored(b, n)
}

/// Expand, y = x repeated along axes of size 1. dx = g summed over those axes.
/// <https://onnx.ai/onnx/operators/onnx__Expand.html>
pub(super) fn expand(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let g = n.cot(b)?;
    one(unbroadcast(b, g, n.y(), n.x(0)?)?)
}

/// Transpose, axis i of y is axis perm[i] of x. dx = g under the inverse permutation.
/// <https://onnx.ai/onnx/operators/onnx__Transpose.html>
pub(super) fn transpose(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
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

/// Concat along an axis. The cotangent of each operand is a slice of g.
/// <https://onnx.ai/onnx/operators/onnx__Concat.html>
pub(super) fn concat(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let axis = n.axis(n.attrs().int_or("axis", 1), b.rank(n.y())?)?;
    let g = n.cot(b)?;
    // A cotangent that is constant along the axis needs no slice.
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

/// Split along an axis. dx concatenates the cotangents, with zeros for unused parts.
/// <https://onnx.ai/onnx/operators/onnx__Split.html> Sizes are an attribute before 13; from 18 also a number of
/// parts, and the last may be smaller.
pub(super) fn split(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let x = n.x(0)?;
    let axis = n.axis(n.attrs().int_or("axis", 0), b.rank(x)?)?;
    let total = b.size(x, axis)?;
    let parts = n.output_count();
    let sizes = match (n.list(b, "split", 1)?, n.attrs().int("num_outputs")) {
        (Some(sizes), _) => sizes,
        (None, _) => {
            // `num_outputs` equals the number of the node's outputs.
            let count = crate::builder::index(parts)?.max(1);
            let each = (total + count - 1) / count;
            (0..count).map(|part| each.min(total - part * each)).collect()
        }
    };
    if sizes.len() != parts {
        bail!(InvalidModel, "it has {parts} outputs for the sizes {sizes:?}");
    }
    let mut placed = Vec::new();
    let mut start = 0;
    for (part, &size) in sizes.iter().enumerate() {
        if let (Some(cotangent), Some(output)) = (n.form(part), n.output(part)) {
            let dense = cotangent.dense(b, output)?;
            placed.push((start, size, b.expand_like(dense, output)?));
        }
        start += size;
    }
    if placed.len() == parts {
        let all: Vec<ValueId> = placed.into_iter().map(|(_, _, part)| part).collect();
        return one(b.concat(&all, axis)?);
    }
    let mut sum = None;
    for (start, size, part) in placed {
        let part = b.pad_axis(part, axis, start, total - start - size)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => b.add(sum, part)?,
        });
    }
    Ok(vec![sum.map(Cotangent::Dense)])
}

/// Slice, y[i] = x[start + i·step] along each axis. dx places g at these indices, zeros elsewhere; for a negative
/// step g is reversed first. <https://onnx.ai/onnx/operators/onnx__Slice.html> Attributes before 10.
pub(super) fn slice(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
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
        // A step larger than the axis selects one element, like a step equal to its size.
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

/// Pad. Mode constant: dx = g without the padding, with zeros for cropped elements. Reflect, edge and wrap repeat
/// elements of the cropped input; dx adds the g of each repetition to its element.
/// <https://onnx.ai/onnx/operators/onnx__Pad.html> Counts are an attribute before 11; axes from 18; wrap from 19.
pub(super) fn pad(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let mode = n.attrs().text("mode").unwrap_or("constant").to_owned();
    n.attrs().ignore(&["value"]);
    let x = n.x(0)?;
    let rank = b.rank(x)?;
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
        begins[axis] = counts[place];
        ends[axis] = counts[axes.len() + place];
    }
    let mut g = n.full(b)?;
    if begins.iter().chain(&ends).any(|count| count.unsigned_abs() > PAD_LIMIT) {
        bail!(InvalidModel, "its pads {counts:?} are too large");
    }
    if mode == "constant" {
        let negative = |counts: &[i64]| counts.iter().map(|count| -count).collect::<Vec<_>>();
        return one(b.pad(g, &negative(&begins), &negative(&ends), 0.0)?);
    }
    for axis in 0..rank {
        let (begin, end) = (begins[axis], ends[axis]);
        if (begin, end) == (0, 0) {
            continue;
        }
        let size = b.size(x, axis)?;
        let (cropped, left) = (-begin.min(0), size + begin.min(0) + end.min(0));
        // Engines differ in reflection past the opposite end.
        let most = if mode == "reflect" { left - 1 } else { i64::MAX };
        if begin.max(end) > most {
            bail!(Unsupported, "it reflects {} of {left} elements", begin.max(end));
        }
        constant_size(&[left + begin.max(0) + end.max(0), size])?;
        let mut matrix = Vec::new();
        for at in -begin.max(0)..left + end.max(0) {
            let from = cropped + repeated(at, left, &mode)?;
            matrix.extend((0..size).map(|place| if place == from { 1.0 } else { 0.0 }));
        }
        g = along(b, g, axis, size, &matrix)?;
    }
    one(g)
}

/// The maximum padding before or after an axis.
const PAD_LIMIT: u64 = 1 << 40;

/// The index of the element that padding repeats at a position.
fn repeated(at: i64, size: i64, mode: &str) -> Result<i64> {
    if size < 1 {
        bail!(Unsupported, "it repeats the elements of an empty axis");
    }
    Ok(match mode {
        "edge" => at.clamp(0, size - 1),
        "wrap" => at.rem_euclid(size),
        "reflect" => at.abs().min(2 * (size - 1) - at),
        _ => bail!(
            Unsupported,
            "attribute mode is {mode:?}; supported: constant, reflect, edge, wrap"
        ),
    })
}

/// Tile, y = x repeated `repeats[i]` times along axis i. dx = Σ of g over the repetitions.
/// <https://onnx.ai/onnx/operators/onnx__Tile.html>
pub(super) fn tile(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let shape = b.shape(n.x(0)?)?;
    let Some(repeats) = n.list(b, "repeats", 1)?.filter(|list| list.len() == shape.len()) else {
        bail!(InvalidModel, "its repeats must be {} numbers", shape.len());
    };
    let (mut apart, mut axes) = (Vec::new(), Vec::new());
    for (&dim, &times) in shape.iter().zip(&repeats) {
        if times != 1 {
            axes.push(apart.len());
            apart.push(Dim::Fixed(times));
        }
        apart.push(dim);
    }
    let g = n.full(b)?;
    let apart = b.reshape(g, &apart)?;
    let sum = b.sum(apart, &axes)?;
    one(b.reshape(sum, &shape)?)
}

/// Whether the channels of a block precede the position in the block: CRD, else DCR.
fn channels_first(n: &RuleCall) -> Result<bool> {
    match n.attrs().text("mode").unwrap_or("DCR") {
        "DCR" => Ok(false),
        "CRD" => Ok(true),
        other => bail!(Unsupported, "attribute mode is {other:?}; supported: DCR, CRD"),
    }
}

/// DepthToSpace, y[n, c, b·h + i, b·w + j] = x[n, (i·b + j)·C + c, h, w], with CRD
/// x[n, c·b² + i·b + j, h, w]. dx is the inverse, SpaceToDepth.
/// <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>
pub(super) fn depth_to_space(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let perm = if channels_first(n)? { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    let (deep, wide) = (b.shape(n.x(0)?)?, b.shape(n.y())?);
    let block = Dim::Fixed(n.attrs().int_or("blocksize", 1));
    let (&[_, _, h, w], &[batch, channels, ..]) = (deep.as_slice(), wide.as_slice()) else {
        bail!(InvalidModel, "it takes four axes, its input has {}", deep.len());
    };
    let g = n.full(b)?;
    let apart = b.reshape(g, &[batch, channels, h, block, w, block])?;
    let turned = b.transpose(apart, &perm)?;
    one(b.reshape(turned, &deep)?)
}

/// SpaceToDepth, the inverse of [`depth_to_space`]; modes exist from 28. dx is DepthToSpace.
/// <https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html>
pub(super) fn space_to_depth(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let channels_first = channels_first(n)?;
    let (wide, deep) = (b.shape(n.x(0)?)?, b.shape(n.y())?);
    let block = Dim::Fixed(n.attrs().int_or("blocksize", 1));
    let (&[_, _, h, w], &[batch, channels, ..]) = (deep.as_slice(), wide.as_slice()) else {
        bail!(InvalidModel, "it takes four axes, its input has {}", wide.len());
    };
    let (apart, perm) = if channels_first {
        ([batch, channels, block, block, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        ([batch, block, block, channels, h, w], [0, 3, 4, 1, 5, 2])
    };
    let g = n.full(b)?;
    let apart = b.reshape(g, &apart)?;
    let turned = b.transpose(apart, &perm)?;
    one(b.reshape(turned, &wide)?)
}

/// Trilu, y = x above (or below) a diagonal, else 0. dx is the same part of g.
/// <https://onnx.ai/onnx/operators/onnx__Trilu.html>
pub(super) fn trilu(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let upper = attrs::int("upper", n.attrs().int_or("upper", 1));
    let g = n.full(b)?;
    one(b.raw_optional("Trilu", &[Some(g), n.optional(1)], vec![upper])?)
}

/// Reshape, Flatten, Squeeze: [N, C, …] to [N, C·S], or to another shape that starts with N and C.
pub(super) const PUSH_RESHAPE: Push = Push {
    when: |graph, n, input, count| {
        let (x, y) = (&graph.fact(n.optional(input)?).shape, &graph.fact(n.y()).shape);
        let (x, y) = (x.as_deref()?, y.as_deref()?);
        let flat = y.len() == 2 && y[0] == x[0] && y[1].fixed()? == x[1].fixed()? * count;
        let behind = y.len() >= 2 && y[..2] == x[..2];
        (input == 0 && x.len() > 2 && (flat || behind)).then_some(PushOperand::Sum(count))
    },
    emit: |b, n, _, _| n.cotangent_of_sum(b),
};

/// A concatenation of channels: each operand gets the sums of its channels.
pub(super) const PUSH_CONCAT: Push = Push {
    when: |graph, n, input, count| {
        let rank = graph.fact(n.optional(input)?).rank()?;
        let axis = n.axis(n.attrs().int_or("axis", 1), rank).ok()?;
        (axis == 1 && rank > 2).then_some(PushOperand::Sum(count))
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
