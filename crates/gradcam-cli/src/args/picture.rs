//! The flags of pictures.

use std::num::NonZeroU32;

use clap::Args;
use gradcam::{
    Method,
    image::{Colormap, OverlayKind, OverlayStyle, PictureSize},
};

use super::values;
use crate::failure::{Failure, Result};

/// The arguments about pictures.
#[derive(Debug, Args)]
#[command(next_help_heading = "Picture")]
pub(crate) struct PictureArgs {
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
    #[arg(long, conflicts_with_all = ["cutout", "transparent", "overlay", "alpha", "colormap", "colorbar"])]
    contours: bool,

    /// Show only what matters: the photo times the heat, the rest black
    #[arg(long, conflicts_with_all = ["transparent", "overlay", "alpha", "colormap", "colorbar"])]
    cutout: bool,

    /// Draw the heatmap without the photo, with the heat as its opacity, to be laid over the photo elsewhere
    #[arg(long, conflicts_with_all = ["overlay", "alpha", "colorbar"])]
    transparent: bool,

    /// Draw a bar with the colors of the heat, from 0 to 1, to the right of the picture
    #[arg(long)]
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
        let kinds = [
            (self.contours, "--contours", OverlayKind::Contours),
            (self.cutout, "--cutout", OverlayKind::Cutout),
            (self.transparent, "--transparent", OverlayKind::Transparent),
        ];
        let chosen = kinds.into_iter().find(|(is_chosen, ..)| *is_chosen);
        let others = [
            (self.colorbar, "--colorbar"),
            (self.picture_size != PictureSize::Photo, "--picture-size network"),
        ];
        let others = others.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag);
        let of_input = methods.iter().find(|method| method.info().is_of_input());
        let flag = chosen.map(|(_, flag, _)| flag).into_iter().chain(others).next();
        if let (Some(method), Some(flag)) = (of_input, flag) {
            return Err(Failure::Usage(format!(
                "{flag} draws a heatmap over a photo, and method {method} draws the gradient at the network's input alone; \
                 leave out {flag}, or choose another method"
            )));
        }
        Ok(OverlayStyle {
            colormap: self.colormap,
            alpha: self.alpha,
            kind: chosen.map_or(self.overlay, |(.., kind)| kind),
            size: self.picture_size,
            max_side: Some(self.max_side),
            colorbar: self.colorbar,
        })
    }
}
