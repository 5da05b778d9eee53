//! Files in: every mode, every orientation, and bytes that are no picture.

use gradcam_image::{ImageErrorKind, Limits, Photo};
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
    let rows: Vec<Value> = serde_json::from_slice(&bytes("modes.json")).unwrap();
    assert!(rows.len() >= 13);
    for row in rows {
        let name = row["file"].as_str().unwrap();
        let hex = row["rgb"].as_str().unwrap();
        let rgb =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
        let side = |key: &str| row[key].as_u64().unwrap() as u32;
        let expected = Photo::from_rgb8(side("width"), side("height"), rgb.collect()).unwrap();
        let photo = decode(&bytes(&format!("modes/{name}"))).unwrap();
        let bound = if name.ends_with("jpeg") { 2 } else { 0 };
        assert!(
            difference(&photo, &expected) <= bound,
            "{name}: {:?} {:?}",
            photo.rgb(),
            expected.rgb()
        );
    }
}

#[test]
fn png_round_trip() {
    let photo = decode(&bytes("modes/rgba.png")).unwrap();
    assert_eq!(decode(&photo.to_png().unwrap()).unwrap(), photo);
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
            "not a JPEG, PNG or WebP picture",
        ),
        (
            "gif",
            b"GIF89a\x01\0\x01\0".to_vec(),
            Format,
            "not a JPEG, PNG or WebP picture (it looks like GIF)",
        ),
        ("empty", vec![], Format, "empty: 0 bytes"),
        ("cut png", png[..png.len() - 30].to_vec(), Damaged, "the picture is cut off or damaged: "),
        ("no width", bytes("bad/no_width.png"), Damaged, "the picture is cut off or damaged: "),
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
        // The decoders' own words follow after a colon.
        let same = if message.ends_with(": ") { got.starts_with(message) } else { got == message };
        assert!(same, "{name}: {got}");
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
        format!("{}: not a JPEG, PNG or WebP picture", path("modes.json"))
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
    for name in ["modes/rgb16.png", "modes/rgba.webp", "modes/progressive.jpeg", "exif/6.jpeg"] {
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
