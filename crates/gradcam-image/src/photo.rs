//! Photos: hostile bytes in, upright 8-bit RGB out.

use std::io::Cursor;
use std::panic;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, RgbImage};

use super::{ImageError, ImageErrorKind, files};

/// What a picture may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels of a decoded picture, checked against its header before anything is allocated.
    /// The default is 178,956,970, where Pillow's `DecompressionBombError` starts.
    pub max_pixels: u64,
    /// Most bytes of a file. The default is 512 MiB.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 178_956_970, max_bytes: 512 << 20 }
    }
}

/// A decoded picture: 8-bit RGB, row by row, the way up that its EXIF orientation says.
#[derive(Clone, PartialEq, Eq)]
pub struct Photo {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl std::fmt::Debug for Photo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Photo({}x{})", self.width, self.height)
    }
}

impl Photo {
    /// Reads and decodes a JPEG, PNG or WebP file; the extension of its name is not looked at.
    ///
    /// # Errors
    ///
    /// As [`Photo::decode`], and [`ImageErrorKind::Read`]; the message starts with the path.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, ImageError> {
        let path = path.as_ref();
        let bytes = files::read(path, limits.max_bytes)?;
        Self::decode(&bytes, limits).map_err(|error| error.in_file(path.display()))
    }

    /// Decodes a JPEG, PNG or WebP picture and turns it upright (EXIF orientation).
    ///
    /// Every picture becomes RGB as with Pillow's `convert("RGB")`: palettes and grey are expanded, alpha
    /// is dropped (not blended), 16-bit samples keep their high byte. The one difference is 16-bit grey,
    /// which Pillow clips to white above 255 and which keeps its high byte here like all others.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::Format`] for other bytes, [`ImageErrorKind::TooLarge`] above the limits,
    /// [`ImageErrorKind::Damaged`] for a picture that is cut off or broken, even where a decoder could
    /// fill the rest with grey: an explanation of grey filling would look like one of the photo.
    /// [`ImageErrorKind::Invalid`] for a picture of one pixel, which has no places to tell apart.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, ImageError> {
        // The decoders are third-party parsers of hostile bytes; a panic in one of them must not end a
        // process that explains thousands of photos.
        panic::catch_unwind(|| decode(bytes, limits))
            .unwrap_or_else(|_| Err(damaged("its decoder gave up")))
    }

    /// A photo from raw pixels, `rgb.len() == 3 * width * height`, row by row.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::Invalid`] if a side is 0 or the length does not fit.
    pub fn from_rgb8(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            let message = format!("a picture of {width}x{height} pixels has nothing to look at");
            return Err(ImageError::new(ImageErrorKind::Invalid, message));
        }
        let expected = u64::from(width) * u64::from(height) * 3;
        if rgb.len() as u64 != expected {
            let message = format!(
                "{width}x{height} RGB pixels are {expected} bytes, but {} were given",
                rgb.len()
            );
            return Err(ImageError::new(ImageErrorKind::Invalid, message));
        }
        Ok(Self { width, height, rgb })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels: 3 bytes (red, green, blue) each, row by row, no padding.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The photo as the bytes of a PNG file.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::TooLarge`] if the encoder refuses the size.
    pub fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(&self.rgb, self.width, self.height, image::ExtendedColorType::Rgb8)
            .map_err(|error| {
                let message = format!("cannot be written as PNG: {error}");
                ImageError::new(ImageErrorKind::TooLarge, message).caused_by(error)
            })?;
        Ok(bytes)
    }

    /// The photo in shades of grey (all three channels alike), as Pillow's `convert("L")`:
    /// ITU-R 601-2 luma in 16-bit fixed point.
    pub(super) fn to_grey(&self) -> Self {
        let grey = |p: &[u8]| {
            let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
            let luma = (r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16;
            [luma.min(255) as u8; 3]
        };
        let rgb = self.rgb.chunks_exact(3).flat_map(grey).collect();
        Self { width: self.width, height: self.height, rgb }
    }
}

fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::new(ImageErrorKind::Format, "empty: 0 bytes"));
    }
    if bytes.len() as u64 > limits.max_bytes {
        let message = format!("{} bytes, but the limit is {} bytes", bytes.len(), limits.max_bytes);
        return Err(ImageError::new(ImageErrorKind::TooLarge, message));
    }
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) => format,
        Ok(other) => {
            let name = other.extensions_str().first().unwrap_or(&"another format").to_uppercase();
            let message = format!("not a JPEG, PNG or WebP picture (it looks like {name})");
            return Err(ImageError::new(ImageErrorKind::Format, message));
        }
        Err(_) => {
            return Err(ImageError::new(ImageErrorKind::Format, "not a JPEG, PNG or WebP picture"));
        }
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.no_limits(); // ours, below, come before the first allocation of pixels
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(damaged(&format!("it claims {width}x{height} pixels")));
    }
    if pixels == 1 {
        let message = "the picture is a single pixel; a map shows where in a picture something is, \
                       so it needs at least two";
        return Err(ImageError::new(ImageErrorKind::Invalid, message));
    }
    if pixels > limits.max_pixels {
        let message = format!(
            "the picture claims {width}x{height} pixels; the limit is {} pixels",
            limits.max_pixels
        );
        return Err(ImageError::new(ImageErrorKind::TooLarge, message));
    }
    let cut = match format {
        ImageFormat::Jpeg => jpeg_is_cut(bytes),
        ImageFormat::WebP => webp_is_cut(bytes),
        _ => false, // every chunk of a PNG has its length and checksum, and the decoder minds them
    };
    if cut {
        return Err(damaged("the data ends early"));
    }
    // A broken EXIF block does not make the pixels worthless.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    let mut upright = DynamicImage::ImageRgb8(to_rgb8(decoded));
    upright.apply_orientation(orientation);
    let upright = upright.into_rgb8();
    Photo::from_rgb8(upright.width(), upright.height(), upright.into_raw())
}

/// 16-bit samples by their high byte (what Pillow's `RGB;16B` reader does), not by rounding as `image` does.
fn to_rgb8(decoded: DynamicImage) -> RgbImage {
    let (width, height) = (decoded.width(), decoded.height());
    let high = |sample: u16| sample.to_be_bytes()[0];
    let rgb: Vec<u8> = match &decoded {
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|v| [high(*v); 3]).collect(),
        DynamicImage::ImageLumaA16(grey) => {
            grey.chunks_exact(2).flat_map(|p| [high(p[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|v| high(*v)).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.chunks_exact(4).flat_map(|p| [high(p[0]), high(p[1]), high(p[2])]).collect()
        }
        _ => return decoded.into_rgb8(),
    };
    RgbImage::from_raw(width, height, rgb).unwrap_or_else(|| decoded.into_rgb8())
}

/// Whether the bytes end before the end-of-image marker of a JPEG, where libjpeg (and so Pillow) reports a
/// truncated file and zune-jpeg fills the rest with grey. Anything else that is odd is left to the decoder.
fn jpeg_is_cut(bytes: &[u8]) -> bool {
    let mut at = 2; // behind the start-of-image marker
    loop {
        // The next marker: 0xFF and then neither 0x00 (a stuffed data byte), 0xFF (a fill byte), nor a restart.
        let Some(offset) = bytes.get(at..).and_then(|rest| {
            rest.windows(2)
                .position(|w| w[0] == 0xFF && !matches!(w[1], 0x00 | 0x01 | 0xFF | 0xD0..=0xD7))
        }) else {
            return true;
        };
        at += offset;
        if bytes[at + 1] == 0xD9 {
            return false;
        }
        match bytes.get(at + 2..at + 4) {
            Some(length) => at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])),
            None => return true,
        }
    }
}

/// Whether the bytes end before the length in the RIFF header; EXIF, and with it the orientation, comes last.
fn webp_is_cut(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|length| <[u8; 4]>::try_from(length).ok());
    length.is_none_or(|length| (bytes.len() as u64) < 8 + u64::from(u32::from_le_bytes(length)))
}

fn damaged(why: &str) -> ImageError {
    ImageError::new(ImageErrorKind::Damaged, format!("the picture is cut off or damaged: {why}"))
}

fn undecodable(error: image::ImageError) -> ImageError {
    damaged(&error.to_string()).caused_by(error)
}
