//! The flags of numbers that methods read.

use std::num::NonZeroUsize;

use clap::Args;
use gradcam::MethodSettings;

/// The numbers that methods read.
#[derive(Args, Debug)]
pub(crate) struct MethodNumbers {
    /// The seed of random numbers; the same seed gives the same map [default: 0]
    #[arg(long, value_name = "N", help_heading = "Numbers of methods")]
    seed: Option<u64>,

    /// The number of noisy images, or of steps of a path [default: the method's own]
    ///
    /// smoothgrad takes 50 noisy images, integrated-gradients 50 steps.
    #[arg(long, value_name = "N", help_heading = "Numbers of methods")]
    samples: Option<NonZeroUsize>,

    /// The standard deviation of the noise [default: the method's own]
    ///
    /// smoothgrad takes 0.15, as a share of the range of the network's input.
    #[arg(long, value_name = "NUMBER", help_heading = "Numbers of methods")]
    noise: Option<f32>,
}

impl MethodNumbers {
    /// The settings of the explainer.
    pub(crate) fn settings(&self) -> MethodSettings {
        MethodSettings {
            seed: self.seed.unwrap_or_default(),
            samples: self.samples,
            noise: self.noise,
        }
    }
}
