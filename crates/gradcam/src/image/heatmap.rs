//! From the raw maps of one or more layers to one heatmap, in the order of operations of pytorch-grad-cam.

use ndarray::{Array2, ArrayView2, Zip};

use super::resize::resize_map;
use super::{ImageError, ImageErrorKind};

/// One heatmap in 0..1, [height, width] of `size`, from the raw signed maps [h, w] of one or more layers.
///
/// Each map is rectified, normalised at its own size and resized (bilinear); the maps are averaged and
/// normalised once more. This is `BaseCAM.compute_cam_per_layer` followed by `aggregate_multi_layers` of
/// pytorch-grad-cam 1.5.7, which normalises twice for a single layer too. A map without a positive
/// value becomes all zero.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if there is no map, or a map is empty, or has a value that is not finite.
pub fn heatmap(
    maps: &[ArrayView2<'_, f32>],
    (height, width): (usize, usize),
) -> Result<Array2<f32>, ImageError> {
    let invalid = |message: String| Err(ImageError::new(ImageErrorKind::Invalid, message));
    if maps.is_empty() {
        return invalid("a heatmap needs the map of at least one layer".into());
    }
    let mut sum = Array2::<f32>::zeros((height, width));
    for map in maps {
        if map.is_empty() {
            return invalid(format!("a map of {}x{} values is empty", map.nrows(), map.ncols()));
        }
        if let Some(value) = map.iter().find(|value| !value.is_finite()) {
            return invalid(format!("a map contains {value}; its values must be finite"));
        }
        let rectified = map.mapv(|value| value.max(0.0));
        let resized = resize_map(normalize(rectified).view(), height, width);
        Zip::from(&mut sum).and(&resized).for_each(|sum, value| *sum += value.max(0.0));
    }
    let count = maps.len() as f32;
    Ok(normalize(sum.mapv_into(|value| value / count)))
}

/// m − min, then / (1e-7 + max): `scale_cam_image` of pytorch-grad-cam.
fn normalize(map: Array2<f32>) -> Array2<f32> {
    let min = map.iter().copied().fold(f32::INFINITY, f32::min);
    let shifted = map.mapv_into(|value| value - min);
    let max = shifted.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    shifted.mapv_into(|value| value / (1e-7 + max))
}
