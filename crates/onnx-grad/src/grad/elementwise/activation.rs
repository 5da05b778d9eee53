//! Rules and definitions of the rarer activations.

use crate::{
    attrs,
    builder::Builder,
    error::{Result, bail},
    grad::{Call, Cotangents, one},
    graph::ValueId,
};

/// Elu, y = x where x > 0, else α·(e^x − 1). dx = g where x > 0, else g·α·e^x; α·g at 0, as PyTorch. Not y + α,
/// which loses the digits of a small e^x. <https://onnx.ai/onnx/operators/onnx__Elu.html>
pub(in crate::grad) fn elu(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let (g, x) = (n.cot(b)?, n.x(0)?);
    let right = b.relu(x)?;
    let left = b.sub(x, right)?;
    let curve = b.exp(left)?;
    let curve = b.scale(curve, n.attrs().float_or("alpha", 1.0))?;
    let slope = either_side(b, x, curve)?;
    one(b.mul(g, slope)?)
}

/// 1 where x > 0, else `other`.
fn either_side(b: &mut Builder<'_>, x: ValueId, other: ValueId) -> Result<ValueId> {
    let right = b.above(x, 0.0)?;
    let unit = b.scalar(x, 1.0)?;
    let left = b.sub(unit, right)?;
    let other = b.mul(left, other)?;
    b.add(right, other)
}

/// Selu, y = γ·Elu(x; α); α·γ at 0, as PyTorch. <https://onnx.ai/onnx/operators/onnx__Selu.html>
pub(in crate::grad) fn selu(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let alpha = n.attrs().float_or("alpha", f64::from(1.673_263_2_f32));
    let gamma = n.attrs().float_or("gamma", f64::from(1.050_701_f32));
    let elu = emit_elu(b, n.x(0)?, alpha)?;
    Ok(vec![b.scale(elu, gamma)?])
}

/// Celu, y = α·Elu(x/α; 1); 1 at 0, as PyTorch. <https://onnx.ai/onnx/operators/onnx__Celu.html>
pub(in crate::grad) fn celu(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let alpha = n.attrs().float_or("alpha", 1.0);
    if alpha <= 0.0 {
        bail!(Unsupported, "attribute alpha is {alpha}; supported: above 0");
    }
    let scaled = b.scale(n.x(0)?, 1.0 / alpha)?;
    let elu = emit_elu(b, scaled, 1.0)?;
    Ok(vec![b.scale(elu, alpha)?])
}

fn emit_elu(b: &mut Builder<'_>, x: ValueId, alpha: f64) -> Result<ValueId> {
    #[expect(clippy::cast_possible_truncation, reason = "the attribute is a 32-bit float")]
    b.raw("Elu", &[x], vec![attrs::float("alpha", alpha as f32)])
}

/// PRelu, y = x where x > 0, else s·x. dx = g where x > 0, else g·s; ds = g·min(x, 0); s at 0, as PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__PRelu.html>
pub(in crate::grad) fn prelu(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let (g, x) = (n.cot(b)?, n.x(0)?);
    let slope = either_side(b, x, n.x(1)?)?;
    let mut grads = vec![Some(b.mul(g, slope)?.into()), None];
    if n.wants(1) {
        let right = b.relu(x)?;
        let left = b.sub(x, right)?;
        grads[1] = Some(b.mul(g, left)?.into());
    }
    Ok(grads)
}

/// Softplus, y = ln(1 + e^x). dx = g·σ(x). <https://onnx.ai/onnx/operators/onnx__Softplus.html>
pub(in crate::grad) fn softplus(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let g = n.cot(b)?;
    let slope = b.sigmoid(n.x(0)?)?;
    one(b.mul(g, slope)?)
}

/// Softsign, y = x/(1 + |x|). dx = g/(1 + |x|)². <https://onnx.ai/onnx/operators/onnx__Softsign.html>
pub(in crate::grad) fn softsign(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let g = n.cot(b)?;
    let size = b.raw("Abs", &[n.x(0)?], vec![])?;
    let unit = b.scalar(size, 1.0)?;
    let size = b.add(size, unit)?;
    let square = b.mul(size, size)?;
    one(b.div(g, square)?)
}

/// Mish, y = x·tanh(softplus(x)). <https://onnx.ai/onnx/operators/onnx__Mish.html>
pub(in crate::grad) fn mish(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let x = n.x(0)?;
    let soft = b.raw("Softplus", &[x], vec![])?;
    let gate = b.tanh(soft)?;
    Ok(vec![b.mul(x, gate)?])
}

/// Swish, y = x·σ(α·x). <https://onnx.ai/onnx/operators/onnx__Swish.html>
pub(in crate::grad) fn swish(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let x = n.x(0)?;
    let scaled = b.scale(x, n.attrs().float_or("alpha", 1.0))?;
    let gate = b.sigmoid(scaled)?;
    Ok(vec![b.mul(x, gate)?])
}

/// ThresholdedRelu, y = x where x > α, else 0; slope 0 at α, as PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__ThresholdedRelu.html>
pub(in crate::grad) fn thresholded_relu(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let x = n.x(0)?;
    let alpha = b.scalar(x, n.attrs().float_or("alpha", 1.0))?;
    let above = b.raw("Greater", &[x, alpha], vec![])?;
    let zero = b.scalar(x, 0.0)?;
    Ok(vec![b.select(above, x, zero)?])
}

/// Shrink, y = x + bias where x < −λ, x − bias where x > λ, else 0; slope 0 at ±λ, as PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__Shrink.html>
pub(in crate::grad) fn shrink(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let x = n.x(0)?;
    let bias = b.scalar(x, n.attrs().float_or("bias", 0.0))?;
    let lambda = n.attrs().float_or("lambd", 0.5);
    let (low, high) = (b.scalar(x, -lambda)?, b.scalar(x, lambda)?);
    let below = b.raw("Less", &[x, low], vec![])?;
    let above = b.raw("Greater", &[x, high], vec![])?;
    let (raised, lowered) = (b.add(x, bias)?, b.sub(x, bias)?);
    let zero = b.scalar(x, 0.0)?;
    let right = b.select(above, lowered, zero)?;
    Ok(vec![b.select(below, raised, right)?])
}
