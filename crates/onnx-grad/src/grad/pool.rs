//! Rules of the pools. The gradient of a window is computed axis by axis.

use super::{
    Cotangents, Push, PushOperand, RuleCall,
    call::product_dim,
    linear::{padded_window, spatial_sizes, spread},
    one, spatial_count,
};
use crate::{
    builder::Builder,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
    window::Window,
};

/// The longest window along an axis; each tap is several nodes.
const MOST_TAPS: i64 = 4096;

/// MaxPool, y[o] = max over the window. dx goes to the first element that equals the maximum, in row
/// order, as in PyTorch. <https://onnx.ai/onnx/operators/onnx__MaxPool.html>
///
/// Axis by axis: the forward values are pooled along the last axis first. In the backward order, from the first axis
/// on, the smaller row therefore wins a tie, then the smaller column.
pub(super) fn max_pool(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let win = window(b, n)?;
    n.attrs().ignore(&["storage_order"]);
    let outs = spatial_sizes(b, n.y())?;
    let mut stages = vec![n.x(0)?];
    let mut taps: Vec<Vec<ValueId>> = Vec::new();
    for axis in (0..win.axes()).rev() {
        let from = stages[stages.len() - 1];
        let along = taps_along(b, from, axis, &win, outs[axis])?;
        if axis > 0 {
            let mut pooled = along[0];
            for &tap in &along[1..] {
                pooled = b.maximum(pooled, tap)?;
            }
            stages.push(pooled);
        }
        taps.push(along);
    }
    stages.push(n.y());
    let mut g = n.full(b)?;
    for axis in 0..win.axes() {
        let stage = win.axes() - 1 - axis;
        let (taps, pooled) = (&taps[stage], stages[stage + 1]);
        let mut shares = Vec::with_capacity(taps.len());
        let mut free: Option<ValueId> = None;
        for (place, &tap) in taps.iter().enumerate() {
            let mut hit = b.equal(tap, pooled, tap)?;
            if let Some(free) = free {
                hit = b.mul(hit, free)?;
            }
            shares.push(b.mul(g, hit)?);
            if place + 1 < taps.len() {
                free = Some(match free {
                    Some(free) => b.sub(free, hit)?,
                    None => {
                        let unit = b.scalar(hit, 1.0)?;
                        b.sub(unit, hit)?
                    }
                });
            }
        }
        let size = b.size(stages[stage], axis + 2)?;
        g = gathered_back(b, &shares, axis, &win, size)?;
    }
    one(g)
}

fn window(b: &Builder<'_>, n: &RuleCall) -> Result<Window> {
    n.attrs().ignore(&["ceil_mode"]);
    let win = padded_window(b, n, None)?;
    if b.rank(n.x(0)?)? != win.axes() + 2 {
        bail!(
            InvalidModel,
            "its kernel_shape has {} axes for an input of rank {}",
            win.axes(),
            b.rank(n.x(0)?)?
        );
    }
    if win.kernel.iter().chain(&win.strides).any(|&taps| taps > MOST_TAPS) {
        bail!(
            Unsupported,
            "its kernel_shape is {:?} with strides {:?}; supported: up to {MOST_TAPS}",
            win.kernel,
            win.strides
        );
    }
    Ok(win)
}

/// The elements under each tap of the window along an axis, one value for each tap.
fn taps_along(
    b: &mut Builder<'_>,
    x: ValueId,
    axis: usize,
    win: &Window,
    count: i64,
) -> Result<Vec<ValueId>> {
    let place = axis + 2;
    let (stride, begin) = (win.strides[axis], win.begins[axis]);
    let reach = (count - 1) * stride + win.extent(axis);
    let end = (reach - begin - b.size(x, place)?).max(0);
    let rank = b.rank(x)?;
    let (mut begins, mut ends) = (vec![0; rank], vec![0; rank]);
    (begins[place], ends[place]) = (begin, end);
    // Not −∞, because 0·∞ is NaN.
    let padded = b.pad(x, &begins, &ends, f64::from(f32::MIN))?;
    (0..win.kernel[axis])
        .map(|tap| b.slice(padded, place, tap * win.dilations[axis], count, stride))
        .collect()
}

/// The transpose of [`taps_along`]: adds element o of share t at index o·s + t·d − begin. Taps with equal index
/// remainders modulo s are shifted and added, then the remainders are interleaved.
fn gathered_back(
    b: &mut Builder<'_>,
    shares: &[ValueId],
    axis: usize,
    win: &Window,
    size: i64,
) -> Result<ValueId> {
    let place = axis + 2;
    let (stride, dilation) = (win.strides[axis], win.dilations[axis]);
    let count = b.size(shares[0], place)?;
    let furthest = (win.extent(axis) - 1) / stride;
    let mut rows: Vec<Option<ValueId>> = Vec::new();
    for remainder in 0..stride {
        let mut row = None;
        for (offset, &share) in (0..).map(|tap: i64| tap * dilation).zip(shares) {
            if offset % stride != remainder {
                continue;
            }
            let shift = offset / stride;
            let shifted = b.pad_axis(share, place, shift, furthest - shift)?;
            row = Some(match row {
                None => shifted,
                Some(row) => b.add(row, shifted)?,
            });
        }
        rows.push(row);
    }
    if stride == 1 {
        let row = rows.remove(0).unwrap_or(shares[0]);
        return spread(b, row, place, 1, win.begins[axis], size);
    }
    let Some(like) = rows.iter().flatten().next().copied() else {
        bail!(InvalidModel, "its kernel is empty");
    };
    let mut apart = b.shape(like)?;
    apart.insert(place + 1, Dim::Fixed(1));
    let mut columns = Vec::with_capacity(rows.len());
    for row in rows {
        let row = match row {
            Some(row) => row,
            None => {
                let zero = b.scalar(like, 0.0)?;
                b.expand_like(zero, like)?
            }
        };
        columns.push(b.reshape(row, &apart)?);
    }
    let joined = b.concat(&columns, place + 1)?;
    apart.remove(place + 1);
    apart[place] = Dim::Fixed((count + furthest) * stride);
    let interleaved = b.reshape(joined, &apart)?;
    spread(b, interleaved, place, 1, win.begins[axis], size)
}

/// AveragePool, y[o] = Σ over the window / count. dx adds g/count to each element of the window. The count along an
/// axis, for a window from a = o·s − pad: taps before the padded end with count_include_pad (overshoot from ceil_mode
/// is not counted), else taps inside the input. <https://onnx.ai/onnx/operators/onnx__AveragePool.html>
pub(super) fn average_pool(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let win = window(b, n)?;
    let include = n.attrs().flag("count_include_pad");
    let (sizes, outs) = (spatial_sizes(b, n.x(0)?)?, spatial_sizes(b, n.y())?);
    let mut g = n.cot(b)?;
    for axis in 0..win.axes() {
        let (pad, size) = (win.begins[axis], sizes[axis]);
        let (from, to) = if include { (-pad, size + win.ends[axis]) } else { (0, size) };
        let counts: Vec<f64> = b
            .places(0, outs[axis])?
            .into_iter()
            .map(|out| {
                let first = out * win.strides[axis] - pad;
                let taps = (0..win.kernel[axis]).map(|tap| first + tap * win.dilations[axis]);
                let counted = taps.filter(|at| (from..to).contains(at)).count();
                1.0 / f64::from(u32::try_from(counted.max(1)).unwrap_or(u32::MAX))
            })
            .collect();
        let mut shape = vec![1; b.rank(g)?];
        shape[axis + 2] = outs[axis];
        let uniform = counts.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits());
        g = match (uniform, counts.first()) {
            (true, Some(&share)) => b.scale(g, share)?,
            _ => {
                let counts = b.floats(g, &shape, &counts)?;
                b.mul(g, counts)?
            }
        };
    }
    one(over_windows(b, g, &win, &outs, &sizes)?)
}

/// Adds each element of g to all elements of its window.
fn over_windows(
    b: &mut Builder<'_>,
    mut g: ValueId,
    win: &Window,
    outs: &[i64],
    sizes: &[i64],
) -> Result<ValueId> {
    for axis in 0..win.axes() {
        let whole = outs[axis] == 1
            && win.dilations[axis] == 1
            && win.begins[axis] == 0
            && win.kernel[axis] >= sizes[axis];
        if !whole {
            let mut shape = b.shape(g)?;
            shape[axis + 2] = Dim::Fixed(outs[axis]);
            let full = b.expand(g, &shape)?;
            let taps = usize::try_from(win.kernel[axis]).unwrap_or(0);
            g = gathered_back(b, &vec![full; taps], axis, win, sizes[axis])?;
        }
    }
    Ok(g)
}

/// LpPool, y[o] = (Σ over the window |x|^p)^(1/p). dx = Sign(x)·|x|^(p−1)·Σ over its windows g·y^(1−p), 0
/// where y is 0. <https://onnx.ai/onnx/operators/onnx__LpPool.html>
pub(super) fn lp_pool(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let win = window(b, n)?;
    let p = n.attrs().int_or("p", 2);
    let (sizes, outs) = (spatial_sizes(b, n.x(0)?)?, spatial_sizes(b, n.y())?);
    let g = n.cot(b)?;
    let g = over_power(b, g, n.y(), p)?;
    let g = over_windows(b, g, &win, &outs, &sizes)?;
    one(times_power(b, g, n.x(0)?, p)?)
}

/// GlobalLpPool, y = (Σ over space |x|^p)^(1/p). dx = Sign(x)·|x|^(p−1)·g·y^(1−p), 0 where y is 0.
/// <https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html>
pub(super) fn global_lp_pool(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let p = n.attrs().int_or("p", 2);
    let g = n.cot(b)?;
    let g = over_power(b, g, n.y(), p)?;
    one(times_power(b, g, n.x(0)?, p)?)
}

/// g/y^(p−1), g where y is 0.
fn over_power(b: &mut Builder<'_>, g: ValueId, y: ValueId, p: i64) -> Result<ValueId> {
    if p < 1 {
        bail!(Unsupported, "attribute p is {p}; supported: 1 and more");
    }
    if p == 1 {
        return Ok(g);
    }
    let zero = b.scalar(y, 0.0)?;
    let empty = b.equal(y, zero, y)?;
    let safe = b.add(y, empty)?;
    let power = integer_power(b, safe, p - 1)?;
    b.div(g, power)
}

/// Sign(x)·|x|^(p−1)·g.
fn times_power(b: &mut Builder<'_>, g: ValueId, x: ValueId, p: i64) -> Result<ValueId> {
    let mut g = g;
    if p % 2 == 1 {
        let (positive, negative) = (b.above(x, 0.0)?, b.below(x, 0.0)?);
        let sign = b.sub(positive, negative)?;
        g = b.mul(sign, g)?;
    }
    if p == 1 {
        return Ok(g);
    }
    let power = integer_power(b, x, p - 1)?;
    b.mul(power, g)
}

fn integer_power(b: &mut Builder<'_>, x: ValueId, exponent: i64) -> Result<ValueId> {
    if exponent == 1 {
        return Ok(x);
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let exponent = b.scalar(x, exponent as f64)?;
    b.pow(x, exponent)
}

/// MaxUnpool writes x to the positions that `indices` contains, in the whole output. dx gathers g there.
/// <https://onnx.ai/onnx/operators/onnx__MaxUnpool.html>
pub(super) fn max_unpool(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["kernel_shape", "strides", "pads"]);
    if n.optional(2).is_some() {
        bail!(Unsupported, "it has an input output_shape; supported: without it");
    }
    let count = product_dim(&b.shape(n.y())?);
    let (Some(count), true) = (count, b.shape(n.x(0)?)? == b.shape(n.x(1)?)?) else {
        bail!(Shape, "its input and its indices must have one shape, linear in the batch size");
    };
    let g = n.full(b)?;
    let flat = b.reshape(g, &[count])?;
    one(b.gather(flat, n.x(1)?, 0)?)
}

/// GlobalAveragePool, y = mean over space. dx = g/S, constant over space.
/// <https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html>
pub(super) fn global_average_pool(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let Some(count) = spatial_count(b.fact(n.x(0)?)) else {
        bail!(Shape, "the size of \"{}\" is not known", b.graph().name(n.x(0)?));
    };
    let g = n.cot(b)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of pixels")]
    one(b.scale(g, 1.0 / count.max(1) as f64)?)
}

/// GlobalMaxPool, y = max over space. dx goes to the first maximum in row order, as in PyTorch.
/// <https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html>
pub(super) fn global_max_pool(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let x = n.x(0)?;
    let shape = b.shape(x)?;
    let Some(count) = spatial_count(b.fact(x)) else {
        bail!(Shape, "the size of \"{}\" is not known", b.graph().name(x));
    };
    let rows = [shape[0], shape[1], Dim::Fixed(count)];
    let flat = b.reshape(x, &rows)?;
    let top = b.reshape(n.y(), &[shape[0], shape[1], Dim::Fixed(1)])?;
    let hit = b.equal(flat, top, flat)?;
    // The first hit has the smallest index; elements without a hit get an index after all others.
    #[expect(clippy::cast_precision_loss, reason = "a number of pixels")]
    let places: Vec<f64> = b.places(0, count)?.into_iter().map(|place| place as f64).collect();
    let places = b.floats(x, &[1, 1, count], &places)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of pixels")]
    let behind = b.scale(hit, -(count as f64))?;
    let ranked = b.add(places, behind)?;
    let first = b.min(ranked, &[2])?;
    let hit = b.equal(ranked, first, flat)?;
    let g = n.cot(b)?;
    let g_shape = b.shape(g)?;
    let g = b.reshape(g, &[g_shape[0], g_shape[1], Dim::Fixed(1)])?;
    let share = b.mul(hit, g)?;
    one(b.reshape(share, &shape)?)
}

/// Every window distributes its whole cotangent to its elements, so the sum over space is unchanged: any MaxPool, and
/// an AveragePool that does not count padding.
pub(super) const PUSH_WINDOWS: Push = Push {
    when: |graph, n, input, _| {
        let padded = n.attrs().ints("pads").is_some_and(|pads| pads.iter().any(|&pad| pad != 0))
            || n.attrs().text("auto_pad").is_some_and(|pad| pad.starts_with("SAME"));
        (input == 0 && !(padded && n.attrs().flag("count_include_pad")))
            .then(|| spatial_count(graph.fact(n.y())).map(PushOperand::Sum))
            .flatten()
    },
    emit: |b, n, _, _| n.cotangent_of_sum(b),
};

/// Σ over space of g/S is g.
pub(super) const PUSH_GLOBAL_AVERAGE: Push = Push {
    when: |_, _, _, _| Some(PushOperand::Full),
    emit: |b, n, _, _| {
        let g = n.cot(b)?;
        let shape = b.shape(g)?;
        b.reshape(g, &shape[..2])
    },
};
