//! Methods that perturb the image or the activation and observe the score.

use ndarray::{ArrayD, Axis, Zip};

use super::{ChannelMap, Passes};
use crate::{Result, error::bail, image::resize_linear_aligned};

/// AblationCAM: w_k = (y − y_k)/y, y_k the score where channel k is ablated; map = Σ_k w_k·A_k. Desai and Ramaswamy 2020,
/// equations 2 and 3, before the relu.
///
/// As in pytorch-grad-cam, a channel is replaced by 0 where the least entry of the activation is 0, else by a number far below
/// all entries.
pub(super) fn ablation_cam(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let least = passes.least()?;
    let replacement = if least == 0.0 { 0.0 } else { least - 1e7 };
    let score = passes.score();
    let without = passes.scores_without_channels(replacement)?;
    let weights = without.into_iter().map(|without| (score - without) / score).collect();
    Ok(weighted_sum(passes, weights))
}

/// ScoreCAM: w = softmax over k of y(x·U_k), U_k the channel A_k resized to the input and scaled to 0…1; map = Σ_k w_k·A_k.
/// Wang et al. 2020, equations 4 to 8, without the baseline, before the relu.
///
/// As in pytorch-grad-cam, the resize is bilinear with aligned corners, and the scores are the target's own, not probabilities.
pub(super) fn score_cam(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let activation = passes.activation().to_owned();
    let size = passes.input_size().to_vec();
    if size.len() + 1 != activation.ndim() {
        bail!(
            Method,
            "scorecam masks the network's input with the channels, and a map of {} axes is no mask for an input of {}",
            activation.ndim() - 1,
            size.len()
        );
    }
    let scores = passes.scores(activation.len_of(Axis(0)), &mut |channel, mut image| {
        let mut mask = resize_linear_aligned(activation.index_axis(Axis(0), channel), &size);
        let (least, most) =
            mask.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), v| {
                (least.min(*v), most.max(*v))
            });
        mask.mapv_inplace(|v| (v - least) / (most - least + 1e-8));
        for mut plane in image.axis_iter_mut(Axis(0)) {
            Zip::from(&mut plane).and(&mask).for_each(|pixel, mask| *pixel *= mask);
        }
    })?;
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = scores.iter().map(|score| f64::from(score - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
    let weights = powers.into_iter().map(|power| (power / sum) as f32).collect();
    Ok(weighted_sum(passes, weights))
}

/// Σ_k w_k·A_k.
fn weighted_sum(passes: &dyn Passes, weights: Vec<f32>) -> ChannelMap {
    let activation = passes.activation();
    let mut map = ArrayD::<f64>::zeros(&activation.shape()[1..]);
    for (channel, weight) in activation.axis_iter(Axis(0)).zip(&weights) {
        Zip::from(&mut map)
            .and(&channel)
            .for_each(|sum, a| *sum += f64::from(*weight) * f64::from(*a));
    }
    #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
    let map = map.mapv(|sum| sum as f32);
    ChannelMap { weights, map }
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayViewD, arr3};

    use super::{super::Change, *};

    /// Two channels of 2×2 in front of y = 3·mean A_0 + mean A_1, and an image of ones whose score is its sum.
    struct Tiny(ArrayD<f32>);

    impl Tiny {
        fn new() -> Self {
            Self(arr3(&[[[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]]]).into_dyn())
        }
    }

    impl Passes for Tiny {
        fn activation(&self) -> ArrayViewD<'_, f32> {
            self.0.view()
        }

        fn score(&self) -> f32 {
            2.75
        }

        fn input_size(&self) -> &[usize] {
            &[2, 2]
        }

        fn scores(&mut self, count: usize, change: &mut Change<'_>) -> Result<Vec<f32>> {
            let score = |number| {
                let mut image = ArrayD::ones(vec![1, 2, 2]);
                change(number, image.view_mut());
                image.sum()
            };
            Ok((0..count).map(score).collect())
        }

        fn least(&mut self) -> Result<f32> {
            Ok(0.0)
        }

        fn scores_without_channels(&mut self, replacement: f32) -> Result<Vec<f32>> {
            assert_eq!(replacement, 0.0);
            Ok(vec![0.5, 2.25])
        }
    }

    fn close(got: &ArrayD<f32>, want: [[f32; 2]; 2]) {
        let apart = got.iter().zip(want.iter().flatten()).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-6, "{got}, not {want:?}");
    }

    #[test]
    fn ablation_cam_by_hand() {
        let ChannelMap { weights, map } = ablation_cam(&mut Tiny::new()).unwrap();
        assert_eq!(weights, [2.25 / 2.75, 0.5 / 2.75]);
        close(&map, [[0.818_181_8, 0.181_818_2], [0.181_818_2, 1.636_363_6]]);
    }

    #[test]
    fn score_cam_by_hand() {
        // The masks [[1/2, 0], [0, 1]] and [[0, 1], [1, 0]] score 1.5 and 2.
        let ChannelMap { weights, map } = score_cam(&mut Tiny::new()).unwrap();
        assert!((weights[0] - 0.377_540_7).abs() < 1e-6, "{weights:?}");
        close(&map, [[0.377_540_7, 0.622_459_3], [0.622_459_3, 0.755_081_3]]);
    }
}
