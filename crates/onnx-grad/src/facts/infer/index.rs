//! Shapes of operators that select by index, and of those that count.

use super::call::{Dims, InferenceCall, normal_axis};
use crate::{
    facts::{ConstantValue, Dim, Fact},
    proto::tensor_proto::DataType,
};

/// Gather: the axes of the indices replace the axis.
pub(super) fn gather(call: &InferenceCall) -> Option<Dims> {
    let (dims, indices) = (call.shape(0)?, call.shape(1)?);
    let (before, after) = dims.split_at_checked(call.axis(0, dims.len())?)?;
    Some([before, indices, after.get(1..)?].concat())
}

/// GatherElements: the shape of the indices, which have the rank of the data.
pub(super) fn gather_elements(call: &InferenceCall) -> Option<Dims> {
    elementwise_indices(call)?;
    call.shape(1).map(<[Dim]>::to_vec)
}

/// ScatterElements: the shape of the data; indices and updates have its rank.
pub(super) fn scatter_elements(call: &InferenceCall) -> Option<Dims> {
    elementwise_indices(call)?;
    let fits = call.shape(2)?.len() == call.shape(1)?.len();
    call.shape(0).filter(|_| fits).map(<[Dim]>::to_vec)
}

fn elementwise_indices(call: &InferenceCall) -> Option<()> {
    let (dims, indices) = (call.shape(0)?, call.shape(1)?);
    call.axis(0, dims.len())?;
    (dims.len() == indices.len()).then_some(())
}

/// ScatterND: the shape of the data. Each row of the indices has an update with the remaining axes.
pub(super) fn scatter_nd(call: &InferenceCall) -> Option<Dims> {
    let (dims, indices, updates) = (call.shape(0)?, call.shape(1)?, call.shape(2)?);
    let (depth, outer) = indices.split_last()?;
    let rest = dims.get(usize::try_from(depth.fixed()?).ok()?..)?;
    (updates.len() == outer.len() + rest.len()).then(|| dims.to_vec())
}

/// GatherND: the last axis of the indices has one entry for each indexed axis.
pub(super) fn gather_nd(call: &InferenceCall) -> Option<Dims> {
    let (dims, indices) = (call.shape(0)?, call.shape(1)?);
    let (depth, outer) = indices.split_last()?;
    let batch = usize::try_from(call.int("batch_dims", 0)).ok()?;
    let inner = batch.checked_add(usize::try_from(depth.fixed()?).ok()?)?;
    (batch <= outer.len()).then_some(())?;
    Some([outer, dims.get(inner..)?].concat())
}

/// TopK: values and indices; `k` is an attribute up to opset 9, then an input.
pub(super) fn top_k(call: &InferenceCall) -> Option<Vec<Fact>> {
    let mut dims = call.shape(0)?.to_vec();
    let axis = call.axis(-1, dims.len())?;
    let k = if call.has(1) { call.scalar(1)? } else { call.node.attr_int("k")? };
    *dims.get_mut(axis)? = Dim::Fixed(k);
    Some(vec![Fact::new(call.elem(0), dims.clone()), Fact::new(DataType::Int64, dims)])
}

/// OneHot: adds an axis of size `depth`.
pub(super) fn one_hot(call: &InferenceCall) -> Option<Dims> {
    let mut dims = call.shape(0)?.to_vec();
    let depth = match call.value(1)? {
        ConstantValue::Ints(dims) => *dims.first()?,
        ConstantValue::Floats(_) => return None,
    };
    dims.insert(normal_axis(call.int("axis", -1), dims.len().checked_add(1)?)?, depth);
    Some(dims)
}

/// NonZero of known numbers: `[rank, count]`.
pub(super) fn non_zero(call: &InferenceCall) -> Option<Dims> {
    let count = match call.value(0)? {
        // A multiple of the batch size is never 0.
        ConstantValue::Ints(ints) => ints.iter().filter(|int| **int != Dim::Fixed(0)).count(),
        ConstantValue::Floats(floats) => floats.iter().filter(|float| **float != 0.0).count(),
    };
    let size = |count| i64::try_from(count).ok().map(Dim::Fixed);
    // A scalar counts as one axis.
    Some(vec![size(call.input(0)?.rank()?.max(1))?, size(count)?])
}
