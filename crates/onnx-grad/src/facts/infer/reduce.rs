//! Shapes of reductions.

use super::call::{Dims, InferenceCall};
use crate::facts::Dim;

/// The axes that a `Reduce*` node reduces: an attribute up to opset 12 (ReduceSum) or 17 (the
/// others), then an input. Without axes it reduces all, or none with `noop_with_empty_axes`.
pub(super) fn reduced_axes(call: &InferenceCall) -> Option<Vec<usize>> {
    let rank = call.shape(0)?.len();
    match call.axes(1, "axes", rank)? {
        Some(axes) if !axes.is_empty() => Some(axes),
        _ if call.int("noop_with_empty_axes", 0) != 0 => Some(vec![]),
        _ => Some((0..rank).collect()),
    }
}

/// Whether a `Reduce*` node reduces all axes at any rank.
fn reduces_all(call: &InferenceCall) -> bool {
    call.list(1, "axes").is_some_and(|axes| axes.is_none_or(|axes| axes.is_empty()))
        && call.int("noop_with_empty_axes", 0) == 0
}

/// `Reduce*`.
pub(super) fn reduce(call: &InferenceCall) -> Option<Dims> {
    if reduces_all(call) && call.int("keepdims", 1) == 0 {
        return Some(vec![]);
    }
    Some(without(call.shape(0)?, &reduced_axes(call)?, call.int("keepdims", 1) != 0))
}

/// ArgMax and ArgMin.
pub(super) fn arg(call: &InferenceCall) -> Option<Dims> {
    let dims = call.shape(0)?;
    Some(without(dims, &[call.axis(0, dims.len())?], call.int("keepdims", 1) != 0))
}

fn without(dims: &[Dim], axes: &[usize], keep: bool) -> Dims {
    let sizes = dims.iter().enumerate().map(|(k, dim)| (*dim, axes.contains(&k)));
    let kept = sizes.filter(|(_, gone)| keep || !gone);
    kept.map(|(dim, gone)| if gone { Dim::Fixed(1) } else { dim }).collect()
}
