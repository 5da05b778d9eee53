//! Resizes photos, bit for bit as Pillow's `Image.resize`, and maps, as PyTorch's bilinear `interpolate`.
//!
//! Nearly every public model was trained and measured with Pillow. General-purpose resizers differ from it in up to a fifth
//! of all values, so the network would see other pixels.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use ndarray::{Array2, ArrayD, ArrayView2, ArrayViewD, Axis, Zip};
use serde::Serialize;

use super::{ImageError, ImageErrorKind, Photo};

/// The resampling filters of Pillow (`PIL.Image.Resampling`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The nearest pixel, without smoothing when a photo shrinks.
    Nearest,
    /// The mean of the pixels under the output pixel.
    Box,
    /// A triangle of radius 1.
    Bilinear,
    /// A Hamming-windowed sinc of radius 1.
    Hamming,
    /// A cubic spline of radius 2 with a = −0.5.
    Bicubic,
    /// A Lanczos-windowed sinc of radius 3.
    Lanczos,
}

impl Filter {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("nearest", Self::Nearest),
        ("box", Self::Box),
        ("bilinear", Self::Bilinear),
        ("hamming", Self::Hamming),
        ("bicubic", Self::Bicubic),
        ("lanczos", Self::Lanczos),
    ];

    /// The radius of the filter in input pixels when the photo does not shrink.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The weight at distance `x`. The expressions have the same terms as Pillow's, so that they round equally.
    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        let distance = x.abs();
        match self {
            Self::Nearest => 0.0,
            Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - distance).max(0.0),
            Self::Hamming if distance == 0.0 => 1.0,
            Self::Hamming if distance < 1.0 => {
                let x = distance * PI;
                x.sin() / x * (0.54 + 0.46 * x.cos())
            }
            Self::Bicubic if distance < 1.0 => {
                ((-0.5 + 2.0) * distance - (-0.5 + 3.0)) * distance * distance + 1.0
            }
            Self::Bicubic if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5
            }
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Hamming | Self::Bicubic | Self::Lanczos => 0.0,
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, filter)| filter == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Filter {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Self, ImageError> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, filter)| *filter).ok_or_else(
            || {
                let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
                let message = format!("no filter named {name:?}; known: {}", names.join(", "));
                ImageError::new(ImageErrorKind::Invalid, message)
            },
        )
    }
}

/// Resizes a photo to `width` × `height`, bit for bit as Pillow 13's `Image.resize` with `reducing_gap=None`.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] for a side of 0, [`ImageErrorKind::TooLarge`] above the default pixel limit
/// (a strip of 1 × 60,000 pixels with a short side of 256 would become 4 gigapixels).
pub fn resize(photo: &Photo, width: u32, height: u32, filter: Filter) -> Result<Photo, ImageError> {
    let limit = super::Limits::default().max_pixels;
    let intermediate = u64::from(width) * u64::from(photo.height());
    if (u64::from(width) * u64::from(height)).max(intermediate) > limit {
        let message = format!(
            "resizing {}x{} to {width}x{height} pixels exceeds the limit of {limit} pixels",
            photo.width(),
            photo.height()
        );
        return Err(ImageError::new(ImageErrorKind::TooLarge, message));
    }
    if width == 0 || height == 0 || (width, height) == (photo.width(), photo.height()) {
        return Photo::from_rgb8(width, height, photo.rgb().to_vec());
    }
    let (columns, rows) = (photo.width() as usize, photo.height() as usize);
    let (new_columns, new_rows) = (width as usize, height as usize);
    let rgb = if filter == Filter::Nearest {
        nearest(photo.rgb(), (columns, rows), (new_columns, new_rows))
    } else {
        let narrow = if new_columns == columns {
            photo.rgb().to_vec()
        } else {
            horizontal(photo.rgb(), columns, new_columns, filter)
        };
        if new_rows == rows { narrow } else { vertical(&narrow, rows, new_rows, filter) }
    };
    Photo::from_rgb8(width, height, rgb)
}

/// Resizes a photo with its alpha, bit for bit as Pillow resizes RGBA: colors count by their opacity, so that those of
/// transparent pixels do not leak. [`resize`] takes the colors as they are, and drops alpha.
///
/// # Errors
///
/// As [`resize`].
pub(super) fn resize_with_alpha(
    photo: &Photo,
    width: u32,
    height: u32,
    filter: Filter,
) -> Result<Photo, ImageError> {
    let Some(alpha) = photo.alpha() else {
        return resize(photo, width, height, filter);
    };
    let same = (width, height) == (photo.width(), photo.height());
    let weighted = filter != Filter::Nearest && !same;
    let scaled = |value: u8, alpha: u8| {
        let product = u32::from(value) * u32::from(alpha) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    let restored = |value: u8, alpha: u8| match alpha {
        0 | 255 => value,
        alpha => (255 * u32::from(value) / u32::from(alpha)).min(255) as u8,
    };
    let each = |photo: &Photo, alpha: &[u8], change: &dyn Fn(u8, u8) -> u8| {
        let pixels = photo.rgb().chunks_exact(3).zip(alpha);
        let rgb = pixels.flat_map(|(p, a)| [change(p[0], *a), change(p[1], *a), change(p[2], *a)]);
        Photo::from_rgb8(photo.width(), photo.height(), rgb.collect())
    };
    let gray = alpha.iter().flat_map(|alpha| [*alpha; 3]).collect();
    let gray = Photo::from_rgb8(photo.width(), photo.height(), gray)?;
    let new_alpha: Vec<u8> =
        resize(&gray, width, height, filter)?.rgb().iter().step_by(3).copied().collect();
    let resized = if weighted {
        let resized = resize(&each(photo, alpha, &scaled)?, width, height, filter)?;
        each(&resized, &new_alpha, &restored)?
    } else {
        resize(photo, width, height, filter)?
    };
    Ok(resized.with_alpha(Some(new_alpha)))
}

/// The number of fractional bits of integer weights. With 8 bits of a pixel and 2 of headroom they fill an i32.
const PRECISION: u32 = 32 - 8 - 2;

/// The weights of the input pixels `start..start + weights.len()` for one output pixel.
struct FilterWindow<T> {
    start: usize,
    weights: Vec<T>,
}

/// The windows of a filter, with weights in the integers of 8-bit photos.
fn windows(size: usize, new_size: usize, filter: Filter) -> Vec<FilterWindow<i32>> {
    let fixed = |weight: &f64| {
        let scaled = weight * f64::from(1 << PRECISION);
        (scaled + if *weight < 0.0 { -0.5 } else { 0.5 }) as i32
    };
    let each = real_windows(size, new_size, filter).into_iter();
    each.map(|FilterWindow { start, weights }| FilterWindow {
        start,
        weights: weights.iter().map(fixed).collect(),
    })
    .collect()
}

fn real_windows(size: usize, new_size: usize, filter: Filter) -> Vec<FilterWindow<f64>> {
    let scale = size as f64 / new_size as f64;
    // Shrinking widens the filter (antialiasing); growing does not narrow it.
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let per_stretch = 1.0 / stretch;
    let window = |output: usize| {
        let center = (output as f64 + 0.5) * scale;
        // The cast to integers saturates, so a negative start becomes 0, as in Pillow.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(size);
        let mut weights: Vec<f64> = (start..end)
            .map(|input| filter.weight((input as f64 - center + 0.5) * per_stretch))
            .collect();
        let sum: f64 = weights.iter().sum();
        if sum != 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        FilterWindow { start, weights }
    };
    (0..new_size).map(window).collect()
}

/// Half a unit, which makes the shift in [`to_byte`] round.
const HALF: i32 = 1 << (PRECISION - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn horizontal(rgb: &[u8], columns: usize, new_columns: usize, filter: Filter) -> Vec<u8> {
    let windows = windows(columns, new_columns, filter);
    let mut out = Vec::with_capacity(rgb.len() / columns * new_columns);
    for row in rgb.chunks_exact(3 * columns) {
        for window in &windows {
            let mut sum = [HALF; 3];
            let pixels = row[3 * window.start..].chunks_exact(3);
            for (pixel, weight) in pixels.zip(&window.weights) {
                for (sum, value) in sum.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            out.extend(sum.map(to_byte));
        }
    }
    out
}

fn vertical(rgb: &[u8], rows: usize, new_rows: usize, filter: Filter) -> Vec<u8> {
    let stride = rgb.len() / rows;
    let mut out = Vec::with_capacity(stride * new_rows);
    let mut sums = vec![HALF; stride];
    for window in windows(rows, new_rows, filter) {
        sums.fill(HALF);
        let lines = rgb[stride * window.start..].chunks_exact(stride);
        for (line, weight) in lines.zip(&window.weights) {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += i32::from(*value) * weight;
            }
        }
        out.extend(sums.iter().map(|sum| to_byte(*sum)));
    }
    out
}

fn nearest(rgb: &[u8], size: (usize, usize), new_size: (usize, usize)) -> Vec<u8> {
    let sources = |size: usize, new_size: usize| -> Vec<usize> {
        let scale = size as f64 / new_size as f64;
        // Pillow adds the step repeatedly instead of multiplying, which rounds differently.
        let mut position = scale * 0.5;
        let mut next = || {
            let source = (position as usize).min(size - 1);
            position += scale;
            source
        };
        (0..new_size).map(|_| next()).collect()
    };
    let columns = sources(size.0, new_size.0);
    let mut out = Vec::with_capacity(3 * new_size.0 * new_size.1);
    for row in sources(size.1, new_size.1) {
        for column in &columns {
            let at = 3 * (row * size.0 + column);
            out.extend_from_slice(&rgb[at..at + 3]);
        }
    }
    out
}

/// Resizes a map [h, w] to [height, width], bilinear with half-pixel centers and without antialiasing:
/// `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`, OpenCV's `resize` of a float map.
///
/// An empty map becomes zeros.
pub fn resize_map(map: ArrayView2<'_, f32>, height: usize, width: usize) -> Array2<f32> {
    if map.is_empty() {
        return Array2::zeros((height, width));
    }
    let rows = taps(map.nrows(), height);
    let columns = taps(map.ncols(), width);
    Array2::from_shape_fn((height, width), |(y, x)| {
        let ((top, bottom, down), (left, right, along)) = (rows[y], columns[x]);
        let line = |row: usize| map[[row, left]] * (1.0 - along) + map[[row, right]] * along;
        line(top) * (1.0 - down) + line(bottom) * down
    })
}

/// Resizes a map [h, w] to [height, width] as Pillow resizes a picture of floats (mode F) with the bicubic filter.
///
/// An empty map becomes zeros.
pub fn resize_bicubic(map: ArrayView2<'_, f32>, height: usize, width: usize) -> Array2<f32> {
    if map.is_empty() {
        return Array2::zeros((height, width));
    }
    let along = |map: ArrayView2<'_, f32>, new_size: usize| {
        let windows = real_windows(map.ncols(), new_size, Filter::Bicubic);
        Array2::from_shape_fn((map.nrows(), new_size), |(y, x)| {
            let FilterWindow { start, weights } = &windows[x];
            let terms = weights.iter().zip(map.row(y).into_iter().skip(*start));
            terms.map(|(weight, value)| weight * f64::from(*value)).sum::<f64>() as f32
        })
    };
    let wide = along(map, width);
    along(wide.t(), height).reversed_axes()
}

/// Resizes a map of any number of axes to the nearest positions before: `torch.nn.functional.interpolate(mode="nearest")`.
///
/// Axes beyond those of `size` keep their sizes. An empty map becomes zeros.
pub fn resize_nearest(map: ArrayViewD<'_, f32>, size: &[usize]) -> ArrayD<f32> {
    let mut resized = map.to_owned();
    for (axis, &new_size) in size.iter().enumerate().take(map.ndim()) {
        let axis = Axis(axis);
        let old_size = resized.len_of(axis);
        if old_size == 0 {
            let mut shape = resized.raw_dim();
            shape[axis.0] = new_size;
            resized = ArrayD::zeros(shape);
            continue;
        }
        // torch multiplies in float32.
        let scale = old_size as f32 / new_size as f32;
        let sources: Vec<usize> =
            (0..new_size).map(|to| ((to as f32 * scale) as usize).min(old_size - 1)).collect();
        resized = resized.select(axis, &sources);
    }
    resized
}

/// Resizes a map of any number of axes, linear along each with half-pixel centers and without antialiasing:
/// `torch.nn.functional.interpolate(mode="linear"|"bilinear"|"trilinear", align_corners=False)`.
///
/// Axes beyond those of `size` keep their sizes. An empty map becomes zeros.
pub fn resize_linear(map: ArrayViewD<'_, f32>, size: &[usize]) -> ArrayD<f32> {
    resize_axes(map, size, taps)
}

/// As [`resize_linear`] with fixed outermost positions: `align_corners=True`.
pub fn resize_linear_aligned(map: ArrayViewD<'_, f32>, size: &[usize]) -> ArrayD<f32> {
    resize_axes(map, size, |old_size, new_size| {
        let scale = (old_size - 1) as f64 / new_size.saturating_sub(1).max(1) as f64;
        (0..new_size).map(|output| tap(output as f64 * scale, old_size)).collect()
    })
}

fn resize_axes(
    map: ArrayViewD<'_, f32>,
    size: &[usize],
    taps: impl Fn(usize, usize) -> Vec<Tap>,
) -> ArrayD<f32> {
    let mut resized = map.to_owned();
    // The last axis first, so that the longest loops are over rows.
    for (axis, &new_size) in size.iter().enumerate().take(map.ndim()).rev() {
        let axis = Axis(axis);
        let old_size = resized.len_of(axis);
        let mut shape = resized.raw_dim();
        shape[axis.0] = new_size;
        let mut next = ArrayD::zeros(shape);
        if old_size == 0 {
            resized = next;
            continue;
        }
        let taps = taps(old_size, new_size);
        for (mut line, (before, after, along)) in next.axis_iter_mut(axis).zip(taps) {
            Zip::from(&mut line)
                .and(&resized.index_axis(axis, before))
                .and(&resized.index_axis(axis, after))
                .for_each(|new, a, b| *new = a * (1.0 - along) + b * along);
        }
        resized = next;
    }
    resized
}

/// For an output position the two input positions around it, and the weight of the second.
type Tap = (usize, usize, f32);

fn tap(position: f64, size: usize) -> Tap {
    let before = (position as usize).min(size - 1);
    (before, (before + 1).min(size - 1), (position - before as f64) as f32)
}

/// With half-pixel centers.
fn taps(size: usize, new_size: usize) -> Vec<Tap> {
    let scale = size as f64 / new_size as f64;
    let position =
        |output: usize| ((output as f64 + 0.5) * scale - 0.5).clamp(0.0, (size - 1) as f64);
    (0..new_size).map(|output| tap(position(output), size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.nn.functional.interpolate(torch.arange(3.0)[None, None], 7, mode="nearest"); 10 to 3.
    #[test]
    fn the_nearest_position_is_that_before() {
        let numbers = |count: u16| ndarray::Array1::from_iter((0..count).map(f32::from)).into_dyn();
        let got = resize_nearest(numbers(3).view(), &[7]);
        assert_eq!(got, ndarray::arr1(&[0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]).into_dyn());
        let got = resize_nearest(numbers(10).view(), &[3]);
        assert_eq!(got, ndarray::arr1(&[0.0, 3.0, 6.0]).into_dyn());
    }

    /// Image.fromarray(numpy.float32([[0, 1], [1, 0.25]])).resize((3, 4), Image.BICUBIC)
    #[test]
    fn floats_are_resized_as_by_pillow() {
        let got = resize_bicubic(ndarray::arr2(&[[0.0, 1.0], [1.0, 0.25]]).view(), 4, 3);
        let want = [
            -0.164_183, 0.488_971, 1.142_125, 0.165_202, 0.525_893, 0.886_584, 0.818_351,
            0.599_107, 0.379_864, 1.147_736, 0.636_029, 0.124_323,
        ];
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 1e-6), "{got}");
    }

    #[test]
    fn aligned_corners_stay_where_they_are() {
        let map = ndarray::arr2(&[[0.0, 1.0], [2.0, 5.0]]).into_dyn();
        let got = resize_linear_aligned(map.view(), &[3, 3]);
        assert_eq!(
            got,
            ndarray::arr2(&[[0.0, 0.5, 1.0], [1.0, 2.0, 3.0], [2.0, 3.5, 5.0]]).into_dyn()
        );
        assert_eq!(resize_linear_aligned(map.view(), &[1, 1]), ndarray::arr2(&[[0.0]]).into_dyn());
        let row = ndarray::arr1(&[3.0]).into_dyn();
        assert_eq!(resize_linear_aligned(row.view(), &[2]), ndarray::arr1(&[3.0, 3.0]).into_dyn());
    }
}
