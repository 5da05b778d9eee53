//! Shapes of convolutions and pools.

use super::call::{Dims, InferenceCall};
use crate::{
    facts::{Dim, Fact},
    proto::tensor_proto::DataType,
    window::Window,
};

/// Splits a shape into batch, channels and spatial sizes.
fn image(dims: &[Dim]) -> Option<(Dim, Dim, Vec<i64>)> {
    let [batch, channels, spatial @ ..] = dims else { return None };
    let spatial: Vec<i64> = spatial.iter().map(|dim| dim.fixed()).collect::<Option<_>>()?;
    Some((*batch, *channels, spatial))
}

/// Joins batch, channels and spatial sizes.
fn assemble(
    batch: Dim,
    channels: Dim,
    spatial: &[i64],
    size: impl Fn(usize, i64) -> Option<i64>,
) -> Option<Dims> {
    let spatial = spatial.iter().enumerate().map(|(k, len)| size(k, *len).map(Dim::Fixed));
    [Some(batch), Some(channels)].into_iter().chain(spatial).collect()
}

/// The spatial sizes of the kernel: the attribute, or those of the weight.
fn kernel_of(call: &InferenceCall, weight: &[Dim], rank: usize) -> Option<Vec<i64>> {
    let (_, _, from_weight) = image(weight)?;
    let kernel = Window::kernel_of(call.node).unwrap_or(from_weight);
    (kernel.len() == rank).then_some(kernel)
}

/// Conv and similar operators, whose weight is input 1.
pub(super) fn conv(call: &InferenceCall) -> Option<Dims> {
    conv_with(call, 1)
}

/// QLinearConv, whose weight is input 3.
pub(super) fn qlinear_conv(call: &InferenceCall) -> Option<Dims> {
    conv_with(call, 3)
}

fn conv_with(call: &InferenceCall, weight: usize) -> Option<Dims> {
    let (batch, _, spatial) = image(call.shape(0)?)?;
    let weight = call.shape(weight)?;
    let window = Window::read(call.node, kernel_of(call, weight, spatial.len())?).ok()?;
    assemble(batch, *weight.first()?, &spatial, |k, size| window.windows(k, size))
}

/// ConvTranspose. With `output_shape`, the sizes determine the pads.
pub(super) fn conv_transpose(call: &InferenceCall) -> Option<Dims> {
    let (batch, _, spatial) = image(call.shape(0)?)?;
    let weight = call.shape(1)?;
    let channels = weight.get(1)?.times(Dim::Fixed(call.int("group", 1)))?;
    let rank = spatial.len();
    let window = Window::read(call.node, kernel_of(call, weight, rank)?).ok()?;
    if let Some(sizes) = call.node.attr_ints("output_shape") {
        // Some exporters include batch and channels.
        let sizes = sizes.get(sizes.len().checked_sub(rank)?..)?;
        return assemble(batch, channels, &spatial, |k, _| sizes.get(k).copied());
    }
    let extra = call.ints("output_padding", rank, 0)?;
    assemble(batch, channels, &spatial, |k, size| window.transposed(k, size, *extra.get(k)?))
}

/// AveragePool and LpPool.
pub(super) fn pool(call: &InferenceCall) -> Option<Dims> {
    let (batch, channels, spatial) = image(call.shape(0)?)?;
    let window = of_pool(call, spatial.len())?;
    assemble(batch, channels, &spatial, |k, size| window.windows(k, size))
}

fn of_pool(call: &InferenceCall, rank: usize) -> Option<Window> {
    let kernel = Window::kernel_of(call.node).filter(|kernel| kernel.len() == rank)?;
    Window::read(call.node, kernel).ok()
}

/// MaxPool: the indices have the shape of the values.
pub(super) fn max_pool(call: &InferenceCall) -> Option<Vec<Fact>> {
    let shape = pool(call);
    let indices = Fact { elem: DataType::Int64, shape: shape.clone(), value: None };
    Some(vec![Fact { elem: call.elem(0), shape, value: None }, indices])
}

/// MaxUnpool: `output_shape`, or the size that a pool with these windows covers.
pub(super) fn max_unpool(call: &InferenceCall) -> Option<Dims> {
    if call.has(2) {
        return call.dims(2).map(<[Dim]>::to_vec);
    }
    let (batch, channels, spatial) = image(call.shape(0)?)?;
    let window = of_pool(call, spatial.len())?;
    assemble(batch, channels, &spatial, |k, size| window.transposed(k, size, 0))
}

/// Global pools preserve batch and channels.
pub(super) fn global_pool(call: &InferenceCall) -> Option<Dims> {
    let (kept, spatial) = call.shape(0)?.split_at_checked(2)?;
    let ones = std::iter::repeat_n(Dim::Fixed(1), spatial.len());
    Some(kept.iter().copied().chain(ones).collect())
}
