//! Rules of elementwise operators. The driver sums the cotangents of broadcast operands.

pub(super) mod activation;
pub(super) mod function;

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::{Cotangents, Push, PushOperand, RuleCall, Symbols, Terms, quantize::cotangent_type};
use crate::{
    builder::{Builder, Term},
    error::{Result, bail},
    facts::Dim,
    graph::{Graph, ValueId},
};

/// Add and Sum, y = Σ_i x_i with broadcasting. dx_i = g. A one-hot cotangent stays one-hot if no operand is
/// broadcast. <https://onnx.ai/onnx/operators/onnx__Add.html> <https://onnx.ai/onnx/operators/onnx__Sum.html>
pub(super) fn sum(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let dense = n.cot(b)?;
    let shape = b.fact(n.y()).shape.clone();
    let form = n.form(0);
    let each = (0..n.input_count()).map(|i| {
        let same = n.optional(i).is_some_and(|x| b.fact(x).shape == shape);
        if same { form } else { Some(dense.into()) }
    });
    Ok(each.collect())
}

/// Sub, y = a − b. da = g, db = −g. <https://onnx.ai/onnx/operators/onnx__Sub.html>
pub(super) fn sub(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g, -n.g])
}

/// Mul, y = a·b. da = g·b, db = g·a. <https://onnx.ai/onnx/operators/onnx__Mul.html>
pub(super) fn mul(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * n.x(1), n.g * n.x(0)])
}

/// Div, y = a/b. da = g/b, db = −g·y/b. <https://onnx.ai/onnx/operators/onnx__Div.html>
pub(super) fn div(n: Symbols<'_>) -> Terms<'_> {
    let over = n.g / n.x(1);
    Ok(vec![over, -(over * n.y)])
}

/// Mean, y = Σ_i x_i / count with broadcasting. dx_i = g/count. <https://onnx.ai/onnx/operators/onnx__Mean.html>
pub(super) fn mean(n: Symbols<'_>) -> Terms<'_> {
    let count = n.input_count();
    #[expect(clippy::cast_precision_loss, reason = "a number of inputs")]
    let share = n.g * (1.0 / count as f64);
    Ok(vec![share; count])
}

/// Max and Min, y = the extreme of the operands. dx_i = g·[x_i = y], divided equally among ties, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__Max.html>
pub(super) fn extreme(n: Symbols<'_>) -> Terms<'_> {
    let hits: Vec<_> = (0..n.input_count()).map(|input| n.x(input).equal(n.y)).collect();
    let count = hits.iter().copied().reduce(|count, hit| count + hit);
    let share = count.map_or(n.g, |count| n.g / count);
    Ok(hits.into_iter().map(|hit| share * hit).collect())
}

/// Where, y = a where c, else b. da = g where c, else 0; db = 0 where c, else g. Not a product with a mask, because
/// the operand that is not selected may be infinite. <https://onnx.ai/onnx/operators/onnx__Where.html>
pub(super) fn select(n: Symbols<'_>) -> Terms<'_> {
    let (c, zero) = (n.x(0), n.g.constant(0.0));
    Ok(vec![n.none(0), c.select(n.g, zero), c.select(zero, n.g)])
}

/// Neg, y = −x. dx = −g. <https://onnx.ai/onnx/operators/onnx__Neg.html>
pub(super) fn neg(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![-n.g])
}

/// Sqrt, y = √x. dx = g/(2y); infinite at 0, as in PyTorch. <https://onnx.ai/onnx/operators/onnx__Sqrt.html>
pub(super) fn sqrt(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / (2.0 * n.y)])
}

/// Pow, y = x^p. dx = g·p·x^(p−1), 0 where p = 0; dp = g·y·ln x, 0 where x = 0 and p ≥ 0, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__Pow.html> From 12 the exponent may have a different type.
pub(super) fn pow(n: Symbols<'_>) -> Terms<'_> {
    let (x, p) = (n.x(0), n.x(1).cast_like(n.x(0)));
    // The exponent is 0 instead of −1 where p = 0: at x = 0 this gives 0·1, not 0·∞.
    let slope = p * x.pow(p - 1.0 + p.is_zero());
    let slope = p.where_known(2.0, 2.0 * x, slope);
    // ln 1 instead of ln 0 where the power is 0 or constant.
    let rise = n.y * (x + x.is_zero()).log();
    Ok(vec![n.g * slope, (n.g * rise).cast_like(n.x(1))])
}

/// Exp, y = e^x. dx = g·y. <https://onnx.ai/onnx/operators/onnx__Exp.html>
pub(super) fn exp(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * n.y])
}

/// Log, y = ln x. dx = g/x; infinite at 0, as in PyTorch. <https://onnx.ai/onnx/operators/onnx__Log.html>
pub(super) fn log(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / n.x(0)])
}

/// Erf, y = 2/√π ∫₀ˣ e^(−t²) dt. dx = g·2/√π·e^(−x²). <https://onnx.ai/onnx/operators/onnx__Erf.html>
pub(super) fn erf(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * (FRAC_2_SQRT_PI * bell(n.x(0), 1.0))])
}

/// e^(−number·x²).
fn bell(x: Term<'_>, number: f64) -> Term<'_> {
    (-number * x.square()).exp()
}

/// Gelu, y = x·Φ(x), Φ(x) = ½(1 + erf(x/√2)). dx = g·(Φ(x) + x·e^(−x²/2)/√(2π)). With approximate = tanh
/// y = ½x(1 + t), t = tanh(u), u = √(2/π)(x + cx³), c = 0.044715. dx = g·½(1 + t + x(1 − t²)u′),
/// u′ = √(2/π)(1 + 3cx²). <https://onnx.ai/onnx/operators/onnx__Gelu.html>
pub(super) fn gelu(n: Symbols<'_>) -> Terms<'_> {
    const CUBIC: f64 = 0.044715;
    const STEEP: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
    let x = n.x(0);
    let slope = match n.attrs().text("approximate") {
        None | Some("none") => {
            let share = 0.5 * ((FRAC_1_SQRT_2 * x).apply("Erf") + 1.0);
            share + x * (0.5 * STEEP * bell(x, 0.5))
        }
        Some("tanh") => {
            let square = x.square();
            let t = (x * (STEEP * CUBIC * square + STEEP)).tanh();
            let steep = 3.0 * STEEP * CUBIC * square + STEEP;
            let rise = x * ((1.0 - t.square()) * steep);
            0.5 * (t + 1.0 + rise)
        }
        Some(other) => {
            bail!(Unsupported, "attribute approximate is {other}; supported: none, tanh")
        }
    };
    Ok(vec![n.g * slope])
}

/// Identity, y = x. dx = g. <https://onnx.ai/onnx/operators/onnx__Identity.html>
pub(super) fn identity(_: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    Ok(vec![n.form(0)])
}

/// Dropout at inference, y = x. dx = g. Refused if a constant enables training mode.
/// <https://onnx.ai/onnx/operators/onnx__Dropout.html> Before 12 the ratio is an attribute.
pub(super) fn dropout(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["ratio", "seed"]);
    if let Some(training) = n.optional(2)
        && b.fact(training).ints() != Some(vec![0])
    {
        bail!(Unsupported, "training_mode is not constant false; supported: inference");
    }
    identity(b, n)
}

/// Cast and CastLike between float types, y = x. dx = g in the type of x. The gradient is zero for casts to integers
/// and booleans, and for input 1 of CastLike. A cast from quantized numbers to floats keeps the values.
/// <https://onnx.ai/onnx/operators/onnx__Cast.html>
pub(super) fn cast(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["to", "saturate", "round_mode"]);
    let elem = cotangent_type(b, n.x(0)?);
    let g = n.cot(b)?;
    let mut grads = vec![Some(b.cast(g, elem)?.into())];
    if n.wants(1) {
        grads.push(Some(b.scalar(n.x(1)?, 0.0)?.into()));
    }
    Ok(grads)
}

/// Relu, y = max(x, 0). dx = g·[y > 0]; 0 at x = 0, as in PyTorch. <https://onnx.ai/onnx/operators/onnx__Relu.html>
pub(super) fn relu(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * n.y.above(0.0)])
}

/// LeakyRelu, y = x where x > 0, else α·x. dx = g·(α + (1 − α)·[x > 0]); α at 0, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__LeakyRelu.html>
pub(super) fn leaky_relu(n: Symbols<'_>) -> Terms<'_> {
    let alpha = n.attrs().float_or("alpha", 0.01);
    Ok(vec![n.g * ((1.0 - alpha) * n.x(0).above(0.0) + alpha)])
}

/// Clip, y = min(max(x, lo), hi). dx = g·[lo < y]·[y < hi]; 0 at both bounds, as in PyTorch's relu6 and
/// hardtanh. <https://onnx.ai/onnx/operators/onnx__Clip.html> Bounds are attributes before 11.
pub(super) fn clip(n: Symbols<'_>) -> Terms<'_> {
    let bound = |name, input, open| {
        n.optional_x(input).or_else(|| match n.attrs().float_or(name, open) {
            // Absent bounds and the largest finite floats have no effect.
            number if number.abs() >= f64::from(f32::MAX) => None,
            number => Some(n.y.constant(number)),
        })
    };
    let mask = match (bound("min", 1, f64::MIN), bound("max", 2, f64::MAX)) {
        (Some(lo), Some(hi)) => n.y.between(lo, hi),
        (Some(lo), None) => n.y.greater(lo),
        (None, Some(hi)) => n.y.less(hi),
        (None, None) => return Ok(vec![n.g]),
    };
    Ok(vec![n.g * mask])
}

/// Sigmoid, y = 1/(1 + e^−x). dx = g·y·(1 − y). <https://onnx.ai/onnx/operators/onnx__Sigmoid.html>
pub(super) fn sigmoid(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * (n.y * (1.0 - n.y))])
}

/// Tanh. dx = g·(1 − y²). <https://onnx.ai/onnx/operators/onnx__Tanh.html>
pub(super) fn tanh(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * (1.0 - n.y.square())])
}

/// HardSigmoid, y = min(max(α·x + β, 0), 1). dx = g·α·[0 < y]·[y < 1]; 0 at both kinks, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__HardSigmoid.html>
pub(super) fn hard_sigmoid(n: Symbols<'_>) -> Terms<'_> {
    let alpha = n.attrs().float_or("alpha", f64::from(0.2f32));
    n.attrs().ignore(&["beta"]);
    Ok(vec![n.g * (alpha * n.y.between(n.y.constant(0.0), n.y.constant(1.0)))])
}

/// HardSwish, y = x·min(max(x/6 + ½, 0), 1). dx = 0 where x ≤ −3, g where x ≥ 3, else g·(x/3 + ½),
/// as in PyTorch. <https://onnx.ai/onnx/operators/onnx__HardSwish.html>
pub(super) fn hard_swish(n: Symbols<'_>) -> Terms<'_> {
    let x = n.x(0);
    let (above, below) = (x.above(-3.0), x.below(3.0));
    let middle = (1.0 / 3.0 * x + 0.5) * (above * below);
    Ok(vec![n.g * (middle + (1.0 - below))])
}

/// Identity and Dropout preserve the sum over space.
pub(super) const PUSH_THROUGH: Push = Push {
    when: |_, _, input, count| (input == 0).then_some(PushOperand::Sum(count)),
    emit: through,
};

/// An Add preserves the sum over space for every operand that is not broadcast.
pub(super) const PUSH_ADD: Push = Push { when: same_shape, emit: through };

/// A Mul commutes with the sum over space if the other operand is constant over space.
pub(super) const PUSH_MUL: Push = Push {
    when: |graph, n, input, count| {
        let other = n.optional(1usize.checked_sub(input)?)?;
        let shape = graph.fact(other).shape.as_deref()?;
        let rank = graph.fact(n.optional(input)?).rank()?;
        let flat =
            shape.len() <= rank && shape.iter().rev().take(rank - 2).all(|d| *d == Dim::Fixed(1));
        (flat && rank > 2).then(|| same_shape(graph, n, input, count)).flatten()
    },
    emit: |b, n, input, _| {
        let g = n.cotangent_of_sum(b)?;
        let other = n.x(1 - input)?;
        let rank = b.rank(n.x(input)?)?;
        let other = super::at_rank(b, other, rank)?;
        let shape = b.shape(other)?;
        let other = b.reshape(other, &shape[..2])?;
        b.mul(g, other)
    },
};

fn same_shape(graph: &Graph, n: &RuleCall, input: usize, count: i64) -> Option<PushOperand> {
    let (x, y) = (&graph.fact(n.optional(input)?).shape, &graph.fact(n.y()).shape);
    (x.is_some() && x == y).then_some(PushOperand::Sum(count))
}

fn through(b: &mut Builder<'_>, n: &RuleCall, _: usize, _: i64) -> Result<ValueId> {
    n.cotangent_of_sum(b)
}
