//! Methods whose recipe is a part of the graph: weights and map from the activation and its gradient.
//!
//! A is [N, K, …], g its gradient in the same shape; sums over positions are over the axes behind K.

use onnx_grad::{Dim, Result, builder::Builder, graph::ValueId};

use super::MapValues;

/// Grad-CAM: w_k = (1/S)·Σ g_k over the S positions, map = Σ_k w_k·A_k.
/// Selvaraju et al. 2017, equations 1 and 2, before the relu. Takes the gradient's sum over space.
pub(super) fn grad_cam(b: &mut Builder<'_>, a: ValueId, sum: ValueId) -> Result<MapValues> {
    let positions = positions(b, a)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of pixels")]
    let weights = b.scale(sum, 1.0 / positions as f64)?;
    let map = weighted_sum(b, a, weights)?;
    Ok(MapValues { weights: Some(weights), map, product: None })
}

/// HiResCAM: map = Σ_k g_k·A_k. Draelos and Carin 2020, equation 5.
pub(super) fn hires_cam(b: &mut Builder<'_>, a: ValueId, g: ValueId) -> Result<MapValues> {
    let product = b.mul(g, a)?;
    let map = channel_sum(b, product)?;
    Ok(MapValues { weights: Some(mean_over_space(b, g)?), map, product: Some(product) })
}

/// Elementwise Grad-CAM: map = Σ_k relu(g_k·A_k), as in pytorch-grad-cam.
pub(super) fn grad_cam_elementwise(
    b: &mut Builder<'_>,
    a: ValueId,
    g: ValueId,
) -> Result<MapValues> {
    let product = b.mul(g, a)?;
    let positive = b.relu(product)?;
    let map = channel_sum(b, positive)?;
    Ok(MapValues { weights: Some(mean_over_space(b, g)?), map, product: Some(positive) })
}

/// XGrad-CAM: w_k = Σ [g_k·A_k / (Σ A_k + 1e-7)], map = Σ_k w_k·A_k. Fu et al. 2020, with the constant of
/// pytorch-grad-cam.
pub(super) fn x_grad_cam(b: &mut Builder<'_>, a: ValueId, g: ValueId) -> Result<MapValues> {
    let shape = b.shape(a)?;
    let space: Vec<usize> = (2..shape.len()).collect();
    let sum = b.sum(a, &space)?;
    let constant = b.scalar(sum, 1e-7)?;
    let below = b.add(sum, constant)?;
    let product = b.mul(g, a)?;
    let shares = b.div(product, below)?;
    let weights = b.sum(shares, &space)?;
    let weights = b.reshape(weights, &shape[..2])?;
    let map = weighted_sum(b, a, weights)?;
    Ok(MapValues { weights: Some(weights), map, product: None })
}

/// CAM: w_k = Σ g_k, map = Σ_k w_k·A_k. Zhou et al. 2016, equation 2.
///
/// Behind the layer are a global pooling, of which the gradient sums to 1 over space, and one linear layer, so that w is a row of
/// this linear layer.
pub(super) fn cam(b: &mut Builder<'_>, a: ValueId, sum: ValueId) -> Result<MapValues> {
    Ok(MapValues { weights: Some(sum), map: weighted_sum(b, a, sum)?, product: None })
}

/// Grad-CAM++: w_k = Σ relu(g_k)·α_k with α_k = g_k² / (2·g_k² + g_k³·Σ A_k + 1e-6), map = Σ_k w_k·A_k.
/// Chattopadhyay et al. 2018, equations 10, 11 and 19, before the relu.
///
/// Gradients of deep networks are so small that the constant in the denominator affects the result. It is that of
/// pytorch-grad-cam. Where g_k is 0, the summand is 0.
pub(super) fn grad_cam_plus_plus(b: &mut Builder<'_>, a: ValueId, g: ValueId) -> Result<MapValues> {
    let space: Vec<usize> = (2..b.rank(a)?).collect();
    let square = b.mul(g, g)?;
    let cube = b.mul(square, g)?;
    let sum = b.sum(a, &space)?;
    let twice = b.scale(square, 2.0)?;
    let bent = b.mul(sum, cube)?;
    let below = b.add(twice, bent)?;
    let constant = b.scalar(below, 1e-6)?;
    let below = b.add(below, constant)?;
    let alpha = b.div(square, below)?;
    let positive = b.relu(g)?;
    let weighed = b.mul(positive, alpha)?;
    let weights = b.sum(weighed, &space)?;
    let shape = b.shape(a)?;
    let weights = b.reshape(weights, &shape[..2])?;
    let map = weighted_sum(b, a, weights)?;
    Ok(MapValues { weights: Some(weights), map, product: None })
}

/// LayerCAM: map = Σ_k relu(g_k)·A_k. Jiang et al. 2021, equations 5 and 6.
pub(super) fn layer_cam(b: &mut Builder<'_>, a: ValueId, g: ValueId) -> Result<MapValues> {
    let positive = b.relu(g)?;
    let product = b.mul(positive, a)?;
    let map = channel_sum(b, product)?;
    Ok(MapValues { weights: Some(mean_over_space(b, g)?), map, product: Some(product) })
}

/// The gradient at the network's input, as it is: Simonyan et al. 2013, section 3; with the rules of guided
/// backpropagation Springenberg et al. 2014, section 3.4.
pub(super) fn at_input(_: &mut Builder<'_>, _: ValueId, g: ValueId) -> Result<MapValues> {
    Ok(MapValues { weights: None, map: g, product: None })
}

/// The number of positions behind the first two axes.
fn positions(b: &Builder<'_>, a: ValueId) -> Result<i64> {
    (2..b.rank(a)?).map(|axis| b.size(a, axis)).product()
}

/// Σ_k w_k·A_k as one matrix product, [N, 1, K]·[N, K, S], in the shape [N, …].
fn weighted_sum(b: &mut Builder<'_>, a: ValueId, weights: ValueId) -> Result<ValueId> {
    let shape = b.shape(a)?;
    let row = b.reshape(weights, &[shape[0], Dim::Fixed(1), shape[1]])?;
    let positions = Dim::Fixed(positions(b, a)?);
    let flat = b.reshape(a, &[shape[0], shape[1], positions])?;
    let map = b.matmul(row, flat)?;
    b.reshape(map, &without_channels(&shape))
}

/// Σ over K, in the shape [N, …].
fn channel_sum(b: &mut Builder<'_>, product: ValueId) -> Result<ValueId> {
    let shape = b.shape(product)?;
    let sum = b.sum(product, &[1])?;
    b.reshape(sum, &without_channels(&shape))
}

/// The mean over positions, [N, K].
fn mean_over_space(b: &mut Builder<'_>, g: ValueId) -> Result<ValueId> {
    let shape = b.shape(g)?;
    let axes: Vec<usize> = (2..shape.len()).collect();
    let mean = b.mean(g, &axes)?;
    b.reshape(mean, &shape[..2])
}

fn without_channels(shape: &[Dim]) -> Vec<Dim> {
    [&shape[..1], &shape[2..]].concat()
}
