//! Rules of the linear operators: convolutions and matrix products.

use super::{Cotangent, Cotangents, Push, PushOperand, RuleCall, call::product, one, unbroadcast};
use crate::{
    attrs,
    builder::Builder,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::{AttributeProto, tensor_proto::DataType},
    window::{Padding, Window, WindowError},
};

/// The window in the node's attributes. The kernel is `kernel` if present, else the attribute.
fn window(b: &Builder<'_>, n: &RuleCall, kernel: Option<Vec<i64>>) -> Result<Window> {
    n.attrs().ignore(&["auto_pad", "dilations", "kernel_shape", "pads", "strides"]);
    let node = b.graph().node(n.id());
    let Some(kernel) = kernel.or_else(|| Window::kernel_of(node)) else {
        bail!(InvalidModel, "it has no kernel_shape");
    };
    match Window::read(node, kernel) {
        Ok(window) if window.is_bounded() => Ok(window),
        Ok(_) => bail!(InvalidModel, "its kernel, strides, dilations or pads are beyond 2^31"),
        Err(error @ WindowError::AutoPad(_)) => bail!(Unsupported, "{error}"),
        Err(error) => bail!(InvalidModel, "{error}"),
    }
}

/// The window with explicit pads.
pub(super) fn padded_window(
    b: &Builder<'_>,
    n: &RuleCall,
    kernel: Option<Vec<i64>>,
) -> Result<Window> {
    let window = window(b, n, kernel)?;
    if window.padding == Padding::Explicit {
        return Ok(window);
    }
    let sizes = (0..window.axes()).map(|axis| b.size(n.x(0)?, axis + 2));
    match window.written_out(&sizes.collect::<Result<Vec<_>>>()?) {
        Some(window) => Ok(window),
        None => bail!(TooLarge, "its pads are beyond 64 bits"),
    }
}

/// A window as attributes of a convolution.
fn attributes(win: &Window, group: i64, pads: &[i64], strides: &[i64]) -> Vec<AttributeProto> {
    vec![
        attrs::ints("dilations", &win.dilations),
        attrs::int("group", group),
        attrs::ints("kernel_shape", &win.kernel),
        attrs::ints("pads", pads),
        attrs::ints("strides", strides),
    ]
}

/// The sizes of the axes after batch and channels.
pub(super) fn spatial_sizes(b: &Builder<'_>, value: ValueId) -> Result<Vec<i64>> {
    (2..b.rank(value)?).map(|axis| b.size(value, axis)).collect()
}

/// Conv, y[n, o, p] = Σ_{c, t} w[o, c, t]·x[n, c, s·p + d·t − pad] + bias[o]. dx is the transposed convolution of g
/// with w. For stride 1: a convolution with the kernel flipped and its channels swapped. For kernel 1 with a stride:
/// a convolution at the low resolution, then interleaved zeros. Otherwise ConvTranspose, with output_padding = (H +
/// pads − (k − 1)·d − 1) mod s. <https://onnx.ai/onnx/operators/onnx__Conv.html>
pub(super) fn conv(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (x, w) = (n.x(0)?, n.x(1)?);
    if n.wants(1) {
        bail!(Unsupported, "its weights depend on what is differentiated; supported: constants");
    }
    let group = n.attrs().int_or("group", 1);
    let win = padded_window(b, n, Some(spatial_sizes(b, w)?))?;
    let mut grads = vec![None; n.input_count()];
    if n.wants(0) {
        let pointwise = win.kernel.iter().all(|&k| k == 1);
        let unit = win.strides.iter().all(|&s| s == 1);
        let unpadded = win.begins.iter().chain(&win.ends).all(|&p| p == 0);
        // A 1×1 convolution keeps a cotangent that is constant over space constant. All channels must be present,
        // though.
        let lazy = n.cot(b)?;
        let channels = b.shape(lazy)?[1] == b.shape(n.y())?[1];
        let g = if pointwise && unit && unpadded && channels { lazy } else { n.full(b)? };
        grads[0] = Some(if unit || pointwise {
            by_convolution(b, x, g, w, &win, group)?.into()
        } else {
            by_transposed_convolution(b, x, g, w, &win, group)?.into()
        });
    }
    if n.wants(2) {
        grads[2] = Some(bias_gradient(b, n)?.into());
    }
    Ok(grads)
}

fn by_convolution(
    b: &mut Builder<'_>,
    x: ValueId,
    g: ValueId,
    w: ValueId,
    win: &Window,
    group: i64,
) -> Result<ValueId> {
    let flipped = flipped_kernel(b, w, group)?;
    let axes = win.axes();
    let unit = win.strides.iter().all(|&s| s == 1);
    // The padding of the flipped convolution; negative padding becomes a crop afterward.
    let need = |pads: &[i64]| -> Vec<i64> {
        if unit { (0..axes).map(|i| win.extent(i) - 1 - pads[i]).collect() } else { vec![0; axes] }
    };
    let (begins, ends) = (need(&win.begins), need(&win.ends));
    let pads: Vec<i64> = begins.iter().chain(&ends).map(|&p| p.max(0)).collect();
    let attributes = attributes(win, group, &pads, &vec![1; axes]);
    let mut dx = b.conv("Conv", g, flipped, attributes)?;
    if unit {
        let crop = |pads: &[i64]| -> Vec<i64> {
            [0, 0].into_iter().chain(pads.iter().map(|&p| p.min(0))).collect()
        };
        return b.pad(dx, &crop(&begins), &crop(&ends), 0.0);
    }
    let sizes = spatial_sizes(b, x)?;
    for (i, &size) in sizes.iter().enumerate() {
        dx = spread(b, dx, i + 2, win.strides[i], win.begins[i], size)?;
    }
    Ok(dx)
}

/// Moves element m of an axis to index m·stride − begin of an axis of the given size, with zeros elsewhere.
pub(super) fn spread(
    b: &mut Builder<'_>,
    value: ValueId,
    axis: usize,
    stride: i64,
    begin: i64,
    size: i64,
) -> Result<ValueId> {
    let mut spread = value;
    if stride > 1 {
        let mut shape = b.shape(value)?;
        let count = b.size(value, axis)?;
        shape.insert(axis + 1, Dim::Fixed(1));
        let apart = b.reshape(value, &shape)?;
        // Expand instead of Pad where it exists: for Pad, engines copy each element individually.
        let apart = if b.graph().opset() < 8 {
            b.pad_axis(apart, axis + 1, 0, stride - 1)?
        } else {
            let zero = b.scalar(value, 0.0)?;
            let zeros = b.expand_like(zero, apart)?;
            shape[axis + 1] = Dim::Fixed(stride - 1);
            let zeros = b.expand(zeros, &shape)?;
            b.concat(&[apart, zeros], axis + 1)?
        };
        shape.remove(axis + 1);
        shape[axis] = Dim::Fixed(product([count, stride])?);
        spread = b.reshape(apart, &shape)?;
    }
    let have = b.size(spread, axis)?;
    b.pad_axis(spread, axis, -begin, size + begin - have)
}

/// w [O, C/G, k…] as [C, O/G, k…] with reversed spatial axes, in nodes that engines fold.
fn flipped_kernel(b: &mut Builder<'_>, w: ValueId, group: i64) -> Result<ValueId> {
    let shape = b.shape(w)?;
    let (outs, ins) = (b.size(w, 0)?, b.size(w, 1)?);
    if group < 1 || outs % group != 0 {
        bail!(InvalidModel, "its {outs} output channels do not divide into {group} groups");
    }
    let rank = shape.len();
    let spatial: Vec<Dim> = shape[2..].to_vec();
    let mut flipped = w;
    if group == 1 {
        let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
        flipped = b.transpose(flipped, &perm)?;
    } else if outs != group || ins != 1 {
        let split = [group, outs / group, ins].map(Dim::Fixed);
        flipped = b.reshape(flipped, &[&split, spatial.as_slice()].concat())?;
        let perm: Vec<usize> = [0, 2, 1].into_iter().chain(3..=rank).collect();
        flipped = b.transpose(flipped, &perm)?;
        let joined = [group * ins, outs / group].map(Dim::Fixed);
        flipped = b.reshape(flipped, &[&joined, spatial.as_slice()].concat())?;
    }
    for axis in 2..rank {
        flipped = b.reverse(flipped, axis)?;
    }
    Ok(flipped)
}

fn by_transposed_convolution(
    b: &mut Builder<'_>,
    x: ValueId,
    g: ValueId,
    w: ValueId,
    win: &Window,
    group: i64,
) -> Result<ValueId> {
    let sizes = spatial_sizes(b, x)?;
    let remainder: Vec<i64> = (0..win.axes())
        .map(|i| {
            let padded = sizes[i] + win.begins[i] + win.ends[i];
            (padded - win.extent(i)).rem_euclid(win.strides[i])
        })
        .collect();
    let pads = [win.begins.clone(), win.ends.clone()].concat();
    let mut attributes = attributes(win, group, &pads, &win.strides);
    attributes.push(attrs::ints("output_padding", &remainder));
    b.conv("ConvTranspose", g, w, attributes)
}

/// ConvTranspose: dx is the convolution of g with the same kernel and geometry; dbias = Σ of g.
/// <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>
pub(super) fn conv_transpose(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (x, w) = (n.x(0)?, n.x(1)?);
    if n.wants(1) {
        bail!(Unsupported, "its weights depend on what is differentiated; supported: constants");
    }
    let group = n.attrs().int_or("group", 1);
    let win = transposed_window(b, n)?;
    let mut grads = vec![None; n.input_count()];
    if n.wants(0) {
        let g = n.full(b)?;
        let pads = [win.begins.clone(), win.ends.clone()].concat();
        let attributes = attributes(&win, group, &pads, &win.strides);
        let mut dx = b.conv("Conv", g, w, attributes)?;
        // Output padding beyond the kernel leaves positions that no input reaches.
        for axis in 2..b.rank(x)? {
            let size = b.size(x, axis)?;
            dx = b.slice(dx, axis, 0, size, 1)?;
        }
        grads[0] = Some(dx.into());
    }
    if n.wants(2) {
        grads[2] = Some(bias_gradient(b, n)?.into());
    }
    Ok(grads)
}

/// The window of a transposed convolution. If the output size is given (s·H for SAME), the excess is cropped: total =
/// (H − 1)·s + extent + output_padding − size. The odd element is cropped at the end for SAME_UPPER, else at the
/// beginning.
fn transposed_window(b: &Builder<'_>, n: &RuleCall) -> Result<Window> {
    let mut win = window(b, n, Some(spatial_sizes(b, n.x(1)?)?))?;
    let given = n.attrs().ints("output_shape").is_some_and(|sizes| !sizes.is_empty());
    let extra = n.attrs().ints("output_padding").unwrap_or_default();
    if given || win.padding != Padding::Explicit {
        let (sizes, outs) = (spatial_sizes(b, n.x(0)?)?, spatial_sizes(b, n.y())?);
        for axis in 0..win.axes() {
            let extra = extra.get(axis).copied().unwrap_or(0);
            let pads = win.transposed_pads(axis, sizes[axis], extra, outs[axis]);
            (win.begins[axis], win.ends[axis]) = pads.unwrap_or_default();
        }
        win.padding = Padding::Explicit;
    }
    Ok(win)
}

/// Σ of g over all axes except the channels, in the shape of the bias.
fn bias_gradient(b: &mut Builder<'_>, n: &RuleCall) -> Result<ValueId> {
    let g = n.full(b)?;
    let axes: Vec<usize> = (0..b.rank(g)?).filter(|&axis| axis != 1).collect();
    let sum = b.sum(g, &axes)?;
    let channels = b.shape(n.x(2)?)?;
    b.reshape(sum, &channels)
}

/// Swaps the last two axes.
fn transposed(b: &mut Builder<'_>, value: ValueId) -> Result<ValueId> {
    let rank = b.rank(value)?;
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    b.transpose(value, &perm)
}

/// `scale[n]·w[column[n], :]`, or `scale[n]·w[:, column[n]]` for columns: a product with a one-hot row.
fn picked(
    b: &mut Builder<'_>,
    w: ValueId,
    column: ValueId,
    scale: ValueId,
    rows: bool,
) -> Result<ValueId> {
    let batch = b.shape(column)?[0];
    let index = b.reshape(column, &[batch])?;
    let mut picked = b.gather(w, index, usize::from(!rows))?;
    if !rows {
        picked = b.transpose(picked, &[1, 0])?;
    }
    b.mul(picked, scale)
}

/// Gemm, y = α·A′·B′ + β·C. dA′ = α·g·B′ᵀ, dB′ = α·A′ᵀ·g, dC = β·g summed to C's shape.
/// <https://onnx.ai/onnx/operators/onnx__Gemm.html> C is optional from 11.
pub(super) fn gemm(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (alpha, beta) = (n.attrs().float_or("alpha", 1.0), n.attrs().float_or("beta", 1.0));
    let (trans_a, trans_b) = (n.attrs().flag("transA"), n.attrs().flag("transB"));
    let (a, w) = (n.x(0)?, n.x(1)?);
    let mut grads = vec![None; n.input_count()];
    if n.wants(0) {
        let da = match n.form(0) {
            Some(Cotangent::OneHot { column, scale }) => picked(b, w, column, scale, trans_b)?,
            _ => {
                let g = n.full(b)?;
                let w = if trans_b { w } else { transposed(b, w)? };
                b.matmul(g, w)?
            }
        };
        let da = b.scale(da, alpha)?;
        grads[0] = Some(if trans_a { transposed(b, da)? } else { da }.into());
    }
    if n.wants(1) {
        let g = n.full(b)?;
        let a = if trans_a { a } else { transposed(b, a)? };
        let dw = b.matmul(a, g)?;
        let dw = b.scale(dw, alpha)?;
        grads[1] = Some(if trans_b { transposed(b, dw)? } else { dw }.into());
    }
    if n.wants(2) {
        let g = n.full(b)?;
        let g = b.scale(g, beta)?;
        grads[2] = Some(unbroadcast(b, g, n.y(), n.x(2)?)?.into());
    }
    Ok(grads)
}

/// MatMul over the last two axes; the others broadcast. dA = g·Bᵀ, dB = Aᵀ·g, summed over broadcast axes; a vector is
/// a row on the left and a column on the right. <https://onnx.ai/onnx/operators/onnx__MatMul.html>
pub(super) fn matmul(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (a, w) = (n.x(0)?, n.x(1)?);
    let (a_shape, w_shape) = (b.shape(a)?, b.shape(w)?);
    if let (Some(Cotangent::OneHot { column, scale }), 2, 2, true, false) =
        (n.form(0), a_shape.len(), w_shape.len(), n.wants(0), n.wants(1))
    {
        return one(picked(b, w, column, scale, false)?);
    }
    let mut g_shape = b.shape(n.y())?;
    let mut g = n.full(b)?;
    let (mut left, mut right) = (a, w);
    if a_shape.len() == 1 {
        left = b.reshape(a, &[Dim::Fixed(1), a_shape[0]])?;
        g_shape.insert(g_shape.len() - usize::from(w_shape.len() > 1), Dim::Fixed(1));
    }
    if w_shape.len() == 1 {
        right = b.reshape(w, &[w_shape[0], Dim::Fixed(1)])?;
        g_shape.push(Dim::Fixed(1));
    }
    g = b.reshape(g, &g_shape)?;
    let mut grads = vec![None, None];
    if n.wants(0) {
        let right = transposed(b, right)?;
        let da = b.matmul(g, right)?;
        let da = unbroadcast(b, da, da, left)?;
        grads[0] = Some(b.reshape(da, &a_shape)?.into());
    }
    if n.wants(1) {
        let left = transposed(b, left)?;
        let dw = b.matmul(left, g)?;
        let dw = unbroadcast(b, dw, dw, right)?;
        grads[1] = Some(b.reshape(dw, &w_shape)?.into());
    }
    Ok(grads)
}

/// A 1×1 convolution without padding, with any stride: Σ_p dx[n, c] = (Σ_p g[n, o])·w[o, c].
pub(super) const PUSH_CONV: Push = Push {
    when: |graph, n, input, _| {
        let w = graph.fact(n.optional(1)?).sizes()?;
        let none = |list: Option<&[i64]>| list.is_none_or(|pads| pads.iter().all(|&pad| pad == 0));
        let fits = input == 0
            && w[2..].iter().all(|&size| size == 1)
            && n.attrs().int_or("group", 1) == 1
            && none(n.attrs().ints("pads"));
        fits.then(|| super::spatial_count(graph.fact(n.y())).map(PushOperand::Sum)).flatten()
    },
    emit: |b, n, _, _| {
        let g = n.cotangent_of_sum(b)?;
        let w = n.x(1)?;
        let shape = b.shape(w)?;
        let mut flat = b.reshape(w, &shape[..2])?;
        // One cotangent for all channels.
        if b.shape(g)?[1] == Dim::Fixed(1) {
            flat = b.sum(flat, &[0])?;
        }
        b.matmul(g, flat)
    },
};

/// A Gemm after a flattened map: Σ_s dx[n, c, s] = g·Σ_s w[·, c·S + s]. The sum is a constant [O, C], computed here
/// because engines fold it slowly.
pub(super) const PUSH_GEMM: Push = Push {
    when: |graph, n, input, count| {
        let plain = input == 0 && !n.attrs().flag("transA") && count > 1;
        (plain && graph.initializer(n.optional(1)?)?.elem() == DataType::Float)
            .then_some(PushOperand::Full)
    },
    emit: |b, n, _, count| {
        let (w, rows) = (n.x(1)?, n.attrs().flag("transB"));
        let (outs, width) =
            if rows { (b.size(w, 0)?, b.size(w, 1)?) } else { (b.size(w, 1)?, b.size(w, 0)?) };
        let sums = summed_weights(b, w, rows, count)?;
        if crate::builder::index(sums.len())? != outs * (width / count) {
            bail!(InvalidModel, "its weights do not have as many numbers as their shape says");
        }
        let sums = b.floats(w, &[outs, width / count], &sums)?;
        let g = match n.form(0) {
            Some(Cotangent::OneHot { column, scale }) => picked(b, sums, column, scale, true)?,
            _ => {
                let g = n.full(b)?;
                b.matmul(g, sums)?
            }
        };
        b.scale(g, n.attrs().float_or("alpha", 1.0))
    },
};

/// w [O, C·S] (rows) or [C·S, O], summed over each run of S, as [O, C] in row-major order.
fn summed_weights(b: &Builder<'_>, w: ValueId, rows: bool, count: i64) -> Result<Vec<f64>> {
    let graph = b.graph();
    let Some(initializer) = graph.initializer(w) else {
        bail!(Unsupported, "its weights are not constant");
    };
    let bytes = graph.model().tensor_bytes(initializer)?;
    let (Ok(count), Ok(outs)) =
        (usize::try_from(count), usize::try_from(b.size(w, usize::from(!rows))?))
    else {
        bail!(Shape, "its weights have a negative size");
    };
    let float = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
    let floats = bytes.as_chunks::<4>().0;
    if rows {
        return Ok(floats.chunks_exact(count).map(|run| run.iter().map(float).sum()).collect());
    }
    let channels = floats.len() / (count * outs).max(1);
    let mut sums = vec![0.0; outs * channels];
    for (place, row) in floats.chunks_exact(outs.max(1)).enumerate() {
        for (out, number) in row.iter().enumerate() {
            sums[out * channels + place / count] += float(number);
        }
    }
    Ok(sums)
}
