//! Constant folding of small values, for shape arithmetic.

pub(super) mod arith;
pub(super) mod layout;
mod view;

use super::call::InferenceCall;
use crate::{
    facts::{ConstantValue, Dim, Fact},
    proto::tensor_proto::DataType,
};

/// Cast and CastLike: integers truncate, booleans are `x ≠ 0`.
pub(super) fn cast(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let value = call.value(0)?;
    if out.elem == DataType::Bool {
        // A multiple of the batch size is never 0.
        let set = |set: bool| Dim::Fixed(set.into());
        return Some(ConstantValue::Ints(match value {
            ConstantValue::Ints(ints) => {
                ints.iter().map(|int| set(*int != Dim::Fixed(0))).collect()
            }
            ConstantValue::Floats(floats) => {
                floats.iter().map(|float| set(*float != 0.0)).collect()
            }
        }));
    }
    Some(match value {
        ConstantValue::Ints(ints) if out.elem.is_float() => ConstantValue::Floats(
            ints.iter().map(|int| int.fixed().map(float)).collect::<Option<_>>()?,
        ),
        ConstantValue::Floats(floats) if !out.elem.is_float() => {
            let ints = floats.iter().map(|float| whole(float.trunc()).map(Dim::Fixed));
            ConstantValue::Ints(ints.collect::<Option<_>>()?)
        }
        same => same.clone(),
    })
}

/// An integer as a float.
#[expect(clippy::cast_precision_loss, reason = "a cast to float rounds")]
pub(super) fn float(int: i64) -> f64 {
    int as f64
}

/// An integral float as an integer.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
pub(super) fn whole(float: f64) -> Option<i64> {
    (float.fract() == 0.0 && float.abs() < 9.2e18).then_some(float as i64)
}

/// A number as its element type represents it; `None` if an integer is out of range, or for types
/// without plain numbers.
pub(super) fn rounded(elem: DataType, value: ConstantValue) -> Option<ConstantValue> {
    match value {
        ConstantValue::Ints(ints) => {
            let (low, high) = elem.range()?;
            let fits = |int: &Dim| match int {
                Dim::Fixed(int) => (low..=high).contains(int),
                Dim::Batch(times) => (low..=high).contains(times),
            };
            ints.iter().all(fits).then_some(ConstantValue::Ints(ints))
        }
        ConstantValue::Floats(floats) => {
            let floats = floats.into_iter().map(|float| rounded_float(elem, float));
            Some(ConstantValue::Floats(floats.collect::<Option<_>>()?))
        }
    }
}

/// A float rounded to its element type. One float64 operation rounded to float32 equals the float32
/// operation, for sums, products, quotients and square roots:
/// <https://doi.org/10.1145/221332.221334>.
#[expect(clippy::cast_possible_truncation, reason = "rounding to float32 is the purpose")]
pub(super) fn rounded_float(elem: DataType, float: f64) -> Option<f64> {
    match elem {
        DataType::Double => Some(float),
        DataType::Float => Some((float as f32).into()),
        DataType::Float16 => split(float, 42.0, 2f64.powi(-14), 65504.0),
        DataType::Bfloat16 => split(float, 45.0, 2f64.powi(-126), 3.38e38),
        _ => None,
    }
}

/// Rounds off the low bits of a float64 (Veltkamp's splitting); `None` outside the normal range of
/// the narrow type.
fn split(float: f64, bits: f64, least: f64, most: f64) -> Option<f64> {
    let far = float * (bits.exp2() + 1.0);
    let near = far - (far - float);
    (float == 0.0 || (near.abs() >= least && near.abs() <= most)).then_some(near)
}
