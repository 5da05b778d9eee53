//! What methods cost, in inferences: at the last stage of ResNet-50, one image, in ONNX Runtime. Written by
//! `crates/bench/compare.py --family`.

/// The id of each method, and the time of an explanation over that of an inference.
pub(super) const COSTS: &[(&str, f32)] = &[
    ("gradcam", 1.03),
    ("hirescam", 1.03),
    ("gradcam-elementwise", 1.04),
    ("gradcam++", 1.04),
    ("smoothgradcam++", 7.25),
    ("refinecam", 1.35),
    ("xgradcam", 1.04),
    ("layercam", 1.03),
    ("shapleycam", 1.06),
    ("finercam", 1.06),
    ("cam", 1.01),
    ("randomcam", 1.04),
    ("eigencam", 1.1),
    ("eigengradcam", 1.11),
    ("segeigencam", 1.11),
    ("kpcacam", 1.1),
    ("fem", 1.1),
    ("ablationcam", 1.09),
    ("scorecam", 2100.0),
    ("reciprocam", 1.68),
    ("rise", 4280.0),
    ("occlusion", 191.0),
    ("saliency", 2.69),
    ("smoothgrad", 147.0),
    ("integrated-gradients", 140.0),
    ("guided-backprop", 2.73),
    ("guided-gradcam", 2.81),
    ("fullgrad", 3.1),
];
