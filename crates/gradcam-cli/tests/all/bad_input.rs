//! What does not work ends with the right exit code, a message that helps, and no file: the files of `tests/cases`, and
//! here what they are given.

use std::fs;

use gradcam::{
    image::Photo,
    ndarray::ArrayD,
    onnx_grad::{self, Gradient, proto::tensor_proto::DataType},
};
use ndarray_npy::WriteNpyExt;
use testkit::{Suite, build::int, fixture};

use crate::{
    models::{Net, classifier, conv},
    run::Folder,
    transcript,
};

pub(crate) fn tests(suite: &mut Suite) {
    for (file, prepared) in [
        ("command_lines", command_lines as fn() -> Folder),
        ("export", exported),
        ("files", command_lines),
        ("grad", gradients),
        ("heads", heads),
        ("heatmaps", heatmaps),
        ("images", images),
        ("inputs_and_outputs", inputs_and_outputs),
        ("layers_and_targets", layers_and_targets),
        ("memory", memory),
        ("models", models),
    ] {
        transcript::tests(suite, "bad_input", file, prepared);
    }
    testkit::tests!(suite, one_bad_image_does_not_stop_the_others,);
}

fn npy<T: ndarray_npy::WritableElement + Clone>(shape: &[usize], value: T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ArrayD::from_elem(shape, value).write_npy(&mut bytes).expect("npy");
    bytes
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let rgb = (0..width * height * 3).map(|place| (place * 7 % 256) as u8).collect();
    Photo::from_rgb8(width, height, rgb).expect("a photo").to_png().expect("a picture")
}

/// A PNG that claims a size, with the checksum that belongs to it, and has no pixels.
fn hollow_png(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let crc = header.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    });
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(header);
    png.extend((!crc).to_be_bytes());
    png.extend(b"\0\0\0\x20IDAT\x78\x9c and so on");
    png
}

fn command_lines() -> Folder {
    let folder = Folder::new();
    folder.write("photo.png", png(10, 10));
    fs::create_dir(folder.path("b")).expect("a folder");
    folder.write("b/photo.jpg", png(10, 10));
    folder.write("file", "x");
    folder.write("m.onnx", classifier());
    folder
}

/// Models with values that have no gradient, and one with open sizes.
fn gradients() -> Folder {
    let folder = exported();
    operators(&folder);
    folder.write("rate.onnx", inputs_and_outputs().read("rate.onnx"));
    folder
}

/// A model, and what it became.
fn exported() -> Folder {
    let folder = layers_and_targets();
    fs::create_dir(folder.path("b")).expect("a folder");
    folder.write("m.onnx", classifier());
    folder.write("embedding.onnx", classifier());
    folder.write("vector.npy", npy(&[5], 1f32));
    folder.write("three.npy", npy(&[3], 1f32));
    let ran = folder.gradcam(&["export", "m.onnx", "-q", "-o", "exported.onnx"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    folder
}

fn models() -> Folder {
    let folder = Folder::new();
    let whole = classifier();
    let noise: Vec<u8> =
        (0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let external = |location: &str| {
        let net = Net::new(&[1, 3, 8, 8]).external("w", &[4, 3, 3, 3], location);
        net.node("Conv", &["x", "w"], "conv", &conv(1))
            .node("Relu", &["conv"], "act", &[])
            .head("act")
    };
    fs::create_dir(folder.path("folder.onnx")).expect("a folder");
    folder.write("photo.png", png(10, 10));
    folder.write("cut.onnx", &whole[..whole.len() / 2]);
    folder.write("empty.onnx", "");
    folder.write("noise.onnx", noise);
    for (name, start) in FOREIGN {
        folder.write(name, [start, &[0; 64][..]].concat());
    }
    for (name, file) in [("script.pt", "net/constants.pkl"), ("net.keras", "model.weights.h5")] {
        folder.write(name, zip(file));
    }
    folder.write("weights.pth", zip("archive/data.pkl"));
    folder.write("resnet.zip", zip("resnet/model.onnx"));
    for (name, file) in [("saved", "saved_model.pb"), ("hub", "model.onnx"), ("hub", "q.onnx")] {
        fs::create_dir_all(folder.path(name)).expect("a folder");
        folder.write(&format!("{name}/{file}"), "");
    }
    fs::create_dir_all(folder.path("net.mlpackage/Data")).expect("a folder");
    folder.write("net.mlpackage/Manifest.json", "{}");
    folder.write("missing.onnx", external("weights.bin"));
    folder.write("above.onnx", external("../weights.bin"));
    folder.write("absolute.onnx", external("/etc/passwd"));
    operators(&folder);
    folder
}

/// The first bytes of files that are no ONNX models.
const FOREIGN: [(&str, &[u8]); 16] = [
    ("net.tflite", b"\x1c\0\0\0TFL3"),
    ("net.ort", b"\x24\0\0\0ORTM"),
    ("net.engine", b"ftrt"),
    ("old.pth", b"\x80\x02\x8a\x0a"),
    ("net.safetensors", b"\x10\0\0\0\0\0\0\0{\"a\":{}}      "),
    ("net.h5", b"\x89HDF\r\n\x1a\n"),
    ("net.xml", b"<?xml version=\"1.0\"?>\n<net name=\"m\">"),
    ("page.onnx", b"<!DOCTYPE html><html>"),
    ("pointer.onnx", b"version https://git-lfs.github.com/spec/v1\n"),
    ("net.onnx.gz", b"\x1f\x8b\x08"),
    ("error.onnx", b"{\"error\":\"not found\"}"),
    ("net.mlmodel", b"\x08\x04\x12\x02\x0a\0\xa2\x1f\x28"),
    ("saved_model.pb", b"\x08\x01\x12\xa0\x8d\x06\x0a"),
    ("frozen.pb", b"\x0a\x28\x0a\x05input"),
    ("net.pdmodel", b"\x0a\x99\x10\x08\0\x10"),
    ("x.npy", b"\x93NUMPY"),
];

/// A zip archive with one file of a name.
fn zip(name: &str) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.resize(26, 0);
    bytes.extend([name.len() as u8, 0, 0, 0]);
    [bytes, name.as_bytes().to_vec(), vec![0; 40]].concat()
}

fn operators(folder: &Folder) {
    // Runs on rten; a rule for it would ask for another operator here.
    let op = "ReverseSequence";
    let ruled = |rule: &onnx_grad::RuleInfo| !matches!(rule.gradient, Gradient::Refused(_));
    assert!(
        onnx_grad::rules().filter(ruled).all(|rule| rule.op != op),
        "name an operator without a rule"
    );
    let net = Net::new(&[1, 3, 8, 8]).stem().ints("four", &[1; 4]);
    let net = net.node(op, &["act", "four"], "odd", &[]).node("Relu", &["odd"], "between", &[]);
    folder.write("operators.onnx", net.node(op, &["between", "four"], "odder", &[]).head("odder"));

    let net = Net::new(&[1, 3, 8, 8]).ints("three", &[1; 3]).weight("w", &[4, 3, 3, 3]);
    let net = net.node(op, &["x", "three"], "odd", &[]);
    let net = net.node("Conv", &["odd", "w"], "conv", &conv(1)).node("Relu", &["conv"], "act", &[]);
    folder.write("before.onnx", net.head("act"));
}

/// Networks of several kinds of scores, and what their targets are made of.
fn heads() -> Folder {
    let folder = Folder::new();
    for name in ["yolov8", "recognizer", "segmenter", "regressor", "clip_tower", "softmax"] {
        let file = format!("{name}.onnx");
        folder.write(&file, fs::read(fixture(&format!("heads/{file}"))).expect("a fixture"));
    }
    let plain = |value: u8| {
        let photo = Photo::from_rgb8(16, 16, vec![value; 768]).expect("a photo");
        photo.to_png().expect("a picture")
    };
    folder.write("photo.png", png(16, 16));
    folder.write("white.png", plain(255));
    folder.write("black.png", plain(0));
    folder.write("letters.txt", "blank\na\nb\nc\nd\ne\nf\n");
    folder.write("three.npy", npy(&[3], 1f32));
    folder
}

fn heatmaps() -> Folder {
    let (folder, layers) = (heads(), layers_and_targets());
    for name in ["aside.onnx", "uint8.onnx"] {
        folder.write(name, layers.read(name));
    }
    folder
}

fn layers_and_targets() -> Folder {
    let folder = Folder::new();
    folder.write("photo.png", png(10, 10));
    let net = Net::new(&[1, 3, 8, 8]).stem().node("Neg", &["act"], "aside", &[]);
    folder.write("aside.onnx", net.head("act"));
    folder.write("four.txt", "a\nb\nc\nd\n");
    folder.write("angles.txt", "0\n90\n180\n270\nnone\n");
    folder.write("cats.txt", "vacation\nscatter rug\ntiger cat\nEgyptian cat\ndog\n");
    folder.write("half.npy", npy(&[3, 8, 8], 0.5f32));
    folder.write("five.npy", npy(&[3, 8, 8], 5f32));
    folder.write("wide.npy", npy(&[3, 8, 9], 5f32));
    folder.write("bytes.npy", npy(&[3, 8, 8], 5u8));
    folder.write("int.npy", npy(&[3, 8, 8], 5i64));
    let pixels = Net::new(&[1, 3, 8, 8]).takes(DataType::Uint8);
    let float = [int("to", DataType::Float as i64)];
    let pixels = pixels.node("Cast", &["x"], "float", &float).weight("w", &[4, 3, 3, 3]);
    folder.write("uint8.onnx", pixels.node("Conv", &["float", "w"], "act", &conv(1)).head("act"));
    folder
}

fn inputs_and_outputs() -> Folder {
    let folder = Folder::new();
    folder.write("photo.png", png(10, 10));
    let age = || Net::new(&[0, 3, 8, 8]).also_takes("age", DataType::Float, &[0, 4, 1, 1]);
    let with_age = age().stem().node("Mul", &["act", "age"], "aged", &[]);
    folder.write("age.onnx", with_age.head("aged"));
    let kind =
        Net::new(&[1, 3, 8, 8]).also_takes("kind", DataType::Int32, &[1]).weight("t", &[9, 4]);
    let kind = kind.ints("to", &[1, 4, 1, 1]).node("Gather", &["t", "kind"], "row", &[]);
    let kind = kind.node("Reshape", &["row", "to"], "column", &[]).stem();
    let kind = kind.node("Mul", &["act", "column"], "both", &[]);
    folder.write("kind.onnx", kind.head("both"));
    let two = Net::new(&[1, 3, 8, 8]).also_takes("before", DataType::Float, &[1, 3, 8, 8]);
    let two = two.stem().ints("one", &[1]).node("ReduceMean", &["before", "one"], "mean", &[]);
    folder.write("two.onnx", two.node("Add", &["act", "mean"], "both", &[]).head("both"));
    let unused = Net::new(&[1, 3, 8, 8]).also_takes("before", DataType::Float, &[0, 3, 0, 0]);
    folder.write("unused.onnx", unused.node("Neg", &["before"], "after", &[]).stem().head("act"));
    let outputs = Net::new(&[1, 3, 8, 8]).stem().also_gives("best", DataType::Int64, &[1, 1, 8, 8]);
    let outputs = outputs.also_gives("act", DataType::Float, &[1, 4, 8, 8]);
    let best = [int("axis", 1)];
    folder.write("outputs.onnx", outputs.node("ArgMax", &["act"], "best", &best).head("act"));
    // A recorder's rate stands before the images, and the sizes stay open.
    let rate = Net::default().also_takes("sr", DataType::Int64, &[]);
    let rate = rate.also_takes("x", DataType::Float, &[0, 3, 0, 0]).stem();
    let float = [int("to", DataType::Float as i64)];
    let rate = rate.node("Cast", &["sr"], "hertz", &float);
    folder.write("rate.onnx", rate.node("Mul", &["act", "hertz"], "both", &[]).head("both"));
    folder.write("rate.npy", npy(&[], 2i64));
    // A linear layer takes 8x8 positions, and the model declares any size.
    let linear = Net::new(&[1, 3, 0, 0]).stem().ints("to", &[1, 256]).weight("w8", &[256, 5]);
    let linear = linear.node("Reshape", &["act", "to"], "flat", &[]);
    folder.write("linear.onnx", linear.node("MatMul", &["flat", "w8"], "y", &[]).model("y"));
    folder.write("right.npy", npy(&[3, 8, 8], 0.5f32));
    // Listed among the inputs, as files of old do, with its value in the file.
    let old = Net::new(&[1, 3, 8, 8]).also_takes("w", DataType::Float, &[4, 3, 3, 3]);
    folder.write("old.onnx", old.stem().head("act"));
    folder.write("good.npy", npy(&[4, 1, 1], 0.5f64));
    folder.write("three.npy", npy(&[3, 4, 1, 1], 0.5f32));
    folder.write("wide.npy", npy(&[1, 5, 1, 1], 0.5f32));
    folder.write("int.npy", npy(&[1], 7i64));
    folder.write("large.npy", npy(&[1], 1i64 << 40));
    folder.write("float.npy", npy(&[1], 7f32));
    folder
}

fn images() -> Folder {
    let folder = Folder::new();
    let photo = png(40, 30);
    folder.write("m.onnx", classifier());
    folder.write("text.jpg", "this is no picture");
    folder.write("icon.ico", b"\0\0\x01\0\x01\0\x10\x10");
    folder.write("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    folder.write("photo.avif", b"\0\0\0\x18ftypavif\0\0\0\0avifmif1");
    folder.write("photo.jxl", b"\xff\x0a\0\0");
    folder.write("film.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isomavc1");
    folder.write("page.jpg", "<!DOCTYPE html>");
    folder.write("pointer.jpg", "version https://git-lfs.github.com/spec/v1");
    folder.write("cut.gif", "GIF89a\x05\0\x05\0\0\0\0");
    folder.write("cut.bmp", [&b"BM"[..], &[0; 20]].concat());
    folder.write("cut.tiff", b"II*\0\x08\0\0\0\x05\0");
    fs::create_dir(folder.path("texts")).expect("a folder");
    folder.write("texts/readme.txt", "no picture");
    folder.write("list.txt", "nix.jpg\n\ntext.jpg\n");
    folder.write("nothing.txt", "\n");
    folder.write("empty.png", "");
    folder.write("cut.png", &photo[..photo.len() / 2]);
    folder.write("hollow.png", hollow_png(0, 5));
    folder.write("bomb.png", hollow_png(50_000, 50_000));
    folder.write("one.png", png(1, 1));
    folder.write("shape.npy", npy(&[3, 9, 9], 0.5f32));
    folder.write("axes.npy", npy(&[8, 8], 0.5f32));
    folder.write("none.npy", npy(&[0, 3, 8, 8], 0.5f32));
    folder.write("double.npy", npy(&[1, 3, 8, 8], 0.5f64));
    folder.write("bytes.npy", npy(&[1, 3, 8, 8], 5u8));
    let whole = npy(&[1, 3, 8, 8], 0.5f32);
    folder.write("cut.npy", &whole[..whole.len() - 7]);
    folder.write("text.npy", "this is no tensor");
    let claim = |shape: &str| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        format!("{header:<117}\n").into_bytes()
    };
    let header = |text: Vec<u8>| [b"\x93NUMPY\x01\x00\x76\x00".to_vec(), text].concat();
    folder.write("huge.npy", header(claim("(1, 3, 900000, 900000)")));
    folder.write("overflow.npy", header(claim("(4294967296, 4294967296, 4294967296)")));
    let nested = [b"\x93NUMPY\x01\x00\x60\xea".to_vec(), vec![b'('; 60_000], vec![b'\n']].concat();
    folder.write("nested.npy", nested);
    fs::create_dir(folder.path("out")).expect("a folder");
    folder
}

fn one_bad_image_does_not_stop_the_others() {
    let folder = Folder::new();
    folder.write("m.onnx", classifier());
    folder.write("a.png", png(9, 9));
    folder.write("b.png", "no picture");
    folder.write("c.png", png(9, 9));
    let ran = folder.gradcam(&["explain", "a.png", "b.png", "c.png", "-m", "m.onnx", "-o", "out"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("b.png: not a JPEG"), "{}", ran.stderr);
    let names = folder.list("out");
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("a.") && names[1].starts_with("c."), "{names:?}");
}

/// Some hundred bytes that want terabytes: an engine that tried would end the process.
fn memory() -> Folder {
    let folder = Folder::new();
    folder.write("large.png", hollow_png(10_000, 9_000));
    folder.write("photo.png", png(10, 10));
    let side = 200_000;
    let big = [1, 1, side, side];
    let net = || Net::new(&[1, 3, 8, 8]).stem();
    let one = || net().weight("one_w", &[4, 4, 1, 1]);
    let models = [
        ("Tile", net().ints("n", &big).node("Tile", &["act", "n"], "big", &[]).head("big")),
        (
            "Expand",
            net()
                .node("GlobalMaxPool", &["act"], "small", &[])
                .ints("n", &[1, 4, side, side])
                .node("Expand", &["small", "n"], "big", &[])
                .head("big"),
        ),
        (
            "Pad",
            net()
                .ints("n", &[0, 0, side, side, 0, 0, side, side])
                .node("Pad", &["act", "n"], "big", &[])
                .head("big"),
        ),
        (
            "ConstantOfShape",
            net()
                .ints("n", &big)
                .node("ConstantOfShape", &["n"], "zeros", &[])
                .node("GlobalMaxPool", &["act"], "small", &[])
                .node("Add", &["small", "zeros"], "big", &[])
                .head("big"),
        ),
        ("Conv", one().node("Conv", &["act", "one_w"], "big", &conv(side)).head("big")),
    ];
    for (op, bytes) in models {
        assert!(bytes.len() < 1500, "{op}: {}", bytes.len());
        folder.write(&format!("{op}.onnx"), bytes);
    }
    folder
}
