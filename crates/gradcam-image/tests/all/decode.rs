//! Files in: every mode, every orientation, and bytes that are no picture.

use gradcam_image::{ImageErrorKind, Limits, Photo, PhotoFile};
use serde_json::Value;

fn path(name: &str) -> String {
    format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Photo, (ImageErrorKind, String)> {
    Photo::decode(bytes, &Limits::default()).map_err(|error| (error.kind(), error.to_string()))
}

/// How messages about broken pictures begin; the decoders' own words follow.
const CUT: &str = "the picture is cut off or damaged: ";

/// Largest difference of two photos of the same size.
fn difference(a: &Photo, b: &Photo) -> u8 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    a.rgb().iter().zip(b.rgb()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn eight_orientations_are_one_photo() {
    let upright = decode(&bytes("exif/upright.png")).unwrap();
    for kind in ["png", "webp", "jpeg"] {
        for orientation in 1..=8 {
            let photo = decode(&bytes(&format!("exif/{orientation}.{kind}"))).unwrap();
            // JPEG is not exact, but flat 8x8 blocks are nearly.
            let bound = if kind == "jpeg" { 2 } else { 0 };
            assert!(difference(&photo, &upright) <= bound, "{orientation}.{kind}");
        }
    }
}

#[test]
fn every_mode_becomes_rgb_as_in_pillow() {
    for (table, count) in [("modes", 13), ("formats", 14)] {
        let rows: Vec<Value> = serde_json::from_slice(&bytes(&format!("{table}.json"))).unwrap();
        assert!(rows.len() >= count);
        for row in rows {
            let name = row["file"].as_str().unwrap();
            let unhex = |key: &str| -> Option<Vec<u8>> {
                let hex = row[key].as_str()?;
                let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
                Some((0..hex.len()).step_by(2).map(byte).collect())
            };
            let side = |key: &str| row[key].as_u64().unwrap() as u32;
            let rgb = unhex("rgb").unwrap();
            let expected = Photo::from_rgb8(side("width"), side("height"), rgb).unwrap();
            let photo = decode(&bytes(&format!("{table}/{name}"))).unwrap();
            let bound = if name.ends_with("jpeg") { 2 } else { 0 };
            assert!(
                difference(&photo, &expected) <= bound,
                "{name}: {:?} {:?}",
                photo.rgb(),
                expected.rgb()
            );
            if table == "formats" {
                assert_eq!(photo.alpha(), unhex("alpha").as_deref(), "{name}");
            }
        }
    }
}

#[test]
fn png_round_trip() {
    let photo = decode(&bytes("modes/rgba.png")).unwrap();
    assert_eq!(decode(&photo.to_png().unwrap()).unwrap().rgb(), photo.rgb());
    let two = Photo::from_rgb8(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!(decode(&two.to_png().unwrap()).unwrap(), two);
    let one = Photo::from_rgb8(1, 1, vec![1, 2, 3]).unwrap();
    let error = decode(&one.to_png().unwrap()).unwrap_err();
    assert_eq!(error.0, ImageErrorKind::Invalid);
}

#[test]
fn what_is_no_picture_is_refused_by_name() {
    use ImageErrorKind::{Damaged, Format, TooLarge};
    let mut huge_jpeg = bytes("modes/progressive.jpeg");
    let frame = huge_jpeg.windows(2).position(|w| w == [0xFF, 0xC2]).unwrap();
    huge_jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    let png = bytes("modes/rgb16.png");
    for (name, bytes, kind, message) in [
        (
            "text",
            b"I am a text file named .jpg".to_vec(),
            Format,
            "not a JPEG, PNG, WebP, TIFF, BMP or GIF picture",
        ),
        (
            "icon",
            b"\0\0\x01\0\x01\0\x10\x10".to_vec(),
            Format,
            "not a JPEG, PNG, WebP, TIFF, BMP or GIF picture (it looks like ICO)",
        ),
        ("cut gif", bytes("formats/palette.gif")[..60].to_vec(), Damaged, CUT),
        ("cut bmp", bytes("formats/rgb.bmp")[..90].to_vec(), Damaged, CUT),
        ("cut tiff", bytes("formats/rgb.tiff")[..150].to_vec(), Damaged, CUT),
        ("empty", vec![], Format, "empty: 0 bytes"),
        ("cut png", png[..png.len() - 30].to_vec(), Damaged, CUT),
        ("no width", bytes("bad/no_width.png"), Damaged, CUT),
        (
            "png bomb",
            bytes("bad/bomb_50000x50000.png"),
            TooLarge,
            "the picture claims 50000x50000 pixels; the limit is 178956970 pixels",
        ),
        (
            "webp bomb",
            bytes("bad/bomb_16383x16383.webp"),
            TooLarge,
            "the picture claims 16383x16383 pixels; the limit is 178956970 pixels",
        ),
        (
            "jpeg bomb",
            huge_jpeg,
            TooLarge,
            "the picture claims 65500x65500 pixels; the limit is 178956970 pixels",
        ),
    ] {
        let (got_kind, got) = decode(&bytes).unwrap_err();
        assert_eq!(got_kind, kind, "{name}: {got}");
        let same = if message.ends_with(": ") { got.starts_with(message) } else { got == message };
        assert!(same, "{name}: {got}");
    }
}

/// A file of another kind that is given for a picture, and its name.
#[test]
fn pictures_that_are_not_decoded_are_named() {
    let boxed = |brands: &[u8]| [b"\0\0\0\x1cftyp", brands, b"\0\0\0\x08meta"].concat();
    let dicom = [vec![0; 128], b"DICM".to_vec()].concat();
    for (bytes, name) in [
        (boxed(b"heic\0\0\0\0mif1heic"), "a HEIC picture"),
        (boxed(b"mif1\0\0\0\0mif1heic"), "a HEIC picture"),
        (boxed(b"avif\0\0\0\0avifmif1"), "an AVIF picture"),
        (boxed(b"mif1\0\0\0\0mif1avif"), "an AVIF picture"),
        (boxed(b"isom\0\0\x02\0isomavc1"), "a film"),
        (b"\xff\x0a\0\0\0".to_vec(), "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n".to_vec(), "a JPEG 2000 picture"),
        (b"%PDF-1.7".to_vec(), "a PDF document"),
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\">".to_vec(), "a drawing (SVG)"),
        (b"<?xml version=\"1.0\"?>\n<svg>".to_vec(), "a drawing (SVG)"),
        (b"8BPS\0\x01".to_vec(), "a Photoshop document"),
        (dicom, "a DICOM picture"),
        (b"\n<!DOCTYPE HTML>".to_vec(), "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "a pointer of Git LFS"),
    ] {
        let (kind, message) = decode(&bytes).unwrap_err();
        assert_eq!(kind, ImageErrorKind::Format, "{message}");
        let start = format!("{name}, which cannot be decoded; ");
        assert!(message.starts_with(&start), "{message}; expected {start}");
    }
}

/// What the header tells of the memory that decoding takes covers at least the pixels.
#[test]
fn memory_is_known_before_pixels_are_decoded() {
    for (name, bytes_of_a_pixel) in [
        ("modes/grey.png", 4),
        ("modes/rgba.png", 8),
        ("modes/rgb16.png", 9),
        ("modes/progressive.jpeg", 9),
        ("exif/1.jpeg", 3),
        ("exif/6.jpeg", 6),
        ("formats/rgb.bmp", 3),
        ("formats/moving.gif", 8),
    ] {
        let bytes = bytes(name);
        let file = PhotoFile::new(&bytes, &Limits::default()).unwrap();
        let (width, height) = file.size();
        let pixels = u64::from(width) * u64::from(height);
        assert_eq!(file.memory(), pixels * bytes_of_a_pixel, "{name}");
    }
}

#[test]
fn limits_are_the_callers() {
    let png = bytes("exif/upright.png"); // 24x16
    let pixels = |max_pixels| Photo::decode(&png, &Limits { max_pixels, ..Limits::default() });
    assert!(pixels(24 * 16).is_ok());
    let message = "the picture claims 24x16 pixels; the limit is 383 pixels";
    assert_eq!(pixels(383).unwrap_err().to_string(), message);
    let few = Limits { max_bytes: 20, ..Limits::default() };
    let message = format!("{}: longer than the limit of 20 bytes", path("exif/upright.png"));
    assert_eq!(Photo::open(path("exif/upright.png"), &few).unwrap_err().to_string(), message);
}

#[test]
fn files_are_named_in_errors() {
    let missing = Photo::open("no/such.png", &Limits::default()).unwrap_err();
    assert_eq!(missing.kind(), ImageErrorKind::Read);
    assert_eq!(missing.to_string(), "no/such.png: no such file");
    let table = Photo::open(path("modes.json"), &Limits::default()).unwrap_err();
    assert_eq!(
        table.to_string(),
        format!("{}: not a JPEG, PNG, WebP, TIFF, BMP or GIF picture", path("modes.json"))
    );
}

/// A picture that is cut anywhere is an error or, where only trailing bytes are lost, the same picture.
#[test]
fn no_cut_picture_is_half_a_picture() {
    for name in [
        "modes/rgb16.png",
        "modes/palette.png",
        "modes/rgba.webp",
        "modes/progressive.jpeg",
        "modes/grey.jpeg",
        "modes/cmyk.jpeg",
        "exif/6.webp",
        "exif/6.png",
        "exif/6.jpeg",
        "formats/palette.gif",
        "formats/rgb.bmp",
        "formats/palette.bmp",
        "formats/rgb.tiff",
        "formats/lzw.tiff",
        "formats/deflate.tiff",
    ] {
        let whole = bytes(name);
        let photo = decode(&whole).unwrap();
        for end in 0..whole.len() {
            if let Ok(cut) = decode(&whole[..end]) {
                assert!(end * 10 > whole.len() * 8 && cut == photo, "{name} cut at {end}");
            }
        }
    }
}

/// One wrong byte anywhere is an error or a picture, never the end of the process.
#[test]
fn no_wrong_byte_ends_the_process() {
    let limits = Limits { max_pixels: 1 << 20, ..Limits::default() };
    let mut decoded = 0;
    for name in [
        "modes/rgb16.png",
        "modes/rgba.webp",
        "modes/progressive.jpeg",
        "exif/6.jpeg",
        "formats/moving.gif",
        "formats/palette.bmp",
        "formats/lzw.tiff",
    ] {
        let whole = bytes(name);
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xA5;
            decoded += usize::from(Photo::decode(&broken, &limits).is_ok());
        }
    }
    assert!(
        decoded > 0,
        "some bytes, such as those of a quantisation table, only change the picture"
    );
}
