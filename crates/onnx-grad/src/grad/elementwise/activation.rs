//! Rules and definitions of less common activations.

use crate::{
    builder::Term,
    error::bail,
    grad::{Symbols, Terms},
};

/// Elu, y = x where x > 0, else α·(e^x − 1). dx = g where x > 0, else g·α·e^x; α·g at 0, as in PyTorch. The form y +
/// α would lose the digits of a small e^x. <https://onnx.ai/onnx/operators/onnx__Elu.html>
pub(in crate::grad) fn elu(n: Symbols<'_>) -> Terms<'_> {
    let (x, alpha) = (n.x(0), n.attrs().float_or("alpha", 1.0));
    Ok(vec![n.g * either_side(x, alpha * negative(x).exp())])
}

/// min(x, 0).
fn negative(x: Term<'_>) -> Term<'_> {
    x - x.relu()
}

/// 1 where x > 0, else `other`.
fn either_side<'n>(x: Term<'n>, other: Term<'n>) -> Term<'n> {
    let right = x.above(0.0);
    right + (1.0 - right) * other
}

/// Selu, y = γ·Elu(x; α); α·γ at 0, as in PyTorch. <https://onnx.ai/onnx/operators/onnx__Selu.html>
pub(in crate::grad) fn selu(n: Symbols<'_>) -> Terms<'_> {
    let alpha = n.attrs().float_or("alpha", f64::from(1.673_263_2_f32));
    let gamma = n.attrs().float_or("gamma", f64::from(1.050_701_f32));
    Ok(vec![gamma * n.x(0).apply_with("Elu", "alpha", alpha)])
}

/// Celu, y = α·Elu(x/α; 1); 1 at 0, as in PyTorch. <https://onnx.ai/onnx/operators/onnx__Celu.html>
pub(in crate::grad) fn celu(n: Symbols<'_>) -> Terms<'_> {
    let alpha = n.attrs().float_or("alpha", 1.0);
    if alpha <= 0.0 {
        bail!(Unsupported, "attribute alpha is {alpha}; supported: above 0");
    }
    Ok(vec![alpha * (1.0 / alpha * n.x(0)).apply_with("Elu", "alpha", 1.0)])
}

/// PRelu, y = x where x > 0, else s·x. dx = g where x > 0, else g·s; ds = g·min(x, 0); s at 0, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__PRelu.html>
pub(in crate::grad) fn prelu(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * either_side(n.x(0), n.x(1)), n.g * negative(n.x(0))])
}

/// Softplus, y = ln(1 + e^x). dx = g·σ(x). <https://onnx.ai/onnx/operators/onnx__Softplus.html>
pub(in crate::grad) fn softplus(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g * n.x(0).apply("Sigmoid")])
}

/// Softsign, y = x/(1 + |x|). dx = g/(1 + |x|)². <https://onnx.ai/onnx/operators/onnx__Softsign.html>
pub(in crate::grad) fn softsign(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.g / (1.0 + n.x(0).apply("Abs")).square()])
}

/// Mish, y = x·tanh(softplus(x)). <https://onnx.ai/onnx/operators/onnx__Mish.html>
pub(in crate::grad) fn mish(n: Symbols<'_>) -> Terms<'_> {
    Ok(vec![n.x(0) * n.x(0).apply("Softplus").tanh()])
}

/// Swish, y = x·σ(α·x). <https://onnx.ai/onnx/operators/onnx__Swish.html>
pub(in crate::grad) fn swish(n: Symbols<'_>) -> Terms<'_> {
    let (x, alpha) = (n.x(0), n.attrs().float_or("alpha", 1.0));
    Ok(vec![x * (alpha * x).apply("Sigmoid")])
}

/// ThresholdedRelu, y = x where x > α, else 0; slope 0 at α, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__ThresholdedRelu.html>
pub(in crate::grad) fn thresholded_relu(n: Symbols<'_>) -> Terms<'_> {
    let (x, alpha) = (n.x(0), n.attrs().float_or("alpha", 1.0));
    Ok(vec![x.is_above(alpha).select(x, x.constant(0.0))])
}

/// Shrink, y = x + bias where x < −λ, x − bias where x > λ, else 0; slope 0 at ±λ, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__Shrink.html>
pub(in crate::grad) fn shrink(n: Symbols<'_>) -> Terms<'_> {
    let (x, bias) = (n.x(0), n.attrs().float_or("bias", 0.0));
    let lambda = n.attrs().float_or("lambd", 0.5);
    let (below, above) = (x.is_below(-lambda), x.is_above(lambda));
    let (raised, lowered) = (x + bias, x - bias);
    Ok(vec![below.select(raised, above.select(lowered, x.constant(0.0)))])
}
