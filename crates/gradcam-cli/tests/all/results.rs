//! What the real binary writes: which files, with which numbers, and what it says.

use std::{fs, io::Cursor, path::PathBuf};

use gradcam::{
    Model,
    image::{Limits, Photo},
    ndarray::{Array2, Array4, Axis, Slice, s},
};
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use serde_json::Value;
use testkit::Suite;

use crate::{
    models::{Net, classifier},
    run::{Folder, Ran},
};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        names_and_counts,
        found_labels_of_another_length_are_left_out,
        top_explains_the_best_classes,
        where_output_goes,
        raw_maps_are_those_of_the_library_bit_for_bit,
        a_batch_that_the_model_fixes_runs_at_once,
        json_lines_hold_what_there_is_to_know,
        json_files_are_of_one_map,
        json_notes_a_number_that_is_a_label,
        standard_input_and_output,
        the_built_in_model_looks_at_the_right_half,
    );
    #[cfg(unix)]
    testkit::tests!(suite, pipes_and_links_are_written_to, a_closed_pipe_is_quiet);
}

pub(crate) fn asset(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// A folder with a small model, two photos and a tensor of two images.
pub(crate) fn prepared() -> (Folder, Array4<f32>) {
    let folder = Folder::new();
    folder.write("m.onnx", classifier());
    folder.write("open.onnx", Net::new(&[0, 3, 8, 8]).stem().head("act"));
    for (name, scale) in [("a.png", 5), ("b.png", 11)] {
        let rgb = (0..9 * 12 * 3).map(|place| (place * scale % 256) as u8).collect();
        let photo = Photo::from_rgb8(9, 12, rgb).expect("a photo");
        folder.write(name, photo.to_png().expect("a picture"));
    }
    let wave = |(n, c, y, x): (usize, usize, usize, usize)| {
        ((n * 131 + c * 71 + y * 17 + x * 5) % 29) as f32 / 10.0 - 1.2
    };
    let x = Array4::from_shape_fn((2, 3, 8, 8), wave);
    let mut bytes = Vec::new();
    x.write_npy(&mut bytes).expect("npy");
    folder.write("x.npy", bytes);
    (folder, x)
}

pub(crate) fn done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stderr, "");
}

pub(crate) fn array(folder: &Folder, name: &str) -> Array2<f32> {
    Array2::read_npy(Cursor::new(folder.read(name))).expect(name)
}

pub(crate) fn lines(ran: &Ran) -> Vec<Value> {
    let text = std::str::from_utf8(&ran.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn names_and_counts() {
    let rows: &[(&[&str], &[&str])] = &[
        (&["a.png", "--target", "3"], &["a.3.png"]),
        (&["a.png", "--target", "0-4"], &["a.0-vs-4.png"]),
        (&["a.png", "b.png", "--target", "3"], &["a.3.png", "b.3.png"]),
        (&["a.png", "--target", "3", "--target", "1"], &["a.1.png", "a.3.png"]),
        (
            &["a.png", "--target", "3", "--layer", "act", "--layer", "conv"],
            &["a.3.act.png", "a.3.conv.png"],
        ),
        (&["a.png", "--target", "3", "--layer", "act", "--layer", "-1"], &["a.3.png"]),
        (
            &["a.png", "--target", "3", "--method", "layercam", "--method", "gradcam"],
            &["a.3.gradcam.png", "a.3.layercam.png"],
        ),
        (
            &["a.png", "--target", "3", "--format", "png,npy,json"],
            &["a.3.heatmap.npy", "a.3.json", "a.3.png", "a.3.raw.npy"],
        ),
        (
            &["a.png", "--target", "3", "--layer", "act", "--layer", "conv", "--fuse", "mean"],
            &["a.3.png"],
        ),
        (
            &[
                "a.png", "--target", "3", "--layer", "act", "--layer", "conv", "--fuse", "max",
                "--format", "npy,json",
            ],
            &["a.3.act.raw.npy", "a.3.conv.raw.npy", "a.3.heatmap.npy", "a.3.json"],
        ),
        (&["x.npy", "--target", "3"], &["x.0.3.png", "x.1.3.png"]),
        (
            &["x.npy", "a.png", "--target", "2", "--format", "json"],
            &["a.2.json", "x.0.2.json", "x.1.2.json"],
        ),
        (
            &["a.png", "--target", "2", "--target", "LONG-eared owl", "--labels", "l.txt"],
            &["a.2-long-eared-owl.png"],
        ),
        (&["a.png", "--target", "BUBO, asio", "--labels", "l.txt"], &["a.4-bubo.png"]),
        (&["a.png", "--target", "eagle owl", "--labels", "l.txt"], &["a.3-eagle-owl.png"]),
    ];
    let (folder, _) = prepared();
    folder.write("l.txt", "a\nb\nLong-eared owl, Asio otus\nEagle owl\nBubo, Asio\n");
    for (args, wanted) in rows {
        let args =
            [&["explain", "-m", "m.onnx", "--preset", "imagenet", "-o", "out/"], *args].concat();
        let ran = folder.gradcam(&args);
        done(&ran);
        assert_eq!(folder.list("out"), *wanted, "{args:?}");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(wanted.iter().all(|name| said.contains(&format!("out/{name}"))), "{said}");
        fs::remove_dir_all(folder.path("out")).expect("a folder");
    }
}

fn found_labels_of_another_length_are_left_out() {
    let (folder, _) = prepared();
    folder.write("m.labels.txt", "cat\ndog\n");
    let args = ["explain", "a.png", "b.png", "-m", "m.onnx", "--target", "1", "-o", "out"];
    let ran = folder.gradcam(&args);
    done(&ran);
    assert_eq!(folder.list("out"), ["a.1.png", "b.1.png"]);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(said.matches("labels-left-out").count(), 1, "{said}");
    assert!(said.contains("model labels.txt has 2 labels, but the model has 5 classes"), "{said}");
    assert!(!said.contains("dog"), "{said}");
}

fn top_explains_the_best_classes() {
    let (folder, _) = prepared();
    let args = ["explain", "x.npy", "-m", "open.onnx", "--target", "top:3", "-o", "out", "--json"];
    let ran = folder.gradcam(&args);
    done(&ran);
    let lines = lines(&ran);
    assert_eq!((lines.len(), folder.list("out").len()), (6, 6));
    for item in [0, 1] {
        let of_item: Vec<_> = lines.iter().filter(|line| line["index"] == item).collect();
        let explained: Vec<_> = of_item.iter().map(|line| &line["class"]["index"]).collect();
        let top = of_item[0]["top"].as_array().expect("classes").iter().take(3);
        assert_eq!(explained, top.map(|class| &class["index"]).collect::<Vec<_>>());
    }
    // More classes than there are.
    let args = ["explain", "a.png", "-m", "m.onnx", "--target", "top:99", "-o", "all", "-q"];
    done(&folder.gradcam(&args));
    assert_eq!(folder.list("all").len(), 5);
}

fn where_output_goes() {
    let (folder, _) = prepared();
    let run = |args: &[&str]| {
        let ran =
            folder.gradcam(&[&["explain", "-m", "m.onnx", "--target", "1", "-q"], args].concat());
        done(&ran);
        assert_eq!(ran.stdout, b"");
    };
    run(&["a.png"]);
    assert!(folder.path("a.1.png").is_file(), "the current folder");
    run(&["a.png", "-o", "one.png"]);
    assert!(folder.path("one.png").is_file(), "the name of the one file");
    run(&["a.png", "-o", "new/sub/"]);
    assert_eq!(folder.list("new/sub"), ["a.1.png"]);
    run(&["a.png", "b.png", "-o", "several"]);
    assert_eq!(folder.list("several"), ["a.1.png", "b.1.png"]);
    run(&["a.png", "-o", "several", "--colormap", "viridis"]);
    assert_eq!(folder.list("several"), ["a.1.png", "b.1.png"]);
    assert_ne!(folder.read("several/a.1.png"), folder.read("a.1.png"), "it is written over");
    assert_eq!(folder.read("one.png"), folder.read("a.1.png"));
}

fn raw_maps_are_those_of_the_library_bit_for_bit() {
    let (folder, x) = prepared();
    let model = Model::open(folder.path("m.onnx")).expect("a model");
    done(&folder.gradcam(&["explain", "x.npy", "-m", "m.onnx", "--format", "npy", "-o", "out"]));
    let names = folder.list("out");
    assert_eq!(names.len(), 4, "{names:?}");
    for item in [0, 1] {
        let raw =
            names.iter().find(|n| n.starts_with(&format!("x.{item}.")) && n.ends_with(".raw.npy"));
        let one = x.slice(s![item..=item, .., .., ..]);
        let wanted = gradcam::grad_cam(&model, one, "act").expect("a map");
        let got = array(&folder, &format!("out/{}", raw.expect("a raw map")));
        assert_eq!(got.mapv(f32::to_bits), wanted.mapv(f32::to_bits));
    }
    // One image without a batch axis, and one with, are the same and have no number.
    let mut alone = Vec::new();
    x.slice(s![1, .., .., ..]).write_npy(&mut alone).expect("npy");
    folder.write("alone.npy", alone);
    done(&folder.gradcam(&[
        "explain",
        "alone.npy",
        "-m",
        "m.onnx",
        "--format",
        "npy",
        "-o",
        "alone",
    ]));
    let of_batch = names.iter().find(|n| n.starts_with("x.1.") && n.ends_with(".raw.npy"));
    let raw = of_batch.expect("a map").replace("x.1.", "alone.");
    assert!(folder.list("alone").contains(&raw));
    assert_eq!(
        folder.read(&format!("alone/{raw}")),
        folder.read(&format!("out/{}", of_batch.expect("a map")))
    );
}

fn a_batch_that_the_model_fixes_runs_at_once() {
    let (folder, _) = prepared();
    folder.write("two.onnx", Net::new(&[2, 3, 8, 8]).stem().head("act"));
    for model in ["m.onnx", "open.onnx", "two.onnx"] {
        let out = format!("{model}.out/");
        let args =
            ["explain", "x.npy", "-m", model, "--target", "1", "--format", "npy", "-o", &out];
        done(&folder.gradcam(&args));
    }
    for name in ["x.0.1.raw.npy", "x.1.1.raw.npy"] {
        let of = |model: &str| array(&folder, &format!("{model}.out/{name}"));
        let (a, b, c) = (of("m.onnx"), of("open.onnx"), of("two.onnx"));
        assert_eq!(a, b);
        let largest = a.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
        assert!((&a - &c).iter().all(|d| d.abs() <= 1e-6 * largest.max(1.0)), "{a} {c}");
    }
}

fn json_lines_hold_what_there_is_to_know() {
    let (folder, _) = prepared();
    let args = [
        "explain", "a.png", "b.png", "-m", "m.onnx", "--json", "--target", "1", "--target", "0-3",
        "--method", "gradcam", "--method", "hirescam", "--layer", "act", "--layer", "conv",
        "--format", "png,npy", "-o", "out", "--mean", "0.5", "--top", "2",
    ];
    let ran = folder.gradcam(&args);
    done(&ran);
    let lines = lines(&ran);
    assert_eq!(lines.len(), 2 * 2 * 2);
    for line in &lines {
        for key in [
            "schema",
            "image",
            "index",
            "model",
            "files",
            "preprocess",
            "method",
            "engine",
            "target",
            "class",
            "against",
            "top",
            "layers",
            "heatmap",
            "input_size",
            "warnings",
            "timings_ms",
        ] {
            assert!(line.get(key).is_some(), "{key} in {line}");
        }
        assert_eq!(line["model"]["name"], "m.onnx");
        assert_eq!(line["model"]["sha256"].as_str().map(str::len), Some(64));
        assert_eq!(line["top"].as_array().map(Vec::len), Some(2));
        assert_eq!(line["layers"].as_array().map(Vec::len), Some(2));
        assert_eq!(line["preprocess"]["mean"][2], 0.5);
        assert_eq!(line["preprocess"]["origins"]["mean"], "flag");
        let files = line["files"].as_array().expect("files");
        assert_eq!(files.len(), 2 * 3);
        assert!(files.iter().all(|file| folder.path(file.as_str().expect("text")).is_file()));
    }
    assert_eq!(lines[0]["image"], "a.png");
    assert_eq!(lines[1]["target"], "0-3");
    assert_eq!(lines[1]["against"]["index"], 3);
    assert_eq!(lines[2]["method"], "hirescam");
    assert_eq!(folder.list("out").len(), 8 * 2 * 3);
}

fn json_files_are_of_one_map() {
    let (folder, _) = prepared();
    let args = [
        "explain", "a.png", "-m", "m.onnx", "--format", "json", "--layer", "act", "--layer", "conv",
    ];
    done(&folder.gradcam(&[&args[..], &["--target", "1", "-o", "out"]].concat()));
    assert_eq!(folder.list("out"), ["a.1.act.json", "a.1.conv.json"]);
    let value: Value = serde_json::from_slice(&folder.read("out/a.1.conv.json")).expect("JSON");
    assert_eq!(value["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(value["layers"][0]["layer"], "conv");
}

fn json_notes_a_number_that_is_a_label() {
    let (folder, _) = prepared();
    folder.write("l.txt", "0\n90\n180\n270\nnone\n");
    let base = ["explain", "a.png", "-m", "m.onnx", "--preset", "imagenet", "--labels", "l.txt"];
    let args = ["--json", "--target", "270", "--target", "0", "--target", "2"];
    let ran = folder.gradcam(&[&base[..], &args].concat());
    done(&ran);
    let notes: Vec<Value> = lines(&ran).into_iter().map(|mut line| line["notes"].take()).collect();
    let text = "270 is the label of class 3, which is explained";
    assert_eq!(notes[0], serde_json::json!([{"id": "number-is-label", "text": text}]));
    assert_eq!(notes[1..], [serde_json::json!([]), serde_json::json!([])]);
    let ran = folder.gradcam(&[&base[..], &["--format", "json", "--target", "270"]].concat());
    done(&ran);
    let file: Value = serde_json::from_slice(&folder.read("a.3-270.json")).expect("JSON");
    assert_eq!(file["notes"][0]["id"], "number-is-label");
    let said = String::from_utf8(ran.stdout).expect("UTF-8");
    assert!(said.ends_with(&format!("  note: number-is-label: {text}\n")), "{said}");
}

fn standard_input_and_output() {
    let (folder, _) = prepared();
    let photo = folder.read("a.png");
    let base = ["explain", "-", "-m", "m.onnx", "--target", "1"];
    let ran = folder.gradcam_with(&[&base[..], &["-o", "-"]].concat(), &photo);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let picture = Photo::decode(&ran.stdout, &Limits::default()).expect("a PNG alone");
    assert_eq!((picture.width(), picture.height()), (9, 12));
    assert!(ran.stderr.contains("standard input") && ran.stderr.contains("target 1"));

    done(&folder.gradcam_with(&[&base[..], &["-o", "out/"]].concat(), &photo));
    assert_eq!(folder.list("out"), ["stdin.1.png"]);
    assert_eq!(folder.read("out/stdin.1.png"), ran.stdout);

    let tensor = folder.read("x.npy");
    done(&folder.gradcam_with(&[&base[..], &["-o", "npy/"]].concat(), &tensor));
    assert_eq!(folder.list("npy"), ["stdin.0.1.png", "stdin.1.1.png"]);
    let picture = Photo::open(folder.path("npy/stdin.0.1.png"), &Limits::default()).expect("a PNG");
    assert_eq!((picture.width(), picture.height()), (8, 8), "the heatmap alone");
}

/// A result that is written over a pipe or a link goes into it, and does not take its place.
#[cfg(unix)]
fn pipes_and_links_are_written_to() {
    use std::{io::Read, os::unix::fs::FileTypeExt, process::Command};
    let (folder, _) = prepared();
    let explain = |output: &str| {
        let args = ["explain", "-m", "m.onnx", "a.png", "--format", "json", "-q", "-o", output];
        done(&folder.gradcam(&args));
    };
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    // Open for both, so that neither side waits for the other.
    let mut held = fs::File::options().read(true).write(true).open(&pipe).expect("a pipe");
    explain("pipe");
    assert!(fs::metadata(&pipe).expect("a pipe").file_type().is_fifo(), "it was replaced");
    let mut first = [0];
    held.read_exact(&mut first).expect("one byte");
    assert_eq!(first, *b"{");

    folder.write("real.json", "");
    std::os::unix::fs::symlink("real.json", folder.path("link.json")).expect("a link");
    explain("link.json");
    assert!(fs::symlink_metadata(folder.path("link.json")).expect("a link").is_symlink());
    assert!(folder.read("real.json").starts_with(b"{"));
}

/// The demo: the heat of each class lies on its half of the photo.
fn the_built_in_model_looks_at_the_right_half() {
    let folder = Folder::new();
    let (over, beside) = (asset("cat_over_coffee.png"), asset("cat_beside_coffee.png"));
    let args = ["explain", &over, &beside, "--target", "285", "--target", "967"];
    done(&folder.gradcam(&[&args[..], &["--format", "npy,png", "-o", "out"]].concat()));
    assert_eq!(folder.list("out").len(), 2 * 2 * 3);
    for (photo, class, axis, first) in [
        ("cat_over_coffee", "285-egyptian-cat", 0, true),
        ("cat_over_coffee", "967-espresso", 0, false),
        ("cat_beside_coffee", "285-egyptian-cat", 1, true),
        ("cat_beside_coffee", "967-espresso", 1, false),
    ] {
        let heat = array(&folder, &format!("out/{photo}.{class}.heatmap.npy"));
        assert_eq!(heat.dim(), (224, 224));
        assert!(heat.iter().all(|value| (0.0..=1.0).contains(value)));
        let energy = |map: &Array2<f32>| map.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let half = if first { Slice::from(..112) } else { Slice::from(112..) };
        let own = heat.slice_axis(Axis(axis), half).to_owned();
        let (share, sum) = (energy(&own) / energy(&heat), own.sum() / heat.sum());
        assert!(share >= 0.80 && sum >= 0.80, "{photo} {class}: {share} {sum}");
    }
}

#[cfg(unix)]
fn a_closed_pipe_is_quiet() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_gradcam"))
        .args(["layers"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("gradcam starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("gradcam ends");
    assert_eq!(output.stderr, b"");
    assert!(matches!(output.status.code(), Some(0 | 1)));
}
