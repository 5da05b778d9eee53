//! Models that take something else than one float photo, and what is written of them.

use gradcam::{
    image::{Limits, Photo},
    ndarray::{ArrayD, Axis},
    onnx_grad::proto::tensor_proto::DataType,
};
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use testkit::{
    Suite,
    build::{int, ints},
    fixture, input_cases,
};

use crate::{models::Net, run::Folder};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        photos_fill_the_batch_that_a_model_fixes,
        layers_and_explain_mean_the_same_layer,
        lines_and_volumes_are_drawn,
        spectrograms_are_drawn_at_their_size,
        gradients_of_a_line_are_drawn,
        the_output_of_the_scores_is_named,
    );
}

fn model(name: &str) -> String {
    fixture(&format!("inputs/{name}.onnx")).display().to_string()
}

/// Runs it, and gives what it says on standard output.
fn done(folder: &Folder, args: &[&str]) -> String {
    let ran = folder.gradcam(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
    String::from_utf8(ran.stdout).expect("text")
}

fn array(folder: &Folder, name: &str) -> ArrayD<f32> {
    ArrayD::read_npy(folder.read(name).as_slice()).expect(name)
}

/// An input of the fixtures as a file, of one image.
fn input(folder: &Folder, of: &str, input: &str, file: &str) {
    let value = &input_cases()[of].inputs[input];
    let array =
        ArrayD::from_shape_vec(value.shape.as_slice(), value.data.clone()).expect("numbers");
    let one = array.index_axis(Axis(0), 0).mapv(|number| number as f32);
    let mut bytes = Vec::new();
    one.write_npy(&mut bytes).expect("npy");
    folder.write(file, bytes);
}

fn photos_fill_the_batch_that_a_model_fixes() {
    let folder = Folder::new();
    let names = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"];
    for (at, name) in (0u32..).zip(names) {
        let rgb = (0..18 * 12 * 3u32).map(|p| ((p * (7 + at) + at * 31) % 256) as u8).collect();
        let photo = Photo::from_rgb8(18, 12, rgb).expect("a photo");
        folder.write(name, photo.to_png().expect("a picture"));
    }
    folder.write("cut.png", "no picture");
    let model = model("photo_uint8");
    let flags = ["-m", &model, "--target", "1", "--format", "npy", "--fit", "squash"];
    let all = [&["explain", "-o", "all/"], &flags[..], &names[..]].concat();
    done(&folder, &all);
    let some = [&["explain", "-o", "some/", "cut.png"], &flags[..], &names[..]].concat();
    assert_eq!(folder.gradcam(&some).code, Some(1));
    assert_eq!(folder.list("all"), folder.list("some"));
    assert_eq!(folder.list("all").len(), 12);
    for name in names {
        done(&folder, &[&["explain", "-o", "one/", name], &flags[..]].concat());
        let file = name.replace(".png", ".1.raw.npy");
        let [all, some, one] =
            ["all", "some", "one"].map(|place| array(&folder, &format!("{place}/{file}")));
        let largest = one.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        for other in [all, some] {
            assert!((&other - &one).iter().all(|d| d.abs() <= 1e-5 * largest), "{name}");
        }
    }
}

fn layers_and_explain_mean_the_same_layer() {
    let folder = Folder::new();
    input(&folder, "two_branches", "features", "features.npy");
    input(&folder, "two_branches", "image", "image.npy");
    let model = model("two_branches");
    let given = ["--input", "features=features.npy"];
    let listed = done(&folder, &[&["layers", "--json", &model], &given[..]].concat());
    let explain = ["explain", "image.npy", "-m", &model, "--json"];
    let explained = done(&folder, &[&explain[..], &given[..]].concat());
    assert!(listed.contains(r#""default":"trunk.late""#), "{listed}");
    assert!(explained.contains(r#""layer":"trunk.late""#), "{explained}");
}

/// A spectrogram [N, T, F], of any length, whose map is 8 times smaller.
fn spectrograms_are_drawn_at_their_size() {
    let folder = Folder::new();
    let windows = [ints("kernel_shape", &[8; 2]), ints("strides", &[8; 2])];
    let net = Net::new(&[1, 0, 0]).ints("one", &[1]).weight("w8", &[4, 1, 8, 8]);
    let net = net.node("Unsqueeze", &["x", "one"], "picture", &[]);
    let net = net.node("Conv", &["picture", "w8"], "conv", &windows);
    folder.write("m.onnx", net.node("Relu", &["conv"], "act", &[]).head("act"));
    let x = ArrayD::from_shape_fn(vec![120, 900], |at| ((at[0] * 7 + at[1]) % 13) as f32 - 6.0);
    let mut bytes = Vec::new();
    x.write_npy(&mut bytes).expect("npy");
    folder.write("x.npy", bytes);
    let said = done(&folder, &["explain", "x.npy", "-m", "m.onnx", "--format", "png,npy"]);
    assert!(said.starts_with("x.npy  tensor 120x900, "), "{said}");
    let names = folder.list("");
    let of = |ending: &str| names.iter().find(|name| name.ends_with(ending)).expect(ending);
    assert_eq!(array(&folder, of(".heatmap.npy")).shape(), [120, 900]);
    assert_eq!(array(&folder, of(".raw.npy")).shape(), [15, 112]);
    let picture = Photo::decode(&folder.read(of(".png")), &Limits::default()).expect("a picture");
    assert_eq!((picture.width(), picture.height()), (900, 120));
}

fn lines_and_volumes_are_drawn() {
    let folder = Folder::new();
    input(&folder, "strip", "image", "strip.npy");
    input(&folder, "volume", "image", "volume.npy");
    // Without a convolution, of which the embedded engine has none over three axes.
    let axes = [2, 3, 4];
    let volume = Net::new(&[1, 1, 6, 8, 10]).weight("w", &[1, 4, 1, 1, 1]).weight("fc", &[4, 5]);
    let volume = volume.node("Mul", &["x", "w"], "m", &[]).node("Relu", &["m"], "act", &[]);
    let keep = [int("keepdims", 0)];
    let volume = volume.ints("axes", &axes).node("ReduceMean", &["act", "axes"], "mean", &keep);
    folder.write(
        "volume.onnx",
        volume.node("MatMul", &["mean", "fc"], "scores", &[]).model("scores"),
    );
    let strip = model("strip");
    for (name, model, heatmap, picture) in [
        ("strip", strip.as_str(), &[64][..], (64, 16)),
        ("volume", "volume.onnx", &[6, 8, 10][..], (30, 16)),
    ] {
        let file = format!("{name}.npy");
        let mut args = vec!["explain", &file, "-m", model, "--target", "1"];
        args.extend(["--format", "png,npy", "-o", "out/"]);
        done(&folder, &args);
        let heat = array(&folder, &format!("out/{name}.1.heatmap.npy"));
        assert_eq!(heat.shape(), heatmap, "{name}");
        assert!(heat.iter().any(|heat| *heat > 0.9), "{name}");
        let png = folder.read(&format!("out/{name}.1.png"));
        let png = Photo::decode(&png, &Limits::default()).expect(name);
        assert_eq!((png.width(), png.height()), picture, "{name}");
    }
}

fn gradients_of_a_line_are_drawn() {
    let folder = Folder::new();
    input(&folder, "strip", "image", "strip.npy");
    let strip = model("strip");
    let args = ["explain", "strip.npy", "-m", &strip, "--target", "1", "--method", "saliency"];
    done(&folder, &[&args[..], &["--format", "png,npy", "-o", "out/"]].concat());
    let raw = array(&folder, "out/strip.1.raw.npy");
    let heat = array(&folder, "out/strip.1.heatmap.npy");
    assert_eq!((raw.shape(), heat.shape()), (&[2, 64][..], &[64][..]));
    // The largest magnitude of both leads, from 0 to 1.
    let largest = raw.map_axis(Axis(0), |pair| pair[0].abs().max(pair[1].abs()));
    let (min, max) = largest.iter().fold((f32::MAX, 0f32), |(a, b), v| (a.min(*v), b.max(*v)));
    let off = heat.iter().zip(&largest).map(|(heat, v)| heat - (v - min) / (max - min));
    assert!(max > 0.0 && off.fold(0f32, |most, off| most.max(off.abs())) <= 1e-6);
    let png =
        Photo::decode(&folder.read("out/strip.1.png"), &Limits::default()).expect("a picture");
    assert_eq!((png.width(), png.height()), (64, 16));
}

fn the_output_of_the_scores_is_named() {
    let folder = Folder::new();
    let net = || Net::new(&[1, 3, 8, 8]).stem();
    folder.write("one.onnx", net().head("act"));
    let act = net().also_gives("act", DataType::Float, &[1, 4, 8, 8]);
    folder.write("two.onnx", act.head("act"));
    let x = ArrayD::from_shape_fn(vec![3, 8, 8], |at| ((at[0] * 5 + at[1] * 3 + at[2]) % 7) as f32);
    let mut bytes = Vec::new();
    x.write_npy(&mut bytes).expect("npy");
    folder.write("x.npy", bytes);
    let flags = ["x.npy", "--target", "2", "--format", "npy", "--layer", "conv"];
    let map = |args: &[&str], file: &str| {
        done(&folder, &[&["explain", "-o", "out/"], &flags[..], args].concat());
        array(&folder, file)
    };
    let one = map(&["-m", "one.onnx"], "out/x.2.raw.npy");
    assert_eq!(map(&["-m", "two.onnx", "--output-name", "scores"], "out/x.2.raw.npy"), one);
    // The other output of floats is a segmentation of four classes.
    assert_ne!(map(&["-m", "two.onnx", "--output-name", "act"], "out/x.2.raw.npy"), one);
    // Without a name the one is taken that is called as scores are, and a note says so.
    let said =
        done(&folder, &["explain", "x.npy", "-m", "two.onnx", "--layer", "conv", "-o", "out/"]);
    assert!(
        said.contains("note: output-chosen: the model has several outputs, and \"scores\""),
        "{said}"
    );
    let classes = done(&folder, &["layers", "two.onnx", "--output-name", "scores", "--json"]);
    assert!(classes.contains(r#""default":"act""#), "{classes}");
    let args = ["layers", "two.onnx", "--output-name", "nix", "--json"];
    let ran = folder.gradcam(&args);
    assert!(
        ran.stderr
            .contains("\"nix\" is no output and no other value of the model; its outputs: \"act\""),
        "{}",
        ran.stderr
    );
}
