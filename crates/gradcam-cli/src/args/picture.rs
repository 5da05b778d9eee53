//! The flags of pictures.

use std::num::NonZeroU32;

use clap::Args;
use gradcam::{
    Method, Site,
    image::{Colormap, OverlayKind, OverlayStyle, PictureSize},
};

use super::values;
use crate::failure::{Failure, Result};

/// The arguments about heat and photo.
#[derive(Debug, Args)]
#[command(next_help_heading = "Picture")]
pub(crate) struct StyleArgs {
    /// The colors of the heatmap
    #[arg(long, value_name = "NAME", default_value = "jet", value_parser = values::colormaps())]
    colormap: Colormap,

    /// The share of the heatmap in the picture, from 0 to 1
    #[arg(long, value_name = "A", default_value_t = 0.5, value_parser = values::share)]
    alpha: f64,

    /// How heatmap and photo are mixed
    ///
    /// alpha: the same share everywhere. fade: the share falls with the heat, so that cold regions
    /// look like the photo. pytorch-grad-cam: as show_cam_on_image of that package, bit for bit.
    #[arg(long, value_name = "KIND", default_value = "alpha", value_parser = values::overlays())]
    overlay: OverlayKind,

    /// Draw lines of equal heat instead of colors, for print and for readers who do not see all colors
    ///
    /// The lines are at 0.2, 0.4, 0.6 and 0.8 of the largest heat, white between black borders, and thicker where it is
    /// hotter.
    #[arg(long, conflicts_with_all = ["cutout", "overlay", "alpha", "colormap"])]
    contours: bool,

    /// Show only what matters: the photo times the heat, the rest black
    #[arg(long, conflicts_with_all = ["overlay", "alpha", "colormap"])]
    cutout: bool,
}

impl StyleArgs {
    /// The style of pictures at the photo's size.
    pub(crate) fn style(&self) -> OverlayStyle {
        let kind = match (self.contours, self.cutout) {
            (true, _) => OverlayKind::Contours,
            (_, true) => OverlayKind::Cutout,
            _ => self.overlay,
        };
        OverlayStyle { colormap: self.colormap, alpha: self.alpha, kind, ..OverlayStyle::default() }
    }
}

/// The arguments about pictures.
#[derive(Debug, Args)]
#[command(next_help_heading = "Picture")]
pub(crate) struct PictureArgs {
    #[command(flatten)]
    style: StyleArgs,

    /// Draw the heatmap without the photo, with the heat as its opacity, to be laid over the photo elsewhere
    #[arg(long, conflicts_with_all = ["overlay", "alpha", "contours", "cutout", "colorbar"])]
    transparent: bool,

    /// Draw a bar with the colors of the heat, from 0 to 1, to the right of the picture
    #[arg(long, conflicts_with_all = ["contours", "cutout"])]
    colorbar: bool,

    /// The size of a picture: that of the photo, or that of the network's input with the part that the network saw
    #[arg(long, value_name = "WHICH", default_value = "photo", value_parser = values::picture_sizes())]
    picture_size: PictureSize,

    /// The longest side of a picture in pixels; a larger one is drawn smaller
    #[arg(long, value_name = "PIXELS", default_value = "4096", value_parser = values::side)]
    max_side: NonZeroU32,
}

impl PictureArgs {
    /// The style of the pictures of these methods.
    pub(crate) fn style(&self, methods: &[Method]) -> Result<OverlayStyle> {
        let flags = [
            (self.style.contours, "--contours"),
            (self.style.cutout, "--cutout"),
            (self.transparent, "--transparent"),
            (self.colorbar, "--colorbar"),
            (self.picture_size != PictureSize::Photo, "--picture-size network"),
        ];
        let flag = flags.into_iter().find(|(is_set, _)| *is_set).map(|(_, flag)| flag);
        let of_input = methods
            .iter()
            .find(|method| matches!(method.info().site, Site::Input(_) | Site::LayerAtInput(_)));
        if let (Some(method), Some(flag)) = (of_input, flag) {
            return Err(Failure::Usage(format!(
                "{flag} draws a heatmap over a photo, and method {method} draws the gradient at the network's input alone; \
                 leave out {flag}, or choose another method"
            )));
        }
        let style = self.style.style();
        let kind = if self.transparent { OverlayKind::Transparent } else { style.kind };
        Ok(OverlayStyle {
            kind,
            size: self.picture_size,
            max_side: Some(self.max_side),
            colorbar: self.colorbar,
            ..style
        })
    }
}
