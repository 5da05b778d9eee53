//! Methods whose channel weights are statistics of the activation, or numbers of chance.

use ndarray::{ArrayView1, ArrayViewD, Axis};

use super::{ChannelMap, Passes};
use crate::Result;

/// FEM: w_k = the share of positions where A_k lies more than two standard deviations above its mean, map = Σ_k w_k·A_k. Fuad
/// et al. 2020.
pub(super) fn fem(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let activation = passes.activation();
    let weights = activation.outer_iter().map(|channel| share_of_peaks(&channel)).collect();
    Ok(ChannelMap::weighted(&activation, weights))
}

/// The share of entries above mean + 2·σ, σ the population's standard deviation.
fn share_of_peaks(channel: &ArrayViewD<'_, f32>) -> f32 {
    let numbers: Vec<f64> = channel.iter().map(|v| f64::from(*v)).collect();
    let numbers = ArrayView1::from(&numbers);
    let bound = numbers.mean().unwrap_or(0.0) + 2.0 * numbers.std(0.0);
    let above = numbers.iter().filter(|v| **v > bound).count();
    #[expect(clippy::cast_precision_loss, reason = "a number of positions")]
    let share = above as f32 / numbers.len().max(1) as f32;
    share
}

/// Random CAM: w_k uniform in (−1, 1), map = Σ_k w_k·A_k, as in pytorch-grad-cam. The seed is that of the settings, so that
/// all images and targets have the same weights.
pub(super) fn random_cam(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let mut random = fastrand::Rng::with_seed(passes.settings().seed);
    let activation = passes.activation();
    let weights = (0..activation.len_of(Axis(0))).map(|_| 2.0 * random.f32() - 1.0).collect();
    Ok(ChannelMap::weighted(&activation, weights))
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, arr3};

    use super::*;

    /// The mean is 1, σ is 2, and of ten numbers 6 alone lies above 5.
    #[test]
    fn a_share_counts_what_is_above_two_standard_deviations() {
        let peak = [6.0, 3.0, 1.0, 1.0, 1.0, -1.0, -1.0, 0.0, 0.0, 0.0];
        let channel = |numbers: &[f32]| {
            ArrayD::from_shape_vec(vec![numbers.len()], numbers.to_vec()).unwrap()
        };
        assert_eq!(share_of_peaks(&channel(&peak).view()), 0.1);
        assert_eq!(share_of_peaks(&channel(&[-1.0, 1.0]).view()), 0.0);
        assert_eq!(share_of_peaks(&arr3(&[[[3.0; 2]; 2]; 1]).into_dyn().view()), 0.0);
    }
}
