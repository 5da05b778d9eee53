//! A heatmap drawn over the photo it explains, at the photo's own size and place.

use ndarray::ArrayView2;

use super::{Colormap, ImageError, ImageErrorKind, Photo, Placement};

/// How heat and photo are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blend {
    /// `alpha · heat + (1 − alpha) · photo` at every pixel that the network saw.
    Alpha,
    /// The same, with `alpha` times the heat's own value: cold regions keep the photo's colours.
    Fade,
    /// `show_cam_on_image` of pytorch-grad-cam: as `Alpha`, then brightened until the largest value is white.
    /// Bit for bit where the network saw the photo pixel by pixel.
    PytorchGradCam,
}

/// How an overlay looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayStyle {
    /// Colours of the heat.
    pub colormap: Colormap,
    /// Share of the heat, 0..1.
    pub alpha: f32,
    /// How heat and photo are mixed.
    pub blend: Blend,
}

impl Default for OverlayStyle {
    /// Half heat, half photo, in OpenCV's jet: what users of Grad-CAM expect.
    fn default() -> Self {
        Self { colormap: Colormap::Jet, alpha: 0.5, blend: Blend::Alpha }
    }
}

/// Brightness of the part of a photo that the network did not see.
const UNSEEN: f32 = 0.6;

/// Draws a heatmap [H, W] in 0..1, at the network's input size, over the photo.
///
/// The result has the photo's size. The heat lies where the network saw the photo (a centre crop goes back
/// to its place); what the network did not see is darkened and has no heat.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if the heatmap's shape is not the network's, or `alpha` is not in 0..1.
pub fn overlay(
    photo: &Photo,
    heatmap: ArrayView2<'_, f32>,
    placement: &Placement,
    style: &OverlayStyle,
) -> Result<Photo, ImageError> {
    let expected = (placement.network_height as usize, placement.network_width as usize);
    if heatmap.dim() != expected || heatmap.is_empty() {
        let message = format!(
            "the heatmap has {}x{} values (height, width), but the network's input has {}x{}",
            heatmap.nrows(),
            heatmap.ncols(),
            expected.0,
            expected.1
        );
        return Err(ImageError::new(ImageErrorKind::Invalid, message));
    }
    if !(0.0..=1.0).contains(&style.alpha) {
        let message = format!("alpha is {}; it must be between 0 and 1", style.alpha);
        return Err(ImageError::new(ImageErrorKind::Invalid, message));
    }
    let mut mixed: Vec<[f32; 3]> = Vec::with_capacity(photo.rgb().len() / 3);
    let mut seen = Vec::with_capacity(photo.rgb().len() / 3);
    let (mut x, mut y) = (0, 0);
    for pixel in photo.rgb().chunks_exact(3) {
        let photo_color = [pixel[0], pixel[1], pixel[2]].map(|value| f32::from(value) / 255.0);
        let center = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let visible = placement.contains(center.0, center.1);
        mixed.push(if visible {
            let (u, v) = placement.to_network(center.0, center.1);
            mix(photo_color, sample(&heatmap, u - 0.5, v - 0.5), style)
        } else {
            photo_color.map(|value| value * UNSEEN)
        });
        seen.push(visible);
        x += 1;
        if x == photo.width() {
            (x, y) = (0, y + 1);
        }
    }
    let rgb = if style.blend == Blend::PytorchGradCam {
        let largest =
            |largest: f32, color: &[f32; 3]| color.iter().copied().fold(largest, f32::max);
        let max = mixed.iter().zip(&seen).filter(|(_, seen)| **seen).map(|(color, _)| color);
        let max = max.fold(0.0, largest);
        let brighten = |(color, seen): (&[f32; 3], &bool)| {
            color.map(|value| (255.0 * if *seen && max > 0.0 { value / max } else { value }) as u8)
        };
        mixed.iter().zip(&seen).flat_map(brighten).collect()
    } else {
        mixed.iter().flatten().map(|value| (255.0 * value).round() as u8).collect()
    };
    Photo::from_rgb8(photo.width(), photo.height(), rgb)
}

fn mix(photo: [f32; 3], heat: f32, style: &OverlayStyle) -> [f32; 3] {
    let color = style.colormap.color(heat).map(|value| f32::from(value) / 255.0);
    let share = if style.blend == Blend::Fade { style.alpha * heat } else { style.alpha };
    std::array::from_fn(|c| share * color[c] + (1.0 - share) * photo[c])
}

/// The heat at a point between the centres of the heatmap's pixels, bilinear; the border value beyond them.
fn sample(heatmap: &ArrayView2<'_, f32>, x: f64, y: f64) -> f32 {
    let tap = |position: f64, size: usize| {
        let position = position.clamp(0.0, (size - 1) as f64);
        let before = position as usize;
        (before, (before + 1).min(size - 1), (position - before as f64) as f32)
    };
    let (top, bottom, down) = tap(y, heatmap.nrows());
    let (left, right, along) = tap(x, heatmap.ncols());
    let line = |row: usize| heatmap[[row, left]] * (1.0 - along) + heatmap[[row, right]] * along;
    line(top) * (1.0 - down) + line(bottom) * down
}
