//! Shapes of convolutions and pools.

use super::call::{Call, Dims};
use crate::{
    facts::{Dim, Fact},
    proto::tensor_proto::DataType,
};

/// The attributes that convolutions and pools share, one entry for each spatial axis.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<(i64, i64)>,
    ceil: bool,
    same: bool,
}

impl Window {
    fn read(call: &Call, kernel: Vec<i64>) -> Option<Self> {
        let rank = kernel.len();
        let (same, explicit) = match call.text("auto_pad") {
            "" | "NOTSET" => (false, true),
            "VALID" => (false, false),
            "SAME_UPPER" | "SAME_LOWER" => (true, false),
            _ => return None,
        };
        let pads = if explicit { call.ints("pads", 2 * rank, 0)? } else { vec![0; 2 * rank] };
        let (begins, ends) = pads.split_at_checked(rank)?;
        let window = Self {
            strides: call.ints("strides", rank, 1)?,
            dilations: call.ints("dilations", rank, 1)?,
            pads: begins.iter().copied().zip(ends.iter().copied()).collect(),
            ceil: call.int("ceil_mode", 0) != 0,
            same,
            kernel,
        };
        let mut counts = window.kernel.iter().chain(&window.strides).chain(&window.dilations);
        counts.all(|count| *count >= 1).then_some(window)
    }

    /// The input that one window spans along an axis.
    fn span(&self, k: usize) -> Option<i64> {
        let taps = self.kernel.get(k)?.checked_sub(1)?;
        taps.checked_mul(*self.dilations.get(k)?)?.checked_add(1)
    }

    /// How many windows fit along an axis. In ceil mode a last window that would start in the end
    /// padding is dropped, as ONNX Runtime and PyTorch do.
    fn slide(&self, k: usize, size: i64) -> Option<i64> {
        let stride = *self.strides.get(k)?;
        if self.same {
            return size.checked_add(stride.checked_sub(1)?)?.checked_div(stride);
        }
        let (begin, end) = *self.pads.get(k)?;
        let room = size.checked_add(begin)?.checked_add(end)?.checked_sub(self.span(k)?)?;
        if room < 0 {
            return None;
        }
        let whole = room / stride;
        if !self.ceil || room % stride == 0 {
            return whole.checked_add(1);
        }
        let starts_in_padding =
            whole.checked_add(1)?.checked_mul(stride)? >= size.checked_add(begin)?;
        whole.checked_add(if starts_in_padding { 1 } else { 2 })
    }

    /// The size that a transposed convolution gives along an axis.
    fn spread(&self, k: usize, size: i64, output_padding: i64) -> Option<i64> {
        let stride = *self.strides.get(k)?;
        if self.same {
            return size.checked_mul(stride);
        }
        let (begin, end) = *self.pads.get(k)?;
        let full = stride.checked_mul(size.checked_sub(1)?)?.checked_add(self.span(k)?)?;
        full.checked_add(output_padding)?.checked_sub(begin)?.checked_sub(end)
    }
}

/// Splits a shape into batch, channels and spatial sizes.
fn image(dims: &[Dim]) -> Option<(Dim, Dim, Vec<i64>)> {
    let [batch, channels, spatial @ ..] = dims else { return None };
    let spatial: Vec<i64> = spatial.iter().map(|dim| dim.fixed()).collect::<Option<_>>()?;
    Some((*batch, *channels, spatial))
}

/// Puts batch, channels and spatial sizes together.
fn assemble(
    batch: Dim,
    channels: Dim,
    spatial: &[i64],
    size: impl Fn(usize, i64) -> Option<i64>,
) -> Option<Dims> {
    let spatial = spatial.iter().enumerate().map(|(k, len)| size(k, *len).map(Dim::Fixed));
    [Some(batch), Some(channels)].into_iter().chain(spatial).collect()
}

/// The kernel's spatial sizes: the attribute, or those of the weight.
fn kernel_of(call: &Call, weight: &[Dim], rank: usize) -> Option<Vec<i64>> {
    let (_, _, from_weight) = image(weight)?;
    let kernel = call.node.attr_ints("kernel_shape").map_or(from_weight, <[i64]>::to_vec);
    (kernel.len() == rank).then_some(kernel)
}

/// Conv, and the operators whose weight is their second input.
pub(super) fn conv(call: &Call) -> Option<Dims> {
    conv_with(call, 1)
}

/// QLinearConv, whose weight is its input 3.
pub(super) fn qlinear_conv(call: &Call) -> Option<Dims> {
    conv_with(call, 3)
}

fn conv_with(call: &Call, weight: usize) -> Option<Dims> {
    let (batch, _, spatial) = image(call.shape(0)?)?;
    let weight = call.shape(weight)?;
    let window = Window::read(call, kernel_of(call, weight, spatial.len())?)?;
    assemble(batch, *weight.first()?, &spatial, |k, size| window.slide(k, size))
}

/// ConvTranspose. With `output_shape` the pads follow from the sizes, not the other way round.
pub(super) fn conv_transpose(call: &Call) -> Option<Dims> {
    let (batch, _, spatial) = image(call.shape(0)?)?;
    let weight = call.shape(1)?;
    let channels = weight.get(1)?.times(Dim::Fixed(call.int("group", 1)))?;
    let rank = spatial.len();
    let window = Window::read(call, kernel_of(call, weight, rank)?)?;
    if let Some(sizes) = call.node.attr_ints("output_shape") {
        // Some exporters write batch and channels too.
        let sizes = sizes.get(sizes.len().checked_sub(rank)?..)?;
        return assemble(batch, channels, &spatial, |k, _| sizes.get(k).copied());
    }
    let extra = call.ints("output_padding", rank, 0)?;
    assemble(batch, channels, &spatial, |k, size| window.spread(k, size, *extra.get(k)?))
}

/// AveragePool and LpPool.
pub(super) fn pool(call: &Call) -> Option<Dims> {
    let (batch, channels, spatial) = image(call.shape(0)?)?;
    let kernel = call.node.attr_ints("kernel_shape")?;
    if kernel.len() != spatial.len() {
        return None;
    }
    let window = Window::read(call, kernel.to_vec())?;
    assemble(batch, channels, &spatial, |k, size| window.slide(k, size))
}

/// MaxPool: the indices have the shape of the values.
pub(super) fn max_pool(call: &Call) -> Option<Vec<Fact>> {
    let shape = pool(call);
    let indices = Fact { elem: DataType::Int64, shape: shape.clone(), value: None };
    Some(vec![Fact { elem: call.elem(0), shape, value: None }, indices])
}

/// MaxUnpool: its `output_shape`, or what the windows of a pool cover.
pub(super) fn max_unpool(call: &Call) -> Option<Dims> {
    if call.has(2) {
        return call.dims(2).map(<[Dim]>::to_vec);
    }
    let (batch, channels, spatial) = image(call.shape(0)?)?;
    let window = Window::read(call, call.node.attr_ints("kernel_shape")?.to_vec())?;
    assemble(batch, channels, &spatial, |k, size| window.spread(k, size, 0))
}

/// Global pools keep batch and channels.
pub(super) fn global_pool(call: &Call) -> Option<Dims> {
    let (kept, spatial) = call.shape(0)?.split_at_checked(2)?;
    let ones = std::iter::repeat_n(Dim::Fixed(1), spatial.len());
    Some(kept.iter().copied().chain(ones).collect())
}
