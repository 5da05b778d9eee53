//! A network by hand, for the tests of recipes.

use ndarray::{ArrayD, ArrayViewD, Axis, arr3};

use super::{Change, FillMask, Formulas, MethodSettings, Observe, Passes};
use crate::Result;

/// Two channels of 2×2 in front of y = 3·mean A_0 + mean A_1, and an image of ones whose score is its sum.
pub(super) struct Tiny {
    activation: ArrayD<f32>,
    pub(super) settings: MethodSettings,
    pub(super) formulas: Formulas,
}

/// Of y with respect to A.
const GRADIENT: [f32; 8] = [0.75, 0.75, 0.75, 0.75, 0.25, 0.25, 0.25, 0.25];

impl Tiny {
    pub(super) fn new() -> Self {
        let activation = arr3(&[[[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]]]);
        let (settings, formulas) = (MethodSettings::default(), Formulas::default());
        Self { activation: activation.into_dyn(), settings, formulas }
    }
}

impl Passes for Tiny {
    fn activation(&self) -> ArrayViewD<'_, f32> {
        self.activation.view()
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

    fn settings(&self) -> &MethodSettings {
        &self.settings
    }

    fn formulas(&self) -> Formulas {
        self.formulas
    }

    fn gradient(&self) -> Result<ArrayViewD<'_, f32>> {
        let gradient = ArrayViewD::from_shape(vec![2, 2, 2], &GRADIENT);
        Ok(gradient.expect("eight numbers"))
    }

    fn input_gradient(&self) -> Result<ArrayViewD<'_, f32>> {
        unreachable!("no method here reads it")
    }

    fn bias_maps(&self) -> &[ArrayViewD<'_, f32>] {
        unreachable!("no method here reads them")
    }

    fn gradients(&mut self, _: usize, _: &mut Change<'_>, _: &mut Observe<'_>) -> Result<()> {
        unreachable!("no method here asks for them")
    }

    fn scores_with_masks(&mut self, count: usize, fill: &mut FillMask<'_>) -> Result<Vec<f32>> {
        let score = |number| {
            let mut mask = [0.0; 4];
            fill(number, &mut mask);
            let mean = |channel: usize| {
                let values = self.activation.index_axis(Axis(0), channel);
                values.iter().zip(mask).map(|(value, factor)| value * factor).sum::<f32>() / 4.0
            };
            3.0 * mean(0) + mean(1)
        };
        Ok((0..count).map(score).collect())
    }

    fn least(&mut self) -> Result<f32> {
        Ok(0.0)
    }

    fn has_closed_form(&self) -> bool {
        false
    }

    fn scores_without_channels(
        &mut self,
        channels: &[usize],
        replacement: f32,
    ) -> Result<Vec<f32>> {
        assert_eq!(replacement, 0.0);
        Ok(channels.iter().map(|channel| [0.5, 2.25][*channel]).collect())
    }
}
