//! Methods that join gradients at several places: at a layer and at the input, or at all biases.

use ndarray::{ArrayD, Axis};

use super::{ChannelMap, Passes};
use crate::{
    Result,
    image::{HeatmapSettings, heatmap_nd, resize_linear},
};

/// Guided Grad-CAM: the heatmap of Grad-CAM, 0…1 at the size of the input, times guided backpropagation. Selvaraju et al. 2017,
/// section 3.2, with pytorch-grad-cam's heatmap.
pub(super) fn guided_grad_cam(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let gradient = passes.gradient()?;
    let weights = gradient.axis_iter(Axis(0)).map(|gradient| {
        let sum: f64 = gradient.iter().map(|g| f64::from(*g)).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "weights are float32, of a number of pixels"
        )]
        let weight = (sum / gradient.len() as f64) as f32;
        weight
    });
    let at_layer = ChannelMap::weighted(&passes.activation(), weights.collect());
    let settings = HeatmapSettings::default();
    let heatmap = heatmap_nd(&[at_layer.map.view()], passes.input_size(), &settings)?;
    let mut map = passes.input_gradient()?.to_owned();
    for mut channel in map.axis_iter_mut(Axis(0)) {
        channel *= &heatmap;
    }
    Ok(ChannelMap { map, ..at_layer })
}

/// FullGrad: the sum over channels of |x·g| at the input and of |bias·g| at every convolution and batch norm with a bias, each
/// channel scaled to 0…1 and resized to the input. Srinivas and Fleuret 2019, equation 5, with the scaling of
/// pytorch-grad-cam: m − min, then / (1e-7 + max).
pub(super) fn full_grad(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let size = passes.input_size();
    let product = &passes.activation() * &passes.input_gradient()?;
    let mut map = ArrayD::<f32>::zeros(size);
    for channel in product.axis_iter(Axis(0)) {
        let magnitude = channel.mapv(f32::abs);
        let least = magnitude.iter().copied().fold(f32::INFINITY, f32::min);
        let most = magnitude.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        map += &magnitude.mapv(|v| (v - least) / (most - least + 1e-7));
    }
    for biases in passes.bias_maps() {
        map += &resize_linear(biases.view(), size);
    }
    Ok(ChannelMap::new(Vec::new(), map))
}
