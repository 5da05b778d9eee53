//! Decodes untrusted bytes to upright 8-bit RGB.

use std::io::Cursor;
use std::panic;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, RgbImage};

use super::{ImageError, ImageErrorKind, files};

/// The limits above which a picture is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of pixels, checked against the header before pixels are allocated.
    /// The default is 178,956,970, above which Pillow raises `DecompressionBombError`.
    pub max_pixels: u64,
    /// The maximum length of a file in bytes. The default is 512 MiB.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 178_956_970, max_bytes: 512 << 20 }
    }
}

/// A decoded picture: 8-bit RGB in row-major order, upright by its EXIF orientation.
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
    /// Reads and decodes a JPEG, PNG or WebP file, whatever its extension is.
    ///
    /// # Errors
    ///
    /// As [`Photo::decode`], and [`ImageErrorKind::Read`]; the message starts with the path.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, ImageError> {
        let path = path.as_ref();
        let bytes = files::read(path, limits.max_bytes)?;
        Self::decode(&bytes, limits).map_err(|error| error.in_file(path.display()))
    }

    /// Decodes a JPEG, PNG or WebP picture and applies its EXIF orientation.
    ///
    /// Every picture becomes RGB as with Pillow's `convert("RGB")`: palettes and gray are expanded, alpha
    /// is dropped (not blended), 16-bit samples keep their high byte. Only 16-bit gray differs: Pillow clips
    /// it to white above 255; here it keeps its high byte too.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::Format`] for other bytes, [`ImageErrorKind::TooLarge`] above the limits,
    /// [`ImageErrorKind::Damaged`] for a picture that is truncated or broken, even if a decoder would fill the rest with
    /// gray, because the explanation would look like one of the photo.
    /// [`ImageErrorKind::Invalid`] for a picture of one pixel, in which a map cannot show positions.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, ImageError> {
        // The decoders are third-party parsers of untrusted bytes. A panic in one of them must not end a process that
        // explains thousands of photos.
        panic::catch_unwind(|| decode(bytes, limits))
            .unwrap_or_else(|_| Err(damaged("its decoder panicked")))
    }

    /// Creates a photo from pixels in row-major order, `rgb.len() == 3 * width * height`.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::Invalid`] if a side is 0 or the length is wrong.
    pub fn from_rgb8(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            let message = format!("a picture of {width}x{height} pixels is empty");
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

    /// The pixels in row-major order without padding, 3 bytes each: red, green, blue.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Encodes the photo as a PNG file.
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

    /// The photo in gray, with three equal channels, as Pillow's `convert("L")`:
    /// ITU-R 601-2 luma in 16-bit fixed point.
    pub(super) fn to_gray(&self) -> Self {
        let gray = |p: &[u8]| {
            let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
            let luma = (r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16;
            [luma.min(255) as u8; 3]
        };
        let rgb = self.rgb.chunks_exact(3).flat_map(gray).collect();
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
    reader.no_limits(); // The limits below are checked before pixels are allocated.
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
        ImageFormat::Jpeg => is_truncated_jpeg(bytes),
        ImageFormat::WebP => is_truncated_webp(bytes),
        _ => false, // The decoder checks the length and the checksum of every PNG chunk.
    };
    if cut {
        return Err(damaged("the data ends early"));
    }
    // A broken EXIF block is ignored, because the pixels are still valid.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    let mut upright = DynamicImage::ImageRgb8(to_rgb8(decoded));
    upright.apply_orientation(orientation);
    let upright = upright.into_rgb8();
    Photo::from_rgb8(upright.width(), upright.height(), upright.into_raw())
}

/// Converts 16-bit samples to their high byte, as Pillow's `RGB;16B` reader does; `image` would round them.
fn to_rgb8(decoded: DynamicImage) -> RgbImage {
    let (width, height) = (decoded.width(), decoded.height());
    let high = |sample: u16| sample.to_be_bytes()[0];
    let rgb: Vec<u8> = match &decoded {
        DynamicImage::ImageLuma16(gray) => gray.iter().flat_map(|v| [high(*v); 3]).collect(),
        DynamicImage::ImageLumaA16(gray) => {
            gray.chunks_exact(2).flat_map(|p| [high(p[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|v| high(*v)).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.chunks_exact(4).flat_map(|p| [high(p[0]), high(p[1]), high(p[2])]).collect()
        }
        _ => return decoded.into_rgb8(),
    };
    RgbImage::from_raw(width, height, rgb).unwrap_or_else(|| decoded.into_rgb8())
}

/// Whether the bytes end before the end-of-image marker of a JPEG. Then libjpeg, and so Pillow, reports a truncated file, but
/// zune-jpeg fills the rest with gray. The decoder detects other faults.
fn is_truncated_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2; // after the start-of-image marker
    loop {
        // A marker is 0xFF followed by a byte other than 0x00 (a stuffed data byte), 0xFF (a fill byte) or a restart.
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

/// Whether the bytes end before the length in the RIFF header. EXIF, with the orientation, comes last.
fn is_truncated_webp(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|length| <[u8; 4]>::try_from(length).ok());
    length.is_none_or(|length| (bytes.len() as u64) < 8 + u64::from(u32::from_le_bytes(length)))
}

fn damaged(why: &str) -> ImageError {
    ImageError::new(ImageErrorKind::Damaged, format!("the picture is cut off or damaged: {why}"))
}

fn undecodable(error: image::ImageError) -> ImageError {
    damaged(&error.to_string()).caused_by(error)
}
