//! What `gradcam compare` writes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gradcam::{
    image::{Limits, Photo},
    ndarray::Array4,
};
use ndarray_npy::WriteNpyExt;
use testkit::{Suite, fixture};

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
        maps_of_tensors_and_places_are_those_of_explain,
        photos_and_tensors_share_a_sheet,
        places_are_named_beside_their_rows,
        a_number_that_is_a_label_is_noted,
    );
    #[cfg(unix)]
    testkit::tests!(suite, an_interrupt_leaves_the_sheet_as_it_was);
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
    // A method that makes one heatmap of all layers is of none by itself.
    let fused = said(&["--target", "3", "--layer", "conv,act", "--method", "gradcam,refinecam"]);
    assert_eq!(fused[1..6], ["conv", "Grad-CAM", "RefineCAM", "act", "Grad-CAM"]);
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
        ["a.png", "five.onnx", "-m", "m.onnx"],
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

/// A folder with networks that have boxes, masks and embeddings, and a tensor of one image of each one's size, or of two.
fn places() -> Folder {
    let folder = Folder::new();
    for (name, images, side) in
        [("yolov8", 1, 64), ("segmenter", 2, 32), ("clip_tower", 2, 32), ("softmax", 2, 32)]
    {
        let file = format!("{name}.onnx");
        folder.write(&file, std::fs::read(fixture(&format!("heads/{file}"))).expect("a fixture"));
        let wave = |(n, c, y, x): (usize, usize, usize, usize)| {
            ((n * 131 + c * 71 + y * 17 + x * 5 + x * y) % 29) as f32 / 10.0 - 1.2
        };
        let mut bytes = Vec::new();
        let x = Array4::from_shape_fn((images, 3, side, side), wave);
        x.write_npy(&mut bytes).expect("npy");
        folder.write(&format!("{name}.npy"), bytes);
    }
    let picture = |shown: fn(u32, u32) -> bool| {
        let rgb = (0..24 * 24).flat_map(|at| [255 * u8::from(shown(at % 24, at / 24)); 3]);
        let photo = Photo::from_rgb8(24, 24, rgb.collect()).expect("a photo");
        photo.to_png().expect("a picture")
    };
    folder.write("left.png", picture(|x, _| x < 10));
    folder.write("top.png", picture(|_, y| y < 13));
    folder
}

/// Tensors have no photo: their maps alone are on the sheet, the same pictures that `explain` writes.
fn maps_of_tensors_and_places_are_those_of_explain() {
    let folder = places();
    let mut distinct = std::collections::HashSet::new();
    for (name, args) in [
        ("softmax", &["--target", "1"][..]),
        // Grad-CAM's mean of the gradient is that of one pixel, times their number.
        ("segmenter", &["--method", "hirescam", "--target", "1"]),
        ("segmenter", &["--method", "hirescam", "--target", "1", "--mask", "left.png"]),
        ("segmenter", &["--method", "hirescam", "--target", "1", "--mask", "top.png"]),
        ("yolov8", &[]),
        ("yolov8", &["--box", "4,30,20,30"]),
        ("clip_tower", &["--similar-to", "left.png"]),
        ("clip_tower", &["--similar-to", "top.png"]),
    ] {
        let (model, tensor) = (format!("{name}.onnx"), format!("{name}.npy"));
        let base = [&[tensor.as_str(), "-m", &model, "--preset", "imagenet"], args].concat();
        let _ = std::fs::remove_dir_all(folder.path("out"));
        done(&folder.gradcam(&[&["explain", "-o", "out/"], &base[..]].concat()));
        let written = folder.list("out");
        let written: Vec<String> = written
            .iter()
            .map(|file| BASE64_STANDARD.encode(folder.read(&format!("out/{file}"))))
            .collect();
        let sheet = ["compare", "-o", "sheet.svg", "--quiet"];
        done(&folder.gradcam(&[&sheet[..], &base].concat()));
        let svg = String::from_utf8(folder.read("sheet.svg")).expect("UTF-8");
        assert_eq!(pictures(&svg), written, "{name} {args:?}");
        assert!(!texts(&svg).contains(&"Photo"), "{name} {args:?}");
        distinct.extend(written);
    }
    assert_eq!(distinct.len(), 2 + 3 * 2 + 2 + 2 * 2, "the same maps of other targets");
}

fn photos_and_tensors_share_a_sheet() {
    let (folder, _) = prepared();
    let base = ["-m", "m.onnx", "--target", "3,1", "--method", "gradcam,layercam"];
    let together = compare(&folder, &[&["a.png", "x.npy"], &base[..]].concat());
    let [photo, tensor] =
        ["a.png", "x.npy"].map(|image| compare(&folder, &[&[image], &base[..]].concat()));
    let alone = [pictures(&photo), pictures(&tensor)];
    assert_eq!(alone.each_ref().map(Vec::len), [2 * 3, 2 * 2 * 2]);
    assert_eq!(pictures(&together), alone.concat());
    let together = texts(&together);
    assert_eq!(together[..3], ["Photo", "Grad-CAM", "LayerCAM"]);
    for name in ["a", "x.0", "x.1"] {
        assert_eq!(together.iter().filter(|text| **text == name).count(), 2, "{name}");
    }
}

fn places_are_named_beside_their_rows() {
    let folder = places();
    for (name, args, label) in [
        ("segmenter", ["--mask", "left.png"], "class 1, in the mask"),
        ("yolov8", ["--box", "4,10,10,12"], "1, at the box"),
        ("clip_tower", ["--similar-to", "top.png"], "similarity"),
    ] {
        let model = format!("{name}.onnx");
        let target = if name == "clip_tower" { &[][..] } else { &["--target", "1"] };
        let base = ["compare", "top.png", "-m", &model, "--preset", "imagenet", "--quiet"];
        let args = [&base[..], &args, target, &["-o", "sheet.svg", "--cell", "80"]].concat();
        done(&folder.gradcam(&args));
        let svg = String::from_utf8(folder.read("sheet.svg")).expect("UTF-8");
        assert!(texts(&svg).contains(&label), "{:?}", texts(&svg));
        assert_eq!(pictures(&svg).len(), 2);
    }
}

fn a_number_that_is_a_label_is_noted() {
    let (folder, _) = prepared();
    folder.write("l.txt", "0\n90\n180\n270\nnone\n");
    let base = ["compare", "a.png", "-m", "m.onnx", "--preset", "imagenet", "--labels", "l.txt"];
    let said = "note: number-is-label: 270 is the label of class 3, which is explained\n";
    let ran = folder.gradcam(&[&base[..], &["--target", "270"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), said));
    done(&folder.gradcam(&[&base[..], &["--target", "0"]].concat()));
    done(&folder.gradcam(&[&base[..], &["--target", "270", "--quiet"]].concat()));
}

/// An interrupt leaves the old sheet or a whole new one, and nothing beside it: while maps are made, and while the sheet is
/// written.
#[cfg(unix)]
fn an_interrupt_leaves_the_sheet_as_it_was() {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };
    let (folder, _) = prepared();
    let old = folder.read("a.png");
    let mut interrupted = 0;
    for (format, while_writing) in [("png", false), ("svg", true), ("svg", false), ("png", true)] {
        let sheet = format!("sheet.{format}");
        folder.write(&sheet, &old);
        let before = folder.list("");
        let (methods, dpi) =
            if while_writing { ("gradcam", "300") } else { ("rise,scorecam,gradcam", "72") };
        let mut child = Command::new(env!("CARGO_BIN_EXE_gradcam"))
            .args(["compare", "a.png", "b.png", "x.npy", "-m", "m.onnx", "-m", "open.onnx"])
            .args(["--target", "top:5", "--method", methods, "--samples", "400"])
            .args(["--dpi", dpi, "-o", &sheet])
            .current_dir(folder.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gradcam starts");
        // It warns of the guessed preprocessing when the first photo is explained.
        let mut first = [0];
        child.stderr.as_mut().expect("a pipe").read_exact(&mut first).expect("text");
        // A sheet is written beside its place first.
        let mut ended = false;
        while while_writing && !ended && folder.list("") == before {
            ended = child.try_wait().expect("a process").is_some();
        }
        if !ended {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
        }
        let code = child.wait_with_output().expect("gradcam ends").status.code();
        assert_eq!(folder.list(""), before);
        let left = folder.read(&sheet);
        if code == Some(1) {
            assert!(while_writing || left == old, "{sheet} was written while maps were made");
            interrupted += 1;
        } else {
            assert_eq!(code, Some(0));
        }
        let ends = [&b"</svg>\n"[..], b"IEND\xaeB`\x82"];
        assert!(left == old || ends.iter().any(|end| left.ends_with(end)), "{sheet} is cut");
    }
    assert!(interrupted > 0, "no run was interrupted, so nothing was tested");
}
