//! A heatmap drawn over the photo it explains, at the photo's own size and place.

use ndarray::ArrayView2;

use super::{Colormap, ImageError, ImageErrorKind, Photo, Placement};

/// How heat and photo are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayKind {
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
    pub alpha: f64,
    /// How heat and photo are mixed.
    pub kind: OverlayKind,
}

impl Default for OverlayStyle {
    /// Half heat, half photo, in OpenCV's jet: what users of Grad-CAM expect.
    fn default() -> Self {
        Self { colormap: Colormap::Jet, alpha: 0.5, kind: OverlayKind::Alpha }
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
    let columns: Vec<Option<Tap>> = (0..photo.width())
        .map(|x| tap(x, placement.x, placement.width, placement.network_width))
        .collect();
    let rows: Vec<Option<Tap>> = (0..photo.height())
        .map(|y| tap(y, placement.y, placement.height, placement.network_height))
        .collect();
    let heatmap = heatmap.as_standard_layout();
    let heat: Vec<&[f32]> = heatmap.rows().into_iter().filter_map(|row| row.to_slice()).collect();
    let mixer = Mixer::new(style);
    // What a pixel of the photo becomes, 0..1, or `None` where the network did not see it.
    let mixed = |row: &Option<Tap>, column: &Option<Tap>, photo: &[u8]| {
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
                // The library cuts to integers, and divides first.
                Some(color) if largest > 0.0 => {
                    color.map(|value| (255.0 * (value / largest)) as u8)
                }
                Some(color) => color.map(|value| rounded(255.0 * value)),
            });
        }
    }
    Photo::from_rgb8(photo.width(), photo.height(), rgb)
}

/// `f32::round` of what is in 0..256, without the call that it is on processors without an instruction for it; the sum is
/// exact in 64 bits.
fn rounded(value: f32) -> u8 {
    (f64::from(value) + 0.5) as u8
}

fn unit(value: u8) -> f32 {
    f32::from(value) / 255.0
}

/// What becomes of each value of a byte.
fn by_byte<T>(of: impl Fn(u8) -> T) -> Vec<T> {
    (0..=u8::MAX).map(of).collect()
}

/// Mixes photo and heat; what depends on a byte alone is computed once.
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
        // The shares are rounded to f32 one by one, as numpy does with Python's floats.
        let (share, rest) = (share as f32, (1.0 - share) as f32);
        std::array::from_fn(|c| share * color[c] + rest * self.photo[usize::from(photo[c])])
    }
}

/// The two pixels of the network around a pixel of the photo, along one axis, and the share of the second.
struct Tap {
    before: usize,
    after: usize,
    share: f32,
}

/// Bilinear between the centres of the network's pixels, the border value beyond them; `None` where the
/// centre of the photo's pixel `index` is outside of what the network saw.
fn tap(index: u32, start: f64, length: f64, network: u32) -> Option<Tap> {
    let center = f64::from(index) + 0.5;
    if !(start..start + length).contains(&center) {
        return None;
    }
    let last = network.saturating_sub(1);
    let position = (center - start) * (f64::from(network) / length) - 0.5;
    let position = position.clamp(0.0, f64::from(last));
    let before = position as usize;
    let after = (before + 1).min(last as usize);
    Some(Tap { before, after, share: (position - position.floor()) as f32 })
}
