//! Text: its width, its lines and its pixels.

use ab_glyph::{Font as _, FontRef, PxScale, ScaleFont as _, point};

use crate::failure::{Result, failed};

/// Roboto with Latin, Greek and Cyrillic letters.
const FONT: &[u8] = include_bytes!("../../assets/roboto_latin.ttf");

/// What stands for the part of a text that is left out.
const ELLIPSIS: char = '…';

/// Most characters of a text that are looked at.
const LONGEST: usize = 150;

/// The part of a text that is kept where it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Start,
    /// The end of a path is more specific than its beginning.
    End,
}

/// The font of a sheet.
#[derive(Debug)]
pub(crate) struct Font {
    font: FontRef<'static>,
    /// The room for a line, over its width.
    room: f64,
}

impl Font {
    /// The font, with the room that another one may take in its place, over its own width.
    pub(crate) fn new(room: f64) -> Result<Self> {
        Ok(Self { font: FontRef::try_from_slice(FONT).map_err(failed)?, room })
    }

    /// The scale at which a letter M is as high as in other programs at this size.
    fn scale(&self, size: f64) -> PxScale {
        let em = self.font.units_per_em().unwrap_or(1.0);
        PxScale::from(size as f32 * self.font.height_unscaled() / em)
    }

    /// The room for a line of text, in the unit of the size.
    pub(crate) fn width(&self, text: &str, size: f64) -> f64 {
        let font = self.font.as_scaled(self.scale(size));
        let width: f32 = text.chars().map(|c| font.h_advance(font.glyph_id(c))).sum();
        self.room * f64::from(width)
    }

    /// Calls `draw` with the place and the coverage, 0 to 1, of each pixel of a line of text whose baseline begins at (x, y).
    pub(crate) fn draw(
        &self,
        text: &str,
        size: f64,
        (x, y): (f64, f64),
        mut draw: impl FnMut(i64, i64, f32),
    ) {
        let scale = self.scale(size);
        let font = self.font.as_scaled(scale);
        let mut x = x as f32;
        for c in text.chars() {
            let id = font.glyph_id(c);
            let glyph = id.with_scale_and_position(scale, point(x, y as f32));
            x += font.h_advance(id);
            if let Some(outline) = self.font.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                let (left, top) = (corner.x as i64, corner.y as i64);
                outline.draw(|x, y, share| draw(left + i64::from(x), top + i64::from(y), share));
            }
        }
    }

    /// Writes a line of text of a gray into the pixels of a picture of `columns` columns; what is beyond it is left out.
    pub(crate) fn write(
        &self,
        rgb: &mut [u8],
        columns: usize,
        text: &str,
        (size, gray): (f64, u8),
        place: (f64, f64),
    ) {
        self.draw(text, size, place, |x, y, share| {
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
            let pixel = rgb.get_mut(3 * (y * columns + x)..).and_then(|rest| rest.get_mut(..3));
            for value in pixel.filter(|_| x < columns).into_iter().flatten() {
                let mixed = f32::from(*value) + (f32::from(gray) - f32::from(*value)) * share;
                *value = mixed.clamp(0.0, 255.0).round() as u8;
            }
        });
    }

    /// A text in at most `most` lines of a width, without control characters. What does not fit is left out.
    pub(crate) fn lines(
        &self,
        text: &str,
        size: f64,
        width: f64,
        most: usize,
        kept: Kept,
    ) -> Vec<String> {
        let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let all: Vec<char> = printable.collect();
        let longest = all.len().min(LONGEST);
        let shortened = |length: usize| match kept {
            _ if length == all.len() => all.iter().collect::<String>(),
            Kept::Start => {
                let start: String = all[..length].iter().collect();
                format!("{}{ELLIPSIS}", start.trim_end_matches(is_break))
            }
            Kept::End => {
                let end: String = all[all.len() - length..].iter().collect();
                format!("{ELLIPSIS}{}", end.trim_start_matches(is_break))
            }
        };
        let fits = |length: &usize| self.wrapped(&shortened(*length), size, width).len() <= most;
        let length = (0..=longest).rev().find(fits).unwrap_or(0);
        self.wrapped(&shortened(length), size, width)
    }

    /// The lines of a text. It is broken behind spaces and the marks within paths, and within what is wider than a line.
    fn wrapped(&self, text: &str, size: f64, width: f64) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in text.trim().split_inclusive(is_break) {
            let fits = |line: &str, more: &str| {
                self.width((line.to_owned() + more).trim_end(), size) <= width
            };
            if !lines.last().is_some_and(|line| line.is_empty() || fits(line, word)) {
                lines.push(String::new());
            }
            for c in word.chars() {
                if !lines.last().is_some_and(|line| line.is_empty() || fits(line, &c.to_string())) {
                    lines.push(String::new());
                }
                if let Some(line) = lines.last_mut() {
                    line.push(c);
                }
            }
        }
        let trimmed = lines.into_iter().map(|line| line.trim().to_owned());
        trimmed.filter(|line| !line.is_empty()).collect()
    }
}

/// Whether a line may end behind a character.
fn is_break(c: char) -> bool {
    matches!(c, ' ' | '/' | '\\' | '_' | '-' | '.' | ',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit() {
        let font = Font::new(1.0).expect("a font");
        let long = "/model/blocks.6/blocks.6.0/conv_pwl/Conv_output_0".repeat(5);
        let texts =
            ["", "espresso", "hand-held computer, hand-held microcomputer", "Ωmega ж 猫", &long];
        for text in texts {
            for width in [5.0, 20.0, 60.0, 1e4] {
                for most in 1..4 {
                    for kept in [Kept::Start, Kept::End] {
                        let lines = font.lines(text, 8.0, width, most, kept);
                        assert!(lines.len() <= most, "{text} {width} {most}: {lines:?}");
                        // One letter is never left out.
                        let wide = |line: &String| {
                            line.chars().count() > 1 && font.width(line, 8.0) > width
                        };
                        assert!(!lines.iter().any(wide), "{text} {width} {most}: {lines:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_specific_part_is_kept() {
        let font = Font::new(1.0).expect("a font");
        let rows = [
            ("Egyptian cat", 100.0, 1, Kept::Start, vec!["Egyptian cat"]),
            ("Egyptian cat", 40.0, 2, Kept::Start, vec!["Egyptian", "cat"]),
            ("Egyptian cat", 40.0, 1, Kept::Start, vec!["Egyptian…"]),
            ("layer4.1.conv2", 40.0, 1, Kept::End, vec!["…1.conv2"]),
            ("layer4.1.conv2", 40.0, 2, Kept::End, vec!["layer4.1.", "conv2"]),
        ];
        for (text, width, most, kept, wanted) in rows {
            assert_eq!(font.lines(text, 8.0, width, most, kept), wanted, "{text} {width} {most}");
        }
    }

    #[test]
    fn a_dash_is_as_wide_as_its_pixels() {
        let font = Font::new(1.0).expect("a font");
        let mut columns = [0.0f32; 200];
        font.draw("—", 100.0, (20.0, 90.0), |x, _, share| columns[x as usize] += share);
        let inked = columns.iter().filter(|sum| **sum > 0.0).count();
        let width = font.width("—", 100.0);
        assert!((0.7 * width..=width).contains(&(inked as f64)), "{inked} of {width}");
        assert_eq!(Font::new(1.5).expect("a font").width("—", 100.0), 1.5 * width);
    }
}
