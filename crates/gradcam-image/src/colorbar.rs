//! A bar with the colors of the heat from 0 to 1, beside a picture.

use super::strokes::Strokes;
use super::{Colormap, ImageError, Photo};

/// The height of a digit, for a picture of this height.
fn digit_height(height: u32) -> f64 {
    (f64::from(height) / 22.0).max(7.0)
}

/// The width of the bar with its margins and digits, beside a picture of this height.
pub(super) fn width(height: u32) -> u32 {
    (3.2 * digit_height(height)).ceil() as u32
}

/// The picture with a bar to its right, on white.
pub(super) fn with_colorbar(picture: &Photo, colormap: Colormap) -> Result<Photo, ImageError> {
    let (columns, rows) = (picture.width() as usize, picture.height() as usize);
    let (strip, digit) = (width(picture.height()), digit_height(picture.height()));
    let strip_columns = strip as usize;
    let mut bar = vec![255; 3 * strip_columns * rows];
    // The digits stand at the ends of the bar.
    let (top, bottom) = (0.5 * digit + 1.0, rows as f64 - 0.5 * digit - 1.0);
    let (left, right) = ((0.7 * digit) as usize, (1.7 * digit) as usize);
    for (y, line) in bar.chunks_exact_mut(3 * strip_columns).enumerate() {
        let heat = (bottom - y as f64 - 0.5) / (bottom - top);
        if (0.0..=1.0).contains(&heat) {
            for pixel in line[3 * left..3 * right].chunks_exact_mut(3) {
                pixel.copy_from_slice(&colormap.color(heat as f32));
            }
        }
    }
    let mut strokes = Strokes::new(strip_columns, rows, 0.0);
    let thickness = (0.13 * digit).max(1.0);
    let x = right as f64 + 0.35 * digit;
    for (shape, y) in [(one(), top), (zero(), bottom)] {
        let at = |[across, down]: [f64; 2]| [x + digit * across, y + digit * (down - 0.5)];
        shape.windows(2).for_each(|ends| strokes.line(at(ends[0]), at(ends[1]), thickness));
    }
    strokes.draw(&mut bar, 0, 0);

    let mut rgb = Vec::with_capacity(picture.rgb().len() + bar.len());
    let lines = picture.rgb().chunks_exact(3 * columns);
    for (line, beside) in lines.zip(bar.chunks_exact(3 * strip_columns)) {
        rgb.extend_from_slice(line);
        rgb.extend_from_slice(beside);
    }
    Photo::from_rgb8(picture.width() + strip, picture.height(), rgb)
}

/// The digit 1 as a line, of height 1.
fn one() -> Vec<[f64; 2]> {
    vec![[0.08, 0.28], [0.32, 0.07], [0.32, 0.93]]
}

/// The digit 0 as a line, of height 1.
fn zero() -> Vec<[f64; 2]> {
    let at = |turn: f64| [0.32 + 0.24 * turn.cos(), 0.5 + 0.43 * turn.sin()];
    (0..=32).map(|part| at(f64::from(part) * std::f64::consts::TAU / 32.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_goes_from_cold_to_hot() {
        let picture = Photo::from_rgb8(30, 90, vec![10; 3 * 30 * 90]).expect("a picture");
        let drawn = with_colorbar(&picture, Colormap::Viridis).expect("a picture");
        assert_eq!((drawn.width(), drawn.height()), (30 + width(90), 90));
        let pixel = |x: usize, y: usize| &drawn.rgb()[3 * (y * drawn.width() as usize + x)..][..3];
        assert_eq!(pixel(29, 45), [10; 3]);
        assert_eq!(pixel(30, 45), [255; 3]);
        // From row 4.5 to 85.5, beside a margin of 0.7 of a digit of 7 pixels.
        let bar = 30 + 4 + 3;
        assert_eq!(pixel(bar, 5), Colormap::Viridis.color(80.0 / 81.0));
        assert_eq!(pixel(bar, 84), Colormap::Viridis.color(1.0 / 81.0));
        assert_eq!(pixel(bar, 2), [255; 3]);
        // The stem of the 1 is black, the inside of the 0 white.
        let digits = 30.0 + 11.0 + 0.35 * 7.0 + 0.32 * 7.0;
        assert!(pixel(digits as usize, 5)[0] < 100);
        assert_eq!(pixel(digits as usize, 85), [255; 3]);
    }

    #[test]
    fn small_pictures_have_one_too() {
        for height in 1..9 {
            let picture = Photo::from_rgb8(1, height, vec![0; 3 * height as usize]);
            assert!(with_colorbar(&picture.expect("a picture"), Colormap::Jet).is_ok(), "{height}");
        }
    }
}
