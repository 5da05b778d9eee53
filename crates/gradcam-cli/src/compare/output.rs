//! A sheet as the bytes of a file.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gradcam::image::{Filter, Limits, Photo, resize};

use super::{
    sheet::{PlacedPicture, PlacedText, Sheet},
    text::Font,
};
use crate::{
    failure::{Failure, Result, failed},
    xml::escaped,
};

/// The size of a sheet in pixels.
///
/// # Errors
/// If it has more than a picture may have.
pub(super) fn pixels(sheet: &Sheet, dpi: u32) -> Result<(u32, u32)> {
    let side = |points: f64| (points * f64::from(dpi) / 72.0).ceil() as u32;
    let (width, height) = (side(sheet.width), side(sheet.height));
    let most = Limits::default().max_pixels;
    if u64::from(width) * u64::from(height) > most {
        return Err(Failure::Usage(format!(
            "the sheet would have {width}x{height} pixels, more than {most}; give fewer images, or smaller --dpi and --cell"
        )));
    }
    Ok((width, height))
}

/// A sheet as PNG, which holds its resolution.
pub(super) fn png(sheet: &Sheet, font: &Font, dpi: u32) -> Result<Vec<u8>> {
    let (width, height) = pixels(sheet, dpi)?;
    let (columns, rows) = (width as usize, height as usize);
    let scale = f64::from(dpi) / 72.0;
    let mut rgb = vec![255; 3 * columns * rows];
    for PlacedPicture { picture, x, y, width, height } in &sheet.pictures {
        let [left, top] = [x, y].map(|at| (at * scale).round() as usize);
        let [right, bottom] = [x + width, y + height].map(|at| (at * scale).round() as usize);
        let side = |from: usize, to: usize| u32::try_from(to - from).unwrap_or(1).max(1);
        let drawn = resize(picture, side(left, right), side(top, bottom), Filter::Bicubic)?;
        let length = 3 * drawn.width() as usize;
        for (line, y) in drawn.rgb().chunks_exact(length).zip(top..rows) {
            rgb[3 * (y * columns + left)..][..length].copy_from_slice(line);
        }
    }
    for PlacedText { text, size, gray, x, y, is_centered } in &sheet.texts {
        let left = if *is_centered { x - font.width(text, *size) / 2.0 } else { *x };
        let place = (left * scale, (y * scale).round());
        font.write(&mut rgb, columns, text, (size * scale, *gray), place);
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let per_meter = (f64::from(dpi) / 0.0254).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: per_meter,
        yppu: per_meter,
        unit: png::Unit::Meter,
    }));
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&rgb)?;
        writer.finish()
    });
    written.map_err(failed)?;
    Ok(bytes)
}

/// A sheet as SVG: text as text, and the pictures inside.
pub(super) fn svg(sheet: &Sheet) -> Result<Vec<u8>> {
    let Sheet { width, height, .. } = sheet;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.2}pt\" height=\"{height:.2}pt\" \
         viewBox=\"0 0 {width:.2} {height:.2}\" font-family=\"Roboto, Helvetica, Arial, sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    // Writing to a string cannot fail.
    for PlacedPicture { picture, x, y, width, height } in &sheet.pictures {
        let data = BASE64_STANDARD.encode(Photo::to_png(picture)?);
        let _ = writeln!(
            svg,
            "<image x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
             preserveAspectRatio=\"none\" href=\"data:image/png;base64,{data}\"/>"
        );
    }
    for PlacedText { text, size, gray, x, y, is_centered } in &sheet.texts {
        let anchor = if *is_centered { " text-anchor=\"middle\"" } else { "" };
        let _ = writeln!(
            svg,
            "<text x=\"{x:.2}\" y=\"{y:.2}\" font-size=\"{size}\"{anchor} fill=\"#{gray:02x}{gray:02x}{gray:02x}\">{}</text>",
            escaped(text)
        );
    }
    svg += "</svg>\n";
    Ok(svg.into_bytes())
}
