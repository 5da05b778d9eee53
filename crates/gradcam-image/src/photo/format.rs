//! The formats of pictures: those that are decoded, and what is said of others.

use image::ImageFormat;

use crate::{ImageError, ImageErrorKind};

/// The formats that are decoded.
const DECODED: [ImageFormat; 6] = [
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::WebP,
    ImageFormat::Tiff,
    ImageFormat::Bmp,
    ImageFormat::Gif,
];

/// Other files that are given for pictures: what each is, how its bytes tell, and what to do.
type Row = (&'static str, fn(&[u8]) -> bool, &'static str);

#[rustfmt::skip]
const OTHERS: &[Row] = &[
    ("an AVIF picture", |b| brand(b, &[b"avif", b"avis"]), "convert it, such as with `avifdec photo.avif photo.png`"),
    ("a HEIC picture", |b| brand(b, &[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]),
        "convert it, such as with `heif-convert photo.heic photo.jpg`, or let the phone save JPEG (\"most compatible\")"),
    ("a JPEG XL picture", |b| b.starts_with(b"\xff\x0a") || b.starts_with(b"\0\0\0\x0cJXL "), "convert it, such as with `djxl photo.jxl photo.png`"),
    ("a JPEG 2000 picture", |b| b.starts_with(b"\0\0\0\x0cjP  ") || b.starts_with(b"\xff\x4f\xff\x51"), "convert it to PNG"),
    ("a film", |b| brand(b, &[b"isom", b"iso2", b"mp41", b"mp42", b"qt  ", b"M4V "]) || b.starts_with(b"\x1aE\xdf\xa3"),
        "take pictures out of it, such as with `ffmpeg -i film.mp4 frame%05d.png`"),
    ("a PDF document", |b| b.starts_with(b"%PDF"), "save its pages as pictures, such as with `pdftoppm -png document.pdf page`"),
    ("a drawing (SVG)", |b| text(b).starts_with("<svg") || (text(b).starts_with("<?xml") && text(b).contains("<svg")), "save it as PNG"),
    ("a Photoshop document", |b| b.starts_with(b"8BPS"), "save it as PNG"),
    ("a DICOM picture", |b| b.get(128..132) == Some(b"DICM"), "save its pixels as PNG, or as a .npy file that is ready for the network"),
    ("a web page", |b| text(b).starts_with("<!doctype html") || text(b).starts_with("<html"), "the download went wrong: download the picture itself"),
    ("a pointer of Git LFS", |b| b.starts_with(b"version https://git-lfs"), "the picture was not downloaded: fetch it with `git lfs pull`"),
];

/// The format of a picture that is decoded.
///
/// # Errors
/// `Format` for everything else, with its name where it is known.
pub(super) fn of(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    let format = |message: String| ImageError::new(ImageErrorKind::Format, message);
    if bytes.is_empty() {
        return Err(format("empty: 0 bytes".to_owned()));
    }
    if let Some((name, _, advice)) = OTHERS.iter().find(|(_, fits, _)| fits(bytes)) {
        return Err(format(format!("{name}, which cannot be decoded; {advice}")));
    }
    let decoded = "not a JPEG, PNG, WebP, TIFF, BMP or GIF picture";
    match image::guess_format(bytes) {
        Ok(found) if DECODED.contains(&found) => Ok(found),
        Ok(other) => {
            let name = other.extensions_str().first().unwrap_or(&"another format").to_uppercase();
            Err(format(format!("{decoded} (it looks like {name})")))
        }
        Err(_) => Err(format(decoded.to_owned())),
    }
}

/// Whether a file of the ISO base media format is of one of these brands. AVIF may call itself by the brand of all such
/// pictures, and list its own.
fn brand(bytes: &[u8], brands: &[&[u8; 4]]) -> bool {
    let Some((b"ftyp", rest)) = bytes.get(4..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return false;
    };
    let of = |brand: &[u8]| brands.iter().any(|known| brand == *known);
    let mut all = rest.chunks_exact(4);
    let first = all.next().unwrap_or_default();
    of(first) || (matches!(first, b"mif1" | b"msf1") && all.skip(1).take(8).any(of))
}

/// The beginning as text in lower case.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]);
    text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase()
}

/// Whether the bytes end before the end of the picture where the decoder would not say so.
pub(super) fn is_cut(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => is_cut_jpeg(bytes),
        ImageFormat::WebP => is_cut_webp(bytes),
        _ => false, // These decoders check lengths themselves.
    }
}

/// Whether a JPEG ends before its end-of-image marker. Then libjpeg, and so Pillow, reports a truncated file, but zune-jpeg
/// fills the rest with gray. The decoder detects other faults.
fn is_cut_jpeg(bytes: &[u8]) -> bool {
    let mut cut = true;
    markers(bytes, |marker| {
        cut = marker != 0xD9;
        cut
    });
    cut
}

/// Whether a JPEG is progressive. Such a picture is held as coefficients too while it is decoded.
pub(super) fn is_progressive(bytes: &[u8]) -> bool {
    let mut progressive = false;
    markers(bytes, |marker| {
        progressive = matches!(marker, 0xC2 | 0xC6);
        // The frame comes before the scans.
        !progressive && marker != 0xDA
    });
    progressive
}

/// Calls `each` with the markers of a JPEG behind its beginning, as long as it wants more.
fn markers(bytes: &[u8], mut each: impl FnMut(u8) -> bool) {
    let mut at = 2; // after the start-of-image marker
    // A marker is 0xFF followed by a byte other than 0x00 (a stuffed data byte), 0xFF (a fill byte) or a restart.
    let is_marker = |w: &[u8]| w[0] == 0xFF && !matches!(w[1], 0x00 | 0x01 | 0xFF | 0xD0..=0xD7);
    while let Some(offset) = bytes.get(at..).and_then(|rest| rest.windows(2).position(is_marker)) {
        at += offset;
        if !each(bytes[at + 1]) {
            return;
        }
        match bytes.get(at + 2..at + 4) {
            Some(length) => at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])),
            None => return,
        }
    }
}

/// Whether the bytes end before the length in the RIFF header. EXIF, with the orientation, comes last.
fn is_cut_webp(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|length| <[u8; 4]>::try_from(length).ok());
    length.is_none_or(|length| (bytes.len() as u64) < 8 + u64::from(u32::from_le_bytes(length)))
}
