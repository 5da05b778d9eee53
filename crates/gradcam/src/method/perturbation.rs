//! Methods that perturb the image or the activation and observe the score.

use ndarray::{ArrayD, Axis, Dimension, Zip};

use super::{ChannelMap, Formulas, Passes, budget::ChannelChoice};
use crate::{
    Result,
    error::bail,
    image::{resize_linear, resize_linear_aligned},
};

/// AblationCAM: w_k = (y − y_k)/y, y_k the score where channel k is ablated; map = Σ_k w_k·A_k. Desai and Ramaswamy 2020,
/// equations 2 and 3, before the relu.
///
/// As in pytorch-grad-cam, a channel is replaced by 0 where the least entry of the activation is 0, else by a number far below
/// all entries. With a budget the weights of the channels that it does not cover are 0.
pub(super) fn ablation_cam(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let least = passes.least()?;
    let replacement = if least == 0.0 { 0.0 } else { least - 1e7 };
    let score = passes.score();
    let choice = match passes.has_closed_form() {
        true => ChannelChoice::all(passes),
        false => ChannelChoice::within_budget(passes)?,
    };
    let without = passes.scores_without_channels(&choice.channels, replacement)?;
    let weights = without.into_iter().map(|without| (score - without) / score);
    Ok(weighted_sum(passes, &choice, weights))
}

/// ScoreCAM: w = softmax over k of y(x·U_k), U_k the channel A_k resized to the input and scaled to 0…1; map = Σ_k w_k·A_k.
/// Wang et al. 2020, equations 4 to 8, without the baseline, before the relu.
///
/// As in pytorch-grad-cam, the resize is bilinear with aligned corners, and the scores are the target's own, not probabilities.
/// TorchCAM scales first, and resizes without aligned corners: with its formulas U_k is that. It resizes no masks of one axis;
/// here they are resized linearly too.
///
/// With a budget the softmax is over the channels that it covers, and the weights of the others are 0.
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
    let choice = ChannelChoice::within_budget(passes)?;
    let formulas = passes.formulas();
    let scores = passes.scores(choice.channels.len(), &mut |number, mut image| {
        let channel = activation.index_axis(Axis(0), choice.channels[number]);
        let mask = match formulas {
            Formulas::Usual => scaled(resize_linear_aligned(channel, &size)),
            Formulas::TorchCam => resize_linear(scaled(channel.to_owned()).view(), &size),
        };
        for mut plane in image.axis_iter_mut(Axis(0)) {
            Zip::from(&mut plane).and(&mask).for_each(|pixel, mask| *pixel *= mask);
        }
    })?;
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = scores.iter().map(|score| f64::from(score - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
    let weights = powers.into_iter().map(|power| (power / sum) as f32);
    Ok(weighted_sum(passes, &choice, weights))
}

/// A mask as 0…1.
fn scaled(mask: ArrayD<f32>) -> ArrayD<f32> {
    let (least, most) = mask
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), v| (least.min(*v), most.max(*v)));
    mask.mapv_into(|v| (v - least) / (most - least + 1e-8))
}

/// Recipro-CAM: the map at a position is the score where the activation is multiplied by a Gaussian mask around it, the
/// product of (1/4, 1/2, 1/4) along each axis of space, and by 0 elsewhere. Byun and Lee 2022, section 3.2, with the target's
/// own score in place of a probability. Class tokens stay, as in section 3.3.
pub(super) fn recipro_cam(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let shape = passes.activation().shape()[1..].to_vec();
    let positions: Vec<Vec<usize>> =
        ndarray::indices(shape.as_slice()).into_iter().map(|at| at.slice().to_vec()).collect();
    let factor = |a: usize, b: usize| match a.abs_diff(b) {
        0 => 0.5,
        1 => 0.25,
        _ => 0.0,
    };
    let scores = passes.scores_with_masks(positions.len(), &mut |number, mask| {
        let center = &positions[number];
        for (value, at) in mask.iter_mut().zip(&positions) {
            *value = center.iter().zip(at).map(|(a, b)| factor(*a, *b)).product();
        }
    })?;
    match ArrayD::from_shape_vec(shape, scores) {
        Ok(map) => Ok(ChannelMap::new(Vec::new(), map)),
        Err(error) => {
            bail!(Engine, "the scores of the masks are not one for each position: {error}")
        }
    }
}

/// Σ_k w_k·A_k over the chosen channels; the others have the weight 0.
fn weighted_sum(
    passes: &dyn Passes,
    choice: &ChannelChoice,
    of_chosen: impl Iterator<Item = f32>,
) -> ChannelMap {
    let activation = passes.activation();
    let mut weights = vec![0.0; activation.len_of(Axis(0))];
    for (channel, weight) in choice.channels.iter().zip(of_chosen) {
        weights[*channel] = weight;
    }
    ChannelMap { coverage: choice.coverage, ..ChannelMap::weighted(&activation, weights) }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::{super::tiny::Tiny, *};

    fn close(got: &ArrayD<f32>, want: [[f32; 2]; 2]) {
        let apart = got.iter().zip(want.iter().flatten()).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-6, "{got}, not {want:?}");
    }

    #[test]
    fn ablation_cam_by_hand() {
        let ChannelMap { weights, map, .. } = ablation_cam(&mut Tiny::new()).unwrap();
        assert_eq!(weights, [2.25 / 2.75, 0.5 / 2.75]);
        close(&map, [[0.818_181_8, 0.181_818_2], [0.181_818_2, 1.636_363_6]]);
    }

    #[test]
    fn score_cam_by_hand() {
        // The masks [[1/2, 0], [0, 1]] and [[0, 1], [1, 0]] score 1.5 and 2.
        let ChannelMap { weights, map, .. } = score_cam(&mut Tiny::new()).unwrap();
        assert!((weights[0] - 0.377_540_7).abs() < 1e-6, "{weights:?}");
        close(&map, [[0.377_540_7, 0.622_459_3], [0.622_459_3, 0.755_081_3]]);
    }

    /// |w_k|·Σ |A_k| is 0.75·3 and 0.25·2.
    #[test]
    fn budgets_by_hand() {
        let within = |budget, run: fn(&mut dyn Passes) -> Result<ChannelMap>| {
            let mut passes = Tiny::new();
            passes.settings.budget = NonZeroUsize::new(budget);
            let ChannelMap { weights, map, coverage, .. } = run(&mut passes).unwrap();
            (weights, map, coverage.unwrap())
        };
        let (weights, map, coverage) = within(1, score_cam);
        assert_eq!(weights, [1.0, 0.0]);
        assert!((coverage - 2.25 / 2.75).abs() < 1e-6, "{coverage}");
        close(&map, [[1.0, 0.0], [0.0, 2.0]]);
        let (weights, map, coverage) = within(1, ablation_cam);
        assert_eq!(weights, [2.25 / 2.75, 0.0]);
        assert!((coverage - 2.25 / 2.75).abs() < 1e-6, "{coverage}");
        close(&map, [[0.818_181_8, 0.0], [0.0, 1.636_363_6]]);
        for run in [score_cam, ablation_cam] {
            let (weights, _, coverage) = within(2, run);
            assert_eq!((coverage, weights), (1.0, run(&mut Tiny::new()).unwrap().weights));
        }
        assert_eq!(score_cam(&mut Tiny::new()).unwrap().coverage, None);
    }

    #[test]
    fn recipro_cam_by_hand() {
        // The mask of the first position is [[1/4, 1/8], [1/8, 1/16]].
        let ChannelMap { weights, map, .. } = recipro_cam(&mut Tiny::new()).unwrap();
        assert!(weights.is_empty());
        close(&map, [[0.343_75, 0.359_375], [0.359_375, 0.484_375]]);
    }
}
