//! Heatmaps and pictures of a gradient at the network's input, [C, H, W].

use ndarray::{Array2, ArrayView3, Axis};

use super::preprocess::Channels;
use super::{ImageError, ImageErrorKind, Photo};

/// The saliency map of a gradient [C, H, W], in 0..1, [H, W]: the largest absolute value over the channels,
/// scaled to 0..1 by its minimum and maximum. Simonyan et al. 2013, section 3.1. A constant map becomes all zero.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if the gradient is empty or has a value that is not finite.
pub fn gradient_heatmap(gradient: ArrayView3<'_, f32>) -> Result<Array2<f32>, ImageError> {
    check(&gradient)?;
    let largest = gradient.map_axis(Axis(0), |pixel| {
        pixel.iter().fold(0.0f32, |largest, value| largest.max(value.abs()))
    });
    let min = largest.iter().copied().fold(f32::INFINITY, f32::min);
    let range = largest.iter().copied().fold(0.0, f32::max) - min;
    Ok(largest.mapv_into(|value| if range > 0.0 { (value - min) / range } else { 0.0 }))
}

/// The fraction of pixels that are darker than white in [`magnitude_picture`].
const BELOW_WHITE: f64 = 0.99;

/// A gradient [C, H, W] as a gray picture of its size: [`gradient_heatmap`], brightened until one pixel in a
/// hundred is white. Otherwise a few very large values would leave all other pixels black.
///
/// # Errors
///
/// As [`gradient_heatmap`].
pub fn magnitude_picture(gradient: ArrayView3<'_, f32>) -> Result<Photo, ImageError> {
    let heatmap = gradient_heatmap(gradient)?;
    let mut order: Vec<f32> = heatmap.iter().copied().collect();
    let rank = ((order.len() - 1) as f64 * BELOW_WHITE) as usize;
    let white = *order.select_nth_unstable_by(rank, f32::total_cmp).1;
    let white = if white > 0.0 { white } else { 1.0 };
    let gray = |heat: &f32| [(255.0 * (heat / white).min(1.0)).round() as u8; 3];
    photo(heatmap.dim(), heatmap.iter().flat_map(gray).collect())
}

/// A gradient [C, H, W] as a picture of its size, with its signs: (g − mean) / (std + 1e-5) · 0.1 + 0.5, clamped to 0..1. This is
/// `deprocess_image` of pytorch-grad-cam 1.5.7; three channels become colors, one becomes gray.
///
/// # Errors
///
/// As [`gradient_heatmap`], and if it does not have as many channels as `channels`.
pub fn gradient_picture(
    gradient: ArrayView3<'_, f32>,
    channels: Channels,
) -> Result<Photo, ImageError> {
    check(&gradient)?;
    let (count, height, width) = gradient.dim();
    let values = || gradient.iter().map(|value| f64::from(*value));
    let number = gradient.len() as f64;
    let mean = values().sum::<f64>() / number;
    let deviation = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / number).sqrt();
    let level = |value: f32| {
        let shown = (f64::from(value) - mean) / (deviation + 1e-5) * 0.1 + 0.5;
        // pytorch-grad-cam truncates to integers.
        (shown.clamp(0.0, 1.0) * 255.0) as u8
    };
    let order = match (count, channels) {
        (1, _) => [0, 0, 0],
        (3, Channels::Bgr) => [2, 1, 0],
        (3, _) => [0, 1, 2],
        _ => {
            return invalid(format!(
                "a gradient of {count} channels has no colors; a picture needs 1 channel or 3, and the raw map \
                 has all of them"
            ));
        }
    };
    let mut rgb = Vec::with_capacity(3 * height * width);
    for y in 0..height {
        for x in 0..width {
            rgb.extend(order.map(|channel| level(gradient[[channel, y, x]])));
        }
    }
    photo((height, width), rgb)
}

fn photo((height, width): (usize, usize), rgb: Vec<u8>) -> Result<Photo, ImageError> {
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    Photo::from_rgb8(side(width), side(height), rgb)
}

fn check(gradient: &ArrayView3<'_, f32>) -> Result<(), ImageError> {
    if gradient.is_empty() {
        return invalid(format!("a gradient of shape {:?} is empty", gradient.shape()));
    }
    match gradient.iter().find(|value| !value.is_finite()) {
        Some(value) => invalid(format!("a gradient contains {value}; its values must be finite")),
        None => Ok(()),
    }
}

fn invalid<T>(message: String) -> Result<T, ImageError> {
    Err(ImageError::new(ImageErrorKind::Invalid, message))
}
