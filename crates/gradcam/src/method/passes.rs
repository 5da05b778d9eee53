//! The passes that a recipe on the host may ask for. It knows neither engine nor explainer.

use ndarray::{ArrayD, ArrayViewD, ArrayViewMutD};

use crate::Result;

/// Changes a copy of an image or of an activation, `[channels, …]`, into the copy with this number.
pub(crate) type Change<'a> = dyn FnMut(usize, ArrayViewMutD<'_, f32>) + 'a;

/// One image, one target and one layer, and the network around them.
///
/// Runs are cut into batches that fit into the memory limit.
pub(crate) trait Passes {
    /// The layer's activation as a picture, `[K, …]`. Costs no run.
    fn activation(&self) -> ArrayViewD<'_, f32>;

    /// The target's score of the unchanged image. Costs no run.
    fn score(&self) -> f32;

    /// The size of the network's input, without batch and channels.
    fn input_size(&self) -> &[usize];

    /// The target's scores of `count` changed copies of the image. Costs an inference for each.
    fn scores(&mut self, count: usize, change: &mut Change<'_>) -> Result<Vec<f32>>;

    /// The least entry of the layer's value, tokens outside the picture included. Costs no run in closed form, else one.
    fn least(&mut self) -> Result<f32>;

    /// The target's scores without each channel: all of its entries, tokens outside the picture included, are `replacement`.
    /// Costs a run of the suffix for each channel; in closed form, one run of the small part where the channels are still
    /// apart.
    fn scores_without_channels(&mut self, replacement: f32) -> Result<Vec<f32>>;
}

/// The result of a recipe.
#[derive(Debug)]
pub(crate) struct ChannelMap {
    /// Channel weights, `[K]`.
    pub(crate) weights: Vec<f32>,
    /// The raw map, signed, in the shape of the picture.
    pub(crate) map: ArrayD<f32>,
}
