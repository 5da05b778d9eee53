//! What `gradcam compare` writes.

use gradcam::image::{Limits, Photo};
use testkit::Suite;

use crate::{
    models::Net,
    results::{done, prepared},
    run::Folder,
};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        each_map_is_in_its_row_and_column,
        labels_say_what_differs,
        a_png_has_its_resolution,
        a_failure_leaves_no_sheet,
        standard_output_takes_a_sheet,
    );
}

fn compare(folder: &Folder, args: &[&str]) -> String {
    let fixed = ["compare", "--preset", "imagenet", "-o", "sheet.svg", "--dpi", "72"];
    let ran = folder.gradcam(&[&fixed[..], args].concat());
    done(&ran);
    String::from_utf8(folder.read("sheet.svg")).expect("UTF-8")
}

/// The pictures of a sheet, in the order of rows and columns, without the color bar.
fn pictures(svg: &str) -> Vec<&str> {
    let data = svg.split("href=\"data:image/png;base64,").skip(1);
    let all: Vec<&str> = data.filter_map(|rest| rest.split('"').next()).collect();
    // The bar follows the first row, and is the only picture that is one pixel wide.
    let is_bar = |data: &str| data.starts_with("iVBORw0KGgoAAAANSUhEUgAAAAEAAAEA");
    all.into_iter().filter(|data| !is_bar(data)).collect()
}

fn texts(svg: &str) -> Vec<&str> {
    let texts = svg.split("<text ").skip(1).filter_map(|rest| rest.split_once('>'));
    texts.filter_map(|(_, rest)| rest.split('<').next()).collect()
}

fn each_map_is_in_its_row_and_column() {
    let (folder, _) = prepared();
    let (photos, targets) = (["a.png", "b.png"], ["3", "1"]);
    let (models, layers, methods) =
        (["m.onnx", "open.onnx"], ["act", "conv"], ["layercam", "gradcam"]);
    let all = ["-m", models[0], "-m", models[1], "--target", "3,1", "--layer", "act,conv"];
    let together =
        compare(&folder, &[&photos[..], &all, &["--method", "layercam,gradcam"]].concat());
    let together = pictures(&together);
    let mut one_by_one = Vec::new();
    for photo in photos {
        for target in targets {
            let mut photos = Vec::new();
            for model in models {
                for layer in layers {
                    for method in methods {
                        let args = [photo, "-m", model, "--target", target, "--layer", layer];
                        let one = compare(&folder, &[&args[..], &["--method", method]].concat());
                        let one: Vec<String> =
                            pictures(&one).into_iter().map(str::to_owned).collect();
                        assert_eq!(one.len(), 2, "photo and map");
                        if photos.is_empty() {
                            photos.push(one[0].clone());
                        }
                        photos.push(one[1].clone());
                    }
                }
            }
            one_by_one.extend(photos);
        }
    }
    assert_eq!(together.len(), 2 * 2 * (1 + 2 * 2 * 2));
    assert!(together == one_by_one, "maps are in other places than by themselves");
    let distinct: std::collections::HashSet<_> = one_by_one.iter().collect();
    // Two photos, and maps of two targets, layers and methods; the two models have the same weights.
    assert!(distinct.len() >= 14, "{} of {} differ", distinct.len(), one_by_one.len());
}

fn labels_say_what_differs() {
    let (folder, _) = prepared();
    folder.write("l.txt", "a\nb\nLong-eared owl, Asio otus\nx < y & z\nBubo\n");
    let base = ["a.png", "-m", "m.onnx", "--labels", "l.txt"];
    let said = |args: &[&str]| {
        let svg = compare(&folder, &[&base[..], args].concat());
        texts(&svg).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let one = said(&["--target", "2"]);
    assert_eq!(one[..4], ["Photo", "Grad-CAM", "a", "Long-eared owl"]);
    assert!(one[4].ends_with(" %"), "{one:?}");
    assert_eq!(one[5..], ["1", "0"]);
    // Lines have no colors to explain.
    let lines = said(&["--target", "3", "--contours"]);
    assert_eq!(lines[..4], ["Photo", "Grad-CAM", "a", "x &lt; y &amp; z"]);
    assert_eq!(lines.len(), 5);
    let layers = said(&["--target", "3", "--layer", "conv,act"]);
    assert_eq!(layers[..3], ["Photo", "conv", "act"]);
    let both = said(&["--target", "3", "--layer", "conv,act", "--method", "gradcam,layercam"]);
    let wanted = ["conv", "Grad-CAM", "conv", "LayerCAM", "act", "Grad-CAM", "act", "LayerCAM"];
    assert_eq!(both[1..9], wanted);
    // Of a method of the input there is no layer to name.
    let input = said(&["--target", "3", "--method", "gradcam,saliency"]);
    assert_eq!(input[1..3], ["Grad-CAM", "Saliency"]);
    let models = said(&["--target", "2", "-m", "open.onnx"]);
    assert_eq!(models[..3], ["Photo", "m", "open"]);
    let captions = models.iter().filter(|text| text.starts_with("Long-eared owl, ")).count();
    assert_eq!(captions, 2, "{models:?}");
}

fn a_png_has_its_resolution() {
    let (folder, _) = prepared();
    let args = ["compare", "a.png", "-m", "m.onnx", "--preset", "imagenet", "--cell", "20"];
    let mut sizes = Vec::new();
    for (dpi, per_meter) in [("150", 5906u32), ("300", 11811)] {
        done(&folder.gradcam(&[&args[..], &["--dpi", dpi]].concat()));
        let bytes = folder.read("compare.png");
        let chunk = [b"pHYs".as_slice(), &per_meter.to_be_bytes(), &per_meter.to_be_bytes(), &[1]];
        let chunk = chunk.concat();
        assert!(bytes.windows(chunk.len()).any(|window| window == chunk), "{dpi}");
        let sheet = Photo::decode(&bytes, &Limits::default()).expect("a PNG");
        sizes.push((sheet.width(), sheet.height()));
    }
    let [(width, height), large] = sizes[..] else { panic!("{sizes:?}") };
    assert!(width.abs_diff(large.0 / 2) <= 1 && height.abs_diff(large.1 / 2) <= 1, "{sizes:?}");
    // A column is 20 mm wide, and there are two.
    assert!(width > 2 * 118 && width < 3 * 118 + 118, "{width}");
}

fn a_failure_leaves_no_sheet() {
    let (folder, _) = prepared();
    folder.write("no.png", "no picture");
    folder.write("five.onnx", Net::new(&[1, 3, 8, 8]).stem().head("act"));
    for args in [
        ["a.png", "no.png", "-m", "m.onnx"],
        ["a.png", "x.npy", "-m", "m.onnx"],
        ["a.png", "b.png", "-m", "no.png"],
    ] {
        let ran = folder.gradcam(&[&["compare", "--preset", "imagenet"], &args[..]].concat());
        assert_eq!(ran.code, Some(1), "{args:?}");
        assert!(!folder.path("compare.png").exists(), "{args:?}");
    }
}

fn standard_output_takes_a_sheet() {
    let (folder, _) = prepared();
    let photo = folder.read("a.png");
    let args = ["compare", "-", "-m", "m.onnx", "--preset", "imagenet", "-o", "-"];
    let png = folder.gradcam_with(&args, &photo);
    done(&png);
    assert!(Photo::decode(&png.stdout, &Limits::default()).is_ok());
    let svg = folder.gradcam_with(&[&args[..], &["--format", "svg"]].concat(), &photo);
    assert!(svg.stdout.starts_with(b"<svg ") && svg.stdout.ends_with(b"</svg>\n"));
}
