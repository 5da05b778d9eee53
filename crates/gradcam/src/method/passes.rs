//! What a method that runs parts of the network again may ask for. Its code is on the host and knows no engine.

use ndarray::{ArrayD, ArrayViewD, ArrayViewMutD};

use crate::Result;

/// Changes a copy of an image or of an activation, `[channels, …]`, into the one of that number.
pub(crate) type Change<'a> = dyn FnMut(usize, ArrayViewMutD<'_, f32>) + 'a;

/// One image, one target and one layer, and the network around them.
///
/// Runs are cut into batches that fit into the memory limit.
pub(crate) trait Passes {
    /// The layer's activation as a picture, `[K, …]`. It is there without a further run.
    fn activation(&self) -> ArrayViewD<'_, f32>;

    /// The target's score of the image itself. It is there without a further run.
    fn score(&self) -> f32;

    /// The size of the network's input, without batch and channels.
    fn input_size(&self) -> &[usize];

    /// The target's scores of `count` images, each made by `change` of a copy of the image: one inference for each.
    fn scores(&mut self, count: usize, change: &mut Change<'_>) -> Result<Vec<f32>>;

    /// The least entry of the layer's value, with the tokens that are no part of the picture.
    fn least(&mut self) -> Result<f32>;

    /// The target's scores where one channel after the other is `replacement` at every position, the tokens that are no part
    /// of the picture among them: a run of the network behind the layer for each, or in closed form where the channels go
    /// their own ways up to an affine step.
    fn scores_without_channels(&mut self, replacement: f32) -> Result<Vec<f32>>;
}

/// What a recipe makes.
#[derive(Debug)]
pub(crate) struct ChannelMap {
    /// Channel weights, `[K]`.
    pub(crate) weights: Vec<f32>,
    /// The raw map, signed, in the shape of the picture.
    pub(crate) map: ArrayD<f32>,
}
