//! Decodes untrusted bytes to upright 8-bit RGB.

mod format;

use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, GrayImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader,
    RgbImage,
};

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
    /// The opacity of each pixel; none where all are opaque.
    alpha: Option<Vec<u8>>,
}

impl std::fmt::Debug for Photo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Photo({}x{})", self.width, self.height)
    }
}

impl Photo {
    /// Reads and decodes a picture file, whatever its extension is.
    ///
    /// # Errors
    ///
    /// As [`Photo::decode`], and [`ImageErrorKind::Read`]; the message starts with the path.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, ImageError> {
        let path = path.as_ref();
        let bytes = files::read(&files::Disk, path, limits.max_bytes)?;
        Self::decode(&bytes, limits).map_err(|error| error.in_file(path.display()))
    }

    /// Decodes a JPEG, PNG, WebP, TIFF, BMP or GIF picture, of several frames or pages the first, and applies its
    /// orientation.
    ///
    /// Every picture becomes RGB as with Pillow's `convert("RGB")`: palettes and gray are expanded, alpha
    /// is kept beside ([`Photo::alpha`], not blended), 16-bit samples keep their high byte. Only 16-bit gray differs: Pillow
    /// clips it to white above 255; here it keeps its high byte too.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::Format`] for other bytes, [`ImageErrorKind::TooLarge`] above the limits,
    /// [`ImageErrorKind::Damaged`] for a picture that is truncated or broken, even if a decoder would fill the rest with
    /// gray, because the explanation would look like one of the photo.
    /// [`ImageErrorKind::Invalid`] for a picture of one pixel, in which a map cannot show positions.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, ImageError> {
        PhotoFile::new(bytes, limits)?.decode()
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
        Ok(Self { width, height, rgb, alpha: None })
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

    /// The opacity of each pixel in row-major order, 255 for opaque; `None` where all pixels are.
    pub fn alpha(&self) -> Option<&[u8]> {
        self.alpha.as_deref()
    }

    /// The photo with another opacity, of as many pixels.
    pub(super) fn with_alpha(self, alpha: Option<Vec<u8>>) -> Self {
        Self { alpha, ..self }
    }

    /// Encodes the photo as a PNG file, with its alpha where it has one.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::TooLarge`] if the encoder refuses the size.
    pub fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let interleaved: Vec<u8>;
        let (pixels, color) = match &self.alpha {
            None => (&self.rgb, image::ExtendedColorType::Rgb8),
            Some(alpha) => {
                let pixels = self.rgb.chunks_exact(3).zip(alpha);
                interleaved = pixels.flat_map(|(p, alpha)| [p[0], p[1], p[2], *alpha]).collect();
                (&interleaved, image::ExtendedColorType::Rgba8)
            }
        };
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(pixels, self.width, self.height, color)
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
        Self { width: self.width, height: self.height, rgb, alpha: self.alpha.clone() }
    }
}

/// A picture whose header is read and whose pixels are not.
pub struct PhotoFile<'a> {
    bytes: &'a [u8],
    format: ImageFormat,
    decoder: Box<dyn ImageDecoder + 'a>,
    orientation: Orientation,
}

impl std::fmt::Debug for PhotoFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.size();
        write!(f, "PhotoFile({:?} {width}x{height})", self.format)
    }
}

impl<'a> PhotoFile<'a> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// As [`Photo::decode`], for what the header tells.
    pub fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, ImageError> {
        caught(|| Self::read(bytes, limits))
    }

    fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, ImageError> {
        if bytes.len() as u64 > limits.max_bytes {
            let message =
                format!("{} bytes, but the limit is {} bytes", bytes.len(), limits.max_bytes);
            return Err(ImageError::new(ImageErrorKind::TooLarge, message));
        }
        let format = format::of(bytes)?;
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
        if format::is_cut(format, bytes) {
            return Err(damaged("the data ends early"));
        }
        // A broken EXIF block is ignored, because the pixels are still valid.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok(Self { bytes, format, decoder: Box::new(decoder), orientation })
    }

    /// Width and height as they are stored, before the orientation is applied.
    pub fn size(&self) -> (u32, u32) {
        self.decoder.dimensions()
    }

    /// The bytes of the photo when it is decoded.
    pub fn photo_memory(&self) -> u64 {
        let (width, height) = self.size();
        let alpha = u64::from(self.decoder.color_type().has_alpha());
        u64::from(width) * u64::from(height) * (3 + alpha)
    }

    /// The most bytes that are held at once while the picture is decoded, the file not counted.
    pub fn memory(&self) -> u64 {
        let (width, height) = self.size();
        let pixels = u64::from(width) * u64::from(height);
        let color = self.decoder.color_type();
        // The bytes of a pixel that the decoder holds beside the result: coefficients, planes, or the screen of a film.
        let inside = match self.format {
            ImageFormat::Jpeg if format::is_progressive(self.bytes) => 6,
            ImageFormat::WebP | ImageFormat::Gif => 4,
            _ => 0,
        };
        let converted = if color == ColorType::Rgb8 { 0 } else { 3 };
        let alpha = u64::from(color.has_alpha());
        let turned = match self.orientation {
            Orientation::NoTransforms => 0,
            _ => 3 + alpha,
        };
        let decoded = u64::from(color.bytes_per_pixel());
        pixels * (decoded + inside).max(decoded + converted + alpha).max(3 + alpha + turned)
    }

    /// Decodes the pixels.
    ///
    /// # Errors
    ///
    /// As [`Photo::decode`].
    pub fn decode(self) -> Result<Photo, ImageError> {
        caught(|| {
            let decoded = DynamicImage::from_decoder(self.decoder).map_err(undecodable)?;
            if matches!(decoded, DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_)) {
                let message = "a picture of floats, whose range is not known; save it with 8 or 16 bits, or as a .npy \
                               file that is ready for the network";
                return Err(ImageError::new(ImageErrorKind::Format, message));
            }
            let upright = |mut picture: DynamicImage| {
                picture.apply_orientation(self.orientation);
                picture
            };
            let alpha = alpha(&decoded).map(|alpha| upright(alpha.into()).into_luma8().into_raw());
            let rgb = upright(to_rgb8(decoded).into()).into_rgb8();
            let photo = Photo::from_rgb8(rgb.width(), rgb.height(), rgb.into_raw())?;
            Ok(photo.with_alpha(alpha))
        })
    }
}

/// The decoders are third-party parsers of untrusted bytes. A panic in one of them must not end a process that explains
/// thousands of photos.
fn caught<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(damaged("its decoder panicked")))
}

/// The opacity of a picture of 8 or 16 bits; `None` where all of it is opaque.
fn alpha(decoded: &DynamicImage) -> Option<GrayImage> {
    let last = |samples: &[u8], count: usize| {
        samples.iter().skip(count - 1).step_by(count).copied().collect()
    };
    let high = |samples: &[u16], count: usize| {
        samples.iter().skip(count - 1).step_by(count).map(|v| v.to_be_bytes()[0]).collect()
    };
    let alpha: Vec<u8> = match decoded {
        DynamicImage::ImageLumaA8(picture) => last(picture, 2),
        DynamicImage::ImageRgba8(picture) => last(picture, 4),
        DynamicImage::ImageLumaA16(picture) => high(picture, 2),
        DynamicImage::ImageRgba16(picture) => high(picture, 4),
        _ => return None,
    };
    let opaque = alpha.iter().all(|alpha| *alpha == u8::MAX);
    GrayImage::from_raw(decoded.width(), decoded.height(), alpha).filter(|_| !opaque)
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

fn damaged(why: &str) -> ImageError {
    ImageError::new(ImageErrorKind::Damaged, format!("the picture is cut off or damaged: {why}"))
}

fn undecodable(error: image::ImageError) -> ImageError {
    match error {
        image::ImageError::Unsupported(_) => {
            let message = format!("a form of picture that is not decoded: {error}; save it as PNG");
            ImageError::new(ImageErrorKind::Format, message).caused_by(error)
        }
        _ => damaged(&error.to_string()).caused_by(error),
    }
}
