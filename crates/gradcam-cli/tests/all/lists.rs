//! What the real binary lists: layers, methods and help.

use gradcam::{METHODS, onnx_grad::proto::ModelProto};
use prost::Message;
use testkit::{Suite, build::ints, fixture};

use crate::{
    models::{Net, conv},
    results::{done, lines, prepared},
    run::Folder,
    transcript,
};

pub(crate) fn tests(suite: &mut Suite) {
    transcript::tests(suite, "lists", "help", Folder::new);
    testkit::tests!(
        suite,
        layers_methods_and_the_rest,
        layers_are_listed_of_models_that_cannot_be_explained,
        strides_are_those_of_the_windows,
        long_trees_are_folded,
        names_of_values_are_no_modules,
    );
}

fn layers_methods_and_the_rest() {
    let (folder, _) = prepared();
    let ran = folder.gradcam(&["layers", "m.onnx", "--json"]);
    done(&ran);
    let value = &lines(&ran)[0];
    let layers = value["layers"].as_array().expect("layers");
    let default: Vec<_> = layers.iter().filter(|layer| layer["default"] == true).collect();
    assert_eq!(default.len(), 1, "{value}");
    assert_eq!(default[0]["path"], "act");
    assert_eq!(default[0]["shape"], serde_json::json!([1, 4, 8, 8]));
    assert_eq!(default[0]["candidate"], true);

    let ran = folder.gradcam(&["layers"]);
    done(&ran);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.starts_with("efficientnet_lite0 (built in)\n"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("* bn2 ")), "{text}");
    assert!(!text.contains('\u{1b}'), "no colors in a pipe");

    let ran = folder.gradcam(&["methods", "--json"]);
    done(&ran);
    assert_eq!(lines(&ran)[0].as_array().map(Vec::len), Some(METHODS.len()));
    let ran = folder.gradcam(&["methods"]);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(METHODS.iter().all(|row| text.contains(row.id) && text.contains(row.paper)));

    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = folder.gradcam(&["completions", shell]);
        done(&ran);
        assert!(String::from_utf8_lossy(&ran.stdout).contains("max-memory"), "{shell}");
    }
    for (args, phrase) in [(vec!["man"], ".TH gradcam 1"), (vec!["man", "explain"], "max\\-memory")]
    {
        let ran = folder.gradcam(&args);
        done(&ran);
        assert!(String::from_utf8_lossy(&ran.stdout).contains(phrase), "{args:?}");
    }
}

fn layers_are_listed_of_models_that_cannot_be_explained() {
    let folder = Folder::new();
    folder.write("flat.onnx", Net::new(&[1, 4]).node("Relu", &["x"], "act", &[]).model("act"));
    let ran = folder.gradcam(&["layers", "flat.onnx", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot be explained as it is"), "{}", ran.stderr);
    let layers = &lines(&ran)[0]["layers"];
    assert_eq!(layers[0]["path"], "act");
    assert_eq!(layers[0]["candidate"], false);
}

fn long_trees_are_folded() {
    let folder = Folder::new();
    let listed = |args: &[&str]| {
        let ran = folder.gradcam(&[&["layers"], args].concat());
        done(&ran);
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let (folded, whole) = (listed(&[]), listed(&["--depth", "all"]));
    assert!(whole.lines().count() > 100 && !whole.contains('…'), "{whole}");
    assert_eq!(listed(&["--depth", "0"]), whole);
    assert_eq!(listed(&["--depth", "2"]), folded);
    assert!(folded.lines().count() < 50, "{folded}");
    // The numbers of modules inside are those of the lines that are missing.
    let counts = folded.lines().filter_map(|line| line.split_once("… ")?.1.parse::<usize>().ok());
    let trees = |text: &str| text.lines().filter(|line| line.contains('[')).count();
    assert_eq!(counts.sum::<usize>(), trees(&whole) - trees(&folded), "{folded}");
    // The default of this network is within a module within a module.
    let model = fixture("exporters/torch_script.onnx").display().to_string();
    let shallow = listed(&[&model, "--depth", "1"]);
    assert!(shallow.lines().any(|line| line.starts_with("* ")), "{shallow}");
    let json = folder.gradcam(&["layers", "--json", "--depth", "1"]);
    let layers = lines(&json)[0]["layers"].as_array().map(Vec::len);
    assert_eq!(layers, Some(trees(&whole)));
}

/// torch names values `input`, `input.4` and `354` in old files, whose nodes name no modules.
fn names_of_values_are_no_modules() {
    let folder = Folder::new();
    let net = Net::new(&[1, 3, 8, 8]).weight("w", &[4, 3, 3, 3]).weight("w2", &[4, 4, 3, 3]);
    let net = net.node("Conv", &["x", "w"], "input", &conv(1));
    let net = net.node("Relu", &["input"], "input.4", &[]);
    let net = net.node("Conv", &["input.4", "w2"], "354", &conv(1));
    let bytes = net.node("Relu", &["354"], "input.4.8", &[]).head("input.4.8");
    let mut proto = ModelProto::decode(bytes.as_slice()).expect("a model");
    for (at, node) in proto.graph.as_mut().expect("a graph").node.iter_mut().enumerate() {
        node.name = Some(format!("{}_{at}", node.op()));
    }
    folder.write("old.onnx", proto.encode_to_vec());
    let ran = folder.gradcam(&["layers", "old.onnx"]);
    done(&ran);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(!text.contains('─') && text.contains("\n* input.4.8 "), "{text}");
    for layer in ["input", "input.4", "354"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("+ {layer} "))), "{text}");
    }
    let ran = folder.gradcam(&["layers", "old.onnx", "--json"]);
    let parents = lines(&ran)[0]["layers"].as_array().expect("layers").clone();
    assert!(parents.iter().all(|layer| layer["parent"].is_null()), "{parents:?}");
}

/// A stride is that of the windows; the ratio of the sizes is less where windows have no padding.
fn strides_are_those_of_the_windows() {
    let folder = Folder::new();
    let windows =
        |size: i64, stride: i64| [ints("kernel_shape", &[size; 2]), ints("strides", &[stride; 2])];
    let net = Net::new(&[1, 3, 28, 28])
        .stem()
        .node("MaxPool", &["act"], "half", &windows(2, 2))
        .node("MaxPool", &["half"], "sixth", &windows(3, 3));
    folder.write("m.onnx", net.head("sixth"));
    let ran = folder.gradcam(&["layers", "m.onnx", "--json"]);
    done(&ran);
    let value = &lines(&ran)[0];
    let layers = value["layers"].as_array().expect("layers");
    let stride = |path: &str| {
        let layer = layers.iter().find(|layer| layer["path"] == path);
        layer.unwrap_or_else(|| panic!("{path}: {value}"))["stride"].as_i64()
    };
    assert_eq!(["act", "half", "sixth"].map(stride), [Some(1), Some(2), Some(6)]);
}
