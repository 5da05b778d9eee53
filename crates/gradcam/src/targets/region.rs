//! Where a target is: areas and masks, in pixels.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::{
    Error, ErrorKind, Result,
    error::bail,
    image::{Photo, Placement},
};

/// A rectangle in pixels: of the photo, or of the network's input where a tensor is explained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Area {
    /// The left edge.
    pub x: f64,
    /// The top edge.
    pub y: f64,
    /// The width.
    pub width: f64,
    /// The height.
    pub height: f64,
}

impl Area {
    /// Left, top, right and bottom.
    pub(crate) fn edges(&self) -> [f64; 4] {
        [self.x, self.y, self.x + self.width, self.y + self.height]
    }

    /// The area that both cover, over the area that one covers.
    pub(crate) fn overlap(&self, other: &Self) -> f64 {
        let shared = |a: f64, a_size: f64, b: f64, b_size: f64| {
            ((a + a_size).min(b + b_size) - a.max(b)).max(0.0)
        };
        let both = shared(self.x, self.width, other.x, other.width)
            * shared(self.y, self.height, other.y, other.height);
        let either = self.width * self.height + other.width * other.height - both;
        if either > 0.0 { both / either } else { 0.0 }
    }

    /// The area of the network's input that this area of a photo is.
    pub(crate) fn to_network(self, placement: &Placement) -> Self {
        let (left, top) = placement.to_network(self.x, self.y);
        let (right, bottom) = placement.to_network(self.x + self.width, self.y + self.height);
        Self { x: left, y: top, width: right - left, height: bottom - top }
    }

    /// The area of a photo that this area of the network's input is.
    pub(crate) fn to_photo(self, placement: &Placement) -> Self {
        let (left, top) = placement.to_photo(self.x, self.y);
        let (right, bottom) = placement.to_photo(self.x + self.width, self.y + self.height);
        Self { x: left, y: top, width: right - left, height: bottom - top }
    }
}

/// `x,y,width,height`, rounded to pixels.
impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0},{:.0},{:.0},{:.0}", self.x, self.y, self.width, self.height)
    }
}

impl FromStr for Area {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Option<Vec<f64>> = text
            .split(',')
            .map(|number| number.trim().parse().ok().filter(|n: &f64| n.is_finite()))
            .collect();
        match numbers.as_deref() {
            Some(&[x, y, width, height]) if width > 0.0 && height > 0.0 => {
                Ok(Self { x, y, width, height })
            }
            _ => Err(Error::new(
                ErrorKind::Target,
                format!(
                    "\"{text}\" is no area; write X,Y,WIDTH,HEIGHT in pixels, such as 120,80,64,64"
                ),
            )),
        }
    }
}

/// A mask over a photo: the pixels that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    inside: Vec<bool>,
}

impl Mask {
    /// The pixels of a picture that are brighter than middle gray.
    ///
    /// # Errors
    /// `Target` where no pixel is.
    pub fn of(picture: &Photo) -> Result<Self> {
        let inside: Vec<bool> =
            picture.rgb().chunks_exact(3).map(|rgb| rgb.iter().any(|v| *v >= 128)).collect();
        if !inside.contains(&true) {
            bail!(
                Target,
                "the mask has no pixel brighter than middle gray; white pixels are those that count"
            );
        }
        let side = |side: u32| usize::try_from(side).unwrap_or(0);
        Ok(Self { width: side(picture.width()), height: side(picture.height()), inside })
    }

    /// Whether it covers the place (`x`, `y`) of a picture, each from 0 to 1.
    pub(crate) fn covers(&self, x: f64, y: f64) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 1, a pixel"
        )]
        #[expect(clippy::cast_precision_loss, reason = "the side of a picture")]
        let at = |share: f64, size: usize| {
            (0.0..1.0).contains(&share).then_some((share * size as f64) as usize)
        };
        let place = at(x, self.width).zip(at(y, self.height));
        place.is_some_and(|(x, y)| self.inside.get(y * self.width + x) == Some(&true))
    }
}
