//! Rules of the reductions, and of what is made from them.

use super::{Call, Cotangents, Push, Pushed, call::product, one};
use crate::{
    builder::Builder,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
};

/// The axes that a reduction goes over, and its cotangent with those axes at size 1.
fn reduced(b: &mut Builder<'_>, n: &Call) -> Result<(Vec<usize>, ValueId)> {
    let x = n.x(0)?;
    let shape = b.shape(x)?;
    let listed = n.list(b, "axes", 1)?.unwrap_or_default();
    let noop = n.attrs().flag("noop_with_empty_axes");
    n.attrs().ignore(&["keepdims"]);
    let axes: Vec<usize> = match listed.as_slice() {
        [] if noop => vec![],
        [] => (0..shape.len()).collect(),
        listed => listed.iter().map(|&axis| n.axis(axis, shape.len())).collect::<Result<_>>()?,
    };
    let g = n.full(b)?;
    let mut kept = shape;
    for &axis in &axes {
        kept[axis] = Dim::Fixed(1);
    }
    Ok((axes, b.reshape(g, &kept)?))
}

/// ReduceSum, y = Σ x over axes. dx = g, constant over those axes.
/// <https://onnx.ai/onnx/operators/onnx__ReduceSum.html> Axes are an input from 13.
pub(super) fn reduce_sum(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    one(reduced(b, n)?.1)
}

/// ReduceMean, y = mean of x over axes. dx = g/count, constant over those axes.
/// <https://onnx.ai/onnx/operators/onnx__ReduceMean.html> Axes are an input from 18.
pub(super) fn reduce_mean(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let (axes, g) = reduced(b, n)?;
    let x = n.x(0)?;
    let sizes = axes.iter().map(|&axis| b.size(x, axis)).collect::<Result<Vec<_>>>()?;
    #[expect(clippy::cast_precision_loss, reason = "a number of elements")]
    one(b.scale(g, 1.0 / product(sizes)?.max(1) as f64)?)
}

/// ReduceMax and ReduceMin. dx = g·[x = y], shared equally among ties, as PyTorch's amax.
/// <https://onnx.ai/onnx/operators/onnx__ReduceMax.html> Axes are an input from 18.
pub(super) fn reduce_extreme(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let (axes, g) = reduced(b, n)?;
    let x = n.x(0)?;
    let kept = b.shape(g)?;
    let y = b.reshape(n.y(), &kept)?;
    let hit = b.equal(x, y, x)?;
    let count = b.sum(hit, &axes)?;
    let share = b.div(g, count)?;
    one(b.mul(hit, share)?)
}

/// Softmax, y = exp(x)/Σ exp(x). dx = y·(g − Σ g·y). From 13 the sum goes over one axis (default the
/// last); before, over all axes from `axis` (default 1) on.
/// <https://onnx.ai/onnx/operators/onnx__Softmax.html>
pub(super) fn softmax(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let (g, y) = (n.cot(b)?, n.y());
    let rank = b.rank(y)?;
    let axes: Vec<usize> = if n.opset() >= 13 {
        vec![n.axis(n.attrs().int_or("axis", -1), rank)?]
    } else {
        (n.axis(n.attrs().int_or("axis", 1), rank)?..rank).collect()
    };
    let weighted = b.mul(g, y)?;
    let mean = b.sum(weighted, &axes)?;
    let apart = b.sub(g, mean)?;
    one(b.mul(y, apart)?)
}

/// A mean over exactly the spatial axes is a global pool: the sum over space of g/S is g.
pub(super) const PUSH_MEAN: Push = Push {
    when: |graph, n, input, count| {
        let shape = graph.fact(n.optional(input)?).shape.as_deref()?;
        let listed = match (n.attrs().ints("axes"), n.optional(1)) {
            (Some(axes), _) => axes.to_vec(),
            (None, axes) => graph.fact(axes?).ints()?,
        };
        let axes: Vec<usize> =
            listed.iter().map(|&axis| n.axis(axis, shape.len()).ok()).collect::<Option<_>>()?;
        // Shapes cannot tell: behind a mean over channels, the width may be as large as they were.
        let gone = |axis: usize| axes.contains(&axis) || shape[axis] == Dim::Fixed(1);
        let spatial = axes.iter().all(|&axis| axis >= 2) && (2..shape.len()).all(gone);
        (input == 0 && count > 0 && shape.len() > 2 && spatial).then_some(Pushed::Full)
    },
    emit: |b, n, _, _| {
        let g = n.full(b)?;
        let shape = b.shape(n.x(0)?)?;
        if shape.len() < 2 {
            bail!(Shape, "its input has no channels");
        }
        b.reshape(g, &shape[..2])
    },
};
