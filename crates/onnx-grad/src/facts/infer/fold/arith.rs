//! Arithmetic, comparisons and logic on small values.
//!
//! Integers can be multiples of the batch size. The whole value is unknown if an element is neither
//! a number nor such a multiple for every batch size of at least 1.

use std::cmp::Ordering;

use super::{
    super::call::Call,
    float,
    view::{View, sizes},
    whole,
};
use crate::facts::{
    Dim::{self, Fixed},
    Fact, Value,
};

/// The numbers of an input, broadcast to the output.
fn operand(call: &Call, out: &Fact, input: usize) -> Option<Value> {
    let view = View::broadcast(&sizes(call.input(input)?)?, &sizes(out)?)?;
    view.read(call.value(input)?)
}

fn unary(
    call: &Call,
    ints: impl Fn(Dim) -> Option<Dim>,
    floats: impl Fn(f64) -> f64,
) -> Option<Value> {
    Some(match call.value(0)? {
        Value::Ints(values) => Value::Ints(values.iter().map(|v| ints(*v)).collect::<Option<_>>()?),
        Value::Floats(values) => Value::Floats(values.iter().map(|v| floats(*v)).collect()),
    })
}

/// Folds two operands, or more for variadic operators.
fn nary(
    call: &Call,
    out: &Fact,
    ints: impl Fn(Dim, Dim) -> Option<Dim>,
    floats: impl Fn(f64, f64) -> f64,
) -> Option<Value> {
    let first = operand(call, out, 0)?;
    (1..call.arity()).try_fold(first, |all, k| {
        Some(match (all, operand(call, out, k)?) {
            (Value::Ints(a), Value::Ints(b)) => {
                let pairs = a.into_iter().zip(b);
                Value::Ints(pairs.map(|(a, b)| ints(a, b)).collect::<Option<_>>()?)
            }
            (Value::Floats(a), Value::Floats(b)) => {
                Value::Floats(a.into_iter().zip(b).map(|(a, b)| floats(a, b)).collect())
            }
            _ => return None,
        })
    })
}

pub(in super::super) fn add(call: &Call, out: &Fact) -> Option<Value> {
    nary(call, out, Dim::plus, |a, b| a + b)
}

pub(in super::super) fn sub(call: &Call, out: &Fact) -> Option<Value> {
    nary(call, out, |a, b| a.plus(Fixed(-1).times(b)?), |a, b| a - b)
}

pub(in super::super) fn mul(call: &Call, out: &Fact) -> Option<Value> {
    nary(call, out, Dim::times, |a, b| a * b)
}

/// Div: integers truncate toward zero.
pub(in super::super) fn div(call: &Call, out: &Fact) -> Option<Value> {
    let ints = |a, b| match (a, b) {
        (Fixed(a), Fixed(b)) => i64::checked_div(a, b).map(Fixed),
        (a, b) => a.divided_by(b),
    };
    nary(call, out, ints, |a, b| a / b)
}

/// Mod: the result has the sign of the divisor, or of the dividend with `fmod`.
pub(in super::super) fn modulo(call: &Call, out: &Fact) -> Option<Value> {
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
pub(in super::super) fn pow(call: &Call, out: &Fact) -> Option<Value> {
    let floats = |value: Value| match value {
        Value::Floats(floats) => Some(floats),
        Value::Ints(ints) => ints.into_iter().map(|int| int.fixed().map(float)).collect(),
    };
    match (operand(call, out, 0)?, operand(call, out, 1)?) {
        (Value::Ints(base), Value::Ints(power)) => {
            let raise = |(base, power): (Dim, Dim)| {
                let power = u32::try_from(power.fixed()?).ok()?;
                base.fixed()?.checked_pow(power).map(Fixed)
            };
            Some(Value::Ints(base.into_iter().zip(power).map(raise).collect::<Option<_>>()?))
        }
        (base, power) => {
            let base_is_int = matches!(base, Value::Ints(_));
            let powers = floats(base)?.into_iter().zip(floats(power)?).map(|(a, b)| a.powf(b));
            Some(if base_is_int {
                let ints = powers.map(|power| whole(power.trunc()).map(Fixed));
                Value::Ints(ints.collect::<Option<_>>()?)
            } else {
                Value::Floats(powers.collect())
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

pub(in super::super) fn max(call: &Call, out: &Fact) -> Option<Value> {
    nary(call, out, |a, b| extreme(a, b, Ordering::Greater), f64::max)
}

pub(in super::super) fn min(call: &Call, out: &Fact) -> Option<Value> {
    nary(call, out, |a, b| extreme(a, b, Ordering::Less), f64::min)
}

/// Clip: bounds are attributes up to opset 10, then inputs; each is optional.
pub(in super::super) fn clip(call: &Call, _: &Fact) -> Option<Value> {
    let bound = |input: usize, name: &str| -> Option<Option<Value>> {
        if call.has(input) {
            return call.value(input).cloned().map(Some);
        }
        let attribute = call.node.attr_float(name);
        Some(attribute.map(|float| Value::Floats(vec![float.into()])))
    };
    let (low, high) = (bound(1, "min")?, bound(2, "max")?);
    match call.value(0)? {
        Value::Ints(values) => {
            let int = |bound: Option<Value>| match bound {
                Some(Value::Ints(ints)) => ints.first().copied().map(Some),
                Some(Value::Floats(_)) => None,
                None => Some(None),
            };
            let (low, high) = (int(low)?, int(high)?);
            let clipped = values.iter().map(|value| {
                let value =
                    low.map_or(Some(*value), |low| extreme(*value, low, Ordering::Greater))?;
                high.map_or(Some(value), |high| extreme(value, high, Ordering::Less))
            });
            Some(Value::Ints(clipped.collect::<Option<_>>()?))
        }
        Value::Floats(values) => {
            let number = |bound: Option<Value>, default| match bound {
                Some(Value::Floats(floats)) => floats.first().copied(),
                Some(Value::Ints(_)) => None,
                None => Some(default),
            };
            let (low, high) = (number(low, f64::NEG_INFINITY)?, number(high, f64::INFINITY)?);
            Some(Value::Floats(values.iter().map(|value| value.max(low).min(high)).collect()))
        }
    }
}

fn compare(call: &Call, out: &Fact, holds: impl Fn(Ordering) -> bool) -> Option<Value> {
    let set = |set: bool| Fixed(set.into());
    Some(Value::Ints(match (operand(call, out, 0)?, operand(call, out, 1)?) {
        (Value::Ints(a), Value::Ints(b)) => {
            let pairs = a.into_iter().zip(b);
            pairs
                .map(|(a, b)| a.compare(b).map(|order| set(holds(order))))
                .collect::<Option<_>>()?
        }
        (Value::Floats(a), Value::Floats(b)) => {
            let pairs = a.into_iter().zip(b);
            pairs.map(|(a, b)| set(a.partial_cmp(&b).is_some_and(&holds))).collect()
        }
        _ => return None,
    }))
}

pub(in super::super) fn equal(call: &Call, out: &Fact) -> Option<Value> {
    compare(call, out, Ordering::is_eq)
}

pub(in super::super) fn less(call: &Call, out: &Fact) -> Option<Value> {
    compare(call, out, Ordering::is_lt)
}

pub(in super::super) fn less_or_equal(call: &Call, out: &Fact) -> Option<Value> {
    compare(call, out, Ordering::is_le)
}

pub(in super::super) fn greater(call: &Call, out: &Fact) -> Option<Value> {
    compare(call, out, Ordering::is_gt)
}

pub(in super::super) fn greater_or_equal(call: &Call, out: &Fact) -> Option<Value> {
    compare(call, out, Ordering::is_ge)
}

fn logic(call: &Call, out: &Fact, holds: impl Fn(bool, bool) -> bool) -> Option<Value> {
    let set = |a: Dim, b: Dim| Some(Fixed(holds(a != Fixed(0), b != Fixed(0)).into()));
    nary(call, out, set, |_, _| f64::NAN)
}

pub(in super::super) fn and(call: &Call, out: &Fact) -> Option<Value> {
    logic(call, out, |a, b| a && b)
}

pub(in super::super) fn or(call: &Call, out: &Fact) -> Option<Value> {
    logic(call, out, |a, b| a || b)
}

pub(in super::super) fn xor(call: &Call, out: &Fact) -> Option<Value> {
    logic(call, out, |a, b| a != b)
}

pub(in super::super) fn not(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, |int| Some(Fixed((int == Fixed(0)).into())), |_| f64::NAN)
}

/// Where, element by element.
pub(in super::super) fn select(call: &Call, out: &Fact) -> Option<Value> {
    let Value::Ints(condition) = operand(call, out, 0)? else { return None };
    fn each<T>(condition: Vec<Dim>, yes: Vec<T>, no: Vec<T>) -> Vec<T> {
        let triples = condition.into_iter().zip(yes).zip(no);
        triples.map(|((set, yes), no)| if set != Fixed(0) { yes } else { no }).collect()
    }
    Some(match (operand(call, out, 1)?, operand(call, out, 2)?) {
        (Value::Ints(yes), Value::Ints(no)) => Value::Ints(each(condition, yes, no)),
        (Value::Floats(yes), Value::Floats(no)) => Value::Floats(each(condition, yes, no)),
        _ => return None,
    })
}

pub(in super::super) fn neg(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, |int| Fixed(-1).times(int), |float| -float)
}

pub(in super::super) fn abs(call: &Call, _: &Fact) -> Option<Value> {
    let ints = |int: Dim| match int {
        Fixed(int) => int.checked_abs().map(Fixed),
        Dim::Batch(times) => times.checked_abs().map(Dim::Batch),
    };
    unary(call, ints, f64::abs)
}

pub(in super::super) fn relu(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, |int| extreme(int, Fixed(0), Ordering::Greater), |float| float.max(0.0))
}

pub(in super::super) fn ceil(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, Some, f64::ceil)
}

pub(in super::super) fn floor(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, Some, f64::floor)
}

/// Round: ties go to the even number.
pub(in super::super) fn round(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, Some, f64::round_ties_even)
}

pub(in super::super) fn sqrt(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, |_| None, f64::sqrt)
}

pub(in super::super) fn exp(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, |_| None, f64::exp)
}

pub(in super::super) fn log(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, |_| None, f64::ln)
}

pub(in super::super) fn reciprocal(call: &Call, _: &Fact) -> Option<Value> {
    unary(call, |_| None, f64::recip)
}
