//! Draws several maps of one layer at once, each in a color of its own.

use ndarray::ArrayView3;

use super::overlay::{LinearTap, UNSEEN, rounded, tap};
use super::{ImageError, ImageErrorKind, Photo, Placement};

/// The color of a map among `count` of them: all hues at even distances, from red on.
pub fn concept_color(at: usize, count: usize) -> [u8; 3] {
    let sector = 6.0 * at as f32 / count.max(1) as f32;
    // Red is 1 within a sixth of the circle around its place, and falls to 0 within the next.
    let channel = |place: f32| {
        let distance = (sector - place).rem_euclid(6.0);
        rounded(255.0 * (2.0 - distance.min(6.0 - distance)).clamp(0.0, 1.0))
    };
    [channel(0.0), channel(2.0), channel(4.0)]
}

/// Draws maps [components, H, W] in 0..1, at the network's input size, over the photo, at the photo's size: at each place the
/// color of the largest map, as bright as this map, as `show_factorization_on_image` of pytorch-grad-cam does. The share of the
/// colors is `alpha`. What the network did not see is darkened.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if there is no map, the shape is not the network's, or `alpha` is not in 0..1.
pub fn concept_overlay(
    photo: &Photo,
    maps: ArrayView3<'_, f32>,
    placement: &Placement,
    alpha: f32,
) -> Result<Photo, ImageError> {
    let (count, height, width) = maps.dim();
    let expected = (placement.network_height as usize, placement.network_width as usize);
    if maps.is_empty() || (height, width) != expected {
        return invalid(format!(
            "there are {count} maps of {height}x{width} values (height, width), but the network's input has {}x{}",
            expected.0, expected.1
        ));
    }
    if !(0.0..=1.0).contains(&alpha) {
        return invalid(format!("alpha is {alpha}; it must be between 0 and 1"));
    }
    let columns: Vec<Option<LinearTap>> = (0..photo.width())
        .map(|x| tap(x, placement.x, placement.width, placement.network_width))
        .collect();
    let painter = Painter::new(maps);
    let mut rgb = photo.rgb().to_vec();
    for (line, y) in rgb.chunks_exact_mut(3 * columns.len().max(1)).zip(0..) {
        let row = tap(y, placement.y, placement.height, placement.network_height);
        for (pixel, column) in line.chunks_exact_mut(3).zip(&columns) {
            let color = row
                .as_ref()
                .zip(column.as_ref())
                .map(|(row, column)| painter.color(|at| row.at(column, |y, x| maps[[at, y, x]])));
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = rounded(match color {
                    Some(color) => alpha * color[channel] + (1.0 - alpha) * f32::from(*value),
                    None => UNSEEN * f32::from(*value),
                });
            }
        }
    }
    Photo::from_rgb8(photo.width(), photo.height(), rgb)
}

/// Maps [components, H, W] in their colors on black, where there is no photo.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if there is no map.
pub fn concept_picture(maps: ArrayView3<'_, f32>) -> Result<Photo, ImageError> {
    let (_, height, width) = maps.dim();
    let painter = Painter::new(maps);
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    let colors = places.flat_map(|(y, x)| painter.color(|at| maps[[at, y, x]]).map(rounded));
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    Photo::from_rgb8(side(width), side(height), colors.collect())
}

/// The colors of maps.
struct Painter {
    colors: Vec<[u8; 3]>,
}

impl Painter {
    fn new(maps: ArrayView3<'_, f32>) -> Self {
        let count = maps.dim().0;
        Self { colors: (0..count).map(|at| concept_color(at, count)).collect() }
    }

    /// The color of the first of the largest maps, times it.
    fn color(&self, map: impl Fn(usize) -> f32) -> [f32; 3] {
        let mut largest = (0.0, [0; 3]);
        for (at, color) in self.colors.iter().enumerate() {
            let value = map(at);
            if value > largest.0 {
                largest = (value, *color);
            }
        }
        largest.1.map(|channel| largest.0.min(1.0) * f32::from(channel))
    }
}

fn invalid<T>(message: String) -> Result<T, ImageError> {
    Err(ImageError::new(ImageErrorKind::Invalid, message))
}

#[cfg(test)]
mod tests {
    use ndarray::arr3;

    use super::*;

    #[test]
    fn colors_are_hues_at_even_distances() {
        let colors: Vec<[u8; 3]> = (0..6).map(|at| concept_color(at, 6)).collect();
        let known =
            [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]];
        assert_eq!(colors, known);
        assert_eq!(concept_color(0, 1), [255, 0, 0]);
        assert_eq!(concept_color(1, 4), [128, 255, 0]);
    }

    /// Two maps of 1×2: red wins on the left with 0.5, cyan on the right with 1.
    #[test]
    fn the_largest_map_gives_color_and_brightness() {
        let maps = arr3(&[[[0.5, 0.25]], [[0.25, 1.0]]]);
        let alone = concept_picture(maps.view()).expect("a picture");
        assert_eq!(alone.rgb(), [128, 0, 0, 0, 255, 255]);
        let photo = Photo::from_rgb8(2, 1, vec![100; 6]).expect("a photo");
        let drawn = concept_overlay(&photo, maps.view(), &Placement::identity(2, 1), 0.75);
        // 0.75 · 127.5 + 0.25 · 100 = 120.6; 0.75 · 255 + 25 = 216.25.
        assert_eq!(drawn.expect("a picture").rgb(), [121, 25, 25, 25, 216, 216]);
    }

    #[test]
    fn what_the_network_did_not_see_is_dark() {
        let maps = arr3(&[[[1.0]]]);
        let photo = Photo::from_rgb8(3, 1, vec![100; 9]).expect("a photo");
        let center = Placement {
            x: 1.0,
            y: 0.0,
            width: 1.0,
            height: 1.0,
            network_width: 1,
            network_height: 1,
        };
        let drawn = concept_overlay(&photo, maps.view(), &center, 1.0).expect("a picture");
        assert_eq!(drawn.rgb(), [60, 60, 60, 255, 0, 0, 60, 60, 60]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let photo = Photo::from_rgb8(2, 1, vec![100; 6]).expect("a photo");
        let maps = arr3(&[[[1.0, 0.0]]]);
        let two = Placement::identity(2, 1);
        for (maps, alpha, words) in [
            (maps.view(), 1.5, "alpha is 1.5"),
            (maps.view(), f32::NAN, "alpha is NaN"),
            (arr3(&[[[1.0]]]).view(), 0.5, "1 maps of 1x1 values"),
            (arr3::<f32, 2, 1>(&[]).view(), 0.5, "0 maps"),
        ] {
            let error = concept_overlay(&photo, maps, &two, alpha).expect_err("a refusal");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
