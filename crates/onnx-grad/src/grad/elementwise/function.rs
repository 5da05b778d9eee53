//! Rules of functions of one number: powers, trigonometry and what else mathematics names.

use crate::{
    builder::Builder,
    error::Result,
    grad::{Call, Cotangents, one},
    graph::ValueId,
};

/// dx = g·slope(x, y).
fn times(
    b: &mut Builder<'_>,
    n: &Call,
    slope: impl Fn(&mut Builder<'_>, ValueId, ValueId) -> Result<ValueId>,
) -> Cotangents {
    let (g, x) = (n.cot(b)?, n.x(0)?);
    let slope = slope(b, x, n.y())?;
    one(b.mul(g, slope)?)
}

/// dx = g/slope(x).
fn over(
    b: &mut Builder<'_>,
    n: &Call,
    slope: impl Fn(&mut Builder<'_>, ValueId) -> Result<ValueId>,
) -> Cotangents {
    let (g, x) = (n.cot(b)?, n.x(0)?);
    let slope = slope(b, x)?;
    one(b.div(g, slope)?)
}

/// sign·x² + number.
fn square(b: &mut Builder<'_>, x: ValueId, sign: f64, number: f64) -> Result<ValueId> {
    let square = b.mul(x, x)?;
    let square = b.scale(square, sign)?;
    let number = b.scalar(x, number)?;
    b.add(square, number)
}

/// Abs, y = |x|. dx = g·sign(x); 0 at 0, as PyTorch. <https://onnx.ai/onnx/operators/onnx__Abs.html>
pub(in crate::grad) fn abs(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    times(b, n, |b, x, _| b.sign(x))
}

/// Reciprocal, y = 1/x. dx = −g·y². <https://onnx.ai/onnx/operators/onnx__Reciprocal.html>
pub(in crate::grad) fn reciprocal(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    times(b, n, |b, _, y| {
        let square = b.mul(y, y)?;
        b.neg(square)
    })
}

/// Mod, y = a − k·b with an integer k. da = g, db = −g·k, as PyTorch's fmod (`fmod` = 1) and remainder.
/// <https://onnx.ai/onnx/operators/onnx__Mod.html>
pub(in crate::grad) fn modulo(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    n.attrs().ignore(&["fmod"]);
    let g = n.cot(b)?;
    let mut grads = vec![Some(g.into()), None];
    if n.wants(1) {
        let steps = b.sub(n.y(), n.x(0)?)?;
        let steps = b.div(steps, n.x(1)?)?;
        grads[1] = Some(b.mul(g, steps)?.into());
    }
    Ok(grads)
}

/// Sin. dx = g·cos x. <https://onnx.ai/onnx/operators/onnx__Sin.html>
pub(in crate::grad) fn sin(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    times(b, n, |b, x, _| b.raw("Cos", &[x], vec![]))
}

/// Cos. dx = −g·sin x. <https://onnx.ai/onnx/operators/onnx__Cos.html>
pub(in crate::grad) fn cos(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    times(b, n, |b, x, _| {
        let sin = b.raw("Sin", &[x], vec![])?;
        b.neg(sin)
    })
}

/// Tan. dx = g·(1 + y²). <https://onnx.ai/onnx/operators/onnx__Tan.html>
pub(in crate::grad) fn tan(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    times(b, n, |b, _, y| square(b, y, 1.0, 1.0))
}

/// Asin. dx = g/√(1 − x²). <https://onnx.ai/onnx/operators/onnx__Asin.html>
pub(in crate::grad) fn asin(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    over(b, n, |b, x| {
        let square = square(b, x, -1.0, 1.0)?;
        b.sqrt(square)
    })
}

/// Acos. dx = −g/√(1 − x²). <https://onnx.ai/onnx/operators/onnx__Acos.html>
pub(in crate::grad) fn acos(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    over(b, n, |b, x| {
        let square = square(b, x, -1.0, 1.0)?;
        let root = b.sqrt(square)?;
        b.neg(root)
    })
}

/// Atan. dx = g/(1 + x²). <https://onnx.ai/onnx/operators/onnx__Atan.html>
pub(in crate::grad) fn atan(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    over(b, n, |b, x| square(b, x, 1.0, 1.0))
}

/// Sinh. dx = g·cosh x. <https://onnx.ai/onnx/operators/onnx__Sinh.html>
pub(in crate::grad) fn sinh(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    times(b, n, |b, x, _| b.raw("Cosh", &[x], vec![]))
}

/// Cosh. dx = g·sinh x. <https://onnx.ai/onnx/operators/onnx__Cosh.html>
pub(in crate::grad) fn cosh(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    times(b, n, |b, x, _| b.raw("Sinh", &[x], vec![]))
}

/// Asinh. dx = g/√(x² + 1). <https://onnx.ai/onnx/operators/onnx__Asinh.html>
pub(in crate::grad) fn asinh(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    over(b, n, |b, x| {
        let square = square(b, x, 1.0, 1.0)?;
        b.sqrt(square)
    })
}

/// Acosh. dx = g/√(x² − 1). <https://onnx.ai/onnx/operators/onnx__Acosh.html>
pub(in crate::grad) fn acosh(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    over(b, n, |b, x| {
        let square = square(b, x, 1.0, -1.0)?;
        b.sqrt(square)
    })
}

/// Atanh. dx = g/(1 − x²). <https://onnx.ai/onnx/operators/onnx__Atanh.html>
pub(in crate::grad) fn atanh(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    over(b, n, |b, x| square(b, x, -1.0, 1.0))
}
