//! Where preprocessing and labels come from, and what is said when they are guessed.

mod found;
mod refused;

use std::path::{Path, PathBuf};

use gradcam_image::preprocess::{Channels, Fit, Layout, Numbers, SettingOrigin};
use gradcam_image::{Files, Filter, Overrides, PreprocessChoice, resolve, resolve_in};
use serde_json::{Value, json};

const NCHW: [Option<i64>; 4] = [None, Some(3), Some(224), Some(224)];
const OPEN: [Option<i64>; 4] = [None, Some(3), None, None];

/// A change to what `resolve` is given.
type Step<'a> = dyn Fn(&mut Overrides, &mut Vec<(String, String)>) + 'a;

/// A folder with the given files, for one test row.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image_resolve").join(name);
    let _ = std::fs::remove_dir_all(&folder); // of an earlier run
    std::fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn props(props: &[(&str, &str)]) -> Vec<(String, String)> {
    props.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// What a photo of 500 × 400 becomes, in one line: resize, filter, crop, fill, numbers, layout, channels.
fn summary(resolved: &PreprocessChoice) -> String {
    let p = &resolved.preprocess;
    let geometry = serde_json::to_value(p.geometry).unwrap();
    let resize = geometry["resize"].to_string().replace('"', "");
    let crop = match p.geometry.crop {
        Some(crop) => format!("crop {}x{} {:?}", crop.width, crop.height, crop.rounding),
        None => "no crop".into(),
    };
    let factor = if p.rescale == 1.0 / 255.0 { "1/255".into() } else { p.rescale.to_string() };
    let fill = p.geometry.fill[0];
    format!(
        "{resize} {} {crop} fill {fill} x {factor} - {:?} / {:?} {:?} {:?}",
        p.filter, p.mean, p.std, p.layout, p.channels
    )
}

fn with_files(name: &str, files: &[(&str, &str)], shape: &[Option<i64>]) -> PreprocessChoice {
    let model = folder(name, files).join("model.onnx");
    resolve(&Overrides::default(), &[], Some(&model), shape, Numbers::Floats).unwrap()
}

#[test]
fn nothing_known_is_guessed_and_said() {
    for (shape, expected) in [
        (
            NCHW,
            "{short_side:{longest:null,size:256}} bilinear crop 224x224 Even fill 0 x 1/255 - [0.485, 0.456, 0.406] / [0.229, 0.224, 0.225] Nchw Rgb",
        ),
        (
            [Some(1), Some(160), Some(320), Some(3)],
            "{outside:{height:182,width:365}} bilinear crop 320x160 Even fill 0 x 1/255 - [0.485, 0.456, 0.406] / [0.229, 0.224, 0.225] Nhwc Rgb",
        ),
        (
            [Some(1), Some(1), Some(28), Some(28)],
            "{short_side:{longest:null,size:28}} bilinear crop 28x28 Even fill 0 x 1/255 - [0.0] / [1.0] Nchw Gray",
        ),
        (
            [None; 4],
            "{short_side:{longest:null,size:256}} bilinear crop 224x224 Even fill 0 x 1/255 - [0.485, 0.456, 0.406] / [0.229, 0.224, 0.225] Nchw Rgb",
        ),
    ] {
        let resolved = resolve(&Overrides::default(), &[], None, &shape, Numbers::Floats).unwrap();
        assert_eq!(summary(&resolved), expected, "{shape:?}");
        assert!(resolved.guess.is_some());
        assert_eq!(resolved.labels, None);
    }
    let guessed = resolve(&Overrides::default(), &[], None, &NCHW, Numbers::Floats).unwrap();
    let guess = guessed.guess.unwrap();
    for part in
        ["short side to 256 (bilinear filter), center crop 224x224", "mean [0.485, 0.456, 0.406]"]
    {
        assert!(guess.contains(part), "{guess}");
    }
    let known = Overrides { imagenet: true, ..Overrides::default() };
    assert!(resolve(&known, &[], None, &NCHW, Numbers::Floats).unwrap().guess.is_none());
}

#[test]
fn values_carry_their_origin_into_json() {
    let metadata = props(&[(
        "gradcam.preprocess",
        r#"{"image_mean": 127, "image_std": 128, "do_rescale": false}"#,
    )]);
    let overrides = Overrides { filter: Some(Filter::Bicubic), ..Overrides::default() };
    let resolved = resolve(&overrides, &metadata, None, &NCHW, Numbers::Floats).unwrap();
    let json = serde_json::to_value(&resolved).unwrap();
    assert_eq!(
        json["origins"],
        json!({
            "filter": "flag", "mean": "gradcam metadata", "std": "gradcam metadata", "rescale": "gradcam metadata",
            "geometry": "imagenet default", "size": "model input shape", "layout": "model input shape",
            "channels": "model input shape",
        })
    );
    assert_eq!(json["preprocess"]["mean"], json!([127.0, 127.0, 127.0]));
    assert_eq!(json["preprocess"]["layout"], json!("NCHW"));
    assert_eq!(json["preprocess"]["filter"], json!("bicubic"));
    let guess = json["guess"].as_str().unwrap();
    assert!(guess.contains("short side") && !guess.contains("mean ["), "{guess}");
}

#[test]
fn hugging_face_classes_and_forms() {
    let half = "[0.5, 0.5, 0.5] / [0.5, 0.5, 0.5] Nchw Rgb";
    let clip = "[0.48145467, 0.4578275, 0.40821072] / [0.26862955, 0.2613026, 0.2757771] Nchw Rgb";
    let short = |size: u32| format!("{{short_side:{{longest:null,size:{size}}}}}");
    let exact = |size: u32| format!("{{exact:{{height:{size},width:{size}}}}}");
    for (name, json, expected) in [
        ("vit", json!({"image_processor_type": "ViTImageProcessor"}), format!("{} bilinear no crop fill 0 x 1/255 - {half}", exact(224))),
        ("vit fast", json!({"image_processor_type": "ViTImageProcessorFast", "size": {"height": 384, "width": 384}, "resample": 3}), format!("{} bicubic no crop fill 0 x 1/255 - {half}", exact(384))),
        ("vit old", json!({"feature_extractor_type": "ViTFeatureExtractor", "size": 224}), format!("{} bilinear no crop fill 0 x 1/255 - {half}", exact(224))),
        ("clip old", json!({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}), format!("{} bicubic crop 224x224 Down fill 0 x 1/255 - {clip}", short(224))),
        ("deit", json!({"image_processor_type": "DeiTImageProcessor"}), format!("{} bicubic crop 224x224 Down fill 0 x 1/255 - {half}", exact(256))),
        ("convnext small", json!({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}}), format!("{} bilinear crop 224x224 Down fill 0 x 1/255 - {half}", short(256))),
        ("convnext own share", json!({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.95}), format!("{} bilinear crop 224x224 Down fill 0 x 1/255 - {half}", short(235))),
        ("convnext large", json!({"image_processor_type": "ConvNextImageProcessor", "size": 384}), format!("{} bilinear no crop fill 0 x 1/255 - {half}", exact(384))),
        ("poolformer", json!({"image_processor_type": "PoolFormerImageProcessor"}), format!("{} bicubic crop 224x224 Down fill 0 x 1/255 - [0.485, 0.456, 0.406] / [0.229, 0.224, 0.225] Nchw Rgb", short(248))),
        ("levit", json!({"image_processor_type": "LevitImageProcessor"}), format!("{} bicubic crop 224x224 Down fill 0 x 1/255 - [0.485, 0.456, 0.406] / [0.229, 0.224, 0.225] Nchw Rgb", short(256))),
        ("mobilevit", json!({"image_processor_type": "MobileViTImageProcessor"}), format!("{} bilinear crop 256x256 Down fill 0 x 1/255 - [0.0, 0.0, 0.0] / [1.0, 1.0, 1.0] Nchw Bgr", short(224))),
        ("efficientnet", json!({"image_processor_type": "EfficientNetImageProcessor"}), format!("{} nearest no crop fill 0 x 1/255 - [0.5, 0.5, 0.5] / [0.25, 0.25, 0.25] Nchw Rgb", exact(346))),
        ("no class", json!({"size": {"shortest_edge": 300, "longest_edge": 900}, "crop_size": {"height": 200, "width": 280}, "image_mean": [1, 2, 3], "image_std": 2, "do_rescale": false, "resample": 1}), "{short_side:{longest:900,size:300}} lanczos crop 280x200 Down fill 0 x 1 - [1.0, 2.0, 3.0] / [2.0, 2.0, 2.0] Nchw Rgb".to_owned()),
    ] {
        let resolved = with_files(&format!("hf {name}"), &[("preprocessor_config.json", &json.to_string())], &OPEN);
        assert_eq!(summary(&resolved), expected, "{name}");
        assert!(resolved.guess.is_none(), "{name}");
        assert_eq!(resolved.origins.mean, SettingOrigin::PreprocessorConfig, "{name}");
    }
    let unknown = r#"{"image_processor_type": "NewImageProcessor", "size": 224}"#;
    let unknown = with_files("hf unknown class", &[("preprocessor_config.json", unknown)], &OPEN);
    assert_eq!(unknown.origins.mean, SettingOrigin::ImagenetDefault);
    assert!(unknown.guess.is_some());
}

#[test]
fn files_are_found_beside_the_model_and_one_folder_up() {
    let vit = r#"{"image_processor_type": "ViTImageProcessor"}"#;
    let labels = r#"{"id2label": {"0": "cat", "10": "k", "1": "dog", "2": "c", "3": "d", "4": "e", "5": "f", "6": "g", "7": "h", "8": "i", "9": "j"}}"#;
    let nested = format!(r#"{{"image_processor": {vit}}}"#);
    for (name, files, model) in [
        ("beside", [("preprocessor_config.json", vit), ("config.json", labels)], "model.onnx"),
        (
            "one up",
            [("preprocessor_config.json", vit), ("config.json", labels)],
            "onnx/model_fp16.onnx",
        ),
        ("nested", [("processor_config.json", &nested), ("config.json", labels)], "model.onnx"),
    ] {
        let model = folder(&format!("found {name}"), &files).join(model);
        let resolved =
            resolve(&Overrides::default(), &[], Some(&model), &NCHW, Numbers::Floats).unwrap();
        assert_eq!(resolved.origins.geometry, SettingOrigin::PreprocessorConfig, "{name}");
        assert_eq!(resolved.origins.labels, Some(SettingOrigin::HuggingFaceConfig), "{name}");
        let labels = resolved.labels.unwrap();
        assert_eq!(
            (labels.len(), labels[1].as_str(), labels[10].as_str()),
            (11, "dog", "k"),
            "{name}"
        );
    }
    let files = [("preprocessor_config.json", vit)];
    let model = folder("found not", &files).join("weights/model.onnx");
    let resolved =
        resolve(&Overrides::default(), &[], Some(&model), &NCHW, Numbers::Floats).unwrap();
    assert!(resolved.guess.is_some(), "a folder that is not called onnx is not left");
}

#[test]
fn timm_config() {
    let mean = "[0.5, 0.25, 0.125] / [0.5, 0.5, 0.5] Nchw Rgb";
    let config = |extra: Value| {
        let mut config = json!({"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9,
            "mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.5], "test_input_size": [3, 288, 288], "test_crop_pct": 1.0});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        config
    };
    let nested = |extra| json!({"architecture": "resnet50", "pretrained_cfg": config(extra)});
    let mut flat = config(json!({"architecture": "resnet50", "labels": ["a", "b"]}));
    flat["interpolation"] = json!("random");
    let test_size = [None, Some(3), Some(288), Some(288)];
    for (name, json, shape, expected) in [
        (
            "center",
            nested(json!({})),
            OPEN,
            "{short_side:{longest:null,size:248}} bicubic crop 224x224 Even fill 0 x 1/255 - ",
        ),
        (
            "test size",
            nested(json!({})),
            test_size,
            "{short_side:{longest:null,size:288}} bicubic crop 288x288 Even fill 0 x 1/255 - ",
        ),
        (
            "squash",
            nested(json!({"crop_mode": "squash"})),
            OPEN,
            "{exact:{height:248,width:248}} bicubic crop 224x224 Even fill 0 x 1/255 - ",
        ),
        (
            "border",
            nested(json!({"crop_mode": "border"})),
            OPEN,
            "{inside:{height:248,width:248}} bicubic crop 224x224 Even fill 128 x 1/255 - ",
        ),
        (
            "flat",
            flat,
            OPEN,
            "{short_side:{longest:null,size:248}} bilinear crop 224x224 Even fill 0 x 1/255 - ",
        ),
    ] {
        let resolved =
            with_files(&format!("timm {name}"), &[("config.json", &json.to_string())], &shape);
        assert_eq!(summary(&resolved), format!("{expected}{mean}"), "{name}");
        assert_eq!(resolved.origins.mean, SettingOrigin::TimmConfig, "{name}");
        assert!(resolved.guess.is_none(), "{name}");
        assert_eq!(resolved.labels.is_some(), name == "flat");
    }
    let described = json!({"architecture": "x", "pretrained_cfg": {"input_size": [3, 8, 8]},
        "label_names": {"0": "n1", "1": "n2"}, "label_descriptions": {"n2": "a dog"}});
    let described = with_files("timm described", &[("config.json", &described.to_string())], &OPEN);
    assert_eq!(described.labels.unwrap(), ["n1", "a dog"]);
}

#[test]
fn metadata_of_the_model() {
    let lite0 = r#"{"do_resize": true, "size": {"shortest_edge": 256}, "resample": 3, "do_center_crop": true,
        "crop_size": 224, "do_rescale": false, "image_mean": [127, 127, 127], "image_std": [128, 128, 128]}"#;
    let zero_one = "[0.0, 0.0, 0.0] / [1.0, 1.0, 1.0]";
    let imagenet_geometry =
        "{short_side:{longest:null,size:256}} bilinear crop 224x224 Even fill 0";
    for (name, metadata, origin, expected) in [
        ("gradcam", vec![("gradcam.preprocess", lite0)], SettingOrigin::GradcamMetadata,
            "{short_side:{longest:null,size:256}} bicubic crop 224x224 Down fill 0 x 1 - [127.0, 127.0, 127.0] / [128.0, 128.0, 128.0] Nchw Rgb".to_owned()),
        ("ultralytics classify", vec![("task", "classify"), ("names", "{0: 'tench'}"), ("imgsz", "[64, 64]")], SettingOrigin::Ultralytics,
            format!("{{short_side:{{longest:null,size:64}}}} bilinear crop 64x64 Even fill 0 x 1/255 - {zero_one} Nchw Rgb")),
        ("ultralytics detect", vec![("task", "detect"), ("names", "{0: 'tench'}"), ("imgsz", "[480, 640]")], SettingOrigin::Ultralytics,
            format!("{{inside:{{height:480,width:640}}}} bilinear crop 640x480 Even fill 114 x 1/255 - {zero_one} Nchw Rgb")),
        ("Image bgr 0..255", vec![("image.bitmappixelformat", "BGR8"), ("Image.NominalPixelRange", "NominalRange_0_255")], SettingOrigin::OnnxImage,
            format!("{imagenet_geometry} x 1 - {zero_one} Nchw Bgr")),
        ("Image -1..1", vec![("Image.NominalPixelRange", "Normalized_1_1")], SettingOrigin::OnnxImage,
            format!("{imagenet_geometry} x 1/255 - [0.5, 0.5, 0.5] / [0.5, 0.5, 0.5] Nchw Rgb")),
    ] {
        let resolved = resolve(&Overrides::default(), &props(&metadata), None, &OPEN, Numbers::Floats).unwrap();
        assert_eq!(summary(&resolved), expected, "{name}");
        assert_eq!(resolved.origins.mean, origin, "{name}");
        assert_eq!(resolved.guess.is_some(), origin == SettingOrigin::OnnxImage, "{name}: only the geometry is guessed");
    }
}

#[test]
fn the_first_source_wins() {
    let files = [
        ("preprocessor_config.json", r#"{"image_processor_type": "ViTImageProcessor"}"#),
        ("config.json", r#"{"id2label": {"0": "from config.json"}}"#),
        ("model.labels.txt", "from model.labels.txt"),
        ("labels.txt", "from labels.txt"),
        ("synset.txt", "n01440764 from synset.txt"),
        ("given.json", r#"["from the flag"]"#),
    ];
    let metadata = props(&[
        ("gradcam.preprocess", r#"{"image_mean": 1, "image_std": 1}"#),
        ("gradcam.labels", r#"["from gradcam.labels"]"#),
        ("task", "classify"),
        ("names", "{0: 'from names'}"),
    ]);
    let place = folder("precedence", &files);
    let model = place.join("model.onnx");
    let mut overrides = Overrides {
        mean: Some(vec![9.0]),
        labels: Some(place.join("given.json")),
        ..Overrides::default()
    };
    let mut metadata = metadata;
    let mut seen = Vec::new();
    // One source after another is taken away.
    let steps: [&Step<'_>; 7] = [
        &|_, _| {},
        &|overrides, _| *overrides = Overrides::default(),
        &|_, metadata| metadata.retain(|(key, _)| !key.starts_with("gradcam")),
        &|_, _| {
            ["preprocessor_config.json", "config.json"]
                .iter()
                .for_each(|file| std::fs::remove_file(place.join(file)).unwrap())
        },
        &|_, metadata| metadata.clear(),
        &|_, _| std::fs::remove_file(place.join("model.labels.txt")).unwrap(),
        &|_, _| std::fs::remove_file(place.join("labels.txt")).unwrap(),
    ];
    for step in steps {
        step(&mut overrides, &mut metadata);
        let resolved =
            resolve(&overrides, &metadata, Some(&model), &NCHW, Numbers::Floats).unwrap();
        seen.push((
            resolved.preprocess.mean[0],
            resolved.labels.unwrap()[0].clone(),
            resolved.origins.labels,
        ));
    }
    let expected = [
        (9.0, "from the flag", Some(SettingOrigin::Flag)),
        (1.0, "from gradcam.labels", Some(SettingOrigin::GradcamMetadata)),
        (0.5, "from config.json", Some(SettingOrigin::HuggingFaceConfig)),
        (0.0, "from names", Some(SettingOrigin::Ultralytics)),
        (0.485, "from model.labels.txt", Some(SettingOrigin::ModelLabelsTxt)),
        (0.485, "from labels.txt", Some(SettingOrigin::LabelsTxt)),
        (0.485, "from synset.txt", Some(SettingOrigin::SynsetTxt)),
    ];
    assert_eq!(seen, expected.map(|(mean, label, origin)| (mean, label.to_owned(), origin)));
}

#[test]
fn placeholders_are_no_labels() {
    let config = r#"{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}"#;
    assert_eq!(with_files("placeholders", &[("config.json", config)], &NCHW).labels, None);
}

#[test]
fn flags_shape_the_geometry() {
    let vit = [("preprocessor_config.json", r#"{"image_processor_type": "CLIPImageProcessor"}"#)];
    let model = folder("flags", &vit).join("model.onnx");
    let default = Overrides::default;
    for (name, overrides, shape, expected) in [
        (
            "squash",
            Overrides { fit: Some(Fit::Squash), ..default() },
            NCHW,
            "{exact:{height:224,width:224}} bicubic no crop",
        ),
        (
            "pad",
            Overrides { fit: Some(Fit::Pad), ..default() },
            NCHW,
            "{inside:{height:224,width:224}} bicubic crop 224x224 Even",
        ),
        (
            "crop",
            Overrides { fit: Some(Fit::Crop), ..default() },
            NCHW,
            "{short_side:{longest:null,size:224}} bicubic crop 224x224 Even",
        ),
        (
            "short side",
            Overrides { short_side: Some(300), ..default() },
            NCHW,
            "{short_side:{longest:null,size:300}} bicubic crop 224x224 Even",
        ),
        (
            "size",
            Overrides { size: Some((448, 448)), ..default() },
            OPEN,
            "{short_side:{longest:null,size:448}} bicubic crop 448x448 Down",
        ),
        (
            "size and fit",
            Overrides { size: Some((64, 32)), fit: Some(Fit::Squash), ..default() },
            OPEN,
            "{exact:{height:32,width:64}} bicubic no crop",
        ),
    ] {
        let resolved = resolve(&overrides, &[], Some(&model), &shape, Numbers::Floats).unwrap();
        assert!(summary(&resolved).starts_with(expected), "{name}: {}", summary(&resolved));
    }
    let bgr = Overrides { channels: Some(Channels::Bgr), layout: Some(Layout::Nhwc), ..default() };
    let resolved = resolve(&bgr, &[], None, &[None; 4], Numbers::Floats).unwrap();
    assert!(summary(&resolved).ends_with("[0.406, 0.456, 0.485] / [0.225, 0.224, 0.229] Nhwc Bgr"));
}

#[test]
fn integers_are_pixels_as_they_are() {
    let resolved = resolve(&Overrides::default(), &[], None, &NCHW, Numbers::Integers).unwrap();
    assert_eq!(resolved.preprocess.rescale, 1.0);
    assert_eq!(resolved.preprocess.mean, [0.0; 3]);
    assert_eq!(resolved.preprocess.std, [1.0; 3]);
    assert_eq!(resolved.origins.mean, SettingOrigin::ModelType);
    let mean = Overrides { mean: Some(vec![128.0]), ..Overrides::default() };
    let resolved = resolve(&mean, &[], None, &NCHW, Numbers::Integers).unwrap();
    assert_eq!(resolved.preprocess.mean, [128.0; 3]);
    let said = [("gradcam.preprocess".to_owned(), r#"{"rescale_factor": 0.5}"#.to_owned())];
    let resolved = resolve(&Overrides::default(), &said, None, &NCHW, Numbers::Integers).unwrap();
    assert_eq!(resolved.preprocess.rescale, 0.5);
}

#[test]
fn a_shape_implies_a_layout() {
    use Layout::{Nchw, Nhwc};
    for (shape, layout) in [
        (&[1, 3, 224, 224][..], Some(Nchw)),
        (&[0, 224, 224, 3], Some(Nhwc)),
        (&[0, 0, 0, 3], Some(Nhwc)),
        (&[0, 1, 0, 0], Some(Nchw)),
        (&[1, 3, 5, 3], Some(Nchw)),
        (&[1, 4, 4, 3], Some(Nhwc)),
        (&[1, 64, 64, 4], Some(Nhwc)),
        (&[1, 4, 64, 2], None),
        (&[1, 4, 64, 64], Some(Nchw)),
        (&[1, 8, 8, 8], None),
        (&[0, 0, 0, 0], None),
        (&[1, 3, 8, 8, 8], Some(Nchw)),
        (&[1, 128, 4], Some(Nhwc)),
        (&[1, 3], None),
        (&[], None),
    ] {
        let sizes: Vec<Option<i64>> =
            shape.iter().map(|size| Some(*size).filter(|size| *size > 0)).collect();
        assert_eq!(Layout::of_shape(&sizes), layout, "{shape:?}");
    }
}

#[test]
fn metadata_decides_where_the_shape_fits_both_layouts() {
    let said =
        [("gradcam.preprocess".to_owned(), r#"{"data_format": "channels_last"}"#.to_owned())];
    let either = [Some(1), Some(3), Some(5), Some(3)];
    let read = |overrides: &Overrides, shape: &[Option<i64>; 4]| {
        let resolved = resolve(overrides, &said, None, shape, Numbers::Floats)?;
        let preprocess = resolved.preprocess;
        Ok((preprocess.layout, resolved.origins.layout, preprocess.geometry.output()))
    };
    let default = Overrides::default();
    let expected = (Layout::Nhwc, SettingOrigin::GradcamMetadata, Some((5, 3)));
    assert_eq!(read(&default, &either).unwrap(), expected);
    let flag = Overrides { layout: Some(Layout::Nchw), ..Overrides::default() };
    let expected = (Layout::Nchw, SettingOrigin::Flag, Some((3, 5)));
    assert_eq!(read(&flag, &either).unwrap(), expected);
    let error: gradcam_image::ImageError = read(&default, &NCHW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model's input has shape [?, 3, 224, 224]; photos have 1 to 4 channels, and gradcam metadata sets the layout \
         NHWC"
    );
}

/// Files that are nowhere on disk.
struct Memory(&'static [(&'static str, &'static str)]);

impl Files for Memory {
    fn open(&self, path: &Path) -> std::io::Result<Box<dyn std::io::Read>> {
        let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
        let (_, text) = found.ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Box::new(text.as_bytes()))
    }
}

#[test]
fn the_file_of_labels_that_is_named_is_one_of_the_files_given() {
    let files = Memory(&[("names.txt", "cat\ndog\n")]);
    let labels = |name: &str| {
        let overrides = Overrides { labels: Some(name.into()), ..Overrides::default() };
        let shape = [Some(1), Some(3), Some(8), Some(8)];
        let model = Some(Path::new("model.onnx"));
        resolve_in(&files, &overrides, &[], model, &shape, Numbers::Floats)
            .map(|choice| choice.labels)
    };
    assert_eq!(labels("names.txt").unwrap().unwrap(), ["cat", "dog"]);
    assert_eq!(labels("other.txt").unwrap_err().to_string(), "other.txt: no such file");
}
