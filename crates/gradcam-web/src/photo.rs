//! Photos, and the pictures that are drawn of them.

use gradcam::{
    Area, Explanation, TargetPlace,
    image::{Filter, Limits, OverlayStyle, Photo, Placement, resize},
};

use crate::hints::message;

/// The longest side of a picture on the page, in pixels.
const SHOWN: u32 = 1024;

/// What a browser's memory allows: a third of what the command line takes.
const LIMITS: Limits = Limits { max_pixels: 64_000_000, max_bytes: 256 << 20 };

/// A picture: 8-bit colors and opacity, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Red, green, blue and opacity of each pixel.
    pub rgba: Vec<u8>,
}

impl Picture {
    fn of(photo: &Photo) -> Self {
        let opacity = |at: usize| photo.alpha().map_or(255, |alpha| alpha[at]);
        let pixels = photo.rgb().chunks_exact(3).enumerate();
        let rgba = pixels.flat_map(|(at, rgb)| [rgb[0], rgb[1], rgb[2], opacity(at)]).collect();
        Self { width: photo.width(), height: photo.height(), rgba }
    }
}

/// A photo, and the smaller one that is drawn on the page, so that a slider moves at once.
#[derive(Clone, Debug)]
pub(crate) struct PagePhoto {
    pub(crate) whole: Photo,
    shown: Photo,
}

impl PagePhoto {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let whole = Photo::decode(bytes, &LIMITS).map_err(|error| error.to_string())?;
        let longest = whole.width().max(whole.height());
        let side = |side: u32| {
            let scaled = u64::from(side) * u64::from(SHOWN) / u64::from(longest);
            u32::try_from(scaled).unwrap_or(SHOWN).max(1)
        };
        let shown = if longest <= SHOWN {
            whole.clone()
        } else {
            let size = (side(whole.width()), side(whole.height()));
            resize(&whole, size.0, size.1, Filter::Box).map_err(|error| error.to_string())?
        };
        Ok(Self { whole, shown })
    }

    /// The photo as the page shows it.
    pub(crate) fn picture(&self) -> Picture {
        Picture::of(&self.shown)
    }

    /// An explanation drawn over the photo as the page shows it.
    pub(crate) fn drawn(
        &self,
        explanation: &Explanation,
        heatmap: usize,
        style: &OverlayStyle,
    ) -> Result<Picture, String> {
        let drawn = self.scaled(explanation).overlay(heatmap, &self.shown, style);
        drawn.map(|photo| Picture::of(&photo)).map_err(|error| message(&error))
    }

    /// An explanation drawn over the whole photo, as a PNG file.
    pub(crate) fn png(
        &self,
        explanation: &Explanation,
        heatmap: usize,
        style: &OverlayStyle,
    ) -> Result<Vec<u8>, String> {
        let drawn = explanation.overlay(heatmap, &self.whole, style);
        let drawn = drawn.map_err(|error| message(&error))?;
        drawn.to_png().map_err(|error| error.to_string())
    }

    /// The explanation with its places in pixels of the photo that is shown.
    fn scaled(&self, explanation: &Explanation) -> Explanation {
        let x = f64::from(self.shown.width()) / f64::from(self.whole.width());
        let y = f64::from(self.shown.height()) / f64::from(self.whole.height());
        let mut explanation = explanation.clone();
        explanation.placement = explanation.placement.map(|placement| Placement {
            x: placement.x * x,
            y: placement.y * y,
            width: placement.width * x,
            height: placement.height * y,
            ..placement
        });
        if let Some(TargetPlace::Box { area, .. }) = &mut explanation.place {
            *area = Area {
                x: area.x * x,
                y: area.y * y,
                width: area.width * x,
                height: area.height * y,
            };
        }
        explanation
    }
}
