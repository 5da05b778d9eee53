//! The state of a page, asked as the page asks it.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::{fs, path::Path, sync::Arc};

use gradcam::{
    Explainer, Model, Target,
    engine::{EngineKind, EngineOptions, Tensor, engine},
    image::{Limits, Photo},
    ndarray::ArrayViewD,
    onnx_grad::{Files, MemoryFiles},
};
use gradcam_web::{
    DroppedFiles, ExplainRequest, ExportRequest, ModelDescription, ModelSettings, PageState,
    PictureStyle,
};
use serde_json::json;
use testkit::fixture;

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gradcam-cli/assets");
const MODEL: &str = "efficientnet_lite0.onnx";
const PHOTO: &str = "cat_over_coffee.png";

fn asset(name: &str) -> Vec<u8> {
    fs::read(Path::new(ASSETS).join(name)).unwrap()
}

fn dropped<const N: usize>(files: [(&str, Vec<u8>); N]) -> DroppedFiles {
    let mut all = DroppedFiles::default();
    for (path, bytes) in files {
        let memory = MemoryFiles::from([("it", bytes)]);
        all.add(path, memory.open(Path::new("it")).unwrap());
    }
    all
}

fn empty() -> PageState {
    PageState::new(|_, _| {})
}

/// A page with the built-in model and the photo, and their numbers.
fn built_in() -> (PageState, ModelDescription, u32) {
    let mut page = empty();
    let files = dropped([(MODEL, asset(MODEL))]);
    let model = page.open(files, MODEL, ModelSettings::default()).unwrap();
    let (photo, width, height) = page.add_photo(&asset(PHOTO)).unwrap();
    let whole = Photo::decode(&asset(PHOTO), &Limits::default()).unwrap();
    assert_eq!((width, height), (whole.width(), whole.height()));
    (page, model, photo)
}

fn request(model: u32, photo: u32, target: &str) -> ExplainRequest {
    serde_json::from_value(json!({ "model": model, "photo": photo, "target": target })).unwrap()
}

fn of_map(model: u32, photo: u32, map: serde_json::Value) -> ExplainRequest {
    let whole = json!({ "model": model, "photo": photo, "map": map });
    serde_json::from_value(whole).unwrap()
}

#[test]
fn a_model_says_what_it_takes_and_what_it_holds() {
    let (_, model, _) = built_in();
    assert_eq!(model.problem, None);
    assert_eq!((model.classes, model.bytes), (1000, asset(MODEL).len() as u64));
    assert_eq!(model.labels.unwrap()[285], "Egyptian cat");
    assert_eq!(model.preprocessing.unwrap().guess, None);
    let default: Vec<_> = model.layers.iter().filter(|layer| layer.default).collect();
    assert_eq!(default.len(), 1);
    assert_eq!(model.explained, [default[0].path.as_str()]);
}

#[test]
fn the_map_is_the_librarys_own() {
    let (mut page, model, photo) = built_in();
    let explained = page.explain(&request(model.id, photo, "espresso")).unwrap();
    let [one] = explained.as_slice() else { panic!("{} explanations", explained.len()) };
    assert_eq!(one.summary.class.label.as_deref(), Some("espresso"));
    assert_eq!(one.summary.top[0].label.as_deref(), Some("espresso"));

    let explainer = Explainer::builder(Model::from_bytes(asset(MODEL)).unwrap()).build().unwrap();
    let whole = Photo::decode(&asset(PHOTO), &Limits::default()).unwrap();
    let expected = explainer.explain(&whole, Target::Class(one.summary.class.index)).unwrap();
    let map = &expected[0][0].layers[0].map;
    assert_eq!(one.summary.layers[0].shape, map.shape());
    assert_eq!(page.map(one.id, 0).unwrap(), map.iter().copied().collect::<Vec<f32>>());
    assert!(page.map(one.id, 1).unwrap_err().contains("there are 1 maps"));
}

#[test]
fn several_classes_are_several_explanations() {
    let (mut page, model, photo) = built_in();
    let two = page.explain(&request(model.id, photo, "top:2")).unwrap();
    let labels: Vec<_> = two.iter().map(|one| one.summary.class.label.clone().unwrap()).collect();
    assert_eq!(labels, ["espresso", "cup"]);
    let maps = two.iter().map(|one| page.map(one.id, 0).unwrap()).collect::<Vec<_>>();
    assert_ne!(maps[0], maps[1]);
}

#[test]
fn a_picture_on_the_page_is_small_and_the_file_is_not() {
    let (mut page, model, _) = built_in();
    let wide = Photo::from_rgb8(2048, 512, vec![90; 2048 * 512 * 3]).unwrap();
    let (photo, ..) = page.add_photo(&wide.to_png().unwrap()).unwrap();
    let shown = page.show(photo).unwrap();
    assert_eq!((shown.width, shown.height), (1024, 256));
    let one = &page.explain(&request(model.id, photo, "argmax")).unwrap()[0];
    let drawn = page.draw(one.id, 0, &PictureStyle::default()).unwrap();
    assert_eq!((drawn.width, drawn.height), (1024, 256));
    assert_eq!(drawn.rgba.len(), 1024 * 256 * 4);
    // The network saw the middle; the rest is darker than the photo.
    assert_eq!(&shown.rgba[..4], [90, 90, 90, 255]);
    assert_eq!(&drawn.rgba[..4], [54, 54, 54, 255]);
    let middle = 4 * (128 * 1024 + 512);
    assert_ne!(&drawn.rgba[middle..middle + 3], [54, 54, 54]);
    let png = page.png(one.id, 0, &PictureStyle::default()).unwrap();
    let whole = Photo::decode(&png, &Limits::default()).unwrap();
    assert_eq!((whole.width(), whole.height()), (2048, 512));
}

#[test]
fn styles_are_those_of_the_command_line() {
    let (mut page, model, photo) = built_in();
    let one = page.explain(&request(model.id, photo, "argmax")).unwrap().remove(0);
    let mut pictures = Vec::new();
    for kind in ["alpha", "fade", "pytorch-grad-cam", "contours", "cutout", "transparent"] {
        let style = PictureStyle { kind: kind.to_owned(), ..PictureStyle::default() };
        pictures.push(page.draw(one.id, 0, &style).unwrap().rgba);
    }
    for colormap in PageState::tables()["colormaps"].as_array().unwrap() {
        let colormap = colormap.as_str().unwrap().to_owned();
        let style = PictureStyle { colormap, ..PictureStyle::default() };
        pictures.push(page.draw(one.id, 0, &style).unwrap().rgba);
    }
    let of_jet = pictures.iter().filter(|other| **other == pictures[0]).count();
    assert_eq!(of_jet, 2, "jet is the default of the first picture");
    pictures.sort();
    pictures.dedup();
    assert_eq!(pictures.len(), 6 + 7 - 1);
    let style = PictureStyle { kind: "heat".to_owned(), ..PictureStyle::default() };
    let error = page.draw(one.id, 0, &style).unwrap_err();
    assert!(error.starts_with("kind is \"heat\"; there are: alpha, fade"), "{error}");
}

#[test]
fn maps_of_other_layers_and_methods() {
    let (mut page, model, photo) = built_in();
    let layer = model.layers.iter().find(|layer| layer.candidate).unwrap().path.clone();
    assert_ne!(layer, model.explained[0]);
    let asked = of_map(model.id, photo, json!({ "layers": [layer], "method": "layercam" }));
    let one = page.explain(&asked).unwrap().remove(0);
    assert_eq!((one.summary.method, &one.summary.layers[0].layer), ("layercam", &layer));

    let both = [layer, model.explained[0].clone()];
    let asked = of_map(model.id, photo, json!({ "layers": both, "fuse": "mean" }));
    let one = page.explain(&asked).unwrap().remove(0);
    assert_eq!((one.heatmaps, one.summary.layers.len()), (1, 2));

    for (map, message) in [
        (json!({ "layers": ["blok"] }), "no layer named \"blok\""),
        (json!({ "method": "gradcamm" }), "gradcam"),
        (json!({ "fuse": "sum" }), "mean"),
    ] {
        let error = page.explain(&of_map(model.id, photo, map)).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let error = page.explain(&request(model.id, photo, "hovercraft")).unwrap_err();
    assert!(error.contains("hovercraft"), "{error}");
}

#[test]
fn progress_of_a_long_method_is_told() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut page = PageState::new({
        let told = told.clone();
        move |done, total| told.lock().unwrap().push((done, total))
    });
    let files = dropped([(MODEL, asset(MODEL))]);
    let model = page.open(files, MODEL, ModelSettings::default()).unwrap();
    let (photo, ..) = page.add_photo(&asset(PHOTO)).unwrap();
    let map = json!({ "method": "scorecam", "budget": 64 });
    page.explain(&of_map(model.id, photo, map)).unwrap();
    let told = told.lock().unwrap();
    let (done, total) = told.last().copied().unwrap();
    assert_eq!(done, total);
    assert!(told.len() > 1 && told.is_sorted(), "{told:?}");
}

#[test]
fn a_model_is_read_with_the_files_beside_it() {
    let model = testkit::network("squeezenet1_1").0;
    let external = testkit::with_external_data(&model, "weights.bin");
    let labels = (0..1000).map(|class| format!("class {class}\n")).collect::<String>();
    let config = br#"{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": 224, "crop_size": 224,
        "do_normalize": true, "do_rescale": true, "do_resize": true, "resample": 2}"#;
    let (message, data) = external;
    let mut page = empty();
    let all = dropped([
        ("squeezenet.onnx", message.clone()),
        ("weights.bin", data.clone()),
        ("labels.txt", labels.into_bytes()),
        ("preprocessor_config.json", config.to_vec()),
    ]);
    let open = page.open(all, "squeezenet.onnx", ModelSettings::default()).unwrap();
    assert_eq!(open.problem, None);
    assert_eq!(open.labels.unwrap()[999], "class 999");
    let preprocess = open.preprocessing.unwrap();
    assert_eq!((preprocess.preprocess.mean, preprocess.guess), (vec![0.5; 3], None));

    // The same model in one file, with the same said of it, gives the same map.
    let whole = dropped([("whole.onnx", model.to_bytes().unwrap())]);
    let said = json!({ "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "short_side": 224, "filter": "bilinear" });
    let whole = page.open(whole, "whole.onnx", serde_json::from_value(said).unwrap()).unwrap();
    let (photo, ..) = page.add_photo(&asset(PHOTO)).unwrap();
    let map = |page: &mut PageState, model| {
        let one = page.explain(&request(model, photo, "7")).unwrap().remove(0);
        page.map(one.id, 0).unwrap()
    };
    assert_eq!(map(&mut page, open.id), map(&mut page, whole.id));

    let alone = dropped([("squeezenet.onnx", message)]);
    let error = page.open(alone, "squeezenet.onnx", ModelSettings::default()).unwrap_err();
    assert!(error.contains("weights.bin"), "{error}");
}

#[test]
fn what_a_file_lacks_is_said_later() {
    let mut page = empty();
    let files = dropped([("net.onnx", testkit::network("squeezenet1_1").0.to_bytes().unwrap())]);
    let model = page.open(files, "net.onnx", ModelSettings::default()).unwrap();
    let guess = model.preprocessing.unwrap().guess.unwrap();
    assert!(guess.contains("mean"), "{guess}");
    let (photo, ..) = page.add_photo(&asset(PHOTO)).unwrap();
    let guessed = page.explain(&request(model.id, photo, "argmax")).unwrap().remove(0);
    assert!(guessed.summary.warnings.iter().any(|one| one.id == "preprocessing-guessed"));

    let said = ModelSettings { imagenet: true, ..ModelSettings::default() };
    let model = page.say(model.id, said).unwrap();
    assert_eq!(model.preprocessing.unwrap().guess, None);
    let one = page.explain(&request(model.id, photo, "argmax")).unwrap().remove(0);
    assert!(one.summary.warnings.iter().all(|one| one.id != "preprocessing-guessed"));

    let wrong = ModelSettings { mean: Some(vec![0.5; 2]), ..ModelSettings::default() };
    let problem = page.say(model.id, wrong).unwrap().problem.unwrap();
    assert!(problem.contains('2'), "{problem}");
}

#[test]
fn the_box_under_an_area_of_the_photo_is_explained() {
    let mut page = empty();
    let bytes = fs::read(fixture("exporters/yolo_detect.onnx")).unwrap();
    let files = dropped([("yolo.onnx", bytes)]);
    let model = page.open(files, "yolo.onnx", ModelSettings::default()).unwrap();
    assert_eq!(model.problem, None);
    let (photo, width, height) = page.add_photo(&asset(PHOTO)).unwrap();
    let area = [0.0, 0.0, f64::from(width) / 2.0, f64::from(height) / 2.0];
    let asked = json!({ "model": model.id, "photo": photo, "area": area });
    let one = page.explain(&serde_json::from_value(asked).unwrap()).unwrap().remove(0);
    assert!(one.summary.place.is_some());
}

#[test]
fn a_model_that_explains_itself_gives_the_map_of_the_page() {
    let (mut page, model, photo) = built_in();
    let asked = json!({ "model": model.id, "targets": ["Egyptian cat"] });
    let asked: ExportRequest = serde_json::from_value(asked).unwrap();
    let exported = page.export(&asked).unwrap();
    let one = page.explain(&request(model.id, photo, "Egyptian cat")).unwrap().remove(0);

    let explainer = Explainer::builder(Model::from_bytes(asset(MODEL)).unwrap()).build().unwrap();
    let whole = Photo::decode(&asset(PHOTO), &Limits::default()).unwrap();
    let (x, _) = explainer.prepare(&whole).unwrap();
    let exported = Model::from_bytes(exported).unwrap();
    assert!(gradcam::is_exported(&exported));
    let map = exported_map(&exported, x.view().into_dyn());
    let shown = page.map(one.id, 0).unwrap();
    let largest = shown.iter().fold(0.0f32, |most, number| most.max(number.abs()));
    for (a, b) in map.iter().zip(&shown) {
        assert!((a - b).abs() <= 1e-5 * largest, "{a} and {b}, at most {largest}");
    }

    let both = json!({ "model": model.id, "targets": ["input", "285"] });
    let error = page.export(&serde_json::from_value(both).unwrap()).unwrap_err();
    assert!(error.contains("input"), "{error}");
    let heads = json!({ "model": model.id, "targets": ["argmax"], "heads": "some" });
    let error = page.export(&serde_json::from_value(heads).unwrap()).unwrap_err();
    assert!(error.contains("cam-only"), "{error}");
}

/// The map that an exported model computes of one image.
fn exported_map(exported: &Model, x: ArrayViewD<'_, f32>) -> Vec<f32> {
    let engine = engine(EngineKind::Rten, &EngineOptions::default()).unwrap();
    let input = gradcam::onnx_grad::inputs(exported)[0].name.clone();
    let compiled = engine.compile(exported).unwrap();
    let outputs = compiled.run(&[(input.as_str(), x.into())], &["gradcam.map"]).unwrap();
    let [Tensor::F32(map)] = outputs.as_slice() else { panic!("floats") };
    map.iter().copied().collect()
}

#[test]
fn files_that_are_no_models_and_no_pictures_are_named() {
    let mut page = empty();
    for (name, bytes, message) in [
        ("model.pth", b"PK\x03\x04 and more of a zip".to_vec(), "zip archive"),
        ("notes.txt", b"hello".to_vec(), "ONNX"),
        ("broken.onnx", asset(MODEL)[..100_000].to_vec(), "broken.onnx"),
        ("empty.onnx", Vec::new(), "empty"),
    ] {
        let files = dropped([(name, bytes)]);
        let error = page.open(files, name, ModelSettings::default()).unwrap_err();
        assert!(error.contains(message), "{name}: {error}");
    }
    let error = page.add_photo(b"no picture").unwrap_err();
    assert!(error.contains("JPEG"), "{error}");
    assert!(page.show(7).unwrap_err().contains("there is no photo 7"));
    assert!(page.explain(&request(7, 7, "argmax")).unwrap_err().contains("no photo 7"));
    let unknown = json!({ "model": 1, "photo": 1, "method": "gradcam" });
    let error = serde_json::from_value::<ExplainRequest>(unknown).unwrap_err();
    assert!(error.to_string().contains("unknown field `method`"), "{error}");
}

#[test]
fn what_is_closed_is_gone() {
    let (mut page, model, photo) = built_in();
    let one = page.explain(&request(model.id, photo, "argmax")).unwrap().remove(0);
    page.close(model.id);
    page.drop_photo(photo);
    assert!(page.explain(&request(model.id, photo, "argmax")).is_err());
    assert!(page.plain(model.id, photo, 1).is_err());
    assert!(page.draw(one.id, 0, &PictureStyle::default()).is_ok());
    page.drop_explanation(one.id);
    assert!(page.draw(one.id, 0, &PictureStyle::default()).is_err());
}
