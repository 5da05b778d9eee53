//! Straight-through gradients of quantized networks: rounding counts as the identity, and elements clipped to the
//! integer range have no gradient.
//!
//! Values between a QuantizeLinear and a DequantizeLinear are integers. Their cotangents are float32, with respect to
//! the integers as real numbers.

use super::{Cotangents, RuleCall, one};
use crate::{
    builder::Builder,
    error::{Result, bail},
    facts::Dim,
    graph::{Graph, NodeId, ValueId},
    op::Kind,
    proto::tensor_proto::DataType,
};

/// The type of the cotangents of integers.
const COTANGENT: DataType = DataType::Float;

/// Whether the gradient flows through an output of a node on the path: through floats, quantized integers and the
/// results of quantized integers.
pub(super) fn carries(graph: &Graph, id: NodeId, output: usize, active: &[ValueId]) -> bool {
    let Some(value) = graph.node_outputs(id).get(output).copied().flatten() else { return false };
    let elem = graph.fact(value).elem;
    match (graph.node(id).op(), elem) {
        // For the straight-through gradient, scale and zero point are constants.
        ("DynamicQuantizeLinear", _) => output == 0,
        (_, DataType::Undefined) => true,
        _ if elem.is_float() => true,
        ("QuantizeLinear", _) => true,
        // Indices are int64 and conditions boolean.
        (_, DataType::Int64 | DataType::Bool) => false,
        _ => active.iter().any(|input| is_integer(graph.fact(*input).elem)),
    }
}

fn is_integer(elem: DataType) -> bool {
    !elem.is_float() && elem != DataType::Undefined
}

/// The type in which the gradient of a value is computed.
pub(super) fn cotangent_type(b: &Builder<'_>, value: ValueId) -> DataType {
    let elem = b.elem(value);
    if elem.is_float() { elem } else { COTANGENT }
}

/// Whether a node computes quantized numbers from quantized numbers of the same type, as layout operators do.
pub(super) fn is_among_integers(b: &Builder<'_>, n: &RuleCall) -> bool {
    let Some(elem) = n.output(0).map(|y| b.elem(y)) else { return false };
    let same = |input: usize| n.optional(input).is_some_and(|x| b.elem(x) == elem);
    let converts = n.traits().kind == Kind::Convert;
    is_integer(elem) && !converts && (0..n.input_count()).any(|at| n.wants(at) && same(at))
}

/// The operation of such a node on floats, so that rules do not need to support integers.
pub(super) fn on_floats(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let elem = b.elem(n.y());
    let mut inputs = Vec::new();
    for input in 0..n.input_count() {
        inputs.push(match n.optional(input) {
            Some(x) if b.elem(x) == elem => Some(b.cast(x, COTANGENT)?),
            other => other,
        });
    }
    b.raw_outputs(n.op(), &inputs, n.output_count(), n.attrs().all())
}

/// QuantizeLinear, y = saturate(round(x/s) + z), with lo = (min − z)·s and hi = (max − z)·s for the integer range.
/// Straight through: dx = g·[lo < x]·[x < hi]/s; 0 at both bounds, as for Clip. Scale and zero point get no gradient.
/// <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html> One scale before 13, then also one for each index of an
/// axis; the blocks of 21 are refused.
pub(super) fn quantize_linear(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["output_dtype", "precision", "saturate"]);
    let x = n.x(0)?;
    let elem = b.elem(n.y());
    let taken =
        matches!(elem, DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16);
    let Some((low, high)) = elem.range().filter(|_| taken) else {
        bail!(
            Unsupported,
            "its output is {}; supported: int8, uint8, int16, uint16",
            elem.as_str_name().to_lowercase()
        )
    };
    let scale = scale(b, n)?;
    let steps = b.fact(n.x(1)?).floats().map(<[f64]>::to_vec);
    let zeros = match n.optional(2) {
        Some(zero) => b.fact(zero).ints(),
        None => Some(vec![0]),
    };
    let (Some(steps), Some(zeros)) = (steps, zeros) else {
        bail!(
            Unsupported,
            "its scale or zero point is computed when the model runs; supported: constants"
        )
    };
    let shape = b.shape(scale)?;
    let dims: Vec<i64> = shape.iter().filter_map(|dim| dim.fixed()).collect();
    let bound = |b: &mut Builder<'_>, end: i64| {
        #[expect(clippy::cast_precision_loss, reason = "at most 16 bits")]
        let numbers =
            steps.iter().zip(zeros.iter().cycle()).map(|(s, z)| (end as f64 - *z as f64) * s);
        b.floats(x, &dims, &numbers.collect::<Vec<_>>())
    };
    let (low, high) = (bound(b, low)?, bound(b, high)?);
    let (s, elem) = (n.symbols(), b.elem(x));
    let over = s.g.cast(elem) / s.value(scale).cast(elem);
    one((over * s.x(0).between(s.value(low), s.value(high))).emit(b)?)
}

/// DequantizeLinear, y = (x − z)·s. dx = g·s. <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html> Scales are
/// as for QuantizeLinear.
pub(super) fn dequantize_linear(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["output_dtype"]);
    let (s, scale) = (n.symbols(), scale(b, n)?);
    one((s.g * s.value(scale).cast_like(s.g)).cast(COTANGENT).emit(b)?)
}

/// DynamicQuantizeLinear, y = round(x/s) + z with s and z from the extremes of x, so nothing is clipped. Straight
/// through: dx = g/s; scale and zero point count as constants.
/// <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>
pub(super) fn dynamic_quantize_linear(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Some(scale) = n.output(1) else {
        bail!(Unsupported, "its scale has no name; supported: with all three outputs")
    };
    let g = n.cot(b)?;
    one(b.div(g, scale)?)
}

/// ConvInteger: the Conv of x − z and w − v in integers. <https://onnx.ai/onnx/operators/onnx__ConvInteger.html>
pub(super) fn conv_integer(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let (x, w) = (difference(b, n, 0, None)?, difference(b, n, 1, Some(0))?);
    let whole = b.elem(n.y());
    let groups = n.attrs().int_or("group", 1);
    let taps = b.shape(w)?.iter().skip(2).map(|dim| dim.fixed()).product::<Option<i64>>();
    let channels = b.shape(w)?.get(1).and_then(|dim| dim.fixed());
    // A kernel with too many taps for an exact sum is rounded to float32, like any Conv.
    let longest = taps.map(|taps| (longest_sum(b, n) / taps.max(1)).max(1));
    let (channels, longest) = match channels.zip(longest) {
        Some((channels, longest)) if !n.is_differentiated() && channels > longest => {
            (channels, longest)
        }
        _ => {
            let sum = b.conv("Conv", x, w, n.attrs().all())?;
            return Ok(vec![b.cast(sum, whole)?]);
        }
    };
    // Each group has separate channels: [n, g, c, …].
    let shape = b.shape(x)?;
    let split = [&[shape[0], Dim::Fixed(groups), Dim::Fixed(channels)], &shape[2..]].concat();
    let x = b.reshape(x, &split)?;
    let mut product = |b: &mut Builder<'_>, start: i64, count: i64| {
        let part = b.slice(x, 2, start, count, 1)?;
        let joined = [&[shape[0], Dim::Fixed(groups * count)], &shape[2..]].concat();
        let (part, kernel) = (b.reshape(part, &joined)?, b.slice(w, 1, start, count, 1)?);
        b.conv("Conv", part, kernel, n.attrs().all())
    };
    Ok(vec![sum_of_blocks(b, (channels, longest), whole, &mut product)?])
}

/// MatMulInteger: the MatMul of a − z and b − v in integers.
/// <https://onnx.ai/onnx/operators/onnx__MatMulInteger.html>
pub(super) fn matmul_integer(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let ranks = (b.rank(n.x(0)?)?, b.rank(n.x(1)?)?);
    let (rows, columns) = (ranks.0.checked_sub(2), ranks.1.checked_sub(1));
    let (left, right) = (difference(b, n, 0, rows)?, difference(b, n, 1, columns)?);
    let whole = b.elem(n.y());
    let (inner, outer) = (ranks.0.saturating_sub(1), ranks.1.saturating_sub(2));
    let length = b.shape(right)?.get(outer).and_then(|dim| dim.fixed());
    let longest = longest_sum(b, n);
    let Some(length) = length.filter(|length| !n.is_differentiated() && *length > longest) else {
        let sum = b.matmul(left, right)?;
        return Ok(vec![b.cast(sum, whole)?]);
    };
    let mut product = |b: &mut Builder<'_>, start: i64, count: i64| {
        let left = b.slice(left, inner, start, count, 1)?;
        let right = b.slice(right, outer, start, count, 1)?;
        b.matmul(left, right)
    };
    Ok(vec![sum_of_blocks(b, (length, longest), whole, &mut product)?])
}

/// The maximum number of products of two 8-bit integer differences whose sum is exact in float32, which represents
/// every integer up to 2²⁴.
fn longest_sum(b: &Builder<'_>, n: &RuleCall) -> i64 {
    let centered = |zero| b.fact(zero).ints().is_some_and(|zeros| zeros.iter().all(|&z| z == 0));
    let signed = n.optional(1).is_some_and(|weights| b.elem(weights) == DataType::Int8);
    let largest = if signed && n.optional(3).is_none_or(centered) { 128 } else { 255 };
    ((1 << 24) - 1) / (255 * largest)
}

/// The product in blocks that are small enough to be exact; their sums are added as integers.
fn sum_of_blocks(
    b: &mut Builder<'_>,
    (length, longest): (i64, i64),
    whole: DataType,
    product: &mut dyn FnMut(&mut Builder<'_>, i64, i64) -> Result<ValueId>,
) -> Result<ValueId> {
    let mut total: Option<ValueId> = None;
    let mut start = 0;
    while start < length {
        let block = product(b, start, longest.min(length - start))?;
        let block = b.cast(block, whole)?;
        total = Some(match total {
            Some(total) => b.add(total, block)?,
            None => block,
        });
        start += longest;
    }
    match total {
        Some(total) => Ok(total),
        None => bail!(Shape, "its sum is empty"),
    }
}

/// An input minus its zero point, which is two inputs later. Several zero points apply along an axis or have the rank
/// of the input.
fn difference(
    b: &mut Builder<'_>,
    n: &RuleCall,
    input: usize,
    axis: Option<usize>,
) -> Result<ValueId> {
    let x = b.cast(n.x(input)?, COTANGENT)?;
    let Some(zero) = n.optional(input + 2) else { return Ok(x) };
    let zero = b.cast(zero, COTANGENT)?;
    let placed = b.rank(zero)? > 1 && b.rank(zero)? == b.rank(x)?;
    let zero = if placed { zero } else { along(b, zero, x, axis)? };
    b.sub(x, zero)
}

/// The scale of a node, as a factor of its first input.
fn scale(b: &mut Builder<'_>, n: &RuleCall) -> Result<ValueId> {
    match n.attrs().int_or("block_size", 0) {
        0 => {}
        size => bail!(
            Unsupported,
            "attribute block_size is {size}; supported: 0, one scale or one for each index of an axis"
        ),
    }
    let (x, scale) = (n.x(0)?, n.x(1)?);
    let axis = n.attrs().int_or("axis", 1);
    let single = b.fact(scale).count() == Some(1);
    let axis = match n.opset() {
        _ if single => None,
        ..13 => bail!(Unsupported, "it has several scales; before opset 13 it has one"),
        _ => Some(n.axis(axis, b.rank(x)?)?),
    };
    along(b, scale, x, axis)
}

/// A scalar, or a list along an axis of a value, in a broadcastable shape.
fn along(b: &mut Builder<'_>, list: ValueId, of: ValueId, axis: Option<usize>) -> Result<ValueId> {
    let shape = b.shape(list)?;
    match (shape.as_slice(), axis) {
        ([] | [Dim::Fixed(1)], _) => b.reshape(list, &[]),
        ([count], Some(axis)) => {
            let mut shape = vec![Dim::Fixed(1); b.rank(of)?];
            shape[axis] = *count;
            b.reshape(list, &shape)
        }
        _ => bail!(
            Unsupported,
            "\"{}\" has shape {}; supported: one number, or one for each index of an axis",
            b.graph().name(list),
            b.fact(list).shown()
        ),
    }
}
