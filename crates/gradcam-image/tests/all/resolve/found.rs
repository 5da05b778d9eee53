//! Labels and settings in files and metadata of other programs.

use gradcam_image::preprocess::{Fit, Numbers, SettingOrigin, with_blank};
use gradcam_image::{Overrides, PreprocessChoice, resolve};

use super::{NCHW, OPEN, folder, props, summary, with_files};

/// The labels and their origin, with the metadata alone.
fn from_metadata(metadata: &[(&str, &str)], shape: &[Option<i64>]) -> PreprocessChoice {
    resolve(&Overrides::default(), &props(metadata), None, shape, Numbers::Floats).unwrap()
}

#[test]
fn labels_in_files_of_every_name_and_form() {
    for (file, text, origin) in [
        ("model.labels.txt", "cat\ndog\n", SettingOrigin::ModelLabelsTxt),
        ("model.txt", "cat\ndog", SettingOrigin::ModelTxt),
        ("model.json", r#"["cat", "dog"]"#, SettingOrigin::ModelJson),
        ("model.json", r#"{"0": "cat", "1": "dog"}"#, SettingOrigin::ModelJson),
        ("labels.txt", "cat\ndog", SettingOrigin::LabelsTxt),
        ("labels.json", r#"{"1": "dog", "0": "cat"}"#, SettingOrigin::LabelsJson),
        ("labels.json", r#"{"0": ["n02", "cat"], "1": ["n03", "dog"]}"#, SettingOrigin::LabelsJson),
        (
            "labels.json",
            r#"[{"name": "cat"}, {"id": 1, "label": "dog"}]"#,
            SettingOrigin::LabelsJson,
        ),
        ("classes.txt", "cat\ndog", SettingOrigin::ClassesTxt),
        ("class_indices.json", r#"{"dog": 1, "cat": 0}"#, SettingOrigin::ClassIndices),
        ("synset.txt", "n01440764 cat\nn01443537 dog", SettingOrigin::SynsetTxt),
        (
            "inference.yml",
            "PostProcess:\n  Topk:\n    topk: 1\n    label_list:\n    - cat\n    - dog\n",
            SettingOrigin::PaddleConfig,
        ),
        ("inference.yml", "mode: paddle\nlabel_list:\n- cat\n- dog\n", SettingOrigin::PaddleConfig),
    ] {
        let found = with_files(&format!("labels {origin}"), &[(file, text)], &NCHW);
        assert_eq!(found.labels, Some(vec!["cat".to_owned(), "dog".to_owned()]), "{file}: {text}");
        assert_eq!(found.origins.labels, Some(origin), "{file}");
    }
    let numbers =
        with_files("labels of numbers", &[("labels.json", r#"{"0": 90, "1": 270}"#)], &NCHW);
    assert_eq!(numbers.labels, Some(vec!["90".to_owned(), "270".to_owned()]));
    // Files of the model's own name hold other things too.
    for (file, text) in [("model.json", r#"{"class_name": "Functional"}"#), ("model.txt", "\u{0}")]
    {
        let labels = [(file, text), ("labels.txt", "cat")];
        let found = with_files(&format!("no labels in {file}"), &labels, &NCHW);
        let first =
            if file == "model.txt" { SettingOrigin::ModelTxt } else { SettingOrigin::LabelsTxt };
        assert_eq!(found.origins.labels, Some(first), "{file}");
    }
}

#[test]
fn malformed_labels_are_refused_by_file() {
    for (file, text, message) in [
        ("labels.json", r#"{"cat": 0, "dog": 2}"#, "labels.json: 2 labels, but none for class 1"),
        (
            "labels.json",
            r#"{"0": true}"#,
            "labels.json: the label of class 0 is true; expected a string",
        ),
        ("class_indices.json", "cat", "class_indices.json: not JSON"),
        ("inference.yml", "a: [", "inference.yml: not YAML: "),
        ("inference.yml", "- a\n", "inference.yml: [\"a\"]; expected a mapping"),
    ] {
        let model = folder(&format!("malformed {message:.20}"), &[(file, text)]).join("model.onnx");
        let error = resolve(&Overrides::default(), &[], Some(&model), &NCHW, Numbers::Floats);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn paddle() {
    let clas = "Global:
  model_name: PP-LCNet_x1_0
PreProcess:
  transform_ops:
  - ResizeImage:
      resize_short: 256
  - CropImage:
      size: 224
  - NormalizeImage:
      channel_num: 3
      mean: [0.485, 0.456, 0.406]
      order: ''
      scale: 1./255.
      std: [0.229, 0.224, 0.225]
  - ToCHWImage: null
";
    let rec = "PreProcess:
  transform_ops:
  - DecodeImage:
      channel_first: false
      img_mode: BGR
  - CTCLabelEncode: null
  - RecResizeImg:
      image_shape: [3, 48, 320]
  - KeepKeys:
      keep_keys: [image]
PostProcess:
  name: CTCLabelDecode
  character_dict:
  - '0'
  - \"\\u3000\"
  - 'y'
";
    let detection = "mode: paddle
Preprocess:
- interp: 2
  keep_ratio: false
  target_size: [480, 640]
  type: Resize
- mean: [0.0, 0.0, 0.0]
  norm_type: none
  std: [1.0, 1.0, 1.0]
  type: NormalizeImage
- type: Permute
";
    for (name, yaml, expected) in [
        (
            "clas",
            clas,
            "{short_side:{longest:null,size:256}} bilinear crop 224x224 Down fill 0 x 1/255 - [0.485, 0.456, 0.406] / [0.229, 0.224, 0.225] Nchw Rgb",
        ),
        (
            "rec",
            rec,
            "{inside:{height:48,width:320}} bilinear crop 320x48 Down fill 127 x 1/255 - [0.5, 0.5, 0.5] / [0.5, 0.5, 0.5] Nchw Bgr",
        ),
        (
            "detection",
            detection,
            "{exact:{height:480,width:640}} bicubic no crop fill 0 x 1/255 - [0.0, 0.0, 0.0] / [1.0, 1.0, 1.0] Nchw Rgb",
        ),
    ] {
        let found = with_files(&format!("paddle {name}"), &[("inference.yml", yaml)], &OPEN);
        assert_eq!(summary(&found), expected, "{name}");
        assert!(found.guess.is_none(), "{name}: {:?}", found.guess);
        assert_eq!(found.origins.geometry, SettingOrigin::PaddleConfig);
    }
    let found = with_files("paddle labels", &[("inference.yml", rec)], &OPEN);
    let labels = found.labels.unwrap();
    assert_eq!(labels, ["0", "\u{3000}", "y"]);
    let of = |classes| with_blank(SettingOrigin::PaddleConfig, labels.clone(), classes);
    assert_eq!(of(5), ["blank", "0", "\u{3000}", "y", " "]);
    assert_eq!(of(4), ["blank", "0", "\u{3000}", "y"]);
    assert_eq!((of(3).len(), of(2).len(), of(9).len()), (3, 3, 3));
    let wrong = "PreProcess:\n  transform_ops:\n  - NormalizeImage:\n      scale: x\n";
    let model = folder("paddle wrong", &[("inference.yml", wrong)]).join("model.onnx");
    let error = resolve(&Overrides::default(), &[], Some(&model), &NCHW, Numbers::Floats);
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("inference.yml: NormalizeImage: scale is \"x\"; expected a number that is not 0, such as 1/255"), "{error}");
}

#[test]
fn characters_in_metadata() {
    let found = from_metadata(&[("character", "0\n90\n180\n270")], &NCHW);
    assert_eq!(found.labels.unwrap(), ["0", "90", "180", "270"]);
    assert_eq!(found.origins.labels, Some(SettingOrigin::PaddleMetadata));
    let found = from_metadata(&[("character", "a\r\n\u{3000}\r\nb\r\n")], &NCHW);
    assert_eq!(found.labels.unwrap(), ["a", "\u{3000}", "b"]);
}

#[test]
fn openvino() {
    let metadata = [
        ("model_info labels", "cat dog"),
        ("model_info mean_values", "123.675 116.28 103.53"),
        ("model_info scale_values", "[58.395, 57.12, 57.375]"),
        ("model_info reverse_input_channels", "True"),
        ("model_info resize_type", "fit_to_window_letterbox"),
        ("model_info pad_value", "114"),
    ];
    let found = from_metadata(&metadata, &NCHW);
    assert_eq!(
        summary(&found),
        "{inside:{height:224,width:224}} bilinear crop 224x224 Even fill 114 x 1 - [123.675, 116.28, 103.53] / [58.395, 57.12, 57.375] Nchw Rgb"
    );
    assert_eq!(found.labels.unwrap(), ["cat", "dog"]);
    assert_eq!(found.origins.mean, SettingOrigin::OpenVino);
    let error = resolve(
        &Overrides::default(),
        &props(&[("model_info.scale_values", "0 1 1")]),
        None,
        &NCHW,
        Numbers::Floats,
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "metadata model_info scale_values is [\"0\", \"1\", \"1\"]; expected 1 to 4 numbers"
    );
}

#[test]
fn triton_says_layout_and_labels() {
    let config = "input [ { name: \"x\" format: FORMAT_NHWC dims: [ 3, 5, 3 ] } ]\n\
                  output [ { label_filename: \"names.txt\" } ]";
    let files = [("config.pbtxt", config), ("names.txt", "cat\ndog"), ("1/model.onnx", "")];
    let model = folder("triton", &files).join("1/model.onnx");
    let either = [Some(1), Some(3), Some(5), Some(3)];
    let found =
        resolve(&Overrides::default(), &[], Some(&model), &either, Numbers::Floats).unwrap();
    assert_eq!(found.origins.layout, SettingOrigin::Triton);
    assert_eq!(found.preprocess.geometry.output(), Some((5, 3)));
    assert_eq!(found.origins.labels, Some(SettingOrigin::Triton));
    assert_eq!(found.labels.unwrap(), ["cat", "dog"]);
}

#[test]
fn mlflow_has_the_sizes_that_a_model_leaves_open() {
    let file = r#"flavors:
  onnx: {data: model.onnx}
signature:
  inputs: '[{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3, 96, 128]}}]'
"#;
    let found = with_files("mlflow", &[("MLmodel", file)], &OPEN);
    assert_eq!(found.preprocess.geometry.output(), Some((128, 96)));
    let found = with_files("mlflow and a shape", &[("MLmodel", file)], &NCHW);
    assert_eq!(found.preprocess.geometry.output(), Some((224, 224)));
    let model = folder("mlflow and a flag", &[("MLmodel", file)]).join("model.onnx");
    let size = Overrides { size: Some((64, 64)), ..Overrides::default() };
    let found = resolve(&size, &[], Some(&model), &OPEN, Numbers::Floats).unwrap();
    assert_eq!(found.preprocess.geometry.output(), Some((64, 64)));
}

#[test]
fn caffe_squashes_and_crops() {
    let mean = Some(vec![104.0, 117.0, 123.0]);
    let caffe = Overrides {
        fit: Some(Fit::Squash),
        short_side: Some(256),
        mean,
        std: Some(vec![1.0]),
        ..Overrides::default()
    };
    let found = |overrides: &Overrides, shape: &[Option<i64>]| {
        resolve(overrides, &[], None, shape, Numbers::Floats)
    };
    let square = found(&caffe, &NCHW).unwrap();
    assert_eq!(
        summary(&square),
        "{exact:{height:256,width:256}} bilinear crop 224x224 Even fill 0 x 1 - [104.0, 117.0, 123.0] / [1.0, 1.0, 1.0] Nchw Rgb"
    );
    assert_eq!((square.origins.rescale, square.guess), (SettingOrigin::Flag, None));
    let wide = found(&caffe, &[None, Some(3), Some(100), Some(200)]).unwrap();
    assert!(summary(&wide).starts_with("{exact:{height:256,width:512}} bilinear crop 200x100"));
    let unit = Overrides { mean: Some(vec![0.5]), std: Some(vec![0.5]), ..Overrides::default() };
    assert_eq!(found(&unit, &NCHW).unwrap().preprocess.rescale, 1.0 / 255.0);
    // A mean alone says nothing of the factor.
    let half = Overrides { mean: Some(vec![104.0]), ..Overrides::default() };
    assert!(found(&half, &NCHW).unwrap().guess.is_some());
    let both = Overrides { fit: Some(Fit::Pad), ..caffe };
    assert_eq!(
        found(&both, &NCHW).unwrap_err().to_string(),
        "a short side of 256 pixels was asked for; a photo with borders has none"
    );
}
