//! Shapes of elementwise operators and of those that preserve the shape of their input.

use super::call::{Dims, InferenceCall};
use crate::{
    facts::{Dim, Fact},
    proto::tensor_proto::DataType,
};

/// The shape of the first input.
pub(super) fn same(call: &InferenceCall) -> Option<Dims> {
    call.shape(0).map(<[Dim]>::to_vec)
}

/// The shape of the first input, whose rank is at least 2.
pub(super) fn of_two_axes(call: &InferenceCall) -> Option<Dims> {
    same(call).filter(|dims| dims.len() > 1)
}

/// The shape of the first input, [N, C, …]; the other inputs are vectors.
pub(super) fn normalized(call: &InferenceCall) -> Option<Dims> {
    let vectors = (1..call.arity()).all(|k| call.shape(k).is_none_or(|dims| dims.len() == 1));
    of_two_axes(call).filter(|_| vectors)
}

/// The broadcast shape of all inputs.
/// <https://github.com/onnx/onnx/blob/main/docs/Broadcasting.md>
pub(super) fn broadcast(call: &InferenceCall) -> Option<Dims> {
    let first = call.shape(0)?.to_vec();
    (1..call.arity()).try_fold(first, |all, k| broadcast_dims(&all, call.shape(k)?))
}

/// The broadcast of two shapes; `None` if they do not match for every batch size.
pub(super) fn broadcast_dims(a: &[Dim], b: &[Dim]) -> Option<Dims> {
    let rank = a.len().max(b.len());
    let dim = |dims: &[Dim], k: usize| match (k + dims.len()).checked_sub(rank) {
        Some(k) => dims.get(k).copied(),
        None => Some(Dim::Fixed(1)),
    };
    (0..rank)
        .map(|k| match (dim(a, k)?, dim(b, k)?) {
            (a, b) if a == b => Some(a),
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Some(other),
            _ => None,
        })
        .collect()
}

/// Dropout: the mask, output 1, has the shape of output 0.
pub(super) fn dropout(call: &InferenceCall) -> Option<Vec<Fact>> {
    let kept = Fact { elem: call.elem(0), shape: same(call), value: call.value(0).cloned() };
    let mask = Fact { elem: DataType::Bool, shape: same(call), value: None };
    // With training_mode, an input from opset 12, the numbers change.
    let training = call.has(2) && call.scalar(2) != Some(0);
    Some(vec![if training { Fact { value: None, ..kept } } else { kept }, mask])
}

/// BatchNormalization: the outputs after the first have the shape of the mean.
pub(super) fn batch_norm(call: &InferenceCall) -> Option<Vec<Fact>> {
    let first = Fact { elem: call.elem(0), shape: same(call), value: None };
    let rest = Fact { elem: call.elem(3), shape: call.shape(3).map(<[Dim]>::to_vec), value: None };
    let mut facts = vec![rest; call.node.output.len().clamp(1, 5)];
    facts[0] = first;
    Some(facts)
}

/// LayerNormalization: mean and inverse deviation have size 1 on the normalized axes.
pub(super) fn layer_norm(call: &InferenceCall) -> Option<Vec<Fact>> {
    let shape = same(call)?;
    let axis = call.axis(-1, shape.len())?;
    let mut reduced = shape.clone();
    reduced.iter_mut().skip(axis).for_each(|dim| *dim = Dim::Fixed(1));
    let stash = match call.int("stash_type", 1) {
        1 => DataType::Float,
        other => crate::proto::elem_type(i32::try_from(other).ok()),
    };
    let statistic = Fact::new(stash, reduced);
    Some(vec![Fact::new(call.elem(0), shape), statistic.clone(), statistic])
}

/// DynamicQuantizeLinear: quantized numbers, scale and zero point.
pub(super) fn dynamic_quantize(call: &InferenceCall) -> Option<Vec<Fact>> {
    let numbers = Fact { elem: DataType::Uint8, shape: same(call), value: None };
    Some(vec![numbers, Fact::new(DataType::Float, vec![]), Fact::new(DataType::Uint8, vec![])])
}
