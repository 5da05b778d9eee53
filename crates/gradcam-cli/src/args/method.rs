//! The flags of methods, and of the numbers that they read.

use std::num::NonZeroUsize;

use clap::Args;
use gradcam::{Method, MethodSettings};

use super::values::{deviation, methods, number, samples};

/// The arguments about how maps are computed.
#[derive(Args, Debug)]
pub(crate) struct MethodArgs {
    /// How a map is computed; `gradcam methods` explains them
    /// [default: gradcam; hirescam for a box or a time step]
    ///
    /// Several are separated by commas, or given one by one.
    #[arg(long = "method", value_name = "METHOD", value_delimiter = ',', value_parser = methods())]
    pub(crate) methods: Vec<Method>,

    #[command(flatten)]
    pub(crate) numbers: MethodNumbers,
}

/// The numbers that methods read.
#[derive(Args, Debug)]
pub(crate) struct MethodNumbers {
    /// The seed of random numbers; the same seed gives the same map [default: 0]
    #[arg(long, value_name = "N", help_heading = "Numbers of methods")]
    seed: Option<u64>,

    /// The number of noisy images, of steps of a path or of random masks [default: the method's own]
    ///
    /// smoothgrad takes 50 noisy images and smoothgradcam++ 4, integrated-gradients 50 steps, rise 4000 masks.
    #[arg(long, value_name = "N", value_parser = samples, help_heading = "Numbers of methods")]
    samples: Option<NonZeroUsize>,

    /// The side of the windows of occlusion, in pixels of the network's input [default: a seventh of each side]
    #[arg(long, value_name = "PIXELS", value_parser = number, help_heading = "Numbers of methods")]
    window: Option<NonZeroUsize>,

    /// The step from one window to the next, in pixels [default: half a window]
    #[arg(long, value_name = "PIXELS", value_parser = number, help_heading = "Numbers of methods")]
    stride: Option<NonZeroUsize>,

    /// The most inferences of scorecam and ablationcam [default: one for each channel]
    ///
    /// Of the layer's channels those are run that matter most: with the largest |w_k|·Σ |A_k|, w_k the weight of Grad-CAM
    /// and the sum over positions. The others have the weight 0. --verbose and JSON (coverage) say what share of
    /// Σ |w_k|·Σ |A_k| the channels make up.
    #[arg(long, value_name = "N", value_parser = number, help_heading = "Numbers of methods")]
    budget: Option<NonZeroUsize>,

    /// The standard deviation of the noise [default: the method's own]
    ///
    /// smoothgrad takes 0.15, as a share of the range of the network's input; smoothgradcam++ 0.3, in its unit.
    #[arg(long, value_name = "NUMBER", value_parser = deviation, help_heading = "Numbers of methods")]
    noise: Option<f32>,
}

impl MethodNumbers {
    /// The settings of the explainer.
    pub(crate) fn settings(&self) -> MethodSettings {
        MethodSettings {
            seed: self.seed.unwrap_or_default(),
            samples: self.samples,
            noise: self.noise,
            window: self.window,
            stride: self.stride,
            budget: self.budget,
        }
    }
}
