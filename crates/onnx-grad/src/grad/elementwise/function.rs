//! Rules of unary mathematical functions, and Mod.

use crate::{
    builder::Term,
    grad::{Symbols, Terms},
};

/// Abs, y = |x|. dx = g·sign(x); 0 at 0, as in PyTorch. <https://onnx.ai/onnx/operators/onnx__Abs.html>
pub(in crate::grad) fn abs(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * n.x(0).sign()])
}

/// Reciprocal, y = 1/x. dx = −g·y². <https://onnx.ai/onnx/operators/onnx__Reciprocal.html>
pub(in crate::grad) fn reciprocal(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * -n.y.square()])
}

/// Mod, y = a − k·b with an integer k. da = g, db = −g·k, as in PyTorch's fmod (`fmod` = 1) and remainder.
/// <https://onnx.ai/onnx/operators/onnx__Mod.html>
pub(in crate::grad) fn modulo(n: Symbols<'_>) -> Terms<'_> {
    n.attrs().ignore(&["fmod"]);
    Ok(vec![n.g, n.g * ((n.y - n.x(0)) / n.x(1))])
}

/// Sin. dx = g·cos x. <https://onnx.ai/onnx/operators/onnx__Sin.html>
pub(in crate::grad) fn sin(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * n.x(0).apply("Cos")])
}

/// Cos. dx = −g·sin x. <https://onnx.ai/onnx/operators/onnx__Cos.html>
pub(in crate::grad) fn cos(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * -n.x(0).apply("Sin")])
}

/// Tan. dx = g·(1 + y²). <https://onnx.ai/onnx/operators/onnx__Tan.html>
pub(in crate::grad) fn tan(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * (1.0 + n.y.square())])
}

/// 1 − x² as (1 − x)·(1 + x): near |x| = 1, rounding of the square would dominate the difference.
fn one_less_square(x: Term<'_>) -> Term<'_> {
    (1.0 - x) * (x + 1.0)
}

/// Asin. dx = g/√(1 − x²). <https://onnx.ai/onnx/operators/onnx__Asin.html>
pub(in crate::grad) fn asin(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / one_less_square(n.x(0)).sqrt()])
}

/// Acos. dx = −g/√(1 − x²). <https://onnx.ai/onnx/operators/onnx__Acos.html>
pub(in crate::grad) fn acos(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / -one_less_square(n.x(0)).sqrt()])
}

/// Atan. dx = g/(1 + x²). <https://onnx.ai/onnx/operators/onnx__Atan.html>
pub(in crate::grad) fn atan(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / (1.0 + n.x(0).square())])
}

/// Sinh. dx = g·cosh x. <https://onnx.ai/onnx/operators/onnx__Sinh.html>
pub(in crate::grad) fn sinh(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * n.x(0).apply("Cosh")])
}

/// Cosh. dx = g·sinh x. <https://onnx.ai/onnx/operators/onnx__Cosh.html>
pub(in crate::grad) fn cosh(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * n.x(0).apply("Sinh")])
}

/// Asinh. dx = g/√(x² + 1). <https://onnx.ai/onnx/operators/onnx__Asinh.html>
pub(in crate::grad) fn asinh(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / (n.x(0).square() + 1.0).sqrt()])
}

/// Acosh. dx = g/√(x² − 1). <https://onnx.ai/onnx/operators/onnx__Acosh.html>
pub(in crate::grad) fn acosh(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / (n.x(0).square() + -1.0).sqrt()])
}

/// Atanh. dx = g/(1 − x²). <https://onnx.ai/onnx/operators/onnx__Atanh.html>
pub(in crate::grad) fn atanh(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / one_less_square(n.x(0))])
}
