//! Preprocessing that is malformed or contradicts itself.

use gradcam_image::preprocess::{Channels, Numbers};
use gradcam_image::{ImageErrorKind, ImageHint, Overrides, resolve};

use super::{NCHW, OPEN, folder, props};

#[test]
fn malformed_metadata_is_refused_by_file_and_key() {
    let processor = |text: &'static str| ("preprocessor_config.json", text);
    for (file, message) in [
        (processor("{"), "not JSON: EOF while parsing an object at line 1 column 1"),
        (processor("[1]"), "[1]; expected a JSON object"),
        (processor(r#"{"image_mean": "a"}"#), r#"image_mean is "a"; expected 1 to 4 numbers"#),
        (
            processor(r#"{"image_mean": [1, 2, 3, 4, 5]}"#),
            "image_mean is [1,2,3,4,5]; expected 1 to 4 numbers",
        ),
        (
            processor(r#"{"image_std": [1, 0, 1]}"#),
            "image_std is [1,0,1]; expected 1 to 4 numbers that are not 0",
        ),
        (
            processor(r#"{"resample": 9}"#),
            "resample is 9; expected 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box or 5 hamming",
        ),
        (
            processor(r#"{"size": -5}"#),
            "size is -5; expected pixels, or height and width, or shortest_edge",
        ),
        (
            processor(r#"{"size": {"height": 1e9, "width": 5}}"#),
            "size: height is 1000000000.0; expected pixels between 1 and 16384",
        ),
        (
            processor(r#"{"size": {"max_height": 9, "max_width": 9}}"#),
            r#"size is {"max_height":9,"max_width":9}; expected height and width, or shortest_edge, or pixels"#,
        ),
        (
            processor(r#"{"do_center_crop": true}"#),
            "do_center_crop is true, but crop_size is missing",
        ),
        (processor(r#"{"do_rescale": "yes"}"#), r#"do_rescale is "yes"; expected true or false"#),
        (
            processor(r#"{"channel_order": "GBR"}"#),
            r#"channel_order is "GBR"; expected RGB, BGR, grey, RGBA or LA"#,
        ),
        (
            ("config.json", r#"{"id2label": {"0": "a", "2": "b"}}"#),
            "id2label: 2 labels, but none for class 1; expected every class from 0",
        ),
        (
            ("config.json", r#"{"id2label": ["a", true]}"#),
            "id2label: the label of class 1 is true; expected a string",
        ),
        (
            ("config.json", r#"{"pretrained_cfg": {"input_size": [3, 224]}}"#),
            "input_size is [3,224]; expected a list of 3 numbers of pixels between 1 and 16384",
        ),
        (
            ("config.json", r#"{"pretrained_cfg": {"input_size": [3, 8, 8], "crop_mode": "x"}}"#),
            r#"crop_mode is "x"; expected center, squash or border"#,
        ),
        (
            ("config.json", r#"{"pretrained_cfg": {"interpolation": "x"}}"#),
            r#"interpolation is "x"; expected nearest, bilinear, bicubic, lanczos, box or hamming"#,
        ),
        (("labels.txt", ""), "no labels; expected one per line"),
    ] {
        let model = folder("malformed", &[file]).join("model.onnx");
        let error =
            resolve(&Overrides::default(), &[], Some(&model), &NCHW, Numbers::Floats).unwrap_err();
        let path = model.with_file_name(file.0);
        assert_eq!(error.to_string(), format!("{}: {message}", path.display()));
        assert_eq!(error.kind(), ImageErrorKind::Metadata, "{message}");
    }
    for (metadata, message) in [
        (
            vec![("gradcam.preprocess", "{")],
            "metadata gradcam.preprocess: not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            vec![("gradcam.labels", "7")],
            "metadata gradcam.labels: 7; expected a list of labels or an object of index to label",
        ),
        (
            vec![("task", "classify"), ("names", "{0: tench}")],
            "metadata names: not a Python literal: expected a literal at byte 4, found 't'",
        ),
        (
            vec![("task", "classify"), ("names", "{}"), ("imgsz", "[1, 2, 3]")],
            "metadata imgsz: \"[1, 2, 3]\": not two sizes; expected [height, width]",
        ),
        (
            vec![("Image.BitmapPixelFormat", "Rgba8")],
            "metadata Image.BitmapPixelFormat is \"rgba8\"; supported: Gray8, Rgb8, Bgr8",
        ),
    ] {
        let error = resolve(&Overrides::default(), &props(&metadata), None, &OPEN, Numbers::Floats)
            .unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn contradictions_are_refused() {
    let default = Overrides::default;
    let five = [Some(1), Some(3), Some(8), Some(8), Some(8)];
    let (five_channels, flat) =
        ([None, Some(5), Some(8), Some(8)], [None, Some(3), Some(0), Some(8)]);
    for (overrides, shape, message) in [
        (
            default(),
            &five[..],
            "the model's input has shape [1, 3, 8, 8, 8]; photos need [N, C, H, W] or [N, H, W, C]. If the model decodes or crops pictures itself, use the model inside it",
        ),
        (
            default(),
            &five_channels,
            "the model's input has shape [?, 5, 8, 8]; photos have 1 to 4 channels",
        ),
        (
            default(),
            &flat,
            "the model's input has shape [?, 3, 0, 8]; its height and width must be positive",
        ),
        (
            Overrides { size: Some((256, 256)), ..default() },
            &NCHW,
            "size 256x256 was asked for, but the model takes 224x224 only",
        ),
        (
            Overrides { size: Some((0, 9)), ..default() },
            &OPEN,
            "size is 0x9; expected sides between 1 and 16384",
        ),
        (
            Overrides { channels: Some(Channels::Gray), ..default() },
            &NCHW,
            "1 channel was asked for, but the model takes 3",
        ),
        (
            Overrides { mean: Some(vec![1.0, 2.0]), ..default() },
            &NCHW,
            "mean has 2 values, but the model takes 3 channels",
        ),
        (
            Overrides { mean: Some(vec![]), ..default() },
            &NCHW,
            "mean has 0 values, but the model takes 3 channels",
        ),
        (
            Overrides { std: Some(vec![0.0]), ..default() },
            &NCHW,
            "std is [0.0, 0.0, 0.0]; expected finite numbers, and std not 0",
        ),
        (
            Overrides { rescale: Some(0.0), ..default() },
            &NCHW,
            "rescale is 0; expected a number that is not 0",
        ),
    ] {
        let error = resolve(&overrides, &[], None, shape, Numbers::Floats).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ImageErrorKind::Invalid, message));
    }
    let files = [(
        "preprocessor_config.json",
        r#"{"image_processor_type": "ViTImageProcessor", "size": 384}"#,
    )];
    let model = folder("contradiction", &files).join("model.onnx");
    let error = resolve(&default(), &[], Some(&model), &NCHW, Numbers::Floats).unwrap_err();
    assert_eq!(
        error.to_string(),
        "preprocessor_config.json prepares 384x384 pixels, but the model takes 224x224"
    );
    assert_eq!(error.hint(), Some(ImageHint::Fit));
}
