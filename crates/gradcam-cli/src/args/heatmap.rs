//! The flags of what becomes of the maps.

use clap::Args;
use gradcam::{ExplainerBuilder, Profile, image::Fusion};

use super::values;

/// What becomes of the maps.
#[derive(Args, Debug)]
#[command(next_help_heading = "Heatmaps")]
pub(crate) struct HeatmapArgs {
    /// Make one heatmap of the maps of several layers
    ///
    /// mean: each map is normalized and resized to the network's input, and their mean normalized again, as
    /// pytorch-grad-cam does with several target_layers. max: the largest normalized map at each position,
    /// as fuse_cams of TorchCAM; for layercam of tanh(2 map). product: the heatmaps multiplied, as
    /// RefineCAM. `gradcam explain --format npy` writes the raw map of each layer beside the one heatmap.
    #[arg(long = "fuse", value_name = "FUSION", default_value = "none", value_parser = values::fusions())]
    fusion: Fusion,

    /// Average over the photo and the flipped photo, each times 0.9, 1 and 1.1: aug_smooth of pytorch-grad-cam
    ///
    /// Takes six times as long. Every copy is explained for the class of the photo itself. Not for detectors,
    /// sequences, masks and methods of the network's input.
    #[arg(long)]
    aug_smooth: bool,

    /// Take the principal component of the weighted channels instead of their sum: eigen_smooth of pytorch-grad-cam
    ///
    /// For methods whose map is such a sum; eigencam is a principal component already.
    #[arg(long)]
    eigen_smooth: bool,

    /// Make heatmaps as this library does, with its numbers in .heatmap.npy
    ///
    /// torchcam (0.5.0): normalized at the layer's size, which .heatmap.npy keeps; in pictures resized with
    /// the bicubic filter and squared, as overlay_mask; scorecam and smoothgradcam++ by its formulas.
    /// captum (0.9.0): signed, not normalized, resized to the nearest value; in pictures its positive part.
    /// A method or a fusion that the library lacks, or computes otherwise, is refused.
    #[arg(long = "compat", value_name = "LIBRARY", default_value = "pytorch-grad-cam",
          value_parser = values::profiles())]
    profile: Profile,
}

impl HeatmapArgs {
    /// Sets it on the builder.
    pub(crate) fn set(&self, builder: ExplainerBuilder) -> ExplainerBuilder {
        builder
            .fusion(self.fusion)
            .aug_smooth(self.aug_smooth)
            .eigen_smooth(self.eigen_smooth)
            .profile(self.profile)
    }
}
