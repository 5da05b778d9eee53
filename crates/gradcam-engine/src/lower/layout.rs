//! Rewrite rules of operators that move, repeat and interpolate elements.

use std::{cmp::Ordering, iter};

use onnx_grad::{
    Dim, Graph, Resampling, Sizes,
    attrs::{int, ints, text},
    proto::{NodeProto, tensor_proto::DataType},
    resampling,
};

use super::{
    Refusal,
    nodes::Bytes,
    refusal::RefusalText,
    rewrite::{Rewrite, input, set},
};

pub(crate) const REFLECTION: RefusalText = RefusalText::new("it reflects … of … elements");

/// Without axes rten slices all of them; the standard says as many as there are starts.
pub(crate) fn slice(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let range = |count: usize| (0..i64::try_from(count).unwrap_or(0)).collect::<Vec<i64>>();
    if let Some(starts) = node.attr_ints("starts") {
        if node.attr_ints("axes").is_none() {
            let axes = range(starts.len());
            set(&mut node, ints("axes", &axes));
        }
    } else if node.input.get(3).is_none_or(String::is_empty) {
        let count = b.facts.dims(input(&node, 1)?).and_then(|dims| dims.first().copied().flatten());
        let count = count.or_else(|| b.facts.ints(&node, 1).map(|starts| starts.len()));
        let axes = range(count.ok_or("the number of its starts is unknown")?);
        let axes = b.ints(&[i64::try_from(axes.len()).unwrap_or(0)], &axes);
        node.input.resize(node.input.len().max(4), String::new());
        node.input[3] = axes;
    }
    b.keep(node);
    Ok(())
}

/// rten has no input `axes`, so the rule writes pads for all axes. It refuses reflections beyond the end of an axis, which
/// rten reads outside of it.
pub(crate) fn pad(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    if node.input.get(3).is_none_or(String::is_empty) {
        let pads = node.attr_ints("pads").map(<[i64]>::to_vec).or_else(|| b.facts.ints(&node, 1));
        reflects_within(b, &node, pads.as_deref())?;
        node.input.truncate(3);
        return pad_by_two(b, node, pads);
    }
    let all = b.facts.rank(&node, 0).zip(b.facts.ints(&node, 1)).zip(b.facts.ints(&node, 3));
    let ((rank, pads), axes) = all.ok_or("its input axes is not constant")?;
    if pads.len() != 2 * axes.len() {
        return Err("its pads and its axes differ in length".to_owned());
    }
    let mut full = vec![0; 2 * rank];
    for (at, axis) in axes.iter().enumerate() {
        let axis = if *axis < 0 { axis + i64::try_from(rank).unwrap_or(0) } else { *axis };
        let axis = usize::try_from(axis).ok().filter(|axis| *axis < rank);
        let axis = axis.ok_or("its axes exceed the rank of its input")?;
        full[axis] = pads[at];
        full[rank + axis] = pads[axes.len() + at];
    }
    reflects_within(b, &node, Some(&full))?;
    let dims = [i64::try_from(full.len()).unwrap_or(0)];
    node.input[1] = b.ints(&dims, &full);
    node.input.truncate(3);
    pad_by_two(b, node, Some(full))
}

/// rten repeats elements only along the last two axes. For any other axis the rule swaps it with the last one.
fn pad_by_two(
    b: &mut Rewrite<'_>,
    mut node: NodeProto,
    pads: Option<Vec<i64>>,
) -> Result<(), Refusal> {
    let mode = node.attr_str("mode").unwrap_or("constant");
    let Some(mut pads) = pads.filter(|_| mode != "constant") else {
        b.keep(node);
        return Ok(());
    };
    let rank = pads.len() / 2;
    let count = |n: usize| i64::try_from(n).unwrap_or(0);
    let modes = vec![text("mode", mode)];
    for axis in 0..rank.saturating_sub(2) {
        let (begin, end) = (pads[axis], pads[axis + rank]);
        if (begin, end) == (0, 0) {
            continue;
        }
        let mut perm: Vec<i64> = (0..count(rank)).collect();
        perm.swap(axis, rank - 1);
        let mut around = vec![0; 2 * rank];
        (around[rank - 1], around[2 * rank - 1]) = (begin, end);
        let around = b.ints(&[count(2 * rank)], &around);
        let turned = b.node("Transpose", &[input(&node, 0)?], vec![ints("perm", &perm)]);
        let padded = b.node("Pad", &[&turned, &around], modes.clone());
        node.input[0] = b.node("Transpose", &[&padded], vec![ints("perm", &perm)]);
        (pads[axis], pads[axis + rank]) = (0, 0);
    }
    let pads = b.ints(&[count(2 * rank)], &pads);
    b.last(&node, "Pad", &[input(&node, 0)?, &pads], modes);
    Ok(())
}

fn reflects_within(b: &Rewrite<'_>, node: &NodeProto, pads: Option<&[i64]>) -> Result<(), Refusal> {
    if node.attr_str("mode") != Some("reflect") {
        return Ok(());
    }
    let known = pads.zip(b.facts.dims(input(node, 0)?));
    let (pads, sizes) =
        known.ok_or("it reflects, and its pads or the size of its input are unknown")?;
    for (axis, size) in sizes.iter().enumerate() {
        let (begin, end) = (pads.get(axis), pads.get(axis + sizes.len()));
        let (begin, end) = (*begin.unwrap_or(&0), *end.unwrap_or(&0));
        let left = size.and_then(|size| i64::try_from(size).ok()).unwrap_or(1);
        let left = left + begin.min(0) + end.min(0);
        if begin.max(end) > (left - 1).max(0) {
            return Err(REFLECTION.with(&[&begin.max(end), &left]));
        }
    }
    Ok(())
}

/// ONNX Runtime takes axes only as 64-bit integers.
pub(crate) fn wide_axes(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    if b.facts.elem(&node, 3) == DataType::Int32 {
        node.input[3] = match b.facts.ints(&node, 3) {
            Some(axes) => b.ints(&[i64::try_from(axes.len()).unwrap_or(0)], &axes),
            None => b.node("Cast", &[input(&node, 3)?], vec![int("to", DataType::Int64 as i64)]),
        };
    }
    b.keep(node);
    Ok(())
}

/// rten has only the inverse. The rule splits the blocks into axes of their own and moves those before or after the channels.
pub(crate) fn space_to_depth(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    let x = input(&node, 0)?;
    let sizes = b.facts.dims(x).and_then(|dims| match *dims {
        [_, Some(channels), Some(height), Some(width)] => Some([channels, height, width]),
        _ => None,
    });
    let sizes = sizes.ok_or("the size of its input is unknown")?;
    let [channels, height, width] = sizes.map(|size| i64::try_from(size).unwrap_or(0));
    let block = node.attr_int("blocksize").filter(|block| *block > 0);
    let block = block.ok_or("it has no blocksize")?;
    let (rows, columns) = (height / block, width / block);
    let apart = b.ints(&[6], &[0, channels, rows, block, columns, block]);
    let apart = b.node("Reshape", &[x, &apart], vec![]);
    let channels_first = node.attr_str("mode") == Some("CRD");
    let perm = if channels_first { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    let turned = b.node("Transpose", &[&apart], vec![ints("perm", &perm)]);
    let joined = b.ints(&[4], &[0, channels * block * block, rows, columns]);
    b.last(&node, "Reshape", &[&turned, &joined], vec![]);
    Ok(())
}

/// Resize of opset 10 equals the earlier Upsample. Forms that rten lacks or computes wrongly become a product with a matrix
/// per axis that changes. Integers are interpolated as floats and cut off, as ONNX Runtime does.
pub(crate) fn resize(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let graph = Graph::new(b.facts.model, &Sizes::new());
    if !resizes(b, &node, graph.as_ref().ok()) {
        return resampled(b, &node, graph);
    }
    if b.facts.opset == 10 {
        node.op_type = Some("Upsample".to_owned());
    }
    node.attribute
        .retain(|a| !matches!(a.name.as_deref(), Some("cubic_coeff_a" | "extrapolation_value")));
    if let Some(bytes) = Bytes::of(b, &node, 0) {
        let x = bytes.widened(b, &node, 0, DataType::Float);
        let others = node.input.iter().skip(1).map(String::as_str);
        let inputs: Vec<&str> = iter::once(x.as_str()).chain(others).collect();
        let result = b.node(node.op(), &inputs, node.attribute.clone());
        bytes.narrowed(b, &node, &result);
        return Ok(());
    }
    b.keep(node);
    Ok(())
}

/// ONNX Runtime interpolates only along some pairs of axes, and applies a policy to a wrong axis if axes are negative.
pub(crate) fn resize_of_two_axes(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    let interpolates = !matches!(node.attr_str("mode"), None | Some("nearest"));
    let from_end = node.attr_ints("axes").is_some_and(|axes| axes.iter().any(|axis| *axis < 0));
    let policy =
        node.attr_str("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch");
    let odd =
        interpolates && !matches!(b.facts.rank(&node, 0), None | Some(2 | 4)) || from_end && policy;
    if odd {
        return resampled(b, &node, Graph::new(b.facts.model, &Sizes::new()));
    }
    b.keep(node);
    Ok(())
}

/// Emits a product with a matrix per axis that changes.
fn resampled(
    b: &mut Rewrite<'_>,
    node: &NodeProto,
    graph: onnx_grad::Result<Graph>,
) -> Result<(), Refusal> {
    let graph = graph.map_err(|e| e.to_string())?;
    let of = node.output.first().and_then(|name| graph.find(name));
    let of = of.and_then(|value| graph.producer(value)).ok_or("its output is unknown")?;
    let steps = resampling(&graph, of).map_err(|e| e.to_string())?;
    let rank = b.facts.rank(node, 0).ok_or("the rank of its input is unknown")?;
    let bytes = Bytes::of(b, node, 0);
    let mut x = match &bytes {
        Some(bytes) => bytes.widened(b, node, 0, DataType::Float),
        None => input(node, 0)?.to_owned(),
    };
    for Resampling { axis, size, out, matrix } in steps {
        // Move the axis to the end, where a matrix on the right acts on it.
        let mut perm: Vec<i64> = (0..i64::try_from(rank).unwrap_or(0)).collect();
        perm.swap(axis, rank - 1);
        let turn = |b: &mut Rewrite<'_>, x: &str| match axis + 1 == rank {
            true => x.to_owned(),
            false => b.node("Transpose", &[x], vec![ints("perm", &perm)]),
        };
        let turned = turn(b, &x);
        #[expect(clippy::cast_possible_truncation, reason = "rten computes in float32")]
        let matrix = b.floats(&[out, size], matrix.into_iter().map(|weight| weight as f32));
        let matrix = b.node("Transpose", &[&matrix], vec![ints("perm", &[1, 0])]);
        let product = b.node("MatMul", &[&turned, &matrix], vec![]);
        x = turn(b, &product);
    }
    match bytes {
        Some(bytes) => bytes.narrowed(b, node, &x),
        None => b.last(node, "Identity", &[&x], vec![]),
    }
    Ok(())
}

/// Whether rten computes this Resize correctly: nearest or linear, along the last two of at most four axes, and before
/// opset 11 without shrinking.
fn resizes(b: &Rewrite<'_>, node: &NodeProto, graph: Option<&Graph>) -> bool {
    let text = |name: &str| node.attr_str(name).unwrap_or_default();
    let set = |name: &str| node.attr_int(name).unwrap_or(0) != 0;
    let coordinates = ["", "align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel"];
    let shape = |name: Option<&String>| graph?.fact(graph?.find(name?)?).shape.clone();
    let sizes = shape(node.input.first()).zip(shape(node.output.first()));
    let old = b.facts.opset < 11;
    let fits = sizes.map_or(!old, |(from, to)| {
        let front = from.len().saturating_sub(2);
        let smaller = |(from, to): (&Dim, &Dim)| to.compare(*from).is_none_or(Ordering::is_lt);
        from.get(..front) == to.get(..front)
            && (from.len() <= 4 || from == to)
            && !(old && from.iter().zip(&to).any(smaller))
    });
    fits && matches!(text("mode"), "" | "nearest" | "linear")
        && matches!(text("keep_aspect_ratio_policy"), "" | "stretch")
        && coordinates.contains(&text("coordinate_transformation_mode"))
        && !set("antialias")
        && !set("exclude_outside")
        && node.attr_ints("axes").is_none()
}
