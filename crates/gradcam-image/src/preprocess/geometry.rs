//! The sizes and offsets of resize and crop, and the position of the result in the photo.

use serde::Serialize;

/// The resize of a photo before the crop. Sizes are [width, height] in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// No resize.
    None,
    /// Exactly this size; the aspect ratio is lost ("squash").
    Exact {
        /// New width.
        width: u32,
        /// New height.
        height: u32,
    },
    /// The short side becomes `size`, the long side `size · long / short` truncated to an integer (torchvision).
    ShortSide {
        /// New length of the short side.
        size: u32,
        /// If set, both sides shrink until the long side is at most this (`longest_edge`, `max_size`).
        longest: Option<u32>,
    },
    /// The smallest size of the same aspect ratio that covers this one, rounded to even (timm).
    Outside {
        /// Least width.
        width: u32,
        /// Least height.
        height: u32,
    },
    /// The largest size of the same aspect ratio that fits into this one, rounded to even (timm's "border").
    Inside {
        /// Largest width.
        width: u32,
        /// Largest height.
        height: u32,
    },
    /// The photo's own aspect ratio, with sides that are multiples of a number; no side becomes longer than `longest`. A photo is
    /// enlarged only to a side that is fixed.
    Aspect {
        /// The width, if it is fixed.
        width: Option<u32>,
        /// The height, if it is fixed.
        height: Option<u32>,
        /// The longest side.
        longest: u32,
        /// The number that divides the sides that are not fixed.
        multiple: u32,
    },
}

/// How the offset of a center crop is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CropRounding {
    /// Half to even: torchvision's and timm's `CenterCrop`.
    Even,
    /// Down: Hugging Face image processors.
    Down,
}

/// A center crop. A smaller photo is padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Crop {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The rounding of half pixels of the offset.
    pub rounding: CropRounding,
}

/// Resize, then crop or pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Geometry {
    /// The resize.
    pub resize: Resize,
    /// The center crop, if there is one.
    pub crop: Option<Crop>,
    /// The red, green and blue of the padding.
    pub fill: [u8; 3],
}

impl Geometry {
    /// Resizes to exactly `width` × `height`.
    pub fn squash(width: u32, height: u32) -> Self {
        Self { resize: Resize::Exact { width, height }, crop: None, fill: [0; 3] }
    }

    /// Keeps the center, `share` of the short side (0.875 for most ImageNet models).
    pub fn center(width: u32, height: u32, share: f64) -> Self {
        // torchvision and timm truncate the quotient to an integer: 224 / 0.875 = 256, 240 / 0.9 = 266.
        let larger = |side: u32| (f64::from(side) / share) as u32;
        let resize = if width == height {
            Resize::ShortSide { size: larger(width), longest: None }
        } else {
            Resize::Outside { width: larger(width), height: larger(height) }
        };
        Self {
            resize,
            crop: Some(Crop { width, height, rounding: CropRounding::Even }),
            fill: [0; 3],
        }
    }

    /// Keeps the whole photo and adds borders of the color `fill`.
    pub fn pad(width: u32, height: u32, fill: [u8; 3]) -> Self {
        Self {
            resize: Resize::Inside { width, height },
            crop: Some(Crop { width, height, rounding: CropRounding::Even }),
            fill,
        }
    }

    /// Keeps the photo's own aspect ratio, for a network that takes any size, or any length of one side.
    pub fn aspect(width: Option<u32>, height: Option<u32>) -> Self {
        // Networks halve a picture five times at most, and lines of text twice or three times along the line.
        let (longest, multiple) = match (width, height) {
            (None, None) => (640, 32),
            _ => (2048, 8),
        };
        let resize = Resize::Aspect { width, height, longest, multiple };
        Self { resize, crop: None, fill: [0; 3] }
    }

    /// The size of the result, [width, height], if it does not depend on the photo.
    pub fn output(&self) -> Option<(u32, u32)> {
        match (self.crop, self.resize) {
            (Some(crop), _) => Some((crop.width, crop.height)),
            (None, Resize::Exact { width, height }) => Some((width, height)),
            _ => None,
        }
    }

    /// The geometry scaled to another size of the result.
    pub(super) fn scaled_to(&self, width: u32, height: u32) -> Self {
        let Some((old_width, old_height)) = self.output() else {
            return *self;
        };
        let scale = |side: u32, new: u32, old: u32| {
            let scaled = u64::from(side) * u64::from(new) / u64::from(old.max(1));
            u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
        };
        let wide = |side| scale(side, width, old_width);
        let high = |side| scale(side, height, old_height);
        let resize = match self.resize {
            // A geometry with a size of the result has a crop behind it.
            same @ (Resize::None | Resize::Aspect { .. }) => same,
            Resize::Exact { width, height } => {
                Resize::Exact { width: wide(width), height: high(height) }
            }
            Resize::ShortSide { size, .. } => Resize::ShortSide {
                size: scale(size, width.min(height), old_width.min(old_height)),
                longest: None,
            },
            Resize::Outside { width, height } => {
                Resize::Outside { width: wide(width), height: high(height) }
            }
            Resize::Inside { width, height } => {
                Resize::Inside { width: wide(width), height: high(height) }
            }
        };
        let crop = self.crop.map(|crop| Crop { width, height, ..crop });
        Self { resize, crop, fill: self.fill }
    }

    /// The size of a photo after the resize, [width, height].
    pub(super) fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        match self.resize {
            Resize::None => (width, height),
            Resize::Exact { width, height } => (width, height),
            Resize::ShortSide { size, longest } => short_side(width, height, size, longest),
            Resize::Outside { width: w, height: h } => {
                let ratio = |side: u32, new: u32| f64::from(side) / f64::from(new);
                scaled(width, height, ratio(width, w).min(ratio(height, h)))
            }
            Resize::Inside { width: w, height: h } => {
                let ratio = |side: u32, new: u32| f64::from(side) / f64::from(new);
                scaled(width, height, ratio(width, w).max(ratio(height, h)))
            }
            Resize::Aspect { width: w, height: h, longest, multiple } => {
                let share = |new: u32, old: u32| f64::from(new) / f64::from(old.max(1));
                let factor = match (w, h) {
                    (Some(w), _) => share(w, width),
                    (None, Some(h)) => share(h, height),
                    (None, None) => share(longest, width.max(height)).min(1.0),
                };
                let free = |side: u32| {
                    let steps = (f64::from(side) * factor / f64::from(multiple.max(1))).round();
                    let most = f64::from(longest / multiple.max(1)).max(1.0);
                    steps.clamp(1.0, most) as u32 * multiple
                };
                (w.unwrap_or_else(|| free(width)), h.unwrap_or_else(|| free(height)))
            }
        }
    }

    /// The position of the network's input in a photo of `width` × `height`, and its left and top edge in pixels
    /// of the resized photo, which are negative if it is padded.
    pub(super) fn placement(&self, width: u32, height: u32) -> (Placement, i64, i64) {
        let (new_width, new_height) = self.resized(width, height);
        let (network_width, network_height) =
            self.crop.map_or((new_width, new_height), |crop| (crop.width, crop.height));
        let rounding = self.crop.map_or(CropRounding::Even, |crop| crop.rounding);
        let left = offset(new_width, network_width, rounding);
        let top = offset(new_height, network_height, rounding);
        let across = f64::from(width) / f64::from(new_width.max(1));
        let down = f64::from(height) / f64::from(new_height.max(1));
        let placement = Placement {
            x: left as f64 * across,
            y: top as f64 * down,
            width: f64::from(network_width) * across,
            height: f64::from(network_height) * down,
            network_width,
            network_height,
        };
        (placement, left, top)
    }
}

fn short_side(width: u32, height: u32, size: u32, longest: Option<u32>) -> (u32, u32) {
    let (short, long) = (u64::from(width.min(height)).max(1), u64::from(width.max(height)));
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let (mut new_short, mut new_long) = (size, narrow(u64::from(size) * long / short));
    if let Some(longest) = longest.filter(|longest| *longest < new_long) {
        new_short = narrow(u64::from(longest) * u64::from(new_short) / u64::from(new_long));
        new_long = longest;
    }
    if width <= height { (new_short.max(1), new_long) } else { (new_long, new_short.max(1)) }
}

fn scaled(width: u32, height: u32, ratio: f64) -> (u32, u32) {
    let side = |side: u32| (f64::from(side) / ratio).round_ties_even().max(1.0) as u32;
    (side(width), side(height))
}

/// The first pixel of a centered window of `window` pixels in `size` pixels, as torchvision's `center_crop`.
fn offset(size: u32, window: u32, rounding: CropRounding) -> i64 {
    let (size, window) = (i64::from(size), i64::from(window));
    match rounding {
        _ if window > size => -((window - size) / 2),
        CropRounding::Down => (size - window) / 2,
        CropRounding::Even => ((size - window) as f64 / 2.0).round_ties_even() as i64,
    }
}

/// The part of a photo that a network saw: a rectangle in pixels of the upright photo, whose origin is the photo's top left
/// corner. It extends beyond the photo if the input was padded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Placement {
    /// The left edge.
    pub x: f64,
    /// The top edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Width of the network's input, in its own pixels.
    pub network_width: u32,
    /// Height of the network's input, in its own pixels.
    pub network_height: u32,
}

impl Placement {
    /// The placement of a network whose input is the photo of `width` × `height` itself.
    pub fn identity(width: u32, height: u32) -> Self {
        Self::whole((width, height), (width, height))
    }

    /// The network saw all of a photo, resized to its own width and height.
    pub fn whole(photo: (u32, u32), network: (u32, u32)) -> Self {
        Self {
            x: 0.0,
            y: 0.0,
            width: f64::from(photo.0),
            height: f64::from(photo.1),
            network_width: network.0,
            network_height: network.1,
        }
    }

    /// The size of a photo, [width, height], when the part that the network saw has the size of its input.
    pub(crate) fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        let side = |side: u32, network: u32, length: f64| {
            (f64::from(side) * f64::from(network) / length).round().max(1.0) as u32
        };
        (
            side(width, self.network_width, self.width),
            side(height, self.network_height, self.height),
        )
    }

    /// Maps the point (`x`, `y`) of the photo to the network's input, both in pixels with pixel i from i to i + 1.
    pub fn to_network(&self, x: f64, y: f64) -> (f64, f64) {
        (
            (x - self.x) * (f64::from(self.network_width) / self.width),
            (y - self.y) * (f64::from(self.network_height) / self.height),
        )
    }

    /// Maps the point (`x`, `y`) of the network's input to the photo: the inverse of [`Placement::to_network`].
    pub fn to_photo(&self, x: f64, y: f64) -> (f64, f64) {
        (
            self.x + x * (self.width / f64::from(self.network_width)),
            self.y + y * (self.height / f64::from(self.network_height)),
        )
    }
}
