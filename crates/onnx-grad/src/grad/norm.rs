//! Rules of the normalizations.

use super::{
    Cotangents, Push, PushOperand, RuleCall,
    call::{product, values},
    definition::through,
    one,
    rule::Definition,
};
use crate::{
    attrs,
    builder::{Builder, Term},
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
};

/// BatchNormalization at inference, y = (x − mean)·scale/√(var + ε) + bias, per channel.
/// dx = g·scale/√(var + ε). <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>
/// Refused in training mode and, before 9, with statistics per element (spatial = 0).
pub(super) fn batch_normalization(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let factor = factor(n)?.emit(b)?;
    let ones = vec![Dim::Fixed(1); b.rank(n.y())?.saturating_sub(2)];
    let channels = b.shape(factor)?;
    let shape = [&[Dim::Fixed(1)], channels.as_slice(), &ones].concat();
    let s = n.symbols();
    one((s.g * s.value(factor).reshape(&shape)).emit(b)?)
}

/// BatchNormalization in training mode: mean and population variance over all axes except the channels, and running
/// statistics r·momentum + (1 − momentum)·current of shape [C]. Exporters use it to standardize weights.
pub(super) fn batch_definition(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    if !n.attrs().flag("training_mode") {
        bail!(Unsupported, "attribute training_mode is 0; its definition here is that of 1");
    }
    let s = n.symbols();
    let rank = b.rank(n.x(0)?)?;
    let axes: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
    let normal = normal(s.x(0), &axes, epsilon(n));
    let momentum = n.attrs().float_or("momentum", f64::from(0.9f32));
    let mut outputs = vec![per_channel(b, n, normal.x, rank)?];
    if n.output(1).is_some() || n.output(2).is_some() {
        let variance = (s.x(0) - normal.mean).square().mean(&axes);
        for (input, now) in [(3, normal.mean), (4, variance)] {
            let now = now.reshape(&b.shape(n.x(input)?)?);
            outputs.push(momentum * s.x(input) + (1.0 - momentum) * now);
        }
    }
    values(b, outputs)
}

/// scale/√(var + ε), of shape [C].
fn factor(n: &RuleCall) -> Result<Term<'_>> {
    n.attrs().ignore(&["momentum"]);
    if n.attrs().flag("training_mode") {
        bail!(Unsupported, "attribute training_mode is 1; supported: 0");
    }
    if n.attrs().int_or("spatial", 1) != 1 {
        bail!(Unsupported, "attribute spatial is 0; supported: 1");
    }
    let s = n.symbols();
    Ok(s.x(1) / (s.x(4) + epsilon(n)).sqrt())
}

/// LayerNormalization, y = x̂·scale + bias, x̂ = (x − μ)/σ, σ = √(var + ε), mean and population variance over all
/// axes from `axis` on. dx = (ĝ − mean ĝ − x̂·mean(ĝ·x̂))/σ with ĝ = g·scale.
/// <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html> μ and σ are recomputed, because some engines lack
/// the optional outputs. If these outputs or the parameters are on the path, the definition is differentiated. ONNX
/// Runtime's optimizer writes the operator before 17.
pub(super) fn layer_normalization(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let statistics = (1..n.output_count()).any(|output| n.form(output).is_some());
    if statistics || (1..n.input_count()).any(|input| n.wants(input)) {
        return through(b, n, Definition::Emitter(layer_definition));
    }
    let (s, axes) = (n.symbols(), axes_from(b, n)?);
    let StandardScore { x, deviation, .. } = normal(s.x(0), &axes, epsilon(n));
    let g = s.g * s.x(1);
    let (mean, along) = (g.mean(&axes), x * (g * x).mean(&axes));
    one(((g - mean - along) / deviation).emit(b)?)
}

/// LayerNormalization with its optional outputs μ and 1/σ.
pub(super) fn layer_definition(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let (s, axes) = (n.symbols(), axes_from(b, n)?);
    let StandardScore { x, mean, deviation } = normal(s.x(0), &axes, epsilon(n));
    let scaled = x * s.x(1);
    let y = s.optional_x(2).map_or(scaled, |bias| scaled + bias);
    values(b, [y, mean, 1.0 / deviation])
}

/// The axes from the attribute `axis` on, by default the last.
fn axes_from(b: &Builder<'_>, n: &RuleCall) -> Result<Vec<usize>> {
    n.attrs().ignore(&["stash_type"]);
    let rank = b.rank(n.x(0)?)?;
    Ok((n.axis(n.attrs().int_or("axis", -1), rank)?..rank).collect())
}

fn epsilon(n: &RuleCall) -> f64 {
    n.attrs().float_or("epsilon", f64::from(1e-5f32))
}

/// x̂ = (x − μ)/σ, with μ and σ.
struct StandardScore<'n> {
    x: Term<'n>,
    mean: Term<'n>,
    deviation: Term<'n>,
}

/// Mean and population variance over axes, σ = √(var + ε).
fn normal<'n>(x: Term<'n>, axes: &[usize], epsilon: f64) -> StandardScore<'n> {
    let mean = x.mean(axes);
    let apart = x - mean;
    let deviation = root_mean_square(apart, axes, epsilon);
    StandardScore { x: apart / deviation, mean, deviation }
}

/// √(mean x² + ε).
fn root_mean_square<'n>(x: Term<'n>, axes: &[usize], epsilon: f64) -> Term<'n> {
    (x.square().mean(axes) + epsilon).sqrt()
}

/// x·scale + bias with inputs 1 and 2 of shape [C], for an x of that rank.
fn per_channel<'n>(b: &Builder<'_>, n: &'n RuleCall, x: Term<'n>, rank: usize) -> Result<Term<'n>> {
    let ones = vec![Dim::Fixed(1); rank.saturating_sub(2)];
    let column = |input: usize| -> Result<Term<'n>> {
        let shape = [b.shape(n.x(input)?)?, ones.clone()].concat();
        Ok(n.symbols().x(input).reshape(&shape))
    };
    let (scale, bias) = (column(1)?, column(2)?);
    Ok(x * scale + bias)
}

/// InstanceNormalization, y = x̂·scale + bias, statistics over space, scale and bias per channel.
/// <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>
pub(super) fn instance_normalization(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let rank = b.rank(n.x(0)?)?;
    let axes: Vec<usize> = (2..rank).collect();
    let normal = normal(n.symbols().x(0), &axes, epsilon(n));
    let y = per_channel(b, n, normal.x, rank)?;
    values(b, [y])
}

/// GroupNormalization, y = x̂·scale + bias, statistics over space and the channels of a group. Scale and bias are per
/// group in 18, per channel from 21. <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>
pub(super) fn group_normalization(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    n.attrs().ignore(&["stash_type"]);
    let x = n.x(0)?;
    let (shape, groups) = (b.shape(x)?, n.attrs().int_or("num_groups", 0));
    let sizes = (1..shape.len()).map(|axis| b.size(x, axis)).collect::<Result<Vec<_>>>()?;
    let count = product(sizes)?;
    if groups < 1 || b.size(x, 1)? % groups != 0 {
        bail!(InvalidModel, "attribute num_groups is {groups} for {} channels", shape[1]);
    }
    let grouped = [shape[0], Dim::Fixed(groups), Dim::Fixed(count / groups)];
    let rows = normal(n.symbols().x(0).reshape(&grouped), &[2], epsilon(n)).x;
    let y = if n.opset() < 21 {
        per_channel(b, n, rows, grouped.len())?.reshape(&shape)
    } else {
        per_channel(b, n, rows.reshape(&shape), shape.len())?
    };
    values(b, [y])
}

/// RMSNormalization, y = x/√(mean x² + ε)·scale, the mean over all axes from `axis` on.
/// <https://onnx.ai/onnx/operators/onnx__RMSNormalization.html> ONNX Runtime's optimizer calls it
/// SimplifiedLayerNormalization, at every opset.
pub(super) fn rms_normalization(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let (s, axes) = (n.symbols(), axes_from(b, n)?);
    let size = root_mean_square(s.x(0), &axes, epsilon(n));
    values(b, [s.x(0) / size * s.x(1)])
}

/// LpNormalization, y = x/‖x‖ along an axis, ‖x‖ = Σ|x| (p = 1) or √Σx² (p = 2). Where ‖x‖ = 0, the output and its
/// gradient are 0. <https://onnx.ai/onnx/operators/onnx__LpNormalization.html>
pub(super) fn lp_normalization(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let axis = n.axis(n.attrs().int_or("axis", -1), b.rank(n.x(0)?)?)?;
    let (x, p) = (n.symbols().x(0), n.attrs().int_or("p", 2));
    let sizes = match p {
        1 => x.apply("Abs"),
        2 => x.square(),
        p => bail!(Unsupported, "attribute p is {p}; supported: 1, 2"),
    };
    let sum = sizes.sum(&[axis]);
    let none = sum.is_zero();
    let safe = sum + none;
    let norm = if p == 2 { safe.sqrt() } else { safe };
    values(b, [x * ((1.0 - none) / norm)])
}

/// MeanVarianceNormalization, y = (x − μ)/(σ + 1e−9), population statistics over `axes`, by default 0, 2, 3.
/// <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>
pub(super) fn mean_variance_normalization(
    b: &mut Builder<'_>,
    n: &RuleCall,
) -> Result<Vec<ValueId>> {
    let rank = b.rank(n.x(0)?)?;
    let axes = n.attrs().ints("axes").unwrap_or(&[0, 2, 3]);
    let axes = axes.iter().map(|&axis| n.axis(axis, rank)).collect::<Result<Vec<_>>>()?;
    let x = n.symbols().x(0);
    let apart = x - x.mean(&axes);
    values(b, [apart / (root_mean_square(apart, &axes, 0.0) + 1e-9)])
}

/// LRN, y = x/(bias + α/size·Σ x²)^β, the sum over the channels from ⌊(size − 1)/2⌋ before to ⌈(size − 1)/2⌉ after.
/// <https://onnx.ai/onnx/operators/onnx__LRN.html>
pub(super) fn lrn(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let (x, size) = (n.x(0)?, n.attrs().int_or("size", 0));
    let shape = b.shape(x)?;
    let (true, Some(front)) = ((1..=4096).contains(&size), shape.get(..2)) else {
        bail!(InvalidModel, "attribute size is {size}, its input has {} axes", shape.len());
    };
    // The channels become a spatial axis for a pool.
    let sizes = (2..shape.len()).map(|axis| b.size(x, axis)).collect::<Result<Vec<_>>>()?;
    let plane = [front[0], Dim::Fixed(1), front[1], Dim::Fixed(product(sizes)?)];
    let (before, behind) = ((size - 1) / 2, size / 2);
    let window = vec![
        attrs::ints("kernel_shape", &[size, 1]),
        attrs::ints("strides", &[1, 1]),
        attrs::ints("pads", &[before, 0, behind, 0]),
        attrs::int("count_include_pad", 1),
    ];
    let x = n.symbols().x(0);
    let squares = x.square().reshape(&plane);
    let mean = squares.then(move |b, squares| b.raw("AveragePool", &[squares], window.clone()));
    let raised = n.attrs().float_or("alpha", f64::from(1e-4f32)) * mean.reshape(&shape)
        + n.attrs().float_or("bias", 1.0);
    values(b, [x / raised.pow(x.constant(n.attrs().float_or("beta", 0.75)))])
}

/// The factor is constant over space, except after a flattening, where each element has its own factor.
pub(super) const PUSH_BATCH: Push = Push {
    when: |graph, n, input, count| {
        let rank = graph.fact(n.optional(input)?).rank()?;
        (input == 0 && (rank > 2 || count == 1)).then_some(PushOperand::Sum(count))
    },
    emit: |b, n, _, _| {
        let g = n.cotangent_of_sum(b)?;
        (n.symbols().value(g) * factor(n)?).emit(b)
    },
};
