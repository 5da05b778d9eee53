//! Shapes of layout operators: reshapes, transposes, concatenations and slices.

use super::{
    call::{Dims, InferenceCall, normal_axes, normal_axis, product},
    elementwise::broadcast_dims,
};
use crate::facts::{Dim, Fact};

/// A product of dims, `times · N^degree`; it can be quadratic in the batch size.
#[derive(Clone, Copy, PartialEq)]
struct Volume {
    times: i64,
    degree: u32,
}

impl Volume {
    fn of(dims: &[Dim]) -> Option<Self> {
        dims.iter().try_fold(Self { times: 1, degree: 0 }, |volume, dim| {
            let (times, degree) = match dim {
                Dim::Fixed(size) => (*size, 0),
                Dim::Batch(times) => (*times, 1),
            };
            let times = volume.times.checked_mul(times)?;
            Some(Self { times, degree: volume.degree.checked_add(degree)? })
        })
    }

    /// The size of one axis if `part` is the product of the others.
    fn divided_by(self, part: Self) -> Option<Dim> {
        if self.times == 0 && part.times != 0 {
            return Some(Dim::Fixed(0));
        }
        match self.degree.checked_sub(part.degree)? {
            0 => Dim::Fixed(self.times).divided_by(Dim::Fixed(part.times)),
            1 => Dim::Batch(self.times).divided_by(Dim::Fixed(part.times)),
            _ => None,
        }
    }
}

/// Reshape: 0 copies the input's dim (unless `allowzero`, opset 14), −1 is inferred.
pub(super) fn reshape(call: &InferenceCall) -> Option<Dims> {
    let target = call.dims(1)?;
    let keep_zero = call.int("allowzero", 0) != 0;
    let mut open = None;
    let mut dims = Vec::with_capacity(target.len());
    for (k, dim) in target.iter().enumerate() {
        dims.push(match dim {
            Dim::Fixed(0) if !keep_zero => *call.shape(0)?.get(k)?,
            Dim::Fixed(-1) if open.is_none() => {
                open = Some(k);
                Dim::Fixed(1)
            }
            dim => *dim,
        });
    }
    if let Some(k) = open {
        let left = Volume::of(call.shape(0)?)?.divided_by(Volume::of(&dims)?)?;
        *dims.get_mut(k)? = left;
    }
    // The number of elements does not change.
    let fits = match (call.shape(0).and_then(Volume::of), Volume::of(&dims)) {
        (Some(from), Some(to)) => from.times == 0 && to.times == 0 || from == to,
        _ => true,
    };
    fits.then_some(dims)
}

/// Flatten: the axes before `axis` become one axis, the others a second one.
pub(super) fn flatten(call: &InferenceCall) -> Option<Dims> {
    let dims = call.shape(0)?;
    let axis = call.int("axis", 1);
    let axis = if usize::try_from(axis) == Ok(dims.len()) {
        dims.len()
    } else {
        normal_axis(axis, dims.len())?
    };
    let (outer, inner) = dims.split_at_checked(axis)?;
    Some(vec![product(outer)?, product(inner)?])
}

/// Squeeze: axes are an attribute, from opset 13 an input; by default all of size 1.
pub(super) fn squeeze(call: &InferenceCall) -> Option<Dims> {
    let dims = call.shape(0)?;
    let one = Dim::Fixed(1);
    match call.axes(1, "axes", dims.len())? {
        Some(axes) => {
            let all_ones = axes.iter().all(|axis| dims.get(*axis) == Some(&one));
            let kept = dims.iter().enumerate().filter(|(k, _)| !axes.contains(k));
            all_ones.then(|| kept.map(|(_, dim)| *dim).collect())
        }
        // An axis of size N would be removed for N = 1 only.
        None if dims.contains(&Dim::Batch(1)) => None,
        None => Some(dims.iter().copied().filter(|dim| *dim != one).collect()),
    }
}

/// Unsqueeze: the axes refer to the result.
pub(super) fn unsqueeze(call: &InferenceCall) -> Option<Dims> {
    let dims = call.shape(0)?;
    let axes: Vec<i64> =
        call.list(1, "axes")??.into_iter().map(Dim::fixed).collect::<Option<_>>()?;
    let rank = dims.len().checked_add(axes.len())?;
    let mut result = vec![None; rank];
    for axis in normal_axes(&axes, rank)? {
        *result.get_mut(axis)? = Some(Dim::Fixed(1));
    }
    let mut rest = dims.iter().copied();
    result.into_iter().map(|dim| dim.or_else(|| rest.next())).collect()
}

/// The permutation of a Transpose; reversed by default.
pub(super) fn permutation(call: &InferenceCall, rank: usize) -> Option<Vec<usize>> {
    match call.node.attr_ints("perm") {
        Some(perm) if perm.len() == rank => normal_axes(perm, rank),
        Some(_) => None,
        None => Some((0..rank).rev().collect()),
    }
}

/// Transpose.
pub(super) fn transpose(call: &InferenceCall) -> Option<Dims> {
    let dims = call.shape(0)?;
    permutation(call, dims.len())?.into_iter().map(|axis| dims.get(axis).copied()).collect()
}

/// Concat: all inputs have equal sizes on the other axes.
pub(super) fn concat(call: &InferenceCall) -> Option<Dims> {
    let mut dims = call.shape(0)?.to_vec();
    let axis = call.axis(1, dims.len())?;
    for k in 1..call.arity() {
        let other = call.shape(k)?;
        if other.len() != dims.len() {
            return None;
        }
        for (k, (dim, other)) in dims.iter_mut().zip(other).enumerate() {
            if k == axis {
                *dim = dim.plus(*other)?;
            } else if *dim != *other {
                return None;
            }
        }
    }
    Some(dims)
}

/// The axis of a Split and the sizes of its parts: an attribute, from opset 13 an input, by default equal parts. From
/// opset 18 (`num_outputs`) the last can be smaller.
pub(super) fn split_sizes(call: &InferenceCall) -> Option<(usize, Vec<Dim>)> {
    let dims = call.shape(0)?;
    let axis = call.axis(0, dims.len())?;
    let whole = *dims.get(axis)?;
    let outputs = call.node.output.len();
    if let Some(sizes) = call.list(1, "split")? {
        let sum = sizes.iter().try_fold(Dim::Fixed(0), |sum, size| sum.plus(*size))?;
        return (sizes.len() == outputs && sum == whole).then_some((axis, sizes));
    }
    let parts = i64::try_from(outputs).ok()?;
    if let Some(part) = whole.divided_by(Dim::Fixed(parts)) {
        return Some((axis, vec![part; outputs]));
    }
    call.node.attr_int("num_outputs")?;
    let size = whole.fixed()?.checked_add(parts.checked_sub(1)?)?.checked_div(parts)?;
    let last = whole.fixed()?.checked_sub(size.checked_mul(parts.checked_sub(1)?)?)?;
    let mut sizes = vec![Dim::Fixed(size); outputs];
    *sizes.last_mut()? = Dim::Fixed(last);
    Some((axis, sizes))
}

/// Split.
pub(super) fn split(call: &InferenceCall) -> Option<Vec<Fact>> {
    let (axis, sizes) = split_sizes(call)?;
    let part = |size| {
        let mut dims = call.shape(0)?.to_vec();
        *dims.get_mut(axis)? = size;
        Some(Fact::new(call.elem(0), dims))
    };
    sizes.into_iter().map(part).collect()
}

/// The slice of one axis.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) start: i64,
    pub(super) step: i64,
    pub(super) len: Dim,
}

/// The slice of each axis. Bounds are attributes up to opset 9, then inputs.
pub(super) fn cuts(call: &InferenceCall) -> Option<Vec<Cut>> {
    let dims = call.shape(0)?;
    let starts = call.list(1, "starts")??;
    let ends = call.list(2, "ends")??;
    let axes = match call.axes(3, "axes", dims.len())? {
        Some(axes) => axes,
        None => (0..starts.len()).collect(),
    };
    let steps = match call.list(4, "")? {
        Some(steps) => steps,
        None => vec![Dim::Fixed(1); starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return None;
    }
    let whole = |dim: &Dim| Cut { start: 0, step: 1, len: *dim };
    let mut cuts: Vec<Cut> = dims.iter().map(whole).collect();
    for (((axis, start), end), step) in axes.into_iter().zip(starts).zip(ends).zip(steps) {
        *cuts.get_mut(axis)? = cut(*dims.get(axis)?, start, end, step.fixed()?)?;
    }
    Some(cuts)
}

/// The slice of one axis, clamped as in the standard: <https://onnx.ai/onnx/operators/onnx__Slice.html>.
fn cut(dim: Dim, start: Dim, end: Dim, step: i64) -> Option<Cut> {
    let Dim::Fixed(size) = dim else { return cut_batch(dim, start, end, step) };
    let (mut start, mut end) = (start.fixed()?, end.fixed()?);
    for bound in [&mut start, &mut end] {
        if *bound < 0 {
            *bound = bound.saturating_add(size);
        }
    }
    let distance = match step {
        0 => return None,
        1.. => {
            start = start.clamp(0, size);
            end.clamp(0, size).saturating_sub(start)
        }
        _ if size == 0 => 0,
        _ => {
            let last = size.checked_sub(1)?;
            start = start.clamp(0, last);
            start.saturating_sub(end.clamp(-1, last))
        }
    };
    let distance = u64::try_from(distance).unwrap_or(0);
    let len = i64::try_from(distance.div_ceil(step.unsigned_abs())).ok()?;
    Some(Cut { start, step, len: Dim::Fixed(len) })
}

/// The slice of an axis that contains the batch size: the whole axis, forward or backward (exporters write the end as
/// 2³¹ − 1 or more), or a head that exists for every batch size.
fn cut_batch(dim: Dim, start: Dim, end: Dim, step: i64) -> Option<Cut> {
    const FAR: i64 = 0x7fff_ffff;
    let beyond = |bound: Dim| bound == dim || bound.fixed().is_some_and(|bound| bound >= FAR);
    let before = |bound: Dim| bound.fixed().is_some_and(|bound| bound <= -FAR);
    let Dim::Batch(least) = dim else { return None };
    match step {
        1 if start == Dim::Fixed(0) && beyond(end) => Some(Cut { start: 0, step, len: dim }),
        1 => match (start, end) {
            (Dim::Fixed(start), Dim::Fixed(end)) if 0 <= start && start <= end && end <= least => {
                Some(Cut { start, step, len: Dim::Fixed(end.checked_sub(start)?) })
            }
            _ => None,
        },
        -1 if (beyond(start) || start == Dim::Fixed(-1)) && before(end) => {
            Some(Cut { start: -1, step, len: dim })
        }
        _ => None,
    }
}

/// Slice.
pub(super) fn slice(call: &InferenceCall) -> Option<Dims> {
    Some(cuts(call)?.into_iter().map(|cut| cut.len).collect())
}

/// Pad: all begins, then all ends; `axes` from opset 18. Negative pads crop.
pub(super) fn pad(call: &InferenceCall) -> Option<Dims> {
    let mut dims = call.shape(0)?.to_vec();
    let pads = call.list(1, "pads")??;
    let axes = match call.axes(3, "", dims.len())? {
        Some(axes) => axes,
        None => (0..dims.len()).collect(),
    };
    let (begins, ends) = pads.split_at_checked(axes.len())?;
    if begins.len() != ends.len() {
        return None;
    }
    for ((axis, begin), end) in axes.into_iter().zip(begins).zip(ends) {
        let dim = dims.get_mut(axis)?;
        *dim = dim.plus(*begin)?.plus(*end)?;
    }
    Some(dims)
}

/// Expand: broadcasts the input and the requested shape in both directions.
pub(super) fn expand(call: &InferenceCall) -> Option<Dims> {
    broadcast_dims(call.shape(0)?, call.dims(1)?)
}

/// Tile.
pub(super) fn tile(call: &InferenceCall) -> Option<Dims> {
    let (dims, repeats) = (call.shape(0)?, call.dims(1)?);
    if dims.len() != repeats.len() {
        return None;
    }
    dims.iter().zip(repeats).map(|(dim, repeat)| dim.times(*repeat)).collect()
}

/// DepthToSpace: blocks of channels become blocks of pixels.
pub(super) fn depth_to_space(call: &InferenceCall) -> Option<Dims> {
    let &[n, c, h, w] = call.shape(0)? else { return None };
    let block = Dim::Fixed(call.node.attr_int("blocksize").filter(|block| *block > 0)?);
    Some(vec![n, c.divided_by(block.times(block)?)?, h.times(block)?, w.times(block)?])
}

/// SpaceToDepth: blocks of pixels become blocks of channels.
pub(super) fn space_to_depth(call: &InferenceCall) -> Option<Dims> {
    let &[n, c, h, w] = call.shape(0)? else { return None };
    let block = Dim::Fixed(call.node.attr_int("blocksize").filter(|block| *block > 0)?);
    Some(vec![n, c.times(block.times(block)?)?, h.divided_by(block)?, w.divided_by(block)?])
}
