//! Rules of the normalisations.

use super::{Call, Cotangents, Push, Pushed};
use crate::{
    builder::Builder,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
};

/// BatchNormalization at inference, y = (x − mean)·scale/√(var + ε) + bias, per channel.
/// dx = g·scale/√(var + ε). <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>
/// Refused in training mode and, before 9, with statistics per element (spatial = 0).
pub(super) fn batch_normalization(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let factor = factor(b, n)?;
    let g = n.cot(b)?;
    let ones = vec![Dim::Fixed(1); b.rank(g)?.saturating_sub(2)];
    let channels = b.shape(factor)?;
    let shape = [&[Dim::Fixed(1)], channels.as_slice(), &ones].concat();
    let factor = b.reshape(factor, &shape)?;
    let dx = b.mul(g, factor)?;
    let mut grads = vec![None; n.input_count()];
    grads[0] = Some(dx.into());
    Ok(grads)
}

/// scale/√(var + ε), of shape [C].
fn factor(b: &mut Builder<'_>, n: &Call) -> Result<ValueId> {
    n.attrs().ignore(&["momentum"]);
    if n.attrs().flag("training_mode") {
        bail!(Unsupported, "attribute training_mode is 1; supported: 0");
    }
    if n.attrs().int_or("spatial", 1) != 1 {
        bail!(Unsupported, "attribute spatial is 0; supported: 1");
    }
    let (scale, var) = (n.x(1)?, n.x(4)?);
    let epsilon = b.scalar(var, n.attrs().float_or("epsilon", f64::from(1e-5f32)))?;
    let shifted = b.add(var, epsilon)?;
    let deviation = b.sqrt(shifted)?;
    b.div(scale, deviation)
}

/// LayerNormalization, y = x̂·scale + bias, x̂ = (x − μ)/σ, σ = √(var + ε), mean and population variance
/// over all axes from `axis` on. dx = (ĝ − mean ĝ − x̂·mean(ĝ·x̂))/σ with ĝ = g·scale.
/// <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html> μ and σ are computed again: not every
/// engine has the optional outputs.
pub(super) fn layer_normalization(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    n.attrs().ignore(&["stash_type"]);
    if let Some(output) = (1..n.output_count()).find(|output| n.form(*output).is_some()) {
        bail!(Unsupported, "its output {output} is on the path; supported: the first");
    }
    let (g, x) = (n.cot(b)?, n.x(0)?);
    let rank = b.rank(x)?;
    let axes: Vec<usize> = (n.axis(n.attrs().int_or("axis", -1), rank)?..rank).collect();
    let mean = b.mean(x, &axes)?;
    let apart = b.sub(x, mean)?;
    let square = b.mul(apart, apart)?;
    let var = b.mean(square, &axes)?;
    let epsilon = b.scalar(var, n.attrs().float_or("epsilon", f64::from(1e-5f32)))?;
    let shifted = b.add(var, epsilon)?;
    let deviation = b.sqrt(shifted)?;
    let normal = b.div(apart, deviation)?;
    let g = b.mul(g, n.x(1)?)?;
    let g_mean = b.mean(g, &axes)?;
    let along = b.mul(g, normal)?;
    let along = b.mean(along, &axes)?;
    let along = b.mul(normal, along)?;
    let dx = b.sub(g, g_mean)?;
    let dx = b.sub(dx, along)?;
    let mut grads = vec![None; n.input_count()];
    grads[0] = Some(b.div(dx, deviation)?.into());
    Ok(grads)
}

/// The factor is constant over space; behind a flattening it is not, every element has its own.
pub(super) const PUSH_BATCH: Push = Push {
    when: |graph, n, input, count| {
        let rank = graph.fact(n.optional(input)?).rank()?;
        (input == 0 && (rank > 2 || count == 1)).then_some(Pushed::Sum(count))
    },
    emit: |b, n, _, _| {
        let factor = factor(b, n)?;
        let g = n.cotangent_of_sum(b)?;
        b.mul(g, factor)
    },
};
