//! What does not work ends with the right exit code, a message that helps, and no file.

use std::fs;

use gradcam::{
    image::Photo,
    ndarray::ArrayD,
    onnx_grad::{self, Gradient, proto::tensor_proto::DataType},
};
use ndarray_npy::WriteNpyExt;
use testkit::build::int;

use crate::{
    models::{Net, classifier, conv},
    run::Folder,
};

/// A run: its arguments, the exit code, and phrases of what is said on standard error.
struct Row {
    args: Vec<String>,
    code: i32,
    phrases: Vec<String>,
}

fn row(args: &str, code: i32, phrases: &[&str]) -> Row {
    Row {
        args: args.split_whitespace().map(str::to_owned).collect(),
        code,
        phrases: phrases.iter().map(|phrase| (*phrase).to_owned()).collect(),
    }
}

/// Runs every row with `-o out/` and reports all that are wrong.
fn check(folder: &Folder, rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows {
        let _ = fs::remove_dir_all(folder.path("out"));
        fs::create_dir(folder.path("out")).expect("a folder");
        let mut args: Vec<&str> = row.args.iter().map(String::as_str).collect();
        if args[0] == "explain" && !args.contains(&"-o") {
            args.extend(["-o", "out/"]);
        }
        let ran = folder.gradcam(&args);
        let files = folder.list("out");
        let missing: Vec<_> = row.phrases.iter().filter(|p| !ran.stderr.contains(*p)).collect();
        let done = row.code == 0;
        if ran.code != Some(row.code)
            || !missing.is_empty()
            || ran.stderr.contains("panicked")
            || files.is_empty() == done
            || (ran.stderr.is_empty() != done && row.phrases.is_empty() == done)
        {
            wrong.push(format!(
                "{args:?}: code {:?} and not {}, missing {missing:?}, files {files:?}, said:\n{}",
                ran.code, row.code, ran.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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

#[test]
fn command_lines() {
    let folder = Folder::new();
    folder.write("photo.png", png(10, 10));
    fs::create_dir(folder.path("b")).expect("a folder");
    folder.write("b/photo.jpg", png(10, 10));
    folder.write("file", "x");
    folder.write("m.onnx", classifier());
    check(
        &folder,
        &[
            row("explain", 2, &["gradcam: ", "<IMAGE>"]),
            row("explain photo.png --threads 0", 2, &["--threads", "at least 1"]),
            row("explain photo.png --engine tensorrt", 2, &["tensorrt", "auto, rten, onnxruntime"]),
            row(
                "explain photo.png --method cam",
                2,
                &["cam", "gradcam, hirescam, gradcam++, layercam"],
            ),
            row(
                "explain photo.png --method saliency --layer bn2",
                2,
                &["saliency", "takes no layer, not \"bn2\"", "leave out --layer"],
            ),
            row(
                "explain photo.png --method gradcam --method guided-backprop --layer bn2",
                2,
                &["guided-backprop", "takes no layer"],
            ),
            row("explain photo.png --colormap rainbow", 2, &["rainbow", "jet, jet-mpl, turbo"]),
            row("explain photo.png --format gif", 2, &["gif", "png, npy, json"]),
            row("explain photo.png --alpha 2", 2, &["from 0 to 1"]),
            row("explain photo.png --size 0x3", 2, &["320x240"]),
            row("explain photo.png --std 0", 2, &["--std", "not 0"]),
            row("explain photo.png --mean 0.5,nan,0.5", 2, &["--mean", "finite"]),
            row("explain - -", 2, &["standard input is read once"]),
            row("explain photo.png --max-memory lots", 2, &["2GiB"]),
            row("explain photo.png b/photo.jpg", 2, &["photo.png", "b/photo.jpg", "photo.…"]),
            row("explain photo.png -o - --json", 2, &["choose one"]),
            row("explain photo.png -o - --target top:2", 2, &["this run makes 2"]),
            row("explain photo.png -o out.jpg", 2, &["written as PNG", ".png"]),
            row("explain photo.png --frobnicate", 2, &["--frobnicate"]),
            row("frobnicate", 2, &["frobnicate"]),
            row("man frobnicate", 2, &["explain, layers, bench, methods"]),
            row(
                "explain photo.png -o no/such/x.png",
                1,
                &["no folder no/such", "end the path with /"],
            ),
            row("explain photo.png -o file/x.png", 1, &["cannot write file/x.png"]),
            row(
                "explain photo.png -o file/",
                1,
                &["cannot make the folder file/", "a file has that name"],
            ),
            row("explain photo.png -o photo.png", 1, &["input of this run"]),
            row("explain photo.png -m m.onnx -o m.onnx", 1, &["input of this run"]),
            row("explain photo.png --engine onnxruntime", 1, &["ONNX Runtime is not found"]),
            row("explain photo.png --labels nix.txt", 1, &["nix.txt: no such file"]),
        ],
    );
    assert_eq!(folder.read("photo.png"), png(10, 10));
    assert_eq!(folder.read("m.onnx"), classifier());
    assert_eq!(folder.read("file"), b"x");
}

#[test]
fn models() {
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
    folder.write("missing.onnx", external("weights.bin"));
    folder.write("above.onnx", external("../weights.bin"));
    folder.write("absolute.onnx", external("/etc/passwd"));
    check(
        &folder,
        &[
            row(
                "explain photo.png -m cut.onnx",
                1,
                &["cut.onnx is not an ONNX model", "cut short"],
            ),
            row("explain photo.png -m empty.onnx", 1, &["empty.onnx is empty"]),
            row("explain photo.png -m noise.onnx", 1, &["noise.onnx is not an ONNX model"]),
            row("explain photo.png -m folder.onnx", 1, &["folder.onnx is a folder"]),
            row("explain photo.png -m nix.onnx", 1, &["cannot open nix.onnx"]),
            row("explain photo.png -m photo.png", 1, &["photo.png is not an ONNX model"]),
            row(
                "explain photo.png -m missing.onnx",
                1,
                &["\"w\"", "weights.bin", "beside the model"],
            ),
            row(
                "explain photo.png -m above.onnx",
                1,
                &["../weights.bin", "outside the model's folder"],
            ),
            row(
                "explain photo.png -m absolute.onnx",
                1,
                &["/etc/passwd", "outside the model's folder"],
            ),
            row("layers cut.onnx", 1, &["cut.onnx is not an ONNX model"]),
            row("layers nix.onnx", 1, &["cannot open nix.onnx"]),
            row("layers folder.onnx", 1, &["folder.onnx is a folder"]),
        ],
    );
}

#[test]
fn operators() {
    let folder = Folder::new();
    folder.write("photo.png", png(10, 10));
    // Runs on rten; a rule for it would ask for another operator here.
    let op = "ReverseSequence";
    let ruled = |rule: &onnx_grad::RuleInfo| !matches!(rule.gradient, Gradient::Refused(_));
    assert!(
        onnx_grad::rules().filter(ruled).all(|rule| rule.op != op),
        "name an operator without a rule"
    );
    let net = Net::new(&[1, 3, 8, 8]).stem().ints("four", &[1; 4]);
    let net = net.node(op, &["act", "four"], "odd", &[]).node("Relu", &["odd"], "between", &[]);
    folder.write("two.onnx", net.node(op, &["between", "four"], "odder", &[]).head("odder"));

    let net = Net::new(&[1, 3, 8, 8]).ints("three", &[1; 3]).weight("w", &[4, 3, 3, 3]);
    let net = net.node(op, &["x", "three"], "odd", &[]);
    let net = net.node("Conv", &["odd", "w"], "conv", &conv(1)).node("Relu", &["conv"], "act", &[]);
    folder.write("before.onnx", net.head("act"));
    check(
        &folder,
        &[
            row(
                "explain photo.png -m two.onnx --layer act",
                1,
                &["2 nodes", "/odd/ReverseSequence", "/odder/ReverseSequence"],
            ),
            row("explain photo.png -m before.onnx --preset imagenet", 0, &[]),
        ],
    );
}

#[test]
fn layers_and_targets() {
    let folder = Folder::new();
    folder.write("photo.png", png(10, 10));
    let net = Net::new(&[1, 3, 8, 8]).stem().node("Neg", &["act"], "aside", &[]);
    folder.write("aside.onnx", net.head("act"));
    folder.write("four.txt", "a\nb\nc\nd\n");
    folder.write("half.npy", npy(&[3, 8, 8], 0.5f32));
    folder.write("five.npy", npy(&[3, 8, 8], 5f32));
    folder.write("bytes.npy", npy(&[3, 8, 8], 5u8));
    folder.write("int.npy", npy(&[3, 8, 8], 5i64));
    let pixels = Net::new(&[1, 3, 8, 8]).takes(DataType::Uint8);
    let float = [int("to", DataType::Float as i64)];
    let pixels = pixels.node("Cast", &["x"], "float", &float).weight("w", &[4, 3, 3, 3]);
    folder.write("uint8.onnx", pixels.node("Conv", &["float", "w"], "act", &conv(1)).head("act"));
    check(
        &folder,
        &[
            row("explain photo.png -m uint8.onnx", 0, &[]),
            row(
                "explain photo.png -m uint8.onnx --method saliency",
                2,
                &["saliency", "\"x\" takes uint8", "no gradient"],
            ),
            row(
                "explain photo.png -m uint8.onnx --mean 0.5",
                1,
                &["\"x\" takes uint8", "from 0 to 255", "--rescale 1"],
            ),
            row("explain half.npy -m uint8.onnx", 1, &["hold 0.5", "takes uint8"]),
            row("explain int.npy -m uint8.onnx", 1, &["type int64", "takes uint8"]),
            row("explain five.npy -m uint8.onnx", 0, &[]),
            row("explain bytes.npy -m uint8.onnx", 0, &[]),
            row(
                "explain photo.png -m aside.onnx --labels four.txt",
                1,
                &["4 labels, but the model has 5 classes"],
            ),
            row("explain photo.png --target 3-3", 1, &["3-3", "a class and itself"]),
            row(
                "explain photo.png --layer blocks.66",
                1,
                &["no layer named \"blocks.66\"", "closest: \"blocks.6\"", "gradcam layers"],
            ),
            row(
                "explain photo.png --layer classifier",
                1,
                &["classifier", "without spatial extent"],
            ),
            row("explain photo.png --layer -999", 1, &["no layer -999", "-1 (the last)"]),
            row("explain photo.png -m aside.onnx --layer aside", 1, &["\"aside\" does not reach"]),
            row("explain photo.png --target 1000", 1, &["class 1000 is out of range", "0 to 999"]),
            row("explain photo.png --target=-3", 1, &["class -3 is negative"]),
            row("explain photo.png --target 3-1000", 1, &["class 1000 is out of range"]),
            row(
                "explain photo.png --target crane",
                1,
                &["several classes: 134 (crane), 517 (crane)"],
            ),
            row("explain photo.png --target unicorn", 1, &["no class is labelled \"unicorn\""]),
            row("explain photo.png --target top:0", 1, &["top:K"]),
            row("explain photo.png -m aside.onnx --target cat", 1, &["no labels", "--labels"]),
        ],
    );
}

#[test]
fn inputs_and_outputs() {
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
    folder.write("two.onnx", two.node("Sub", &["x", "before"], "d", &[]).stem().head("act"));
    let outputs = Net::new(&[1, 3, 8, 8]).stem().also_gives("best", DataType::Int64, &[1, 1, 8, 8]);
    let outputs = outputs.also_gives("act", DataType::Float, &[1, 4, 8, 8]);
    let best = [int("axis", 1)];
    folder.write("outputs.onnx", outputs.node("ArgMax", &["act"], "best", &best).head("act"));
    // Listed among the inputs, as files of old do, with its value in the file.
    let old = Net::new(&[1, 3, 8, 8]).also_takes("w", DataType::Float, &[4, 3, 3, 3]);
    folder.write("old.onnx", old.stem().head("act"));
    folder.write("good.npy", npy(&[4, 1, 1], 0.5f64));
    folder.write("three.npy", npy(&[3, 4, 1, 1], 0.5f32));
    folder.write("wide.npy", npy(&[1, 5, 1, 1], 0.5f32));
    folder.write("int.npy", npy(&[1], 7i64));
    folder.write("large.npy", npy(&[1], 1i64 << 40));
    folder.write("float.npy", npy(&[1], 7f32));
    let model = |file: &str, args: &str, code, phrases: &[&str]| {
        row(&format!("explain photo.png -m {file} --preset imagenet {args}"), code, phrases)
    };
    check(
        &folder,
        &[
            model("age.onnx", "--input age=good.npy", 0, &[]),
            model("kind.onnx", "--input kind=int.npy", 0, &[]),
            model("old.onnx", "", 0, &[]),
            model("old.onnx", "--input w=good.npy", 1, &["no input \"w\"; it has: \"x\" (float32"]),
            model("age.onnx", "--input age", 2, &["--input", "NAME=FILE", "age=age.npy"]),
            model("age.onnx", "--input age=nix.npy", 1, &["nix.npy: cannot be read"]),
            model("age.onnx", "--input age=photo.png", 1, &["photo.png: is no .npy file"]),
            model(
                "age.onnx",
                "",
                1,
                &[
                    "more than the images of \"x\"",
                    "\"age\" (float32 [?, 4, 1, 1])",
                    "--input NAME",
                ],
            ),
            model(
                "age.onnx",
                "--input agee=good.npy",
                1,
                &["no input \"agee\"", "\"x\" (float32 [?, 3, 8, 8])", "\"age\" (float32"],
            ),
            model("age.onnx", "--input age=good.npy --input age=good.npy", 1, &["given twice"]),
            model(
                "age.onnx",
                "--input age=wide.npy",
                1,
                &["\"age\" (float32 [?, 4, 1, 1])", "shape [1, 5, 1, 1]"],
            ),
            model("age.onnx", "--input age=three.npy", 1, &["for 3 images, and there are 1"]),
            model("age.onnx", "--input age=int.npy", 1, &["float32 [?, 4, 1, 1]", "integers [1]"]),
            model("kind.onnx", "--input kind=float.npy", 1, &["int32 [1]", "floats [1]"]),
            model("kind.onnx", "--input kind=large.npy", 1, &["1099511627776", "to 2147483647"]),
            model("two.onnx", "", 1, &["several inputs", "\"x\" (", "\"before\" (", "--input"]),
            model(
                "kind.onnx",
                "--input kind=int.npy --input x=good.npy",
                1,
                &["every input of the model is given"],
            ),
            model("outputs.onnx", "--output-name scores", 0, &[]),
            model(
                "outputs.onnx",
                "--output-name best",
                1,
                &["\"best\" holds no floats", "\"act\" (float32 [1, 4, 8, 8])"],
            ),
            model(
                "outputs.onnx",
                "--output-name nix",
                1,
                &[
                    "no output \"nix\"",
                    "\"scores\" (float32 [1, 5])",
                    "\"best\" (int64 [1, 1, 8, 8])",
                ],
            ),
        ],
    );
}

#[test]
fn images() {
    let folder = Folder::new();
    let photo = png(40, 30);
    folder.write("m.onnx", classifier());
    folder.write("text.jpg", "this is no picture");
    folder.write("moving.gif", "GIF89a\x01\0\x01\0");
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
    let cases: &[(&str, i32, &[&str])] = &[
        ("nix.jpg", 1, &["nix.jpg: cannot be read"]),
        ("out", 1, &["out: is a folder"]),
        ("text.jpg", 1, &["text.jpg: not a JPEG, PNG or WebP picture"]),
        ("moving.gif", 1, &["moving.gif: not a JPEG, PNG or WebP picture (it looks like GIF)"]),
        ("empty.png", 1, &["empty.png: empty"]),
        ("cut.png", 1, &["cut.png: the picture is cut off or damaged"]),
        ("hollow.png", 1, &["hollow.png: the picture is cut off or damaged"]),
        ("bomb.png", 1, &["bomb.png", "50000x50000 pixels", "limit"]),
        ("shape.npy", 1, &["shape.npy", "[1, 3, 9, 9]", "[1, 3, 8, 8]"]),
        ("axes.npy", 1, &["axes.npy", "[8, 8]", "[C, H, W] or [N, C, H, W]"]),
        ("none.npy", 1, &["none.npy", "[0, 3, 8, 8]"]),
        ("double.npy", 1, &["float64", "astype(numpy.float32)"]),
        ("bytes.npy", 1, &["uint8", "astype(numpy.float32)"]),
        ("cut.npy", 1, &["cut.npy: the file is cut short"]),
        ("text.npy", 1, &["text.npy: is no .npy file"]),
        ("huge.npy", 1, &["huge.npy: the file is cut short"]),
        ("overflow.npy", 1, &["overflow.npy: the file is cut short"]),
        ("nested.npy", 1, &["nested.npy", "malformed"]),
        ("one.png", 1, &["one.png: the picture is a single pixel"]),
    ];
    let rows: Vec<Row> = cases
        .iter()
        .map(|(image, code, phrases)| {
            row(&format!("explain {image} -m m.onnx --preset imagenet"), *code, phrases)
        })
        .collect();
    check(&folder, &rows);
}

#[test]
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
#[test]
fn models_that_want_too_much_memory() {
    let folder = Folder::new();
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
    let mut rows = Vec::new();
    for (op, bytes) in models {
        assert!(bytes.len() < 1500, "{op}: {}", bytes.len());
        let file = format!("{op}.onnx");
        folder.write(&file, bytes);
        rows.push(row(&format!("explain photo.png -m {file}"), 1, &["memory", op]));
    }
    check(&folder, &rows);
    // The limit is the user's.
    let args = ["explain", "photo.png", "--max-memory", "1MB", "-o", "out/"];
    let ran = folder.gradcam(&args);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("the limit is 976 KiB"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--max-memory"), "{}", ran.stderr);
}
