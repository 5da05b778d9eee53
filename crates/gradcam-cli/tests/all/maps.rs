//! What the real binary makes of maps: fused, smoothed, and of the network's input.

use std::io::Cursor;

use gradcam::{
    image::{Limits, Photo},
    ndarray::{Array2, Array3, Axis},
};
use ndarray_npy::ReadNpyExt;
use serde_json::Value;
use testkit::Suite;

use crate::{
    results::{array, asset, done, prepared},
    run::Folder,
};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(suite, fused_and_smoothed_heatmaps_say_so, maps_of_the_input,);
}

/// What became of the maps is said, in text and in JSON, with all layers of a fused heatmap.
fn fused_and_smoothed_heatmaps_say_so() {
    let (folder, _) = prepared();
    let args = [
        "explain",
        "x.npy",
        "-m",
        "open.onnx",
        "--layer",
        "act",
        "--layer",
        "conv",
        "--target",
        "1",
        "--fuse",
        "mean",
        "--eigen-smooth",
        "--aug-smooth",
        "--format",
        "json",
        "-o",
        "out/",
    ];
    let ran = folder.gradcam(&[&args[..], &["--verbose"]].concat());
    done(&ran);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let made = "act (8x8), conv (8x8), fused by mean, principal component, mean of 6 passes";
    assert!(said.contains(made), "{said}");
    assert_eq!(folder.list("out"), ["x.0.1.json", "x.1.1.json"]);
    let value: Value = serde_json::from_slice(&folder.read("out/x.1.1.json")).expect("JSON");
    assert_eq!(value["layers"].as_array().map(Vec::len), Some(2));
    let heatmap = &value["heatmap"];
    assert_eq!(
        (&heatmap["profile"], &heatmap["fusion"]),
        (&"pytorch-grad-cam".into(), &"mean".into())
    );
    assert_eq!(heatmap["eigen_smooth"], true);
    assert_eq!(heatmap["augmentations"].as_array().map(Vec::len), Some(5));
    assert_eq!(heatmap["augmentations"][2], serde_json::json!({"flipped": true, "factor": 1.0}));
}

/// Maps of the network's input: the raw map has its shape, the picture its size, and both its class.
fn maps_of_the_input() {
    let folder = Folder::new();
    let photo = asset("cat_beside_coffee.png");
    let flags = ["--method", "saliency", "--method", "guided-backprop", "--target", "285"];
    let args = [&["explain", &photo, "-o", "out", "--format", "png,npy,json"], &flags[..]].concat();
    let ran = folder.gradcam(&args);
    done(&ran);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.contains("saliency at input (3x224x224)"), "{said}");
    let mut maps = Vec::new();
    for method in ["saliency", "guided-backprop"] {
        let name = format!("cat_beside_coffee.285-egyptian-cat.{method}");
        let bytes = |ending: &str| folder.read(&format!("out/{name}.{ending}"));
        let raw = Array3::<f32>::read_npy(Cursor::new(bytes("raw.npy"))).expect("a raw map");
        assert_eq!(raw.dim(), (3, 224, 224));
        assert!(raw.iter().all(|value| value.is_finite()) && raw.iter().any(|value| *value < 0.0));
        let heat = array(&folder, &format!("out/{name}.heatmap.npy"));
        let largest =
            raw.map_axis(Axis(0), |pixel| pixel.iter().fold(0.0f32, |m, v| m.max(v.abs())));
        let place = |map: &Array2<f32>| {
            let best = map.indexed_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
            best.map(|(place, _)| place)
        };
        assert_eq!((heat.dim(), place(&heat)), ((224, 224), place(&largest)));
        let picture = Photo::decode(&bytes("png"), &Limits::default()).expect("a PNG");
        assert_eq!((picture.width(), picture.height()), (224, 224));
        let levels = |channel: usize| picture.rgb().iter().skip(channel).step_by(3);
        assert_eq!(levels(0).eq(levels(2)), method == "saliency", "grey, or in colors");
        let value: Value = serde_json::from_slice(&bytes("json")).expect("JSON");
        assert_eq!(value["layers"][0]["shape"], serde_json::json!([3, 224, 224]));
        assert_eq!((&value["method"], &value["class"]["index"]), (&method.into(), &285.into()));
        assert_eq!(value["warnings"], serde_json::json!([]));
        maps.push(raw);
    }
    // The built-in model's activations are Clips from 0, and they are overridden.
    let largest = maps[0].iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    assert!((&maps[0] - &maps[1]).iter().any(|off| off.abs() > 0.1 * largest));
}
