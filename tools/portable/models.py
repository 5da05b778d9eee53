"""The models of the table: one file each, with an open number of images."""

import contextlib
import io
import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# Name: where it is built, its name there, and the options of `gradcam export`.
MODELS = {
    "lite0": ("built in", "efficientnet_lite0", []),
    "resnet50": ("torchvision", "resnet50", []),
    "vgg16": ("torchvision", "vgg16", []),
    "convnext_tiny": ("torchvision", "convnext_tiny", []),
    "densenet121": ("torchvision", "densenet121", []),
    "mobilenet_v3_large": ("torchvision", "mobilenet_v3_large", []),
    "swin_t": ("torchvision", "swin_t", []),
    "vit_b_16": ("torchvision", "vit_b_16", []),
    "yolov8n": ("ultralytics", "yolov8n", ["--size", "256"]),
    "deeplabv3_mobilenet": ("torchvision segmentation", "deeplabv3_mobilenet_v3_large", []),
}


def write(name, file):
    """Writes a model with random weights and calibrated norms; the built-in one has its own."""
    source, model, _ = MODELS[name]
    if source == "built in":
        shutil.copy(ROOT / "crates/gradcam-cli/assets/efficientnet_lite0.onnx", file)
    elif source == "ultralytics":
        from_ultralytics(model, file)
    else:
        from_torch(source, model, file)


def from_torch(source, model, file):
    import torch

    from zoo.build import build

    network, side = build(source, model)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    names = {"input_names": ["input"], "output_names": ["scores"]}
    with contextlib.redirect_stdout(io.StringIO()):
        # The older exporter: opset 17, which every engine of the table reads.
        torch.onnx.export(
            network, (x,), file, dynamo=False, opset_version=17, dynamic_axes={"input": {0: "batch"}, "scores": {0: "batch"}}, **names
        )


def from_ultralytics(model, file):
    from zoo.of_ultralytics import build

    wrapped = build(model)
    with contextlib.redirect_stdout(io.StringIO()):
        written = wrapped.export(format="onnx", imgsz=256, dynamic=True, simplify=False, opset=17, verbose=False)
    shutil.move(written, file)
