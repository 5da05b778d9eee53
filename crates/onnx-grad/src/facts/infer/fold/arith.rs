//! Arithmetic, comparisons and logic on small values.
//!
//! Integers can be multiples of the batch size. The whole value is unknown if an element is neither
//! a number nor such a multiple for every batch size of at least 1.

use std::cmp::Ordering;

use super::{
    super::call::InferenceCall,
    float,
    view::{StridedView, sizes},
    whole,
};
use crate::facts::{
    ConstantValue,
    Dim::{self, Fixed},
    Fact,
};

/// The numbers of an input, broadcast to the output.
fn operand(call: &InferenceCall, out: &Fact, input: usize) -> Option<ConstantValue> {
    let view = StridedView::broadcast(&sizes(call.input(input)?)?, &sizes(out)?)?;
    view.read(call.value(input)?)
}

fn unary(
    call: &InferenceCall,
    ints: impl Fn(Dim) -> Option<Dim>,
    floats: impl Fn(f64) -> f64,
) -> Option<ConstantValue> {
    Some(match call.value(0)? {
        ConstantValue::Ints(values) => {
            ConstantValue::Ints(values.iter().map(|v| ints(*v)).collect::<Option<_>>()?)
        }
        ConstantValue::Floats(values) => {
            ConstantValue::Floats(values.iter().map(|v| floats(*v)).collect())
        }
    })
}

/// Folds two operands, or more for variadic operators.
fn nary(
    call: &InferenceCall,
    out: &Fact,
    ints: impl Fn(Dim, Dim) -> Option<Dim>,
    floats: impl Fn(f64, f64) -> f64,
) -> Option<ConstantValue> {
    let first = operand(call, out, 0)?;
    (1..call.arity()).try_fold(first, |all, k| {
        Some(match (all, operand(call, out, k)?) {
            (ConstantValue::Ints(a), ConstantValue::Ints(b)) => {
                let pairs = a.into_iter().zip(b);
                ConstantValue::Ints(pairs.map(|(a, b)| ints(a, b)).collect::<Option<_>>()?)
            }
            (ConstantValue::Floats(a), ConstantValue::Floats(b)) => {
                ConstantValue::Floats(a.into_iter().zip(b).map(|(a, b)| floats(a, b)).collect())
            }
            _ => return None,
        })
    })
}

pub(in super::super) fn add(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    nary(call, out, Dim::plus, |a, b| a + b)
}

pub(in super::super) fn sub(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    nary(call, out, |a, b| a.plus(Fixed(-1).times(b)?), |a, b| a - b)
}

pub(in super::super) fn mul(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    nary(call, out, Dim::times, |a, b| a * b)
}

/// Div: integers truncate toward zero.
pub(in super::super) fn div(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let ints = |a, b| match (a, b) {
        (Fixed(a), Fixed(b)) => i64::checked_div(a, b).map(Fixed),
        (a, b) => a.divided_by(b),
    };
    nary(call, out, ints, |a, b| a / b)
}

/// Mod: the result has the sign of the divisor, or of the dividend with `fmod`.
pub(in super::super) fn modulo(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let fmod = call.int("fmod", 0) != 0;
    let ints = |a: Dim, b: Dim| {
        let (Fixed(a), Fixed(b)) = (a, b) else { return a.divided_by(b).map(|_| Fixed(0)) };
        let rest = a.checked_rem(b)?;
        let turn = !fmod && rest != 0 && (rest < 0) != (b < 0);
        if turn { rest.checked_add(b).map(Fixed) } else { Some(Fixed(rest)) }
    };
    nary(call, out, ints, |a, b| a % b)
}

/// Pow: the result has the type of the base; the exponent can have another type (opset 12).
pub(in super::super) fn pow(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let floats = |value: ConstantValue| match value {
        ConstantValue::Floats(floats) => Some(floats),
        ConstantValue::Ints(ints) => ints.into_iter().map(|int| int.fixed().map(float)).collect(),
    };
    match (operand(call, out, 0)?, operand(call, out, 1)?) {
        (ConstantValue::Ints(base), ConstantValue::Ints(power)) => {
            let raise = |(base, power): (Dim, Dim)| {
                let power = u32::try_from(power.fixed()?).ok()?;
                base.fixed()?.checked_pow(power).map(Fixed)
            };
            Some(ConstantValue::Ints(
                base.into_iter().zip(power).map(raise).collect::<Option<_>>()?,
            ))
        }
        (base, power) => {
            let base_is_int = matches!(base, ConstantValue::Ints(_));
            let powers = floats(base)?.into_iter().zip(floats(power)?).map(|(a, b)| a.powf(b));
            Some(if base_is_int {
                let ints = powers.map(|power| whole(power.trunc()).map(Fixed));
                ConstantValue::Ints(ints.collect::<Option<_>>()?)
            } else {
                ConstantValue::Floats(powers.collect())
            })
        }
    }
}

/// The selected operand, if it is the same for every batch size.
fn extreme(a: Dim, b: Dim, wanted: Ordering) -> Option<Dim> {
    match (a, b) {
        // k·N ≥ k.
        (Dim::Batch(times), Fixed(size)) | (Fixed(size), Dim::Batch(times))
            if times > 0 && times == size =>
        {
            Some(if wanted == Ordering::Greater { Dim::Batch(times) } else { Fixed(size) })
        }
        _ => Some(if a.compare(b)? == wanted { a } else { b }),
    }
}

pub(in super::super) fn max(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    nary(call, out, |a, b| extreme(a, b, Ordering::Greater), f64::max)
}

pub(in super::super) fn min(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    nary(call, out, |a, b| extreme(a, b, Ordering::Less), f64::min)
}

/// Clip: bounds are attributes up to opset 10, then inputs; each is optional.
pub(in super::super) fn clip(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    let bound = |input: usize, name: &str| -> Option<Option<ConstantValue>> {
        if call.has(input) {
            return call.value(input).cloned().map(Some);
        }
        let attribute = call.node.attr_float(name);
        Some(attribute.map(|float| ConstantValue::Floats(vec![float.into()])))
    };
    let (low, high) = (bound(1, "min")?, bound(2, "max")?);
    match call.value(0)? {
        ConstantValue::Ints(values) => {
            let int = |bound: Option<ConstantValue>| match bound {
                Some(ConstantValue::Ints(ints)) => ints.first().copied().map(Some),
                Some(ConstantValue::Floats(_)) => None,
                None => Some(None),
            };
            let (low, high) = (int(low)?, int(high)?);
            let clipped = values.iter().map(|value| {
                let value =
                    low.map_or(Some(*value), |low| extreme(*value, low, Ordering::Greater))?;
                high.map_or(Some(value), |high| extreme(value, high, Ordering::Less))
            });
            Some(ConstantValue::Ints(clipped.collect::<Option<_>>()?))
        }
        ConstantValue::Floats(values) => {
            let number = |bound: Option<ConstantValue>, default| match bound {
                Some(ConstantValue::Floats(floats)) => floats.first().copied(),
                Some(ConstantValue::Ints(_)) => None,
                None => Some(default),
            };
            let (low, high) = (number(low, f64::NEG_INFINITY)?, number(high, f64::INFINITY)?);
            Some(ConstantValue::Floats(
                values.iter().map(|value| value.max(low).min(high)).collect(),
            ))
        }
    }
}

fn compare(
    call: &InferenceCall,
    out: &Fact,
    holds: impl Fn(Ordering) -> bool,
) -> Option<ConstantValue> {
    let set = |set: bool| Fixed(set.into());
    Some(ConstantValue::Ints(match (operand(call, out, 0)?, operand(call, out, 1)?) {
        (ConstantValue::Ints(a), ConstantValue::Ints(b)) => {
            let pairs = a.into_iter().zip(b);
            pairs
                .map(|(a, b)| a.compare(b).map(|order| set(holds(order))))
                .collect::<Option<_>>()?
        }
        (ConstantValue::Floats(a), ConstantValue::Floats(b)) => {
            let pairs = a.into_iter().zip(b);
            pairs.map(|(a, b)| set(a.partial_cmp(&b).is_some_and(&holds))).collect()
        }
        _ => return None,
    }))
}

pub(in super::super) fn equal(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    compare(call, out, Ordering::is_eq)
}

pub(in super::super) fn less(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    compare(call, out, Ordering::is_lt)
}

pub(in super::super) fn less_or_equal(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    compare(call, out, Ordering::is_le)
}

pub(in super::super) fn greater(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    compare(call, out, Ordering::is_gt)
}

pub(in super::super) fn greater_or_equal(
    call: &InferenceCall,
    out: &Fact,
) -> Option<ConstantValue> {
    compare(call, out, Ordering::is_ge)
}

fn logic(
    call: &InferenceCall,
    out: &Fact,
    holds: impl Fn(bool, bool) -> bool,
) -> Option<ConstantValue> {
    let set = |a: Dim, b: Dim| Some(Fixed(holds(a != Fixed(0), b != Fixed(0)).into()));
    nary(call, out, set, |_, _| f64::NAN)
}

pub(in super::super) fn and(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    logic(call, out, |a, b| a && b)
}

pub(in super::super) fn or(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    logic(call, out, |a, b| a || b)
}

pub(in super::super) fn xor(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    logic(call, out, |a, b| a != b)
}

pub(in super::super) fn not(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, |int| Some(Fixed((int == Fixed(0)).into())), |_| f64::NAN)
}

/// Where, element by element.
pub(in super::super) fn select(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let ConstantValue::Ints(condition) = operand(call, out, 0)? else { return None };
    fn each<T>(condition: Vec<Dim>, yes: Vec<T>, no: Vec<T>) -> Vec<T> {
        let triples = condition.into_iter().zip(yes).zip(no);
        triples.map(|((set, yes), no)| if set != Fixed(0) { yes } else { no }).collect()
    }
    Some(match (operand(call, out, 1)?, operand(call, out, 2)?) {
        (ConstantValue::Ints(yes), ConstantValue::Ints(no)) => {
            ConstantValue::Ints(each(condition, yes, no))
        }
        (ConstantValue::Floats(yes), ConstantValue::Floats(no)) => {
            ConstantValue::Floats(each(condition, yes, no))
        }
        _ => return None,
    })
}

pub(in super::super) fn neg(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, |int| Fixed(-1).times(int), |float| -float)
}

pub(in super::super) fn abs(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    let ints = |int: Dim| match int {
        Fixed(int) => int.checked_abs().map(Fixed),
        Dim::Batch(times) => times.checked_abs().map(Dim::Batch),
    };
    unary(call, ints, f64::abs)
}

pub(in super::super) fn relu(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, |int| extreme(int, Fixed(0), Ordering::Greater), |float| float.max(0.0))
}

pub(in super::super) fn ceil(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, Some, f64::ceil)
}

pub(in super::super) fn floor(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, Some, f64::floor)
}

/// Round: ties go to the even number.
pub(in super::super) fn round(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, Some, f64::round_ties_even)
}

pub(in super::super) fn sqrt(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, |_| None, f64::sqrt)
}

pub(in super::super) fn exp(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, |_| None, f64::exp)
}

pub(in super::super) fn log(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, |_| None, f64::ln)
}

pub(in super::super) fn reciprocal(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    unary(call, |_| None, f64::recip)
}
