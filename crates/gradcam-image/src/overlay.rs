//! Draws a heatmap over the photo that it explains, at the photo's size.

use std::num::NonZeroU32;

use ndarray::ArrayView2;

use super::resize::resize;
use super::{Colormap, Filter, ImageError, ImageErrorKind, Photo, Placement};

/// How heat and photo are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayKind {
    /// `alpha · heat + (1 − alpha) · photo` at every pixel that the network saw.
    Alpha,
    /// As `Alpha`, with `alpha` times the heat: cold regions keep the photo's colors.
    Fade,
    /// `show_cam_on_image` of pytorch-grad-cam: as `Alpha`, then divided by the largest value.
    /// Equal to it bit for bit if the network's input has the photo's pixels.
    PytorchGradCam,
}

/// The style of an overlay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayStyle {
    /// The colors of the heat.
    pub colormap: Colormap,
    /// The weight of the heat, 0..1.
    pub alpha: f64,
    /// How heat and photo are mixed.
    pub kind: OverlayKind,
    /// The longest side of the picture in pixels; a larger photo is made smaller. `None` keeps every photo's size.
    pub max_side: Option<NonZeroU32>,
}

impl OverlayStyle {
    /// The size of the picture of a photo of this size.
    fn size(&self, width: u32, height: u32) -> (u32, u32) {
        let longest = width.max(height);
        let Some(most) = self.max_side.map(NonZeroU32::get).filter(|most| *most < longest) else {
            return (width, height);
        };
        let side = |side: u32| {
            let scaled = (u64::from(side) * u64::from(most)).div_ceil(u64::from(longest));
            u32::try_from(scaled).unwrap_or(most).max(1)
        };
        (side(width), side(height))
    }

    /// The most bytes that drawing a photo of this size and writing the picture as PNG hold at once, the photo not counted.
    pub fn memory(&self, width: u32, height: u32) -> u64 {
        let (new_width, new_height) = self.size(width, height);
        let bytes = |width: u32, height: u32| 3 * u64::from(width) * u64::from(height);
        let drawn = bytes(new_width, new_height);
        // The resize goes along the rows first. The PNG grows by doubling, beside the picture.
        let resized = bytes(new_width, height).saturating_add(drawn);
        let written = drawn.saturating_mul(3);
        if new_width == width { written } else { written.max(resized) }
    }
}

impl Default for OverlayStyle {
    /// Half heat and half photo in OpenCV's jet, as users of Grad-CAM expect.
    fn default() -> Self {
        Self { colormap: Colormap::Jet, alpha: 0.5, kind: OverlayKind::Alpha, max_side: None }
    }
}

/// The brightness of the part of a photo that the network did not see.
const UNSEEN: f32 = 0.6;

/// Draws a heatmap [H, W] in 0..1, at the network's input size, over the photo.
///
/// The result has the photo's size, or a smaller one of the same aspect ratio ([`OverlayStyle::max_side`]). The heat covers the part that the network saw, such as a center crop; the rest is
/// darkened.
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
    let (width, height) = style.size(photo.width(), photo.height());
    if (width, height) != (photo.width(), photo.height()) {
        let across = f64::from(width) / f64::from(photo.width());
        let down = f64::from(height) / f64::from(photo.height());
        let placement = Placement {
            x: placement.x * across,
            y: placement.y * down,
            width: placement.width * across,
            height: placement.height * down,
            ..*placement
        };
        let smaller = resize(photo, width, height, Filter::Box)?;
        return overlay(&smaller, heatmap, &placement, style);
    }
    let columns: Vec<Option<LinearTap>> = (0..photo.width())
        .map(|x| tap(x, placement.x, placement.width, placement.network_width))
        .collect();
    let rows: Vec<Option<LinearTap>> = (0..photo.height())
        .map(|y| tap(y, placement.y, placement.height, placement.network_height))
        .collect();
    let heatmap = heatmap.as_standard_layout();
    let heat: Vec<&[f32]> = heatmap.rows().into_iter().filter_map(|row| row.to_slice()).collect();
    let mixer = Mixer::new(style);
    // The mixed color of a pixel, 0..1; `None` if the network did not see it.
    let mixed = |row: &Option<LinearTap>, column: &Option<LinearTap>, photo: &[u8]| {
        let (row, column) = (row.as_ref()?, column.as_ref()?);
        let line = |row: usize| {
            heat[row][column.before] * (1.0 - column.share) + heat[row][column.after] * column.share
        };
        let heat = line(row.before) * (1.0 - row.share) + line(row.after) * row.share;
        Some(mixer.mix(photo, heat))
    };
    let lines = || rows.iter().zip(photo.rgb().chunks_exact(3 * columns.len()));
    let pixels = |line| columns.iter().zip(<[u8]>::chunks_exact(line, 3));

    let largest = if style.kind == OverlayKind::PytorchGradCam {
        let mixed =
            lines().flat_map(|(row, line)| pixels(line).filter_map(|(c, p)| mixed(row, c, p)));
        mixed.flatten().fold(0.0, f32::max)
    } else {
        0.0
    };
    let unseen = by_byte(|value| rounded(255.0 * UNSEEN * unit(value)));
    let mut rgb = vec![0; photo.rgb().len()];
    for ((row, line), drawn) in lines().zip(rgb.chunks_exact_mut(3 * columns.len())) {
        for ((column, pixel), drawn) in pixels(line).zip(drawn.chunks_exact_mut(3)) {
            drawn.copy_from_slice(&match mixed(row, column, pixel) {
                None => [pixel[0], pixel[1], pixel[2]].map(|value| unseen[usize::from(value)]),
                // pytorch-grad-cam divides first and truncates to integers.
                Some(color) if largest > 0.0 => {
                    color.map(|value| (255.0 * (value / largest)) as u8)
                }
                Some(color) => color.map(|value| rounded(255.0 * value)),
            });
        }
    }
    Photo::from_rgb8(photo.width(), photo.height(), rgb)
}

/// `f32::round` for values in 0..256. Processors without an instruction for it would call a function; the sum is exact in
/// 64 bits.
fn rounded(value: f32) -> u8 {
    (f64::from(value) + 0.5) as u8
}

fn unit(value: u8) -> f32 {
    f32::from(value) / 255.0
}

/// A table of a function of bytes.
fn by_byte<T>(of: impl Fn(u8) -> T) -> Vec<T> {
    (0..=u8::MAX).map(of).collect()
}

/// Mixes photo and heat, with tables of what depends on one byte.
struct Mixer<'a> {
    style: &'a OverlayStyle,
    photo: Vec<f32>,
    heat: Vec<[f32; 3]>,
}

impl<'a> Mixer<'a> {
    fn new(style: &'a OverlayStyle) -> Self {
        let heat = by_byte(|entry| style.colormap.entry(entry).map(unit));
        Self { style, photo: by_byte(unit), heat }
    }

    fn mix(&self, photo: &[u8], heat: f32) -> [f32; 3] {
        let color = self.heat[usize::from(Colormap::entry_of(heat))];
        let share = match self.style.kind {
            OverlayKind::Fade => self.style.alpha * f64::from(heat),
            OverlayKind::Alpha | OverlayKind::PytorchGradCam => self.style.alpha,
        };
        // Each weight is rounded to f32, as numpy does with Python's floats.
        let (share, rest) = (share as f32, (1.0 - share) as f32);
        std::array::from_fn(|c| share * color[c] + rest * self.photo[usize::from(photo[c])])
    }
}

/// Along one axis, the two pixels of the network's input around a pixel of the photo, and the weight of the second.
struct LinearTap {
    before: usize,
    after: usize,
    share: f32,
}

/// Interpolates linearly between the centers of the network's pixels and repeats the border beyond them; `None` if the
/// network did not see the center of the photo's pixel `index`.
fn tap(index: u32, start: f64, length: f64, network: u32) -> Option<LinearTap> {
    let center = f64::from(index) + 0.5;
    if !(start..start + length).contains(&center) {
        return None;
    }
    let last = network.saturating_sub(1);
    let position = (center - start) * (f64::from(network) / length) - 0.5;
    let position = position.clamp(0.0, f64::from(last));
    let before = position as usize;
    let after = (before + 1).min(last as usize);
    Some(LinearTap { before, after, share: (position - position.floor()) as f32 })
}
