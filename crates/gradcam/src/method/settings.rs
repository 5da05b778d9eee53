//! The numbers that methods read.

use std::num::NonZeroUsize;

/// The numbers that methods read. Methods that have no use for a number ignore it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodSettings {
    /// The seed of random numbers: the same seed gives the same map.
    pub seed: u64,
    /// The number of samples: noisy images, steps of a path or random masks. `None` is the method's own.
    pub samples: Option<NonZeroUsize>,
    /// The standard deviation of the noise, in the unit that the method's formula names. `None` is the method's own.
    pub noise: Option<f32>,
    /// The side of a window that covers a part of the image, in pixels, along each axis; at most the image. `None` is the
    /// method's own.
    pub window: Option<NonZeroUsize>,
    /// The step from one window to the next, in pixels. `None` is the method's own.
    pub stride: Option<NonZeroUsize>,
    /// The most inferences of a method that runs the network once for each channel: ScoreCAM and AblationCAM. The channels
    /// with the largest |w_k|·Σ |A_k| are run, w_k the gradient's mean over space as in Grad-CAM; the others have the
    /// weight 0. `None` is one for each channel. [`LayerMap::coverage`](crate::LayerMap) says how much the channels
    /// make up.
    pub budget: Option<NonZeroUsize>,
}

/// Whose formulas methods have, where libraries compute one method in different ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Formulas {
    /// Those of the table of methods.
    #[default]
    Usual,
    /// Those of TorchCAM 0.5.0.
    TorchCam,
}

impl MethodSettings {
    /// The number of samples, or that of the method.
    pub(crate) fn samples_or(&self, usual: usize) -> usize {
        self.samples.map_or(usual, NonZeroUsize::get)
    }
}
