//! Colormaps as tables of 256 colors, equal to those of OpenCV and matplotlib.

use std::fmt;
use std::str::FromStr;

use super::{ImageError, ImageErrorKind};

mod tables;

/// A table of 256 colors for values in 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colormap {
    /// OpenCV's `COLORMAP_JET`, blue to red, as in pytorch-grad-cam.
    Jet,
    /// Matplotlib's `jet`, which differs from OpenCV's by up to 34 levels, as in torchcam.
    JetMpl,
    /// Turbo, a jet with smooth brightness.
    Turbo,
    /// Viridis, perceptually uniform and suitable for color-blind readers.
    Viridis,
    /// Inferno, black to pale yellow.
    Inferno,
    /// Magma, black to pale pink.
    Magma,
    /// Black to white.
    Gray,
}

impl Colormap {
    /// All colormaps with their names.
    pub const ALL: [(&'static str, Self); 7] = [
        ("jet", Self::Jet),
        ("jet-mpl", Self::JetMpl),
        ("turbo", Self::Turbo),
        ("viridis", Self::Viridis),
        ("inferno", Self::Inferno),
        ("magma", Self::Magma),
        ("gray", Self::Gray),
    ];

    /// The red, green and blue of a value in 0..1: entry `trunc(255 · value)` of the table, as in OpenCV.
    pub fn color(self, value: f32) -> [u8; 3] {
        self.entry(Self::entry_of(value))
    }

    /// The entry of a value in 0..1. The cast to integers saturates, and a NaN becomes entry 0.
    pub(super) fn entry_of(value: f32) -> u8 {
        (255.0 * value) as u8
    }

    /// The color of an entry of the table.
    pub(super) fn entry(self, entry: u8) -> [u8; 3] {
        let table = match self {
            Self::Jet => &tables::JET,
            Self::JetMpl => &tables::JET_MPL,
            Self::Turbo => &tables::TURBO,
            Self::Viridis => &tables::VIRIDIS,
            Self::Inferno => &tables::INFERNO,
            Self::Magma => &tables::MAGMA,
            Self::Gray => return [entry; 3],
        };
        let [_, red, green, blue] = table[usize::from(entry)].to_be_bytes();
        [red, green, blue]
    }
}

impl fmt::Display for Colormap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, map)| map == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Colormap {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Self, ImageError> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, map)| *map).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            let message = format!("no colormap named {name:?}; known: {}", names.join(", "));
            ImageError::new(ImageErrorKind::Invalid, message)
        })
    }
}
