//! Draws a heatmap over the photo that it explains, at the photo's size.

use std::num::NonZeroU32;

use ndarray::ArrayView2;

use super::colorbar::{self, with_colorbar};
use super::contours::{LEVELS, contours};
use super::frame::frame;
use super::resize::resize;
use super::strokes::Strokes;
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
    /// The photo with lines of equal heat at 0.2, 0.4, 0.6 and 0.8 of the maximum, thicker where it is hotter: white between
    /// black borders, which show in gray and without color vision.
    Contours,
    /// `heat · photo`; what the network did not see is black.
    Cutout,
    /// The heat alone in its colors, without the photo; its opacity is the heat.
    Transparent,
}

impl OverlayKind {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("alpha", Self::Alpha),
        ("fade", Self::Fade),
        ("pytorch-grad-cam", Self::PytorchGradCam),
        ("contours", Self::Contours),
        ("cutout", Self::Cutout),
        ("transparent", Self::Transparent),
    ];

    /// Whether the photo is tinted by the colors of the heat.
    pub fn is_tint(self) -> bool {
        matches!(self, Self::Alpha | Self::Fade | Self::PytorchGradCam)
    }
}

/// Which size a picture has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureSize {
    /// That of the photo.
    Photo,
    /// That of the network's input: the part of the photo that the network saw, resized. What was beyond the photo is black.
    Network,
    /// This size; the photo is stretched.
    Exact {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
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
    /// The size of the picture.
    pub size: PictureSize,
    /// The longest side of the picture in pixels; a larger one is made smaller. `None` keeps every size.
    pub max_side: Option<NonZeroU32>,
    /// Whether a bar with the colors of the heat from 0 to 1 stands to the right of the picture, beyond its size. Only tints
    /// have one.
    pub colorbar: bool,
}

impl OverlayStyle {
    /// The size of the picture of a photo of this size, without the bar.
    fn drawn_size(&self, width: u32, height: u32) -> (u32, u32) {
        let (width, height) = match self.size {
            PictureSize::Exact { width, height } => (width, height),
            PictureSize::Photo | PictureSize::Network => (width, height),
        };
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
    /// `placement` is the part of it that the network saw.
    pub fn memory(&self, width: u32, height: u32, placement: &Placement) -> u64 {
        if self.size == PictureSize::Network {
            let (wide, high) = placement.resized(width, height);
            let (network_width, network_height) =
                (placement.network_width, placement.network_height);
            let seen = bytes(network_width, network_height);
            let resized = bytes(wide, height).saturating_add(bytes(wide, high));
            let style = Self { size: PictureSize::Photo, ..*self };
            let drawn = style.memory(network_width, network_height, placement);
            return seen.saturating_add(drawn.max(resized));
        }
        let (new_width, new_height) = self.drawn_size(width, height);
        let bar = if self.colorbar { colorbar::width(new_height) } else { 0 };
        let drawn = bytes(new_width, new_height);
        // The resize goes along the rows first. The PNG grows by doubling, beside the picture.
        let resized = bytes(new_width, height).saturating_add(drawn);
        let written = match self.kind {
            // Colors and opacity, both interleaved for the encoder, and the PNG.
            OverlayKind::Transparent => (drawn / 3).saturating_mul(16),
            _ => bytes(new_width.saturating_add(bar), new_height).saturating_mul(3),
        };
        if new_width == width { written } else { written.max(resized) }
    }

    fn check(&self) -> Result<(), ImageError> {
        if !(0.0..=1.0).contains(&self.alpha) {
            return invalid(format!("alpha is {}; it must be between 0 and 1", self.alpha));
        }
        if self.colorbar && !self.kind.is_tint() {
            return invalid(
                "a bar shows the colors of a tint, and the picture has none; leave one of the two out",
            );
        }
        Ok(())
    }
}

/// The bytes of a picture.
fn bytes(width: u32, height: u32) -> u64 {
    (u64::from(width) * u64::from(height)).saturating_mul(3)
}

impl Default for OverlayStyle {
    /// Half heat and half photo in OpenCV's jet, as users of Grad-CAM expect.
    fn default() -> Self {
        Self {
            colormap: Colormap::Jet,
            alpha: 0.5,
            kind: OverlayKind::Alpha,
            size: PictureSize::Photo,
            max_side: None,
            colorbar: false,
        }
    }
}

/// The brightness of the part of a photo that the network did not see.
pub(super) const UNSEEN: f32 = 0.6;

/// Draws a heatmap [H, W] in 0..1, at the network's input size, over the photo.
///
/// The result has the photo's size or another one ([`OverlayStyle::size`]), or a smaller one of the same aspect ratio
/// ([`OverlayStyle::max_side`]). The heat covers the part that the network saw, such as a center crop; the rest is darkened.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if the heatmap's shape is not the network's, `alpha` is not in 0..1, a side is 0, or a bar is wanted
/// for what is no tint. [`ImageErrorKind::TooLarge`] as [`resize`], for a size that is not the photo's.
pub fn overlay(
    photo: &Photo,
    heatmap: ArrayView2<'_, f32>,
    placement: &Placement,
    style: &OverlayStyle,
) -> Result<Photo, ImageError> {
    checked(photo, heatmap, placement, style, None)
}

/// As [`overlay`], with a thin frame around a box. `edges` are its left, top, right and bottom in pixels of the photo.
///
/// # Errors
///
/// As [`overlay`].
pub fn overlay_with_frame(
    photo: &Photo,
    heatmap: ArrayView2<'_, f32>,
    placement: &Placement,
    style: &OverlayStyle,
    edges: [f64; 4],
) -> Result<Photo, ImageError> {
    checked(photo, heatmap, placement, style, Some(edges))
}

/// A heatmap as a picture of its own size, where there is no photo.
///
/// # Errors
///
/// [`ImageErrorKind::Invalid`] if the heatmap is empty, or the style needs a photo or does not fit together.
pub fn heatmap_picture(
    heatmap: ArrayView2<'_, f32>,
    style: &OverlayStyle,
) -> Result<Photo, ImageError> {
    style.check()?;
    if matches!(style.kind, OverlayKind::Contours | OverlayKind::Cutout) {
        return invalid("contours and cutouts show a photo, and there is none");
    }
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let rgb = heatmap.iter().flat_map(|heat| style.colormap.color(*heat)).collect();
    let picture = Photo::from_rgb8(side(heatmap.ncols()), side(heatmap.nrows()), rgb)?;
    let opacity = || heatmap.iter().map(|heat| rounded(255.0 * heat)).collect();
    let is_transparent = style.kind == OverlayKind::Transparent;
    let picture = picture.with_alpha(is_transparent.then(opacity));
    if style.colorbar { with_colorbar(&picture, style.colormap) } else { Ok(picture) }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, ImageError> {
    Err(ImageError::new(ImageErrorKind::Invalid, message))
}

fn checked(
    photo: &Photo,
    heatmap: ArrayView2<'_, f32>,
    placement: &Placement,
    style: &OverlayStyle,
    edges: Option<[f64; 4]>,
) -> Result<Photo, ImageError> {
    let expected = (placement.network_height as usize, placement.network_width as usize);
    if heatmap.dim() != expected || heatmap.is_empty() {
        return invalid(format!(
            "the heatmap has {}x{} values (height, width), but the network's input has {}x{}",
            heatmap.nrows(),
            heatmap.ncols(),
            expected.0,
            expected.1
        ));
    }
    style.check()?;
    match style.size {
        PictureSize::Photo | PictureSize::Exact { .. } => {
            draw(photo, heatmap, placement, style, edges)
        }
        PictureSize::Network => {
            let seen = seen(photo, placement)?;
            let edges = edges.map(|[left, top, right, bottom]| {
                let (left, top) = placement.to_network(left, top);
                let (right, bottom) = placement.to_network(right, bottom);
                [left, top, right, bottom]
            });
            draw(&seen, heatmap, &Placement::identity(seen.width(), seen.height()), style, edges)
        }
    }
}

/// The part of a photo that the network saw, at the size of its input; black beyond the photo.
fn seen(photo: &Photo, placement: &Placement) -> Result<Photo, ImageError> {
    let (wide, high) = placement.resized(photo.width(), photo.height());
    let whole = resize(photo, wide, high, Filter::Bilinear)?;
    let (left, top) = placement.to_network(0.0, 0.0);
    let (left, top) = (left.round() as i64, top.round() as i64);
    let (width, height) = (placement.network_width, placement.network_height);
    let mut rgb = vec![0; 3 * width as usize * height as usize];
    // The columns that both have, in those of the network's input.
    let from = left.clamp(0, i64::from(width));
    let to = (left + i64::from(wide)).clamp(from, i64::from(width));
    for (line, y) in rgb.chunks_exact_mut(3 * width as usize).zip(0..) {
        let y: i64 = y;
        if (top..top + i64::from(high)).contains(&y) && from < to {
            let row = &whole.rgb()[3 * wide as usize * (y - top) as usize..];
            let length = 3 * (to - from) as usize;
            let start = 3 * (from - left) as usize;
            line[3 * from as usize..][..length].copy_from_slice(&row[start..][..length]);
        }
    }
    Photo::from_rgb8(width, height, rgb)
}

fn draw(
    photo: &Photo,
    heatmap: ArrayView2<'_, f32>,
    placement: &Placement,
    style: &OverlayStyle,
    edges: Option<[f64; 4]>,
) -> Result<Photo, ImageError> {
    let (width, height) = style.drawn_size(photo.width(), photo.height());
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
        let is_smaller = width <= photo.width() && height <= photo.height();
        let filter = if is_smaller { Filter::Box } else { Filter::Bicubic };
        let resized = resize(photo, width, height, filter)?;
        let edges = edges.map(|[left, top, right, bottom]| {
            [left * across, top * down, right * across, bottom * down]
        });
        return draw(&resized, heatmap, &placement, style, edges);
    }
    let mut picture = mixed(photo, heatmap, placement, style)?;
    if let Some(edges) = edges {
        picture = frame(&picture, edges)?;
    }
    if style.colorbar { with_colorbar(&picture, style.colormap) } else { Ok(picture) }
}

/// Mixes a photo and the heat at the photo's size.
fn mixed(
    photo: &Photo,
    heatmap: ArrayView2<'_, f32>,
    placement: &Placement,
    style: &OverlayStyle,
) -> Result<Photo, ImageError> {
    let columns: Vec<Option<LinearTap>> = (0..photo.width())
        .map(|x| tap(x, placement.x, placement.width, placement.network_width))
        .collect();
    let rows: Vec<Option<LinearTap>> = (0..photo.height())
        .map(|y| tap(y, placement.y, placement.height, placement.network_height))
        .collect();
    let standard = heatmap.as_standard_layout();
    let heat: Vec<&[f32]> = standard.rows().into_iter().filter_map(|row| row.to_slice()).collect();
    let mixer = Mixer::new(style);
    // The heat of a pixel; `None` if the network did not see it.
    let heat_at = |row: &Option<LinearTap>, column: &Option<LinearTap>| {
        let (row, column) = (row.as_ref()?, column.as_ref()?);
        Some(row.at(column, |y, x| heat[y][x]))
    };
    // The mixed color of a pixel, 0..1.
    let mixed = |row: &Option<LinearTap>, column: &Option<LinearTap>, photo: &[u8]| {
        heat_at(row, column).map(|heat| mixer.mix(photo, heat))
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
    let brightness = if style.kind == OverlayKind::Cutout { 0.0 } else { UNSEEN };
    let unseen = by_byte(|value| rounded(255.0 * brightness * unit(value)));
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
    if style.kind == OverlayKind::Contours {
        draw_contours(&mut rgb, (photo.width(), photo.height()), heatmap, placement);
    }
    let opacity = |row: &Option<LinearTap>, column: &Option<LinearTap>| {
        heat_at(row, column).map_or(0, |heat| rounded(255.0 * heat))
    };
    let is_transparent = style.kind == OverlayKind::Transparent;
    let opacities =
        || rows.iter().flat_map(|row| columns.iter().map(|column| opacity(row, column))).collect();
    let picture = Photo::from_rgb8(photo.width(), photo.height(), rgb)?;
    Ok(picture.with_alpha(is_transparent.then(opacities)))
}

/// Draws the lines of equal heat.
fn draw_contours(
    rgb: &mut [u8],
    (width, height): (u32, u32),
    heatmap: ArrayView2<'_, f32>,
    placement: &Placement,
) {
    let unit = (f64::from(width.min(height)) / 360.0).max(1.0);
    let mut strokes = Strokes::new(width as usize, height as usize, unit);
    let thicknesses = (0..).map(|place| unit * (1.0 + 0.5 * f64::from(place)));
    for (level, thickness) in LEVELS.into_iter().zip(thicknesses) {
        let at = |[x, y]: [f64; 2]| <[f64; 2]>::from(placement.to_photo(x, y));
        contours(heatmap, level, |from, to| strokes.line(at(from), at(to), thickness));
    }
    strokes.draw(rgb, 255, 0);
}

/// `f32::round` for values in 0..256. Processors without an instruction for it would call a function; the sum is exact in
/// 64 bits.
pub(super) fn rounded(value: f32) -> u8 {
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
            OverlayKind::Contours => 0.0,
            OverlayKind::Transparent => 1.0,
            OverlayKind::Cutout => {
                return std::array::from_fn(|c| heat * self.photo[usize::from(photo[c])]);
            }
        };
        // Each weight is rounded to f32, as numpy does with Python's floats.
        let (share, rest) = (share as f32, (1.0 - share) as f32);
        std::array::from_fn(|c| share * color[c] + rest * self.photo[usize::from(photo[c])])
    }
}

/// Along one axis, the two pixels of the network's input around a pixel of the photo, and the weight of the second.
pub(super) struct LinearTap {
    before: usize,
    after: usize,
    share: f32,
}

impl LinearTap {
    /// The linear interpolation of a heatmap at the crossing of two taps, a row's and a column's.
    pub(super) fn at(&self, column: &Self, heat: impl Fn(usize, usize) -> f32) -> f32 {
        let line = |row: usize| {
            heat(row, column.before) * (1.0 - column.share) + heat(row, column.after) * column.share
        };
        line(self.before) * (1.0 - self.share) + line(self.after) * self.share
    }
}

/// Interpolates linearly between the centers of the network's pixels and repeats the border beyond them; `None` if the
/// network did not see the center of the photo's pixel `index`.
pub(super) fn tap(index: u32, start: f64, length: f64, network: u32) -> Option<LinearTap> {
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
