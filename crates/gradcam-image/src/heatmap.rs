//! Turns the raw maps of one or more layers into a heatmap, with the operations of the libraries that people compare with, in
//! their order.

use ndarray::{Array2, ArrayD, ArrayView2, ArrayViewD, ShapeError, Zip};

use super::fusion::Fusion;
use super::resize::{self, resize_bicubic, resize_map, resize_nearest};
use super::{ImageError, ImageErrorKind};

/// The library that a heatmap has the numbers of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeatmapRules {
    /// pytorch-grad-cam 1.5.7: each map is rectified, normalized at its own size, resized to the network's input (bilinear) and
    /// normalized again, in 0..1.
    #[default]
    PytorchGradCam,
    /// TorchCAM 0.5.0: each map is rectified and normalized, in 0..1. It keeps its own size, and a fused map has that of the
    /// largest one.
    TorchCam,
    /// Captum 0.9.0: each map keeps its signs and numbers, and is resized to the network's input (nearest).
    Captum,
}

/// How raw maps become a heatmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeatmapSettings {
    /// Whose numbers it has.
    pub rules: HeatmapRules,
    /// How maps of several layers become one.
    pub fusion: Fusion,
    /// Whether [`Fusion::Max`] compares tanh(2·map) instead of the maps, as LayerCAM does: Jiang et al. 2021, equation 9.
    pub tanh: bool,
}

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
    let maps: Vec<_> = maps.iter().map(|map| map.view().into_dyn()).collect();
    let settings = HeatmapSettings { fusion: Fusion::Mean, ..HeatmapSettings::default() };
    let heatmap = heatmap_nd(&maps, &[height, width], &settings)?;
    heatmap.into_dimensionality().map_err(|error| torn(&error))
}

/// As [`heatmap()`] for maps of any number of axes, by the rules of a library. The shape is `size`, that of the network's input;
/// of [`HeatmapRules::TorchCam`] it is that of the largest map. The linear resize goes axis by axis.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if there is no map, or there are several without a fusion, or a map is empty, has a value that is
/// not finite, or another number of axes than `size`.
pub fn heatmap_nd(
    maps: &[ArrayViewD<'_, f32>],
    size: &[usize],
    settings: &HeatmapSettings,
) -> Result<ArrayD<f32>, ImageError> {
    let HeatmapSettings { rules, fusion, tanh } = *settings;
    if maps.is_empty() || fusion == Fusion::None && maps.len() > 1 {
        return invalid(format!(
            "a heatmap is made of one map, or of several with a fusion; there are {} and fusion {fusion}",
            maps.len()
        ));
    }
    maps.iter().try_for_each(|map| check(map, size))?;
    let longest = |axis| maps.iter().map(|map| map.shape()[axis]).max().unwrap_or(0);
    let largest: Vec<usize> = (0..size.len()).map(longest).collect();
    let bent = |mut map: ArrayD<f32>| {
        if tanh && fusion == Fusion::Max {
            map.mapv_inplace(|value| (2.0 * value).tanh());
        }
        map
    };
    let each = |change: &dyn Fn(ArrayD<f32>) -> Result<ArrayD<f32>, ImageError>| {
        maps.iter().map(|map| change(map.to_owned())).collect::<Result<Vec<_>, _>>()
    };
    let once = |map, least| normalize(rectified(map), least);
    match (rules, fusion) {
        (HeatmapRules::PytorchGradCam, Fusion::None | Fusion::Mean) => {
            let resized = each(&|map| resize_linear(once(map, PYTORCH_GRAD_CAM), size))?;
            let mut mean = joined(resized, |sum, value| sum + value);
            mean.mapv_inplace(|sum| sum / maps.len() as f32);
            Ok(normalize(mean, PYTORCH_GRAD_CAM))
        }
        (HeatmapRules::PytorchGradCam, Fusion::Max) => {
            let same_size =
                each(&|map| resize_linear(bent(once(map, PYTORCH_GRAD_CAM)), &largest))?;
            let most = resize_linear(joined(same_size, f32::max), size)?;
            Ok(normalize(most, PYTORCH_GRAD_CAM))
        }
        (HeatmapRules::PytorchGradCam, Fusion::Product) => {
            let heatmaps = each(&|map| {
                let resized = resize_linear(once(map, PYTORCH_GRAD_CAM), size)?;
                Ok(normalize(resized, PYTORCH_GRAD_CAM))
            })?;
            Ok(normalize(joined(heatmaps, |a, b| a * b), PYTORCH_GRAD_CAM))
        }
        (HeatmapRules::TorchCam, Fusion::None | Fusion::Max) => {
            let same_size = each(&|map| resize_linear(bent(once(map, TORCH_CAM)), &largest))?;
            Ok(joined(same_size, f32::max))
        }
        (HeatmapRules::TorchCam, Fusion::Product) => {
            let same_size = each(&|map| resize_linear(once(map, TORCH_CAM), &largest))?;
            Ok(normalize(joined(same_size, |a, b| a * b), TORCH_CAM))
        }
        (HeatmapRules::Captum, Fusion::None) => {
            let resized = each(&|map| Ok(resize_nearest(map.view(), size)))?;
            Ok(joined(resized, f32::max))
        }
        (HeatmapRules::TorchCam, Fusion::Mean) | (HeatmapRules::Captum, _) => {
            invalid(format!("the library has no fusion {fusion}"))
        }
    }
}

/// A map normalized by its own range, in 0..1, and resized (bilinear) to `size`, as `scale_cam_image` of pytorch-grad-cam does.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if the map is empty, has a value that is not finite, or another number of axes than `size`.
pub fn scaled_map(map: &ArrayViewD<'_, f32>, size: &[usize]) -> Result<ArrayD<f32>, ImageError> {
    check(map, size)?;
    resize_linear(normalize(map.to_owned(), PYTORCH_GRAD_CAM), size)
}

/// The numbers of a heatmap as pictures show them: in 0..1, at the size of the network's input.
///
/// Those of [`HeatmapRules::TorchCam`] are resized (bicubic) and squared, as its `overlay_mask` does. Of
/// [`HeatmapRules::Captum`] the positive ones are shown; the largest, which have 2 % of their sum together, are 1, as in its
/// `visualize_image_attr`.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if the heatmap has another number of axes than `size`.
pub fn shown_heatmap(
    heatmap: ArrayD<f32>,
    size: &[usize],
    rules: HeatmapRules,
) -> Result<ArrayD<f32>, ImageError> {
    check(&heatmap.view(), size)?;
    match rules {
        HeatmapRules::PytorchGradCam => Ok(heatmap),
        HeatmapRules::TorchCam => {
            let resized = match *size {
                [height, width] => {
                    let picture: Array2<f32> =
                        heatmap.into_dimensionality().map_err(|error| torn(&error))?;
                    resize_bicubic(picture.view(), height, width).into_dyn()
                }
                _ => resize_linear(heatmap, size)?,
            };
            Ok(resized.mapv_into(|value| (value * value).min(1.0)))
        }
        HeatmapRules::Captum => {
            let mut sorted: Vec<f32> = rectified(heatmap.clone()).into_iter().collect();
            sorted.sort_by(f32::total_cmp);
            let all: f64 = sorted.iter().map(|value| f64::from(*value)).sum();
            let mut below = 0.0;
            let most = sorted.into_iter().find(|value| {
                below += f64::from(*value);
                below >= 0.98 * all
            });
            let most = most.filter(|most| *most > 0.0).unwrap_or(1.0);
            Ok(heatmap.mapv_into(|value| (value / most).clamp(0.0, 1.0)))
        }
    }
}

/// What the normalization of `scale_cam_image` of pytorch-grad-cam adds to the largest value, and that of TorchCAM.
const PYTORCH_GRAD_CAM: f32 = 1e-7;
const TORCH_CAM: f32 = 1e-8;

fn invalid<T>(message: String) -> Result<T, ImageError> {
    Err(ImageError::new(ImageErrorKind::Invalid, message))
}

fn torn(error: &ShapeError) -> ImageError {
    ImageError::new(ImageErrorKind::Invalid, error.to_string())
}

fn check(map: &ArrayViewD<'_, f32>, size: &[usize]) -> Result<(), ImageError> {
    let shape = map.shape();
    if map.ndim() != size.len() {
        return invalid(format!("a map of shape {shape:?} has no heatmap of size {size:?}"));
    }
    if map.is_empty() {
        return invalid(format!("a map of shape {shape:?} is empty"));
    }
    match map.iter().find(|value| !value.is_finite()) {
        Some(value) => invalid(format!("a map contains {value}; its values must be finite")),
        None => Ok(()),
    }
}

/// Joins maps of one shape, the first with the second, their result with the third.
fn joined(maps: Vec<ArrayD<f32>>, join: impl Fn(f32, f32) -> f32) -> ArrayD<f32> {
    let all = maps.into_iter().reduce(|mut all, map| {
        Zip::from(&mut all).and(&map).for_each(|all, value| *all = join(*all, *value));
        all
    });
    all.unwrap_or_default()
}

/// A map without its negative values.
fn rectified(map: ArrayD<f32>) -> ArrayD<f32> {
    map.mapv_into(|value| value.max(0.0))
}

/// m − min, then / (least + max).
fn normalize(map: ArrayD<f32>, least: f32) -> ArrayD<f32> {
    let min = map.iter().copied().fold(f32::INFINITY, f32::min);
    let shifted = map.mapv_into(|value| value - min);
    let max = shifted.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    shifted.mapv_into(|value| value / (least + max))
}

/// Linear along each axis, half-pixel centers.
fn resize_linear(map: ArrayD<f32>, size: &[usize]) -> Result<ArrayD<f32>, ImageError> {
    if map.shape() == size {
        return Ok(map);
    }
    if let [height, width] = *size {
        let picture: Array2<f32> = map.into_dimensionality().map_err(|error| torn(&error))?;
        return Ok(resize_map(picture.view(), height, width).into_dyn());
    }
    Ok(resize::resize_linear(map.view(), size))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, arr1, arr2};

    use super::*;

    #[test]
    fn two_axes_are_those_of_a_picture() {
        let map = arr2(&[[0.5, -1.0, 2.0], [1.0, 0.25, 0.0]]);
        let picture = heatmap(&[map.view()], (5, 7)).expect("a heatmap").into_dyn();
        let volume = map.view().insert_axis(ndarray::Axis(0)).into_dyn();
        let settings = HeatmapSettings::default();
        let other = heatmap_nd(&[volume], &[1, 5, 7], &settings).expect("a heatmap");
        let other = other.index_axis_move(ndarray::Axis(0), 0);
        assert!((picture - other).iter().all(|apart| apart.abs() <= 1e-6));
    }

    #[test]
    fn lines_and_volumes_are_resized_linearly() {
        // torch.nn.functional.interpolate(mode="linear", align_corners=False) of [0, 1] to four.
        let settings = HeatmapSettings::default();
        let map = arr1(&[0.0, 1.0]).into_dyn();
        let line = heatmap_nd(&[map.view()], &[4], &settings).expect("a heatmap");
        let want = [0.0, 0.25, 0.75, 1.0];
        assert!(line.iter().zip(want).all(|(got, want)| (got - want).abs() <= 1e-6), "{line}");
        // What does not change along two axes is the line along the third.
        for axis in 0..3 {
            let (mut from, mut to) = ([3; 3], [5; 3]);
            (from[axis], to[axis]) = (2, 4);
            let volume = Array3::from_shape_fn(from, |(a, b, c)| [a, b, c][axis] as f32);
            let heat = heatmap_nd(&[volume.view().into_dyn()], &to, &settings);
            let heat = heat.expect("a heatmap");
            for (at, got) in heat.indexed_iter() {
                assert!((got - want[at[axis]]).abs() <= 1e-6, "{axis} {at:?}: {got}");
            }
        }
        assert!(heatmap_nd(&[map.view()], &[1, 1], &settings).is_err());
    }

    /// Two layers by hand: [0, 1, 3] and [4, 2], normalized [0, 1/3, 1] and [1, 0], at three positions [1, 1/2, 0].
    #[test]
    fn fusions_by_hand() {
        let (first, second) = (arr1(&[0.0, 1.0, 3.0]).into_dyn(), arr1(&[4.0, 2.0]).into_dyn());
        let fused = |rules, fusion, tanh| {
            let settings = HeatmapSettings { rules, fusion, tanh };
            heatmap_nd(&[first.view(), second.view()], &[3], &settings)
        };
        let (ours, torch_cam) = (HeatmapRules::PytorchGradCam, HeatmapRules::TorchCam);
        let rows = [
            (ours, Fusion::Mean, false, [1.0, 0.0, 1.0]),
            (ours, Fusion::Max, false, [1.0, 0.0, 1.0]),
            (ours, Fusion::Product, false, [0.0, 1.0, 0.0]),
            (torch_cam, Fusion::Max, false, [1.0, 0.5, 1.0]),
            (torch_cam, Fusion::Max, true, [0.964_027_6, 0.582_783, 0.964_027_6]),
            (torch_cam, Fusion::Product, false, [0.0, 1.0, 0.0]),
        ];
        for (rules, fusion, tanh, want) in rows {
            let got = fused(rules, fusion, tanh).expect("a heatmap");
            let apart = got.iter().zip(want).map(|(got, want)| (got - want).abs());
            // Of the mean 1/12 is left to be divided, by 1/12 + 1e-7.
            assert!(apart.fold(0.0, f32::max) <= 2e-6, "{rules:?} {fusion}: {got}");
        }
        for (rules, fusion) in
            [(ours, Fusion::None), (torch_cam, Fusion::Mean), (HeatmapRules::Captum, Fusion::Max)]
        {
            assert!(fused(rules, fusion, false).is_err(), "{rules:?} {fusion}");
        }
    }
}
