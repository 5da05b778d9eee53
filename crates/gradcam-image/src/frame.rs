//! Draws the frame of a box into a picture.

use super::{ImageError, Photo};

/// The color of a frame: white, with a black line on each side, so that it shows on any picture.
const COLOR: [u8; 3] = [255; 3];

/// Draws a thin frame around the area from (`left`, `top`) to (`right`, `bottom`), in pixels. Parts outside of the picture
/// are left out.
///
/// # Errors
///
/// [`ImageErrorKind::TooLarge`](super::ImageErrorKind::TooLarge) as [`Photo::from_rgb8`].
pub(super) fn frame(
    photo: &Photo,
    [left, top, right, bottom]: [f64; 4],
) -> Result<Photo, ImageError> {
    let (width, height) = (photo.width(), photo.height());
    let thick = f64::from((width.min(height) / 240).max(1));
    let (mut rgb, mut alpha) = (photo.rgb().to_vec(), photo.alpha().map(<[u8]>::to_vec));
    let place = |x: u32, y: u32| y as usize * width as usize + x as usize;
    // How far a pixel's center is from the frame's line: inside, the lines beside it, or neither.
    let color = |x: u32, y: u32| {
        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let beyond = (left - x).max(x - right).max(top - y).max(y - bottom);
        match beyond.abs() {
            near if near <= thick / 2.0 => Some(COLOR),
            near if near <= thick / 2.0 + thick => Some([0; 3]),
            _ => None,
        }
    };
    let reach = 2.0 * thick;
    let inside = |from: f64, to: f64, side: u32| {
        let bound = |at: f64| at.clamp(0.0, f64::from(side)) as u32;
        bound(from - reach)..bound(to + reach)
    };
    for y in inside(top, bottom, height) {
        for x in inside(left, right, width) {
            if let Some(color) = color(x, y) {
                rgb[3 * place(x, y)..][..3].copy_from_slice(&color);
                if let Some(alpha) = &mut alpha {
                    alpha[place(x, y)] = u8::MAX;
                }
            }
        }
    }
    Ok(Photo::from_rgb8(width, height, rgb)?.with_alpha(alpha))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_white_between_black_lines() {
        let gray = Photo::from_rgb8(10, 10, vec![90; 300]).unwrap();
        let framed = frame(&gray, [3.5, 3.5, 20.0, 7.5]).unwrap();
        let row =
            |y: usize| -> Vec<u8> { (0..10).map(|x| framed.rgb()[3 * (10 * y + x)]).collect() };
        assert_eq!(row(3), [90, 90, 0, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(row(5), [90, 90, 0, 255, 0, 90, 90, 90, 90, 90]);
        assert_eq!(row(0), [90; 10]);
    }
}
