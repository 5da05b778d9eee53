//! Several images by the real binary: at once, in order, and as if there were one.

use std::{fs, io::Cursor};

use gradcam::{image::Photo, ndarray::Array2};
use ndarray_npy::ReadNpyExt;
use serde_json::Value;
use testkit::Suite;

use crate::{
    models::{Net, classifier},
    run::Folder,
};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        results_do_not_depend_on_how_many_are_explained_at_once,
        a_batch_changes_no_result,
        a_batch_that_the_model_does_not_take_is_a_mistake,
        what_fails_for_all_images_stops_the_run,
    );
    #[cfg(unix)]
    testkit::tests!(
        suite,
        an_interrupt_leaves_nothing_half_written,
        an_interrupt_of_another_library_s_heatmaps_leaves_nothing_half_written,
    );
}

const PHOTOS: usize = 13;

/// A folder with a model of one image, one of any number, one of four, and photos of several sizes; one of
/// them is no photo.
fn prepared() -> (Folder, Vec<String>) {
    let folder = Folder::new();
    folder.write("one.onnx", classifier());
    for (name, batch) in [("open.onnx", 0), ("four.onnx", 4)] {
        folder.write(name, Net::new(&[batch, 3, 8, 8]).stem().head("act"));
    }
    let mut names = Vec::new();
    for number in 0..PHOTOS {
        let name = format!("{number:02}.png");
        let (width, height) = (8 + number % 3 * 300, 9 + number % 4 * 100);
        let rgb = (0..width * height * 3).map(|place| (place * (2 * number + 3) % 251) as u8);
        let photo = Photo::from_rgb8(width as u32, height as u32, rgb.collect()).expect("a photo");
        folder.write(&name, photo.to_png().expect("a picture"));
        names.push(name);
    }
    folder.write("05.png", "no picture");
    (folder, names)
}

fn explain(folder: &Folder, names: &[String], args: &[&str]) -> (Vec<String>, String) {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fixed = ["explain", "--preset", "imagenet", "--json", "--target", "top:2", "-o", "out/"];
    let _ = fs::remove_dir_all(folder.path("out"));
    let ran = folder.gradcam(&[&fixed[..], &names, args].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let text = String::from_utf8(ran.stdout).expect("UTF-8");
    (text.lines().map(str::to_owned).collect(), ran.stderr)
}

/// What is said of each map, without times.
fn said(lines: &[String]) -> Vec<Value> {
    let value = |line: &String| {
        let mut value: Value = serde_json::from_str(line).expect("JSON");
        value.as_object_mut().expect("an object").remove("timings_ms");
        value
    };
    lines.iter().map(value).collect()
}

fn results_do_not_depend_on_how_many_are_explained_at_once() {
    let (folder, names) = prepared();
    for format in ["png,npy", "json"] {
        let base = ["-m", "one.onnx", "--format", format, "--threads"];
        let (lines, complaint) = explain(&folder, &names, &[&base[..], &["1"]].concat());
        let wanted = said(&lines);
        let images = wanted.iter().map(|value| value["image"].as_str().expect("a name").to_owned());
        let in_order = names.iter().filter(|name| *name != "05.png");
        let twice = in_order.flat_map(|name| [name.clone(), name.clone()]);
        assert!(images.eq(twice), "{wanted:?}");
        assert!(complaint.contains("05.png: not a JPEG") && complaint.lines().count() == 1);
        let files = folder.list("out");
        assert!(files.len() >= 2 * (PHOTOS - 1), "{files:?}");
        let read = || -> Vec<Vec<u8>> {
            let file = |name| folder.read(&format!("out/{name}"));
            files.iter().map(file).collect()
        };
        let bytes = read();
        for threads in ["2", "3", "8"] {
            let (lines, again) = explain(&folder, &names, &[&base[..], &[threads]].concat());
            assert_eq!((said(&lines), again), (wanted.clone(), complaint.clone()));
            assert_eq!(folder.list("out"), files);
            // JSON files hold times.
            assert!(format == "json" || read() == bytes, "{threads} threads");
        }
    }
}

fn a_batch_changes_no_result() {
    let (folder, names) = prepared();
    let base = ["--format", "npy", "--engine", "rten", "-m"];
    let (lines, complaint) = explain(&folder, &names, &[&base[..], &["one.onnx"]].concat());
    let wanted: Vec<Value> = said(&lines).iter().map(|value| value["files"].clone()).collect();
    let files: Vec<String> =
        folder.list("out").into_iter().filter(|name| name.ends_with(".raw.npy")).collect();
    assert_eq!(files.len(), 2 * (PHOTOS - 1));
    let read = || -> Vec<Array2<f32>> {
        let file = |name| folder.read(&format!("out/{name}"));
        files.iter().map(|name| Array2::read_npy(Cursor::new(file(name))).expect("a map")).collect()
    };
    let maps = read();
    let flags: [&[&str]; 6] = [
        &["open.onnx"],
        &["open.onnx", "--batch", "1"],
        &["open.onnx", "--batch", "4"],
        &["open.onnx", "--batch", "50"],
        &["four.onnx"],
        &["four.onnx", "--batch", "4", "--threads", "2"],
    ];
    for flags in flags {
        let (lines, again) = explain(&folder, &names, &[&base[..], flags].concat());
        let same: Vec<Value> = said(&lines).iter().map(|value| value["files"].clone()).collect();
        assert_eq!((same, again), (wanted.clone(), complaint.clone()), "{flags:?}");
        for ((name, got), want) in files.iter().zip(read()).zip(&maps) {
            let largest = want.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
            let off = (&got - want).iter().fold(0.0f32, |off, v| off.max(v.abs()));
            assert!(off <= 1e-6 * largest && largest > 0.0, "{flags:?} {name}: {off} of {largest}");
        }
    }
}

fn a_batch_that_the_model_does_not_take_is_a_mistake() {
    let (folder, _) = prepared();
    for (model, batch, phrase) in
        [("one.onnx", "2", "takes 1 images a run"), ("four.onnx", "3", "takes 4 images a run")]
    {
        let ran =
            folder.gradcam(&["explain", "00.png", "-m", model, "--batch", batch, "-o", "out/"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(phrase) && ran.stderr.contains("leave --batch out"));
        assert!(folder.list("out").is_empty());
    }
    let ran = folder.gradcam(&["explain", "00.png", "--batch", "0"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("--batch") && ran.stderr.contains("at least 1"), "{}", ran.stderr);
}

/// What is the same for all images is said once, and nothing else is begun.
fn what_fails_for_all_images_stops_the_run() {
    let (folder, names) = prepared();
    let net = Net::new(&[1, 3, 8, 8]).stem().ints("four", &[1; 4]);
    folder.write("odd.onnx", net.node("ReverseSequence", &["act", "four"], "odd", &[]).head("odd"));
    let args = ["-m", "odd.onnx", "--layer", "act", "--threads", "4"];
    let (lines, complaint) = explain(&folder, &names, &args);
    assert_eq!(lines.len(), 0);
    assert_eq!(complaint.matches("/odd/ReverseSequence").count(), 1, "{complaint}");
    assert!(folder.list("out").is_empty());
}

#[cfg(unix)]
fn an_interrupt_leaves_nothing_half_written() {
    whole_files_are_left(&[]);
}

#[cfg(unix)]
fn an_interrupt_of_another_library_s_heatmaps_leaves_nothing_half_written() {
    whole_files_are_left(&["--compat", "captum"]);
    for method in ["gradcam", "scorecam", "smoothgradcam++"] {
        whole_files_are_left(&["--compat", "torchcam", "--method", method]);
    }
}

/// An interrupt leaves whole files or none.
#[cfg(unix)]
fn whole_files_are_left(args: &[&str]) {
    use std::process::{Command, Stdio};
    let (folder, names) = prepared();
    for _ in 0..4 {
        let _ = fs::remove_dir_all(folder.path("out"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_gradcam"))
            .args(["explain", "-m", "one.onnx", "--preset", "imagenet", "-o", "out/"])
            .args(names.iter().filter(|name| *name != "05.png"))
            .args(["--format", "npy", "--target", "top:5", "--threads", "3"])
            .args(args)
            .current_dir(folder.path(""))
            .stdout(Stdio::piped())
            .spawn()
            .expect("gradcam starts");
        // It has begun to write when it says something.
        let mut first = [0];
        std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut first)
            .expect("text");
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
        child.wait_with_output().expect("gradcam ends");
        for name in folder.list("out") {
            assert!(name.ends_with(".npy"), "{name}");
            let bytes = folder.read(&format!("out/{name}"));
            Array2::<f32>::read_npy(Cursor::new(bytes)).expect(&name);
        }
    }
}
