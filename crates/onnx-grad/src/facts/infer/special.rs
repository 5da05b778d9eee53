//! Shapes of other operators: Einsum, attention, recurrent networks, sampling.

use super::{
    call::{Dims, InferenceCall},
    elementwise::{broadcast_dims, same},
};
use crate::{
    facts::{Dim, Fact},
    proto::tensor_proto::DataType,
};

/// Einsum with or without ellipses and `->`.
pub(super) fn einsum(call: &InferenceCall) -> Option<Dims> {
    let equation: String = call.text("equation").split_whitespace().collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != call.arity() {
        return None;
    }
    let mut labels = std::collections::BTreeMap::new();
    let mut ellipsis = vec![];
    for (k, term) in terms.iter().enumerate() {
        let dims = call.shape(k)?;
        let (before, after) = term.split_once("...").unwrap_or((term, ""));
        let (before_len, after_len) = (before.chars().count(), after.chars().count());
        let end = dims.len().checked_sub(after_len)?;
        let middle = dims.get(before_len..end)?;
        if !term.contains("...") && !middle.is_empty() {
            return None;
        }
        ellipsis = broadcast_dims(&ellipsis, middle)?;
        let named = dims.get(..before_len)?.iter().chain(dims.get(end..)?);
        for (label, dim) in before.chars().chain(after.chars()).zip(named) {
            let bound = labels.entry(label).or_insert((*dim, 0_usize));
            bound.1 += 1;
            if bound.0 != *dim {
                bound.0 = *broadcast_dims(&[bound.0], &[*dim])?.first()?;
            }
        }
    }
    let Some(right) = right else {
        // Without `->` the output has the labels that occur once, in alphabetical order.
        let once = labels.values().filter(|(_, uses)| *uses == 1).map(|(dim, _)| *dim);
        return Some(ellipsis.into_iter().chain(once).collect());
    };
    let (before, after) = right.split_once("...").unwrap_or((right, ""));
    let ellipsis = if right.contains("...") { ellipsis } else { vec![] };
    let named = |text: &str| -> Option<Dims> {
        text.chars().map(|label| labels.get(&label).map(|(dim, _)| *dim)).collect()
    };
    Some([named(before)?, ellipsis, named(after)?].concat())
}

/// Attention (opset 23): queries and values of shape `[batch, heads, time, size]`, or
/// `[batch, time, heads · size]` with head counts as attributes.
pub(super) fn attention(call: &InferenceCall) -> Option<Dims> {
    match (call.shape(0)?, call.shape(2)?) {
        (&[batch, heads, time, _], &[_, _, _, size]) => Some(vec![batch, heads, time, size]),
        (&[batch, time, _], &[_, _, values]) => {
            let heads = Dim::Fixed(call.node.attr_int("q_num_heads")?);
            let size = values.divided_by(Dim::Fixed(call.node.attr_int("kv_num_heads")?))?;
            Some(vec![batch, time, heads.times(size)?])
        }
        _ => None,
    }
}

/// LSTM, GRU and RNN: all states, the last state and, for LSTM, the last cell state.
pub(super) fn recurrent(call: &InferenceCall) -> Option<Vec<Fact>> {
    let &[first, second, _] = call.shape(0)? else { return None };
    let hidden = Dim::Fixed(call.node.attr_int("hidden_size")?);
    let directions = Dim::Fixed(if call.text("direction") == "bidirectional" { 2 } else { 1 });
    let (all, last) = match call.int("layout", 0) {
        0 => (vec![first, directions, second, hidden], vec![directions, second, hidden]),
        _ => (vec![first, second, directions, hidden], vec![first, directions, hidden]),
    };
    let last = Fact::new(call.elem(0), last);
    Some(vec![Fact::new(call.elem(0), all), last.clone(), last])
}

/// GridSample: batch and channels of the image, spatial sizes of the grid.
pub(super) fn grid_sample(call: &InferenceCall) -> Option<Dims> {
    let (kept, grid) = (call.shape(0)?.get(..2)?, call.shape(1)?);
    let spatial = grid.get(1..grid.len().checked_sub(1)?)?;
    Some([kept, spatial].concat())
}

/// AffineGrid: `[batch, height, width, 2]`, or with depth `[batch, depth, height, width, 3]`.
pub(super) fn affine_grid(call: &InferenceCall) -> Option<Dims> {
    match *call.dims(1)? {
        [n, _, h, w] => Some(vec![n, h, w, Dim::Fixed(2)]),
        [n, _, d, h, w] => Some(vec![n, d, h, w, Dim::Fixed(3)]),
        _ => None,
    }
}

/// RoiAlign: one image of `output_height` by `output_width` for each region.
pub(super) fn roi_align(call: &InferenceCall) -> Option<Dims> {
    let (channels, regions) = (*call.shape(0)?.get(1)?, *call.shape(1)?.first()?);
    let size = |name| Dim::Fixed(call.int(name, 1));
    Some(vec![regions, channels, size("output_height"), size("output_width")])
}

/// Col2Im: blocks `[batch, channels · block, count]` to an image.
pub(super) fn col2im(call: &InferenceCall) -> Option<Dims> {
    let &[batch, columns, _] = call.shape(0)? else { return None };
    let channels = columns.divided_by(super::call::product(call.dims(2)?)?)?;
    Some([&[batch, channels], call.dims(1)?].concat())
}

/// CenterCropPad: the given sizes on the given axes.
pub(super) fn center_crop_pad(call: &InferenceCall) -> Option<Dims> {
    let mut dims = same(call)?;
    let sizes = call.dims(1)?;
    let axes = match call.axes(usize::MAX, "axes", dims.len())? {
        Some(axes) => axes,
        None => (0..dims.len()).collect(),
    };
    if axes.len() != sizes.len() {
        return None;
    }
    for (axis, size) in axes.into_iter().zip(sizes) {
        *dims.get_mut(axis)? = *size;
    }
    Some(dims)
}

/// Multinomial: `[batch, sample_size]`.
pub(super) fn multinomial(call: &InferenceCall) -> Option<Dims> {
    Some(vec![*call.shape(0)?.first()?, Dim::Fixed(call.int("sample_size", 1))])
}

/// Operators whose output sizes depend on run-time numbers.
pub(super) fn unknown(_: &InferenceCall) -> Option<Dims> {
    None
}

/// Unique: only the output types are known.
pub(super) fn unique(call: &InferenceCall) -> Option<Vec<Fact>> {
    let of = |elem| Fact { elem, ..Fact::default() };
    let indices = of(DataType::Int64);
    Some(vec![of(call.elem(0)), indices.clone(), indices.clone(), indices])
}
