//! What each color of a picture of concepts stands for.

use gradcam::{ComponentSummary, image::Photo};

use super::report::{amount, percent};
use crate::{
    compare::text::{Font, Kept},
    explain::report::label,
    failure::Result,
};

/// The distance of two lines, over their size.
const LEADING: f64 = 1.3;
/// The distance of two concepts, over the size of a line.
const GAP: f64 = 0.6;
/// The least and the largest size of a line, in pixels, and its usual share of the picture's height.
const SIZES: [f64; 2] = [11.0, 64.0];
const SHARE: f64 = 1.0 / 26.0;
/// The widest text, over the size of a line.
const WIDEST: f64 = 18.0;

/// A picture with its concepts to the right: color, share and classes. It is higher than the picture where they need more room.
pub(super) fn beside(picture: &Photo, components: &[ComponentSummary<'_>]) -> Result<Photo> {
    let font = Font::new(1.0)?;
    let texts: Vec<Vec<String>> = components.iter().map(lines).collect();
    let count: usize = texts.iter().map(Vec::len).sum();
    // The height of all, over the size of a line.
    let all = count as f64 * LEADING + (texts.len() as f64 + 1.0) * GAP;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let size = (height as f64 / all).min(height as f64 * SHARE).clamp(SIZES[0], SIZES[1]);
    let shortened = |line: &String| {
        font.lines(line, size, WIDEST * size, 1, Kept::Start).pop().unwrap_or_default()
    };
    let texts: Vec<Vec<String>> =
        texts.iter().map(|lines| lines.iter().map(shortened).collect()).collect();
    let widest = texts.iter().flatten().map(|line| font.width(line, size)).fold(0.0, f64::max);
    let (swatch, gap) = (size.round() as usize, GAP * size);
    let swatch_left = width + gap.round() as usize;
    let text_left = swatch_left as f64 + swatch as f64 + gap;
    let columns = (text_left + widest + gap).ceil() as usize;
    let rows = height.max((all * size).ceil() as usize);
    let mut rgb = vec![255; 3 * columns * rows];
    let picture_lines = picture.rgb().chunks_exact(3 * width);
    for (to, from) in rgb.chunks_exact_mut(3 * columns).zip(picture_lines) {
        to[..3 * width].copy_from_slice(from);
    }
    let mut y = gap;
    for (component, lines) in components.iter().zip(&texts) {
        let top = (y + 0.15 * size).round() as usize;
        for row in rgb.chunks_exact_mut(3 * columns).skip(top).take(swatch) {
            for pixel in row[3 * swatch_left..][..3 * swatch].chunks_exact_mut(3) {
                pixel.copy_from_slice(&component.color);
            }
        }
        for line in lines {
            font.write(&mut rgb, columns, line, (size, 0), (text_left, (y + size).round()));
            y += LEADING * size;
        }
        y += gap;
    }
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    Ok(Photo::from_rgb8(side(columns), side(rows), rgb)?)
}

/// The share of a concept, and its classes.
fn lines(component: &ComponentSummary<'_>) -> Vec<String> {
    let classes = component.classes.iter().map(|class| {
        let label = label(class);
        let name = label.split(',').next().filter(|name| !name.is_empty());
        let name = name.map_or_else(|| format!("class {}", class.index), str::to_owned);
        format!("{name} {}", amount(class))
    });
    [percent(component.share)].into_iter().chain(classes).collect()
}
