//! Converts a photo to a network's input tensor, and knows which part of the photo the network saw.

use std::fmt;

use ndarray::{Array4, ArrayViewMut3, Axis};
use serde::Serialize;

use super::resize::resize_with_alpha;
use super::{Filter, ImageError, ImageErrorKind, Limits, Photo};

mod geometry;
mod hugging_face;
mod json;
mod labels;
mod literal;
mod metadata;
mod origin;
mod paddle;
mod resolve;
mod sources;
mod task;
mod timm;
mod triton;
mod yaml;

pub use geometry::{Crop, CropRounding, Geometry, Placement, Resize};
pub use labels::with_blank;
pub use origin::{Origins, SettingOrigin};
pub use resolve::{Fit, Numbers, Overrides, PreprocessChoice, resolve, resolve_in};
pub use task::Task;

/// The order of the axes of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Layout {
    /// [1, C, H, W], as PyTorch exports.
    #[serde(rename = "NCHW")]
    Nchw,
    /// [1, H, W, C], as TensorFlow exports.
    #[serde(rename = "NHWC")]
    Nhwc,
}

impl Layout {
    /// Both of them with their names.
    pub const ALL: [(&'static str, Self); 2] = [("nchw", Self::Nchw), ("nhwc", Self::Nhwc)];

    /// The axis of the channels in an input of that many axes; NHWC stands for [N, …, C] of any rank.
    pub fn channel_axis(self, rank: usize) -> usize {
        match self {
            Self::Nchw => 1,
            Self::Nhwc => rank.saturating_sub(1),
        }
    }

    /// The layout that an input's shape implies; `None` where the shape fits both or neither. Open sizes are `None`.
    ///
    /// Axis 1 of size 1 or 3 is the channel axis. Otherwise the last axis is, if its size is 1 or 3, or the one of both whose
    /// size is at most 4 if that of the other is not.
    pub fn of_shape(shape: &[Option<i64>]) -> Option<Self> {
        let [_, second, .., last] = shape else { return None };
        let is_photo = |size: &Option<i64>| matches!(size, Some(1 | 3));
        let is_small = |size: &Option<i64>| matches!(size, Some(1..=4));
        match (second, last) {
            (second, _) if is_photo(second) => Some(Self::Nchw),
            (_, last) if is_photo(last) => Some(Self::Nhwc),
            (second, last) if is_small(last) && !is_small(second) => Some(Self::Nhwc),
            (second, Some(_)) if is_small(second) && !is_small(last) => Some(Self::Nchw),
            _ => None,
        }
    }
}

/// As in JSON.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The color channels that a network takes, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Channels {
    /// Red, green, blue.
    #[serde(rename = "RGB")]
    Rgb,
    /// Blue, green, red (Caffe, OpenCV).
    #[serde(rename = "BGR")]
    Bgr,
    /// One channel, luma. The photo is converted to gray before the resize.
    #[serde(rename = "grey")]
    Gray,
    /// Red, green, blue and opacity, which is 255 where a photo has none.
    #[serde(rename = "RGBA")]
    Rgba,
    /// Luma and opacity.
    #[serde(rename = "grey+alpha")]
    GrayAlpha,
}

/// As in JSON.
impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The position of the opacity in an RGBA pixel.
const ALPHA: usize = 3;

impl Channels {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("rgb", Self::Rgb),
        ("bgr", Self::Bgr),
        ("gray", Self::Gray),
        ("rgba", Self::Rgba),
        ("gray-alpha", Self::GrayAlpha),
    ];

    /// The number of channels, 1 to 4.
    pub fn count(self) -> usize {
        self.sources().len()
    }

    /// The channels of a network that takes `count` of them, where nothing else is said.
    pub(crate) fn of_count(count: i64) -> Option<Self> {
        Some(match count {
            1 => Self::Gray,
            2 => Self::GrayAlpha,
            3 => Self::Rgb,
            4 => Self::Rgba,
            _ => return None,
        })
    }

    /// Whether photos are converted to gray.
    pub fn is_gray(self) -> bool {
        matches!(self, Self::Gray | Self::GrayAlpha)
    }

    /// The position in an RGBA pixel of each channel of the network.
    fn sources(self) -> &'static [usize] {
        match self {
            Self::Rgb => &[0, 1, 2],
            Self::Bgr => &[2, 1, 0],
            Self::Gray => &[0],
            Self::Rgba => &[0, 1, 2, ALPHA],
            Self::GrayAlpha => &[0, ALPHA],
        }
    }
}

/// The conversion of a photo to the input of a network: resize, crop or pad, then `(x · rescale − mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preprocess {
    /// Resize, crop and padding.
    pub geometry: Geometry,
    /// The filter of the resize.
    pub filter: Filter,
    /// The factor of the 8-bit values: 1/255 for networks that take 0..1, 1 for 0..255.
    pub rescale: f64,
    /// The mean that is subtracted after the factor, one value per channel in the network's order.
    pub mean: Vec<f32>,
    /// The standard deviation that divides the difference, one value per channel.
    pub std: Vec<f32>,
    /// The order of the axes.
    pub layout: Layout,
    /// The number and order of the channels.
    pub channels: Channels,
}

impl Preprocess {
    /// The part of an upright photo of this size that the network sees.
    pub fn placement(&self, width: u32, height: u32) -> Placement {
        self.geometry.placement(width, height).0
    }

    /// Returns the network's input, [1, C, H, W] or [1, H, W, C] by the layout, and the part of the photo that it shows.
    ///
    /// The arithmetic equals torchvision's `ToTensor` and `Normalize` bit for bit: 8-bit values
    /// times `rescale` are rounded once to f32, then `mean` is subtracted and `std` divides in f32.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::Invalid`] if `mean` or `std` do not match the channels or a side becomes 0,
    /// [`ImageErrorKind::TooLarge`] if the resize would exceed the pixel limit.
    pub fn apply(&self, photo: &Photo) -> Result<(Array4<f32>, Placement), ImageError> {
        let sources = self.channels.sources();
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != sources.len() {
                let message = format!(
                    "{name} has {} values, but the network takes {} channels",
                    values.len(),
                    sources.len()
                );
                return Err(ImageError::new(ImageErrorKind::Invalid, message));
            }
        }
        let gray = self.channels.is_gray().then(|| photo.to_gray());
        let photo = gray.as_ref().unwrap_or(photo);
        let (placement, left, top) = self.geometry.placement(photo.width(), photo.height());
        let (network_width, network_height) = (placement.network_width, placement.network_height);
        let pixels = u64::from(network_width) * u64::from(network_height);
        if pixels == 0 || pixels > Limits::default().max_pixels {
            let message = format!(
                "the network's input would be {network_width}x{network_height} pixels; expected 1 to {}",
                Limits::default().max_pixels
            );
            return Err(ImageError::new(ImageErrorKind::Invalid, message));
        }
        let (width, height) = self.geometry.resized(photo.width(), photo.height());
        let has_alpha = sources.contains(&ALPHA);
        let resize = if has_alpha { resize_with_alpha } else { super::resize };
        let resized = resize(photo, width, height, self.filter)?;
        let opaque = if has_alpha { vec![u8::MAX; resized.rgb().len() / 3] } else { Vec::new() };
        let alpha = resized.alpha().unwrap_or(&opaque);

        let (rows, columns) = (network_height as usize, network_width as usize);
        let (mut tensor, channel_axis) = match self.layout {
            Layout::Nchw => (Array4::zeros((1, sources.len(), rows, columns)), 0),
            Layout::Nhwc => (Array4::zeros((1, rows, columns, sources.len())), 2),
        };
        let mut image: ArrayViewMut3<'_, f32> = tensor.index_axis_mut(Axis(0), 0);
        for (channel, source) in sources.iter().enumerate() {
            // A table of all 256 values, because a photo has many more pixels.
            let values: Vec<f32> = (0..=255u8)
                .map(|value| {
                    let rescaled = (f64::from(value) * self.rescale) as f32;
                    (rescaled - self.mean[channel]) / self.std[channel]
                })
                .collect();
            // Borders are transparent.
            let fill = self.geometry.fill.get(*source).copied().unwrap_or(0);
            let fill = values[usize::from(fill)];
            let (bytes, step, offset) =
                if *source == ALPHA { (alpha, 1, 0) } else { (resized.rgb(), 3, *source) };
            let mut plane = image.index_axis_mut(Axis(channel_axis), channel);
            for (y, mut line) in plane.outer_iter_mut().enumerate() {
                let y = y as i64 + top;
                if !(0..i64::from(height)).contains(&y) {
                    line.fill(fill);
                    continue;
                }
                let start = step * y as usize * width as usize;
                let row = &bytes[start..start + step * width as usize];
                for (x, value) in line.iter_mut().enumerate() {
                    let x = x as i64 + left;
                    *value = if (0..i64::from(width)).contains(&x) {
                        values[usize::from(row[step * x as usize + offset])]
                    } else {
                        fill
                    };
                }
            }
        }
        Ok((tensor, placement))
    }
}
