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
}

impl MethodSettings {
    /// The number of samples, or that of the method.
    pub(crate) fn samples_or(&self, usual: usize) -> usize {
        self.samples.map_or(usual, NonZeroUsize::get)
    }
}
