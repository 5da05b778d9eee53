//! Rules of the normalisations.

use super::{Call, Cotangents, Push, Pushed, call::product, definition::through, rule::Define};
use crate::{
    attrs,
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

/// BatchNormalization in training mode: mean and population variance over all axes but the channels', and
/// the running ones, r·momentum + (1 − momentum)·now, of shape [C]. Exporters standardise weights with it.
pub(super) fn batch_definition(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    if !n.attrs().flag("training_mode") {
        bail!(Unsupported, "attribute training_mode is 0; its definition here is that of 1");
    }
    let x = n.x(0)?;
    let axes: Vec<usize> = (0..b.rank(x)?).filter(|&axis| axis != 1).collect();
    let normal = normal(b, x, &axes, epsilon(n))?;
    let momentum = n.attrs().float_or("momentum", f64::from(0.9f32));
    let mut outputs = vec![per_channel(b, n, normal.x)?];
    if n.output(1).is_some() || n.output(2).is_some() {
        let apart = b.sub(x, normal.mean)?;
        let square = b.mul(apart, apart)?;
        let variance = b.mean(square, &axes)?;
        for (input, now) in [(3, normal.mean), (4, variance)] {
            let shape = b.shape(n.x(input)?)?;
            let now = b.reshape(now, &shape)?;
            let kept = b.scale(n.x(input)?, momentum)?;
            let now = b.scale(now, 1.0 - momentum)?;
            outputs.push(b.add(kept, now)?);
        }
    }
    Ok(outputs)
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
/// engine has the optional outputs. Where they or the parameters are on the path, by definition. Before 17
/// ONNX Runtime's optimiser writes it.
pub(super) fn layer_normalization(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let statistics = (1..n.output_count()).any(|output| n.form(output).is_some());
    if statistics || (1..n.input_count()).any(|input| n.wants(input)) {
        return through(b, n, Define::Emitted(layer_definition));
    }
    let g = n.cot(b)?;
    let (normal, axes) = layer_normal(b, n)?;
    let g = b.mul(g, n.x(1)?)?;
    let g_mean = b.mean(g, &axes)?;
    let along = b.mul(g, normal.x)?;
    let along = b.mean(along, &axes)?;
    let along = b.mul(normal.x, along)?;
    let dx = b.sub(g, g_mean)?;
    let dx = b.sub(dx, along)?;
    let mut grads = vec![None; n.input_count()];
    grads[0] = Some(b.div(dx, normal.deviation)?.into());
    Ok(grads)
}

/// LayerNormalization with its optional outputs μ and 1/σ.
pub(super) fn layer_definition(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let (normal, _) = layer_normal(b, n)?;
    let mut y = b.mul(normal.x, n.x(1)?)?;
    if let Some(bias) = n.optional(2) {
        y = b.add(y, bias)?;
    }
    let unit = b.scalar(normal.deviation, 1.0)?;
    Ok(vec![y, normal.mean, b.div(unit, normal.deviation)?])
}

fn layer_normal(b: &mut Builder<'_>, n: &Call) -> Result<(Normal, Vec<usize>)> {
    let (x, epsilon) = (n.x(0)?, epsilon(n));
    let axes = axes_from(b, n)?;
    Ok((normal(b, x, &axes, epsilon)?, axes))
}

/// The axes from the attribute `axis` on, by default the last.
fn axes_from(b: &Builder<'_>, n: &Call) -> Result<Vec<usize>> {
    n.attrs().ignore(&["stash_type"]);
    let rank = b.rank(n.x(0)?)?;
    Ok((n.axis(n.attrs().int_or("axis", -1), rank)?..rank).collect())
}

fn epsilon(n: &Call) -> f64 {
    n.attrs().float_or("epsilon", f64::from(1e-5f32))
}

/// x̂ = (x − μ)/σ and what it is made of.
struct Normal {
    x: ValueId,
    mean: ValueId,
    deviation: ValueId,
}

/// Mean and population variance over axes, σ = √(var + ε).
fn normal(b: &mut Builder<'_>, x: ValueId, axes: &[usize], epsilon: f64) -> Result<Normal> {
    let mean = b.mean(x, axes)?;
    let apart = b.sub(x, mean)?;
    let deviation = root_mean_square(b, apart, axes, epsilon)?;
    Ok(Normal { x: b.div(apart, deviation)?, mean, deviation })
}

/// √(mean x² + ε).
fn root_mean_square(
    b: &mut Builder<'_>,
    x: ValueId,
    axes: &[usize],
    epsilon: f64,
) -> Result<ValueId> {
    let square = b.mul(x, x)?;
    let mean = b.mean(square, axes)?;
    let epsilon = b.scalar(mean, epsilon)?;
    let shifted = b.add(mean, epsilon)?;
    b.sqrt(shifted)
}

/// x·scale + bias with inputs 1 and 2, of shape [C].
fn per_channel(b: &mut Builder<'_>, n: &Call, x: ValueId) -> Result<ValueId> {
    let ones = vec![Dim::Fixed(1); b.rank(x)?.saturating_sub(2)];
    let column = |b: &mut Builder<'_>, input: usize| -> Result<ValueId> {
        let shape = [b.shape(n.x(input)?)?, ones.clone()].concat();
        b.reshape(n.x(input)?, &shape)
    };
    let (scale, bias) = (column(b, 1)?, column(b, 2)?);
    let scaled = b.mul(x, scale)?;
    b.add(scaled, bias)
}

/// InstanceNormalization, y = x̂·scale + bias, statistics over space, scale and bias per channel.
/// <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>
pub(super) fn instance_normalization(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let x = n.x(0)?;
    let axes: Vec<usize> = (2..b.rank(x)?).collect();
    let normal = normal(b, x, &axes, epsilon(n))?;
    Ok(vec![per_channel(b, n, normal.x)?])
}

/// GroupNormalization, y = x̂·scale + bias, statistics over space and the channels of a group. Scale and bias
/// are per group in 18, per channel from 21 on.
/// <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>
pub(super) fn group_normalization(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    n.attrs().ignore(&["stash_type"]);
    let x = n.x(0)?;
    let (shape, groups) = (b.shape(x)?, n.attrs().int_or("num_groups", 0));
    let sizes = (1..shape.len()).map(|axis| b.size(x, axis)).collect::<Result<Vec<_>>>()?;
    let count = product(sizes)?;
    if groups < 1 || b.size(x, 1)? % groups != 0 {
        bail!(InvalidModel, "attribute num_groups is {groups}, of {} channels", shape[1]);
    }
    let grouped = [shape[0], Dim::Fixed(groups), Dim::Fixed(count / groups)];
    let rows = b.reshape(x, &grouped)?;
    let rows = normal(b, rows, &[2], epsilon(n))?.x;
    let y = if n.opset() < 21 {
        let y = per_channel(b, n, rows)?;
        b.reshape(y, &shape)?
    } else {
        let y = b.reshape(rows, &shape)?;
        per_channel(b, n, y)?
    };
    Ok(vec![y])
}

/// RMSNormalization, y = x/√(mean x² + ε)·scale, the mean over all axes from `axis` on.
/// <https://onnx.ai/onnx/operators/onnx__RMSNormalization.html> ONNX Runtime's optimiser calls it
/// SimplifiedLayerNormalization, at every opset.
pub(super) fn rms_normalization(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let (x, axes) = (n.x(0)?, axes_from(b, n)?);
    let size = root_mean_square(b, x, &axes, epsilon(n))?;
    let normal = b.div(x, size)?;
    Ok(vec![b.mul(normal, n.x(1)?)?])
}

/// LpNormalization, y = x/‖x‖ along an axis, ‖x‖ = Σ|x| (p = 1) or √Σx² (p = 2); 0 where ‖x‖ = 0, and so is
/// its gradient. <https://onnx.ai/onnx/operators/onnx__LpNormalization.html>
pub(super) fn lp_normalization(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let x = n.x(0)?;
    let axis = n.axis(n.attrs().int_or("axis", -1), b.rank(x)?)?;
    let p = n.attrs().int_or("p", 2);
    let sizes = match p {
        1 => b.raw("Abs", &[x], vec![])?,
        2 => b.mul(x, x)?,
        p => bail!(Unsupported, "attribute p is {p}; supported: 1, 2"),
    };
    let sum = b.sum(sizes, &[axis])?;
    let zero = b.scalar(sum, 0.0)?;
    let none = b.equal(sum, zero, sum)?;
    let safe = b.add(sum, none)?;
    let norm = if p == 2 { b.sqrt(safe)? } else { safe };
    let unit = b.scalar(sum, 1.0)?;
    let some = b.sub(unit, none)?;
    let factor = b.div(some, norm)?;
    Ok(vec![b.mul(x, factor)?])
}

/// MeanVarianceNormalization, y = (x − μ)/(σ + 1e−9), population statistics over `axes`, by default 0, 2, 3.
/// <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>
pub(super) fn mean_variance_normalization(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let x = n.x(0)?;
    let rank = b.rank(x)?;
    let axes = n.attrs().ints("axes").unwrap_or(&[0, 2, 3]);
    let axes = axes.iter().map(|&axis| n.axis(axis, rank)).collect::<Result<Vec<_>>>()?;
    let mean = b.mean(x, &axes)?;
    let apart = b.sub(x, mean)?;
    let deviation = root_mean_square(b, apart, &axes, 0.0)?;
    let tiny = b.scalar(deviation, 1e-9)?;
    let deviation = b.add(deviation, tiny)?;
    Ok(vec![b.div(apart, deviation)?])
}

/// LRN, y = x/(bias + α/size·Σ x²)^β, the sum over the ⌊(size − 1)/2⌋ channels before to the
/// ⌈(size − 1)/2⌉ behind. <https://onnx.ai/onnx/operators/onnx__LRN.html>
pub(super) fn lrn(b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
    let (x, size) = (n.x(0)?, n.attrs().int_or("size", 0));
    let shape = b.shape(x)?;
    let (true, Some(front)) = ((1..=4096).contains(&size), shape.get(..2)) else {
        bail!(InvalidModel, "attribute size is {size}, its input has {} axes", shape.len());
    };
    // The channels become an axis of space, over which a pool slides.
    let sizes = (2..shape.len()).map(|axis| b.size(x, axis)).collect::<Result<Vec<_>>>()?;
    let plane = [front[0], Dim::Fixed(1), front[1], Dim::Fixed(product(sizes)?)];
    let square = b.mul(x, x)?;
    let square = b.reshape(square, &plane)?;
    let (before, behind) = ((size - 1) / 2, size / 2);
    let window = vec![
        attrs::ints("kernel_shape", &[size, 1]),
        attrs::ints("strides", &[1, 1]),
        attrs::ints("pads", &[before, 0, behind, 0]),
        attrs::int("count_include_pad", 1),
    ];
    let mean = b.raw("AveragePool", &[square], window)?;
    let mean = b.reshape(mean, &shape)?;
    let raised = b.scale(mean, n.attrs().float_or("alpha", f64::from(1e-4f32)))?;
    let bias = b.scalar(x, n.attrs().float_or("bias", 1.0))?;
    let raised = b.add(raised, bias)?;
    let beta = b.scalar(x, n.attrs().float_or("beta", 0.75))?;
    let power = b.pow(raised, beta)?;
    Ok(vec![b.div(x, power)?])
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
