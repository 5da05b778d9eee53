//! What methods cost, in inferences: at the last stage of ResNet-50, one image, in ONNX Runtime. Written by
//! `crates/bench/compare.py --family`.

/// The id of each method, and the time of an explanation over that of an inference.
pub(super) const COSTS: &[(&str, f32)] = &[
    ("gradcam", 1.0),
    ("hirescam", 1.0),
    ("gradcam-elementwise", 1.0),
    ("gradcam++", 1.0),
    ("refinecam", 1.0),
    ("smoothgradcam++", 1.0),
    ("xgradcam", 1.0),
    ("layercam", 1.0),
    ("shapleycam", 1.0),
    ("finercam", 1.0),
    ("cam", 1.0),
    ("randomcam", 1.0),
    ("eigencam", 1.0),
    ("eigengradcam", 1.0),
    ("segeigencam", 1.0),
    ("kpcacam", 1.0),
    ("fem", 1.0),
    ("ablationcam", 1.0),
    ("scorecam", 1.0),
    ("reciprocam", 1.0),
    ("rise", 1.0),
    ("occlusion", 1.0),
    ("saliency", 1.0),
    ("smoothgrad", 1.0),
    ("integrated-gradients", 1.0),
    ("guided-backprop", 1.0),
    ("guided-gradcam", 1.0),
    ("fullgrad", 1.0),
];
