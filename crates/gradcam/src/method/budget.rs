//! A budget of inferences: the channels that are worth a run.

use std::num::NonZeroUsize;

use ndarray::Axis;

use super::Passes;
use crate::Result;

/// Channels, and what they cover.
pub(super) struct ChannelChoice {
    /// In their order.
    pub(super) channels: Vec<usize>,
    /// With a budget, the share of Σ_k |w_k|·Σ |A_k| of these channels, w_k the weight of Grad-CAM.
    pub(super) coverage: Option<f32>,
}

impl ChannelChoice {
    /// All channels.
    pub(super) fn all(passes: &dyn Passes) -> Self {
        let channels = (0..passes.activation().len_of(Axis(0))).collect();
        Self { channels, coverage: passes.settings().budget.map(|_| 1.0) }
    }

    /// As many channels as the budget has inferences: those with the largest |w_k|·Σ |A_k|, the sum over positions and w_k
    /// the gradient's mean over them, as in Grad-CAM. Of equal ones the first; all, where they fit.
    ///
    /// Where every w_k is 0, none of the channels counts and they cover 0.
    pub(super) fn within_budget(passes: &dyn Passes) -> Result<Self> {
        let activation = passes.activation();
        let budget = passes.settings().budget.map(NonZeroUsize::get);
        let budget = budget.filter(|budget| *budget < activation.len_of(Axis(0)));
        let Some(budget) = budget else { return Ok(Self::all(passes)) };
        let gradient = passes.gradient()?;
        let each = activation.axis_iter(Axis(0)).zip(gradient.axis_iter(Axis(0)));
        // The number of positions divides all of them.
        let importance = each.map(|(a, g)| {
            let weight: f64 = g.iter().map(|g| f64::from(*g)).sum();
            weight.abs() * a.iter().map(|a| f64::from(a.abs())).sum::<f64>()
        });
        let importance: Vec<f64> = importance.collect();
        let mut channels: Vec<usize> = (0..importance.len()).collect();
        channels.sort_by(|a, b| importance[*b].total_cmp(&importance[*a]));
        channels.truncate(budget);
        channels.sort_unstable();
        let (all, covered): (f64, f64) =
            (importance.iter().sum(), channels.iter().map(|channel| importance[*channel]).sum());
        #[expect(clippy::cast_possible_truncation, reason = "a share")]
        let coverage = if all > 0.0 { (covered / all) as f32 } else { 0.0 };
        Ok(Self { channels, coverage: Some(coverage) })
    }
}
