//! The passes that a recipe on the host may ask for. It knows neither engine nor explainer.

use ndarray::{ArrayD, ArrayViewD, ArrayViewMutD, Axis, Zip};

use super::settings::{Formulas, MethodSettings};
use crate::Result;

/// Changes a copy of an image or of an activation, `[channels, …]`, into the copy with this number.
pub(crate) type Change<'a> = dyn FnMut(usize, ArrayViewMutD<'_, f32>) + 'a;

/// Fills the mask with this number, one factor for each position of the layer's picture.
pub(crate) type FillMask<'a> = dyn FnMut(usize, &mut [f32]) + 'a;

/// Reads what the network makes of the changed image with this number.
pub(crate) type Observe<'a> = dyn FnMut(usize, ChangedGradient<'_>) + 'a;

/// What the network makes of a changed image.
pub(crate) struct ChangedGradient<'a> {
    /// The gradient of the score with respect to the activation, in the shape of the activation.
    pub(crate) gradient: ArrayViewD<'a, f32>,
    /// The layer's activation as a picture; `None` for a method at the input, which has the image.
    pub(crate) activation: Option<ArrayViewD<'a, f32>>,
}

/// One image, one target and one layer, or the input in place of a layer, and the network around them.
///
/// Runs are cut into batches that fit into the memory limit.
pub(crate) trait Passes {
    /// The numbers that methods read.
    fn settings(&self) -> &MethodSettings;

    /// Whose formulas methods have.
    fn formulas(&self) -> Formulas;

    /// The layer's activation as a picture, `[K, …]`; for a method at the input the image, `[C, …]`. Costs no run.
    fn activation(&self) -> ArrayViewD<'_, f32>;

    /// The gradient of the score with respect to the activation, of the same shape. Costs no run: the graph computes it for
    /// a recipe that prepares it.
    fn gradient(&self) -> Result<ArrayViewD<'_, f32>>;

    /// The gradient of the score with respect to the image, `[C, …]`, by the rules of the recipe. Costs no run: the graph
    /// computes it for a recipe that prepares it.
    fn input_gradient(&self) -> Result<ArrayViewD<'_, f32>>;

    /// For each size of a value with biases Σ_k |bias_k·g_k|, each scaled to 0…1 as pytorch-grad-cam does. Costs no run: the
    /// graph computes it for a recipe that prepares it.
    fn bias_maps(&self) -> &[ArrayViewD<'_, f32>];

    /// The target's score of the unchanged image. Costs no run.
    fn score(&self) -> f32;

    /// The size of the network's input, without batch and channels.
    fn input_size(&self) -> &[usize];

    /// The target's scores of `count` changed copies of the image. Costs an inference for each.
    fn scores(&mut self, count: usize, change: &mut Change<'_>) -> Result<Vec<f32>>;

    /// The activation and the gradient of the score with respect to it, for `count` changed copies of the image, in their
    /// order. Costs an inference and a gradient for each.
    fn gradients(
        &mut self,
        count: usize,
        change: &mut Change<'_>,
        observe: &mut Observe<'_>,
    ) -> Result<()>;

    /// The target's scores where the activation is multiplied by each of `count` masks, position by position. Tokens outside
    /// the picture stay. Costs a run of the suffix for each.
    fn scores_with_masks(&mut self, count: usize, fill: &mut FillMask<'_>) -> Result<Vec<f32>>;

    /// The least entry of the layer's value, tokens outside the picture included. Costs no run in closed form, else one.
    fn least(&mut self) -> Result<f32>;

    /// Whether scores without channels have a closed form, so that all of them cost one run.
    fn has_closed_form(&self) -> bool;

    /// The target's scores without each of these channels: all of its entries, tokens outside the picture included, are
    /// `replacement`. Costs a run of the suffix for each channel; in closed form, one run of the small part where the
    /// channels are still apart.
    fn scores_without_channels(&mut self, channels: &[usize], replacement: f32)
    -> Result<Vec<f32>>;
}

/// The result of a recipe.
#[derive(Debug)]
pub(crate) struct ChannelMap {
    /// Channel weights, `[K]`; empty where the method has none.
    pub(crate) weights: Vec<f32>,
    /// The raw map, signed, in the shape of the picture; of a method at the input `[C, …]`.
    pub(crate) map: ArrayD<f32>,
    /// The completeness error, where the method has one: Σ map − (score − score of the baseline).
    pub(crate) completeness_error: Option<f32>,
    /// With a budget, the share of Σ_k |w_k|·Σ |A_k| of the channels that were run, w_k the weight of Grad-CAM.
    pub(crate) coverage: Option<f32>,
}

impl ChannelMap {
    pub(crate) fn new(weights: Vec<f32>, map: ArrayD<f32>) -> Self {
        Self { weights, map, completeness_error: None, coverage: None }
    }

    /// Σ_k w_k·A_k.
    pub(crate) fn weighted(activation: &ArrayViewD<'_, f32>, weights: Vec<f32>) -> Self {
        let mut map = ArrayD::<f64>::zeros(&activation.shape()[1..]);
        for (channel, weight) in activation.axis_iter(Axis(0)).zip(&weights) {
            Zip::from(&mut map)
                .and(&channel)
                .for_each(|sum, a| *sum += f64::from(*weight) * f64::from(*a));
        }
        #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
        let map = map.mapv(|sum| sum as f32);
        Self::new(weights, map)
    }
}
