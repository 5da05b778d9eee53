//! Pixels and maps against Pillow, torchvision, PyTorch and pytorch-grad-cam.
//!
//! The references are made by `tools/make_image_references.py`.

use gradcam_image::preprocess::{Channels, Crop, CropRounding, Geometry, Layout, Resize};
use gradcam_image::{
    Colormap, Filter, Limits, OverlayKind, OverlayStyle, Photo, Placement, Preprocess, heatmap,
    overlay, resize, resize_map,
};
use std::num::NonZeroU32;

use ndarray::{Array2, ArrayD};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn table(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!rows.is_empty());
    rows
}

/// One of the pictures of the references: two shipped photos, or the picture that is made by formula.
fn photo(name: &str) -> Photo {
    if name == "synthetic 97x61" {
        return synthetic(97, 61);
    }
    let path = format!("{}/../gradcam-cli/assets/{name}.png", env!("CARGO_MANIFEST_DIR"));
    Photo::open(path, &Limits::default()).unwrap()
}

pub(crate) fn synthetic(width: u32, height: u32) -> Photo {
    let pixel =
        |x: u32, y: u32| [(7 * x + 3 * y) as u8, (x * x + 5 * y) as u8, (x * y % 251) as u8];
    let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    Photo::from_rgb8(width, height, rgb).unwrap()
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn size(value: &Value) -> (usize, usize) {
    let side = |i: usize| value[i].as_u64().unwrap() as usize;
    (side(0), side(1))
}

fn map(shape: &Value, values: &Value) -> Array2<f32> {
    Array2::from_shape_vec(size(shape), floats(values)).unwrap()
}

fn assert_close(name: &str, got: &Array2<f32>, expected: &[f32], bound: f32) {
    assert_eq!(got.len(), expected.len(), "{name}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= bound, "{name}: differs by {worst}, allowed {bound}");
}

/// Fails with all rows that failed.
fn assert_none(failed: &[String]) {
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn resizes_as_pillow_bit_for_bit() {
    let mut failed = Vec::new();
    for row in table("resize") {
        let filter: Filter = row["filter"].as_str().unwrap().parse().unwrap();
        let side = |key: &str| row[key].as_u64().unwrap() as u32;
        let photo = photo(row["photo"].as_str().unwrap());
        let resized = resize(&photo, side("width"), side("height"), filter).unwrap();
        assert_eq!((resized.width(), resized.height()), (side("width"), side("height")));
        if sha256(resized.rgb()) != row["sha256"].as_str().unwrap() {
            failed.push(row.to_string());
        }
    }
    assert_none(&failed);
}

#[test]
fn resizes_maps_as_pytorch() {
    for row in table("interpolate") {
        let (height, width) = size(&row["to"]);
        let resized = resize_map(map(&row["from"], &row["map"]).view(), height, width);
        assert_close(
            &format!("{} to {}", row["from"], row["to"]),
            &resized,
            &floats(&row["result"]),
            1e-6,
        );
    }
}

#[test]
fn heatmaps_as_pytorch_grad_cam() {
    for row in table("heatmap") {
        let maps: Vec<Array2<f32>> = row["maps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| map(&m["shape"], &m["values"]))
            .collect();
        let views: Vec<_> = maps.iter().map(|map| map.view()).collect();
        let got = heatmap(&views, size(&row["size"])).unwrap();
        assert_close(row["name"].as_str().unwrap(), &got, &floats(&row["result"]), 1e-6);
    }
}

#[test]
fn heatmap_by_hand() {
    // relu: 0 1 / 0 3; the minimum is 0 and the maximum 3, at layer size and again afterwards.
    let raw = ndarray::arr2(&[[-5.0, 1.0], [0.0, 3.0]]);
    let heat = heatmap(&[raw.view()], (2, 2)).unwrap();
    assert_close("by hand", &heat, &[0.0, 1.0 / 3.0, 0.0, 1.0], 2e-7);
}

#[test]
fn heatmap_refuses_what_has_no_heatmap() {
    let bad = ndarray::arr2(&[[0.0, f32::NAN]]);
    let empty = Array2::zeros((0, 3));
    for (maps, message) in [
        (
            vec![],
            "a heatmap is made of one map, or of several with a fusion; there are 0 and fusion mean",
        ),
        (vec![bad.view()], "a map contains NaN; its values must be finite"),
        (vec![empty.view()], "a map of shape [0, 3] is empty"),
    ] {
        assert_eq!(heatmap(&maps, (4, 4)).unwrap_err().to_string(), message);
    }
}

fn pipelines() -> Vec<(&'static str, Preprocess)> {
    use gradcam_image::preprocess::Channels;
    let imagenet = Preprocess {
        geometry: Geometry::center(224, 224, 0.875),
        filter: Filter::Bilinear,
        rescale: 1.0 / 255.0,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        layout: Layout::Nchw,
        channels: Channels::Rgb,
    };
    let half = Preprocess { mean: vec![0.5; 3], std: vec![0.5; 3], ..imagenet.clone() };
    let crop = |short, side| Geometry {
        resize: Resize::ShortSide { size: short, longest: None },
        crop: Some(Crop { width: side, height: side, rounding: CropRounding::Even }),
        fill: [0; 3],
    };
    vec![
        ("imagenet 224", imagenet.clone()),
        (
            "lite0 224",
            Preprocess {
                filter: Filter::Bicubic,
                rescale: 1.0,
                mean: vec![127.0; 3],
                std: vec![128.0; 3],
                ..imagenet.clone()
            },
        ),
        (
            "imagenet 27 of 32",
            Preprocess { geometry: crop(32, 27), filter: Filter::Bicubic, ..imagenet.clone() },
        ),
        ("squash 31x45", Preprocess { geometry: Geometry::squash(31, 45), ..half.clone() }),
        ("crop 120 of 64", Preprocess { geometry: crop(64, 120), ..half.clone() }),
        (
            "hugging face 25 of 32",
            Preprocess {
                geometry: Geometry {
                    crop: Some(Crop { width: 25, height: 25, rounding: CropRounding::Down }),
                    ..crop(32, 25)
                },
                ..half
            },
        ),
        (
            "bgr 48",
            Preprocess {
                geometry: crop(48, 48),
                rescale: 1.0,
                mean: vec![104.0, 117.0, 123.0],
                std: vec![1.0; 3],
                channels: Channels::Bgr,
                ..imagenet.clone()
            },
        ),
        (
            "grey 28",
            Preprocess {
                geometry: crop(28, 28),
                mean: vec![0.0],
                std: vec![1.0],
                channels: Channels::Gray,
                ..imagenet.clone()
            },
        ),
        (
            "border 64",
            Preprocess {
                geometry: Geometry::pad(64, 64, [124, 116, 104]),
                filter: Filter::Bicubic,
                ..imagenet
            },
        ),
    ]
}

#[test]
fn prepares_photos_as_torchvision_bit_for_bit() {
    let pipelines = pipelines();
    let mut failed = Vec::new();
    for row in table("apply") {
        let name = row["pipeline"].as_str().unwrap();
        let (_, preprocess) = pipelines.iter().find(|(known, _)| *known == name).unwrap();
        let (tensor, placement) = preprocess.apply(&photo(row["photo"].as_str().unwrap())).unwrap();
        let shape: Vec<u64> = tensor.shape()[1..].iter().map(|side| *side as u64).collect();
        assert_eq!(serde_json::json!(shape), row["shape"], "{row}");
        assert_eq!(u64::from(placement.network_width), shape[2], "{row}");
        let bytes: Vec<u8> = tensor.iter().flat_map(|value| value.to_le_bytes()).collect();
        if sha256(bytes) != row["sha256"].as_str().unwrap() {
            failed.push(format!("{row}: first {}", tensor[[0, 0, 0, 0]]));
        }
    }
    assert_none(&failed);
}

#[test]
fn resizes_alpha_as_pillow_bit_for_bit() {
    let path = format!("{}/tests/data/alpha.png", env!("CARGO_MANIFEST_DIR"));
    let photo = Photo::open(path, &Limits::default()).unwrap();
    let mut failed = Vec::new();
    for row in table("alpha") {
        let side = |key: &str| row[key].as_u64().unwrap() as u32;
        let channels = match row["mode"].as_str().unwrap() {
            "RGBA" => Channels::Rgba,
            _ => Channels::GrayAlpha,
        };
        let count = channels.count();
        let preprocess = Preprocess {
            geometry: Geometry::squash(side("width"), side("height")),
            filter: row["filter"].as_str().unwrap().parse().unwrap(),
            rescale: 1.0,
            mean: vec![0.0; count],
            std: vec![1.0; count],
            layout: Layout::Nhwc,
            channels,
        };
        let (tensor, _) = preprocess.apply(&photo).unwrap();
        let bytes: Vec<u8> = tensor.iter().map(|value| *value as u8).collect();
        if sha256(bytes) != row["sha256"].as_str().unwrap() {
            failed.push(row.to_string());
        }
    }
    assert_none(&failed);
    // A photo without alpha is opaque, and its borders are not.
    let geometry = Geometry::pad(4, 4, [7; 3]);
    let (mean, std) = (vec![0.0; 4], vec![1.0; 4]);
    let wide = Preprocess { geometry, mean, std, ..rgba() };
    let (tensor, _) = wide.apply(&synthetic(4, 2)).unwrap();
    let column: Vec<f32> = tensor.slice(ndarray::s![0, .., 1, 3]).to_vec();
    assert_eq!(column, [0.0, 255.0, 255.0, 0.0]);
}

fn rgba() -> Preprocess {
    let (layout, channels) = (Layout::Nhwc, Channels::Rgba);
    Preprocess { rescale: 1.0, layout, channels, ..pipelines()[0].1.clone() }
}

#[test]
fn nhwc_is_nchw_transposed() {
    for (name, nchw) in pipelines() {
        let nhwc = Preprocess { layout: Layout::Nhwc, ..nchw.clone() };
        let photo = synthetic(40, 30);
        let (first, _) = nchw.apply(&photo).unwrap();
        let (last, _) = nhwc.apply(&photo).unwrap();
        assert_eq!(first.permuted_axes([0, 2, 3, 1]), last, "{name}");
    }
}

/// A white square in a photo and the place of its centre, seen by each kind of geometry.
#[test]
fn placement_maps_the_photo_to_the_network_and_back() {
    let (width, height, at) = (400u32, 150u32, (180u32, 60u32));
    let mut rgb = vec![0; 3 * (width * height) as usize];
    for y in at.1..at.1 + 12 {
        let start = 3 * (y * width + at.0) as usize;
        rgb[start..start + 36].fill(255);
    }
    let photo = Photo::from_rgb8(width, height, rgb).unwrap();
    let template = &pipelines()[0].1;
    for geometry in [
        Geometry::center(64, 64, 0.875),
        Geometry::center(80, 48, 0.9),
        Geometry::squash(70, 50),
        Geometry::pad(96, 96, [0; 3]),
        Geometry { resize: Resize::None, ..Geometry::center(500, 100, 1.0) },
    ] {
        let plain =
            Preprocess { geometry, mean: vec![0.0; 3], std: vec![1.0; 3], ..template.clone() };
        let (tensor, placement) = plain.apply(&photo).unwrap();
        let plane = tensor.index_axis(ndarray::Axis(1), 0);
        let heat = plane.index_axis(ndarray::Axis(0), 0);
        // From the photo to the network: the centre of mass is where `to_network` says.
        let (mass, u, v) =
            heat.indexed_iter().fold((0.0, 0.0, 0.0), |(m, u, v), ((y, x), value)| {
                let value = f64::from(*value);
                (m + value, u + value * (x as f64 + 0.5), v + value * (y as f64 + 0.5))
            });
        let (expected_u, expected_v) =
            placement.to_network(f64::from(at.0 + 6), f64::from(at.1 + 6));
        assert!((u / mass - expected_u).abs() < 0.1, "{geometry:?}: {} {expected_u}", u / mass);
        assert!((v / mass - expected_v).abs() < 0.1, "{geometry:?}: {} {expected_v}", v / mass);
        // And back: the same picture as a heatmap lands on the square within one pixel of the photo.
        let grey = OverlayStyle { colormap: Colormap::Gray, alpha: 1.0, ..OverlayStyle::default() };
        let drawn = overlay(&photo, heat, &placement, &grey).unwrap();
        let mut sums = (0.0, 0.0, 0.0);
        for (i, pixel) in drawn.rgb().chunks_exact(3).enumerate() {
            let (x, y) = ((i as u32 % width), (i as u32 / width));
            let value = f64::from(pixel[0]);
            sums = (sums.0 + value, sums.1 + value * f64::from(x), sums.2 + value * f64::from(y));
        }
        let (x, y) = (sums.1 / sums.0 + 0.5, sums.2 / sums.0 + 0.5);
        assert!((x - f64::from(at.0 + 6)).abs() < 1.0, "{geometry:?}: x {x}");
        assert!((y - f64::from(at.1 + 6)).abs() < 1.0, "{geometry:?}: y {y}");
    }
}

#[test]
fn overlays_as_show_cam_on_image_bit_for_bit() {
    let photo = synthetic(97, 61);
    let heat = Array2::from_shape_fn((61, 97), |(y, x)| ((13 * x + 29 * y) % 256) as f32 / 255.0);
    let mut failed = Vec::new();
    for row in table("overlay") {
        let style = OverlayStyle {
            colormap: row["colormap"].as_str().unwrap().parse().unwrap(),
            alpha: row["alpha"].as_f64().unwrap(),
            kind: OverlayKind::PytorchGradCam,
            ..OverlayStyle::default()
        };
        let drawn = overlay(&photo, heat.view(), &Placement::identity(97, 61), &style).unwrap();
        if sha256(drawn.rgb()) != row["sha256"].as_str().unwrap() {
            failed.push(row.to_string());
        }
    }
    assert_none(&failed);
}

#[test]
fn unseen_parts_have_no_heat() {
    let photo = Photo::from_rgb8(6, 2, vec![100; 36]).unwrap();
    let placement = Placement { x: 2.0, width: 2.0, ..Placement::identity(6, 2) };
    let heat = Array2::ones((2, 6));
    let style = OverlayStyle { colormap: Colormap::Gray, ..OverlayStyle::default() };
    let drawn = overlay(&photo, heat.view(), &placement, &style).unwrap();
    let row: Vec<u8> = drawn.rgb()[..18].iter().step_by(3).copied().collect();
    assert_eq!(row, [60, 60, 178, 178, 60, 60]);
}

#[test]
fn large_photos_are_drawn_smaller() {
    let photo = synthetic(300, 200);
    let placement = Placement { x: 50.0, width: 200.0, ..Placement::identity(300, 200) };
    let placement = Placement { network_width: 8, network_height: 8, ..placement };
    let heat = Array2::from_shape_fn((8, 8), |(y, x)| (x + y) as f32 / 14.0);
    let draw = |photo: &Photo, placement: &Placement, side| {
        let style = OverlayStyle { max_side: NonZeroU32::new(side), ..OverlayStyle::default() };
        overlay(photo, heat.view(), placement, &style).unwrap()
    };
    assert_eq!(draw(&photo, &placement, 300), draw(&photo, &placement, 0));
    let small = resize(&photo, 150, 100, Filter::Box).unwrap();
    let half = Placement { x: 25.0, y: 0.0, width: 100.0, height: 100.0, ..placement };
    assert_eq!(draw(&photo, &placement, 150), draw(&small, &half, 0));
    let drawn = draw(&photo, &placement, 1);
    assert_eq!((drawn.width(), drawn.height()), (1, 1));
    let memory = |side| {
        let style = OverlayStyle { max_side: NonZeroU32::new(side), ..OverlayStyle::default() };
        style.memory(300, 200, &placement)
    };
    // The picture and its PNG, or the photo of fewer columns and then of fewer rows.
    assert_eq!((memory(0), memory(30)), (3 * 3 * 300 * 200, 3 * 30 * (200 + 20)));
}

#[test]
fn fading_keeps_the_photo_where_it_is_cold() {
    let photo = Photo::from_rgb8(2, 1, vec![100; 6]).unwrap();
    let heat = ndarray::arr2(&[[0.0, 1.0]]);
    let style = OverlayStyle { kind: OverlayKind::Fade, ..OverlayStyle::default() };
    let drawn = overlay(&photo, heat.view(), &Placement::identity(2, 1), &style).unwrap();
    // Jet ends in (128, 0, 0): half of it and half of 100 is (114, 50, 50).
    assert_eq!(drawn.rgb(), [100, 100, 100, 114, 50, 50]);
}

#[test]
fn colormaps_have_their_known_ends() {
    for (name, first, last) in [
        ("jet", [0, 0, 128], [128, 0, 0]),
        ("jet-mpl", [0, 0, 128], [128, 0, 0]),
        ("turbo", [48, 18, 59], [122, 4, 3]),
        ("viridis", [68, 1, 84], [253, 231, 37]),
        ("inferno", [0, 0, 4], [252, 255, 164]),
        ("magma", [0, 0, 4], [252, 253, 191]),
        ("gray", [0, 0, 0], [255, 255, 255]),
    ] {
        let map: Colormap = name.parse().unwrap();
        assert_eq!((map.color(0.0), map.color(1.0)), (first, last), "{name}");
        assert_eq!(map.to_string(), name);
    }
    assert_eq!(
        "rainbow".parse::<Colormap>().unwrap_err().to_string(),
        "no colormap named \"rainbow\"; known: jet, jet-mpl, turbo, viridis, inferno, magma, gray"
    );
}

#[test]
fn impossible_requests_are_refused() {
    let photo = synthetic(4, 3);
    let heat = Array2::<f32>::zeros((3, 4));
    let drawn = |heat: &Array2<f32>, alpha| {
        let style = OverlayStyle { alpha, ..OverlayStyle::default() };
        overlay(&photo, heat.view(), &Placement::identity(4, 3), &style).unwrap_err().to_string()
    };
    let strip = synthetic(1, 60_000);
    let huge = Preprocess { geometry: Geometry::center(256, 256, 1.0), ..pipelines()[0].1.clone() };
    let input = |width, height| {
        let crop = Some(Crop { width, height, rounding: CropRounding::Even });
        let geometry = Geometry { resize: Resize::None, crop, fill: [0; 3] };
        Preprocess { geometry, ..huge.clone() }.apply(&photo).unwrap_err().to_string()
    };
    for (message, expected) in [
        (
            input(u32::MAX, u32::MAX),
            "the network's input would be 4294967295x4294967295 pixels; expected 1 to 178956970",
        ),
        (input(0, 5), "the network's input would be 0x5 pixels; expected 1 to 178956970"),
        (
            drawn(&heat.t().to_owned(), 0.5),
            "the heatmap has 4x3 values (height, width), but the network's input has 3x4",
        ),
        (drawn(&heat, f64::NAN), "alpha is NaN; it must be between 0 and 1"),
        (
            resize(&photo, 0, 5, Filter::Box).unwrap_err().to_string(),
            "a picture of 0x5 pixels is empty",
        ),
        (
            huge.apply(&strip).unwrap_err().to_string(),
            "resizing 1x60000 to 256x15360000 pixels exceeds the limit of 178956970 pixels",
        ),
        (
            Preprocess { mean: vec![0.0], ..huge.clone() }.apply(&photo).unwrap_err().to_string(),
            "mean has 1 values, but the network takes 3 channels",
        ),
    ] {
        assert_eq!(message, expected);
    }
}

#[test]
fn one_pixel_goes_all_the_way() {
    for (name, preprocess) in pipelines() {
        let (tensor, placement) = preprocess.apply(&synthetic(1, 1)).unwrap();
        let heat = ArrayD::zeros(tensor.shape()[2..].to_vec()).into_dimensionality().unwrap();
        let drawn = overlay(&synthetic(1, 1), heat.view(), &placement, &OverlayStyle::default());
        assert_eq!(drawn.unwrap().rgb().len(), 3, "{name}");
    }
}
