//! Rules of the reductions and related operators, such as Softmax.

use super::{Cotangents, Push, PushOperand, RuleCall, call::product, one};
use crate::{
    attrs,
    builder::{Builder, Term},
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
};

/// The axes of a reduction, and its symbols with those axes at size 1.
struct Reduction<'n> {
    axes: Vec<usize>,
    g: Term<'n>,
    x: Term<'n>,
    y: Term<'n>,
}

fn reduced<'n>(b: &Builder<'_>, n: &'n RuleCall) -> Result<Reduction<'n>> {
    let shape = b.shape(n.x(0)?)?;
    let listed = n.list(b, "axes", 1)?.unwrap_or_default();
    let noop = n.attrs().flag("noop_with_empty_axes");
    n.attrs().ignore(&["keepdims"]);
    let axes: Vec<usize> = match listed.as_slice() {
        [] if noop => vec![],
        [] => (0..shape.len()).collect(),
        listed => listed.iter().map(|&axis| n.axis(axis, shape.len())).collect::<Result<_>>()?,
    };
    let mut kept = shape;
    for &axis in &axes {
        kept[axis] = Dim::Fixed(1);
    }
    let s = n.symbols();
    Ok(Reduction { axes, g: s.full().reshape(&kept), x: s.x(0), y: s.y.reshape(&kept) })
}

/// ReduceSum, y = Σ x over axes. dx = g, constant over those axes.
/// <https://onnx.ai/onnx/operators/onnx__ReduceSum.html> Axes are an input from 13.
pub(super) fn reduce_sum(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    one(reduced(b, n)?.g.emit(b)?)
}

/// ReduceMean, y = mean of x over axes. dx = g/count, constant over those axes.
/// <https://onnx.ai/onnx/operators/onnx__ReduceMean.html> Axes are an input from 18.
pub(super) fn reduce_mean(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Reduction { axes, g, .. } = reduced(b, n)?;
    let x = n.x(0)?;
    let sizes = axes.iter().map(|&axis| b.size(x, axis)).collect::<Result<Vec<_>>>()?;
    #[expect(clippy::cast_precision_loss, reason = "a number of elements")]
    let share = 1.0 / product(sizes)?.max(1) as f64;
    one((share * g).emit(b)?)
}

/// ReduceMax and ReduceMin. dx = g·[x = y], divided equally among ties, as in PyTorch's amax.
/// <https://onnx.ai/onnx/operators/onnx__ReduceMax.html> Axes are an input from 18.
pub(super) fn reduce_extreme(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Reduction { axes, g, x, y } = reduced(b, n)?;
    let hit = x.equal(y);
    one((hit * (g / hit.sum(&axes))).emit(b)?)
}

/// Like [`reduced`]. Refuses a reduction over no axes, whose result is not clearly defined.
fn some_reduced<'n>(b: &Builder<'_>, n: &'n RuleCall) -> Result<Reduction<'n>> {
    let reduced = reduced(b, n)?;
    if reduced.axes.is_empty() && n.attrs().flag("noop_with_empty_axes") {
        bail!(Unsupported, "attribute noop_with_empty_axes is 1 without axes; supported: axes");
    }
    Ok(reduced)
}

/// ReduceL1, y = Σ |x| over axes. dx = g·sign(x); 0 at 0, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__ReduceL1.html> Axes are an input from 18.
pub(super) fn reduce_l1(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Reduction { g, x, .. } = some_reduced(b, n)?;
    one((g * x.sign()).emit(b)?)
}

/// ReduceL2, y = √Σ x² over axes. dx = g·x/y; 0 where y = 0, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__ReduceL2.html> Axes are an input from 18.
pub(super) fn reduce_l2(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Reduction { g, x, y, .. } = some_reduced(b, n)?;
    // Where y = 0, x = 0 too: 0/1.
    one((g / (y + y.is_zero()) * x).emit(b)?)
}

/// ReduceSumSquare, y = Σ x² over axes. dx = 2·g·x.
/// <https://onnx.ai/onnx/operators/onnx__ReduceSumSquare.html> Axes are an input from 18.
pub(super) fn reduce_sum_square(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Reduction { g, x, .. } = some_reduced(b, n)?;
    one((2.0 * g * x).emit(b)?)
}

/// ReduceLogSum, y = ln Σ x over axes. dx = g·e^(−y).
/// <https://onnx.ai/onnx/operators/onnx__ReduceLogSum.html> Axes are an input from 18.
pub(super) fn reduce_log_sum(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Reduction { g, y, .. } = some_reduced(b, n)?;
    one((g / y.exp()).emit(b)?)
}

/// ReduceLogSumExp, y = ln Σ e^x over axes. dx = g·e^(x − y).
/// <https://onnx.ai/onnx/operators/onnx__ReduceLogSumExp.html> Axes are an input from 18.
pub(super) fn reduce_log_sum_exp(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Reduction { g, x, y, .. } = some_reduced(b, n)?;
    one((g * (x - y).exp()).emit(b)?)
}

/// ReduceProd, y = Π x over axes. dx = g·(the product of all other elements), which is correct for zeros too.
/// <https://onnx.ai/onnx/operators/onnx__ReduceProd.html> Axes are an input from 18.
pub(super) fn reduce_prod(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Reduction { axes, g, .. } = some_reduced(b, n)?;
    let mut g = g.emit(b)?;
    // Axis by axis: the other elements of the row, times the products of the other rows.
    let mut rows = n.x(0)?;
    for axis in axes {
        let (before, behind) = (others(b, rows, axis, true)?, others(b, rows, axis, false)?);
        let others = b.mul(before, behind)?;
        g = b.mul(g, others)?;
        rows = b.prod(rows, &[axis])?;
    }
    one(g)
}

/// The product of all elements before each element of an axis, or of all after it, in ⌈log₂ size⌉ steps.
fn others(b: &mut Builder<'_>, x: ValueId, axis: usize, before: bool) -> Result<ValueId> {
    let (size, rank) = (b.size(x, axis)?, b.rank(x)?);
    let shift = |b: &mut Builder<'_>, x: ValueId, count: i64| {
        let (mut begins, mut ends) = (vec![0; rank], vec![0; rank]);
        let (near, far) = if before { (&mut begins, &mut ends) } else { (&mut ends, &mut begins) };
        near[axis] = count;
        far[axis] = -count;
        b.pad(x, &begins, &ends, 1.0)
    };
    let mut product = shift(b, x, 1)?;
    let mut covered = 1;
    while covered < size - 1 {
        let further = shift(b, product, covered)?;
        product = b.mul(product, further)?;
        covered *= 2;
    }
    Ok(product)
}

/// CumSum, y_i = Σ_(j ≤ i) x_j along an axis, `exclusive` j < i, `reverse` j ≥ i. dx is the same sum of g in the
/// opposite direction. <https://onnx.ai/onnx/operators/onnx__CumSum.html>
pub(super) fn cum_sum(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (reverse, exclusive) = (n.attrs().flag("reverse"), n.attrs().flag("exclusive"));
    let g = n.full(b)?;
    let flags =
        vec![attrs::int("exclusive", exclusive.into()), attrs::int("reverse", (!reverse).into())];
    one(b.raw("CumSum", &[g, n.x(1)?], flags)?)
}

/// Softmax, y = exp(x)/Σ exp(x). dx = y·(g − Σ g·y). From 13 the sum covers one axis (default the last); before, all
/// axes from `axis` (default 1) on. <https://onnx.ai/onnx/operators/onnx__Softmax.html>
pub(super) fn softmax(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (s, axes) = (n.symbols(), softmax_axes(b, n)?);
    one((s.y * (s.g - (s.g * s.y).sum(&axes))).emit(b)?)
}

/// LogSoftmax, y = x − ln Σ exp(x). dx = g − exp(y)·Σ g, over the axes of Softmax.
/// <https://onnx.ai/onnx/operators/onnx__LogSoftmax.html>
pub(super) fn log_softmax(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (s, axes) = (n.symbols(), softmax_axes(b, n)?);
    let g = s.full();
    one((g - s.y.exp() * g.sum(&axes)).emit(b)?)
}

fn softmax_axes(b: &Builder<'_>, n: &RuleCall) -> Result<Vec<usize>> {
    let rank = b.rank(n.y())?;
    Ok(if n.opset() >= 13 {
        vec![n.axis(n.attrs().int_or("axis", -1), rank)?]
    } else {
        (n.axis(n.attrs().int_or("axis", 1), rank)?..rank).collect()
    })
}

/// A mean over exactly the spatial axes is a global pool: the sum over space of g/S is g.
pub(super) const PUSH_MEAN: Push = Push {
    when: |graph, n, input, count| {
        let shape = graph.fact(n.optional(input)?).shape.as_deref()?;
        let listed = match (n.attrs().ints("axes"), n.optional(1)) {
            (Some(axes), _) => axes.to_vec(),
            (None, axes) => graph.fact(axes?).ints()?,
        };
        // An empty list means all axes or none.
        let axes: Vec<usize> =
            listed.iter().map(|&axis| n.axis(axis, shape.len()).ok()).collect::<Option<_>>()?;
        // The axes decide, not the shapes: after a mean over channels, the width can equal the former channel count.
        let gone = |axis: usize| axes.contains(&axis) || shape[axis] == Dim::Fixed(1);
        let spatial =
            !axes.is_empty() && axes.iter().all(|&axis| axis >= 2) && (2..shape.len()).all(gone);
        (input == 0 && count > 0 && shape.len() > 2 && spatial).then_some(PushOperand::Full)
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
