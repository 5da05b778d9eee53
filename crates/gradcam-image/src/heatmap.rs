//! Combines the raw maps of one or more layers into one heatmap, with the operations of pytorch-grad-cam in their order.

use ndarray::{Array, Array2, ArrayBase, ArrayD, ArrayView2, ArrayViewD, Data, Dimension, Zip};

use super::resize::{resize_linear, resize_map};
use super::{ImageError, ImageErrorKind};

/// One heatmap in 0..1, [height, width] of `size`, from the raw signed maps [h, w] of one or more layers.
///
/// Each map is rectified, normalized at its own size and resized (bilinear). Then the maps are averaged and
/// normalized again. This is `BaseCAM.compute_cam_per_layer` followed by `aggregate_multi_layers` of
/// pytorch-grad-cam 1.5.7, which normalizes twice for a single layer too. A map without a positive
/// value becomes all zero.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if there is no map, or a map is empty, or has a value that is not finite.
pub fn heatmap(
    maps: &[ArrayView2<'_, f32>],
    (height, width): (usize, usize),
) -> Result<Array2<f32>, ImageError> {
    if maps.is_empty() {
        return invalid("a heatmap needs the map of at least one layer".into());
    }
    let mut sum = Array2::<f32>::zeros((height, width));
    for map in maps {
        let resized = resize_map(rectified(map)?.view(), height, width);
        Zip::from(&mut sum).and(&resized).for_each(|sum, value| *sum += value.max(0.0));
    }
    let count = maps.len() as f32;
    Ok(normalize(sum.mapv_into(|value| value / count)))
}

/// As [`heatmap()`] for one layer with any number of axes. The linear resize goes axis by axis.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if the map is empty, has a value that is not finite, or `size` has another number of
/// axes.
pub fn heatmap_nd(map: ArrayViewD<'_, f32>, size: &[usize]) -> Result<ArrayD<f32>, ImageError> {
    if map.ndim() != size.len() {
        return invalid(format!(
            "a map of shape {:?} has no heatmap of size {size:?}",
            map.shape()
        ));
    }
    Ok(normalize(resize_linear(rectified(&map)?.view(), size)))
}

fn invalid<T>(message: String) -> Result<T, ImageError> {
    Err(ImageError::new(ImageErrorKind::Invalid, message))
}

/// A map without its negative values, normalized at its own size.
fn rectified<S: Data<Elem = f32>, D: Dimension>(
    map: &ArrayBase<S, D>,
) -> Result<Array<f32, D>, ImageError> {
    if map.is_empty() {
        return invalid(format!("a map of shape {:?} is empty", map.shape()));
    }
    if let Some(value) = map.iter().find(|value| !value.is_finite()) {
        return invalid(format!("a map contains {value}; its values must be finite"));
    }
    Ok(normalize(map.mapv(|value| value.max(0.0))))
}

/// m − min, then / (1e-7 + max): `scale_cam_image` of pytorch-grad-cam.
fn normalize<D: Dimension>(map: Array<f32, D>) -> Array<f32, D> {
    let min = map.iter().copied().fold(f32::INFINITY, f32::min);
    let shifted = map.mapv_into(|value| value - min);
    let max = shifted.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    shifted.mapv_into(|value| value / (1e-7 + max))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, arr1, arr2};

    use super::*;

    #[test]
    fn two_axes_are_those_of_a_picture() {
        let map = arr2(&[[0.5, -1.0, 2.0], [1.0, 0.25, 0.0]]);
        let picture = heatmap(&[map.view()], (5, 7)).expect("a heatmap").into_dyn();
        let other = heatmap_nd(map.view().into_dyn(), &[5, 7]).expect("a heatmap");
        assert!((picture - other).iter().all(|apart| apart.abs() <= 1e-6));
    }

    #[test]
    fn lines_and_volumes_are_resized_linearly() {
        // torch.nn.functional.interpolate(mode="linear", align_corners=False) of [0, 1] to four.
        let line = heatmap_nd(arr1(&[0.0, 1.0]).view().into_dyn(), &[4]).expect("a heatmap");
        let want = [0.0, 0.25, 0.75, 1.0];
        assert!(line.iter().zip(want).all(|(got, want)| (got - want).abs() <= 1e-6), "{line}");
        // What does not change along two axes is the line along the third.
        for axis in 0..3 {
            let (mut from, mut to) = ([3; 3], [5; 3]);
            (from[axis], to[axis]) = (2, 4);
            let volume = Array3::from_shape_fn(from, |(a, b, c)| [a, b, c][axis] as f32);
            let heat = heatmap_nd(volume.view().into_dyn(), &to).expect("a heatmap");
            for (at, got) in heat.indexed_iter() {
                assert!((got - want[at[axis]]).abs() <= 1e-6, "{axis} {at:?}: {got}");
            }
        }
        assert!(heatmap_nd(arr1(&[0.0]).view().into_dyn(), &[1, 1]).is_err());
    }
}
