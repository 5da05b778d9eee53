//! Constant, Shape and other operators that create values from numbers.

use super::call::{Dims, InferenceCall, product};
use crate::{
    facts::{ConstantValue, Dim, Fact},
    proto::{elem_type, tensor_proto::DataType},
};

/// Constant in all its forms: a tensor, one number, a list, text.
pub(super) fn constant(call: &InferenceCall) -> Option<Vec<Fact>> {
    let [attribute] = call.node.attribute.as_slice() else { return None };
    let list = |elem, count, value| {
        let shape = vec![Dim::Fixed(i64::try_from(count).ok()?)];
        Some(Fact { elem, shape: Some(shape), value })
    };
    let one = |elem, value| Fact { elem, shape: Some(vec![]), value };
    let fact = match attribute.name.as_deref()? {
        "value" => Fact::of_tensor(attribute.t.as_ref()?),
        "value_int" => {
            one(DataType::Int64, Some(ConstantValue::Ints(vec![Dim::Fixed(attribute.i?)])))
        }
        "value_float" => {
            one(DataType::Float, Some(ConstantValue::Floats(vec![attribute.f?.into()])))
        }
        "value_ints" => {
            let ints = attribute.ints.iter().copied().map(Dim::Fixed).collect();
            list(DataType::Int64, attribute.ints.len(), Some(ConstantValue::Ints(ints)))?
        }
        "value_floats" => {
            let floats = attribute.floats.iter().copied().map(f64::from).collect();
            list(DataType::Float, attribute.floats.len(), Some(ConstantValue::Floats(floats)))?
        }
        "value_string" => one(DataType::String, None),
        "value_strings" => list(DataType::String, attribute.strings.len(), None)?,
        _ => return None,
    };
    Some(vec![fact])
}

/// Shape of all axes or, from opset 15, of those from `start` to `end`.
pub(super) fn shape(call: &InferenceCall) -> Option<Vec<Fact>> {
    let dims = call.shape(0)?;
    let rank = i64::try_from(dims.len()).ok()?;
    let bound = |bound: i64| {
        let bound = if bound < 0 { bound.saturating_add(rank) } else { bound };
        usize::try_from(bound.clamp(0, rank)).ok()
    };
    let (start, end) = (bound(call.int("start", 0))?, bound(call.int("end", rank))?);
    let dims = dims.get(start..end.max(start))?;
    let shape = vec![Dim::Fixed(i64::try_from(dims.len()).ok()?)];
    let value = Some(ConstantValue::Ints(dims.to_vec()));
    Some(vec![Fact { elem: DataType::Int64, shape: Some(shape), value }])
}

/// Size.
pub(super) fn size(call: &InferenceCall) -> Option<Vec<Fact>> {
    let count = call.shape(0).and_then(product);
    let value = count.map(|count| ConstantValue::Ints(vec![count]));
    Some(vec![Fact { elem: DataType::Int64, shape: Some(vec![]), value }])
}

/// ConstantOfShape: the single element of `value`, or a float 0, repeated.
pub(super) fn constant_of_shape(call: &InferenceCall) -> Option<Vec<Fact>> {
    let fill = match call.node.attr("value") {
        Some(attribute) => Fact::of_tensor(attribute.t.as_ref()?),
        None => {
            Fact { value: Some(ConstantValue::Floats(vec![0.0])), ..Fact::new(DataType::Float, []) }
        }
    };
    let shape = call.dims(0).map(<[Dim]>::to_vec);
    let mut fact = Fact { elem: fill.elem, shape, value: None };
    if let Some(count) = fact.keeps() {
        fact.value = match fill.value {
            Some(ConstantValue::Ints(ints)) => {
                ints.first().map(|int| ConstantValue::Ints(vec![*int; count]))
            }
            Some(ConstantValue::Floats(floats)) => {
                floats.first().map(|float| ConstantValue::Floats(vec![*float; count]))
            }
            None => None,
        };
    }
    Some(vec![fact])
}

/// Range: max(⌈(limit − start) / delta⌉, 0) numbers.
pub(super) fn range(call: &InferenceCall) -> Option<Dims> {
    if let (Some([start]), Some([limit]), Some([delta])) =
        (call.dims(0), call.dims(1), call.dims(2))
    {
        return Some(vec![range_len(*start, *limit, delta.fixed()?)?]);
    }
    let float = |k| match call.value(k)? {
        ConstantValue::Floats(floats) => floats.first().copied(),
        ConstantValue::Ints(_) => None,
    };
    let count = ((float(1)? - float(0)?) / float(2)?).ceil().max(0.0);
    Some(vec![Dim::Fixed(super::fold::whole(count)?)])
}

fn range_len(start: Dim, limit: Dim, delta: i64) -> Option<Dim> {
    let minus_start = Dim::Fixed(-1).times(start)?;
    match limit.plus(minus_start)? {
        Dim::Fixed(distance) => {
            let distance = i128::from(distance);
            let (distance, step) = match delta {
                0 => return None,
                1.. => (distance, i128::from(delta)),
                _ => (-distance, -i128::from(delta)),
            };
            let count = (distance.max(0) + step - 1) / step;
            i64::try_from(count).ok().map(Dim::Fixed)
        }
        distance => distance.divided_by(Dim::Fixed(delta)),
    }
}

/// RandomNormal and RandomUniform: the shape in the attribute `shape`.
pub(super) fn shape_attribute(call: &InferenceCall) -> Option<Dims> {
    Some(call.node.attr_ints("shape")?.iter().copied().map(Dim::Fixed).collect())
}

/// The element type in an integer attribute.
pub(super) fn named_elem(number: i64) -> DataType {
    elem_type(i32::try_from(number).ok())
}
