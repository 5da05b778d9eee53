# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "torch==2.15.0", "torchvision==0.29.2", "onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript", "grad-cam==1.5.7",
#     "pillow==13.0.0", "numpy",
# ]
# ///
"""Writes the reference maps and gradients of whole networks: crates/testkit/fixtures/networks.

python tools/network_fixtures.py [FOLDER] [NAME…]

The ONNX file itself is run with torch operators in float64 (`networks/interpret.py`), so that activations and gradients are those
of its own numbers; ONNX Runtime must agree with its scores, and pytorch-grad-cam with its maps.

lite0: the built-in model on the two demo photos. A thousand inputs of its rectifiers are so near to 0 or 6 that the rounding of some
processor's float32 is on the other side, which changes the gradient behind by a hundredth. They are moved away (`settled`), so that
every float32 has the gradient of float64. The other networks are exported by torch and written without their weights,
which come from a seed (`networks/calibrate.py`): three images in a batch, each with a class of its own (of some thirty the one whose
maps have the most contrast), at the default layer and at an early one. The seed is the first whose network is
well-conditioned, float32 and float64 torch agree to 1e-5 of the largest entry in every map and in the gradient of the
image, and whose maps have contrast: the range of each is at least 0.15 of its largest entry.
"""

import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torchvision.models as tv
from PIL import Image
from pytorch_grad_cam.utils.image import scale_cam_image
from torchvision.models.video import r3d_18

from networks.calibrate import Calibration
from networks.ecg import Ecg
from networks.reference import (
    CONDITION,
    METHODS,
    apart,
    check_with_pytorch_grad_cam,
    classes_with_contrast,
    condition,
    contrast,
    error,
    run,
    tensor,
)
from networks.settle import settled
from splitmix import uniform

warnings.filterwarnings("ignore")
ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "crates/gradcam-cli/assets"
CONTRAST = 0.15
FIRST_SEED = 2026
# The step between the stored elements of the image's gradient; it divides no size of an image.
STRIDE = 11


def lite0(folder):
    original = onnx.load(ASSETS / "efficientnet_lite0.onnx")
    layers = {
        "bn2": "/bn2/act/Clip_output_0",
        "blocks.4.2": "/blocks/blocks.4/blocks.4.2/Add_output_0",
        "blocks.2.1": "/blocks/blocks.2/blocks.2.1/Add_output_0",
    }
    cases = []
    for photo in ("cat_over_coffee", "cat_beside_coffee"):
        image = Image.open(ASSETS / f"{photo}.png").convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        image.save(folder / f"{photo}_224.png")
        x = ((torch.tensor(np.asarray(image)).float() - 127) / 128).permute(2, 0, 1)[None]
        model, moves = settled(original, x, layers["blocks.2.1"])
        print(f"{photo}: {sum(len(places) for row in moves.values() for places in row.values())} inputs of rectifiers are moved")
        for k in (285, 967):
            scores, rows, _, off = condition(model, x, list(layers.values()), [k])
            del off["image"]  # The fixture has the maps alone.
            assert max(off.values()) <= CONDITION, off
            for value, row in zip(layers.values(), rows, strict=True):
                check_with_pytorch_grad_cam(model, x, value, [k], row)
            found = {
                path: {"value": value} | {k: tensor(v) for k, v in row.items()}
                for (path, value), row in zip(layers.items(), rows, strict=True)
            }
            raw = run(original, torch.float64, x, [layers["bn2"]])[0]([k])[0][0]["gradcam"].float().numpy()
            heat = scale_cam_image(scale_cam_image(np.maximum(raw, 0), (224, 224)), None)
            lines = {str(row): [float(v) for v in heat[0, row]] for row in (0, 37, 112, 223)}
            cases.append({"photo": photo, "class": k, "logits": tensor(scores[0]), "moves": moves, "layers": found, "heatmap_rows": lines})
    (folder / "lite0.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def exported(net, size, open_space=True, opset=17, dynamo=False):
    """The file that torch's exporter writes; no two parameters are equal, or it would merge them."""
    with torch.no_grad():
        for t in [*net.parameters(), *net.buffers()]:
            if t.is_floating_point():
                t.copy_(torch.rand_like(t) + 0.5)
    x = torch.zeros(3, *size)
    names = {"input_names": ["input"], "output_names": ["logits"]}
    if dynamo:
        program = torch.onnx.export(net.eval(), (x,), dynamo=True, verbose=False, dynamic_shapes=({0: torch.export.Dim("batch")},), **names)
        return program.model_proto
    axes = {0: "batch", 2: "height", 3: "width"} if open_space else {0: "batch"}
    buffer = io.BytesIO()
    torch.onnx.export(
        net.eval(), x, buffer, dynamo=False, opset_version=opset, dynamic_axes={"input": axes, "logits": {0: "batch"}}, **names
    )
    return onnx.load_from_string(buffer.getvalue())


def fixture(folder, name, model, size, layers, candidates):
    values = list(layers.values())
    batch = 3
    for seed in range(FIRST_SEED, FIRST_SEED + 20):
        x = torch.tensor(uniform(seed, "input", batch * int(np.prod(size))).reshape(batch, *size))
        scales = Calibration(model, x, seed).scales
        classes = classes_with_contrast(model, x, values, candidates)
        scores, rows, image, off = condition(model, x, values, classes)
        least = float(contrast(rows).min())
        far = [f"{apart(row):.2f}" for row in rows]
        found = f"condition {max(off.values()):.1e} ({max(off, key=off.get)}), contrast {least:.2f}, methods apart {far}"
        print(f"{name} seed {seed}: {found}", flush=True)
        if max(off.values()) <= CONDITION and least >= CONTRAST:
            break
    else:
        raise SystemExit(f"{name}: no seed is good")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert error(torch.tensor(session.run(None, {"input": x.numpy()})[0]), scores) <= 1e-4, "ONNX Runtime disagrees"
    for value, row in zip(values, rows, strict=True):
        check_with_pytorch_grad_cam(model, x, value, classes, row)
    for t in model.graph.initializer:
        if t.name in scales:
            t.ClearField("raw_data")
    del model.graph.value_info[:]
    model.ClearField("functions")
    onnx.save(model, folder / f"{name}.onnx")
    found = {
        path: {"value": value} | {m: tensor(row[m], 9) for m in METHODS} for (path, value), row in zip(layers.items(), rows, strict=True)
    }
    text = {
        "seed": seed,
        "input": [batch, *size],
        "classes": classes,
        "scales": scales,
        "logits": tensor(scores[:, :8], 9),
        "layers": found,
        "gradient": {"stride": STRIDE, "largest": float(image.abs().max()), "data": tensor(image.flatten()[::STRIDE], 9)["data"]},
        "condition": {k: float(f"{v:.1e}") for k, v in off.items()},
    }
    (folder / f"{name}.json").write_text(json.dumps(text, separators=(",", ":")) + "\n")


def vgg(build, size):
    """A network with a head for the small image: torchvision's own takes 7×7 positions."""
    net = build(weights=None)
    positions = (size[1] // 32, size[2] // 32)
    net.avgpool = torch.nn.AdaptiveAvgPool2d(positions)
    net.classifier[0] = torch.nn.Linear(512 * positions[0] * positions[1], 4096)
    return net


IMAGE = (3, 64, 96)
SMALL = (3, 32, 64)  # More windows of max pools would make near ties likely, which float32 decides in another way.


def networks():
    """Name, network, size of an image, layers (the default one first), and how it is exported."""
    return {
        "resnet18": (
            tv.resnet18,
            IMAGE,
            {"layer4.1": "/layer4/layer4.1/relu_1/Relu_output_0", "layer1.1": "/layer1/layer1.1/relu_1/Relu_output_0"},
            {},
        ),
        "resnet50": (
            tv.resnet50,
            IMAGE,
            {"layer4.2": "/layer4/layer4.2/relu_2/Relu_output_0", "layer2.3": "/layer2/layer2.3/relu_2/Relu_output_0"},
            {},
        ),
        "vgg16": (
            lambda: vgg(tv.vgg16, SMALL),
            SMALL,
            {"features.29": "/features/features.29/Relu_output_0", "features.15": "/features/features.15/Relu_output_0"},
            {"open_space": False},
        ),
        "vgg11_bn": (
            lambda: vgg(tv.vgg11_bn, SMALL),
            SMALL,
            {"features.27": "/features/features.27/Relu_output_0", "features.10": "/features/features.10/Relu_output_0"},
            {"open_space": False},
        ),
        "densenet121": (
            tv.densenet121,
            IMAGE,
            {"/Relu_output_0": "/Relu_output_0", "features.denseblock2": "/features/denseblock2/Concat_output_0"},
            {},
        ),
        "mobilenet_v2": (
            tv.mobilenet_v2,
            IMAGE,
            {"features.18": "/features/features.18/features.18.2/Clip_output_0", "features.3": "/features/features.3/Add_output_0"},
            {},
        ),
        "mobilenet_v3_large": (
            tv.mobilenet_v3_large,
            IMAGE,
            {"features.16": "/features/features.16/features.16.2/HardSwish_output_0", "features.6": "/features/features.6/Add_output_0"},
            {},
        ),
        "efficientnet_b0": (
            tv.efficientnet_b0,
            IMAGE,
            {
                "features.8": "/features/features.8/features.8.2/Mul_output_0",
                "features.2": "/features/features.2/features.2.1/Add_output_0",
            },
            {},
        ),
        "squeezenet1_1": (
            tv.squeezenet1_1,
            IMAGE,
            {"features.12": "/features/features.12/Concat_output_0", "features.4": "/features/features.4/Concat_output_0"},
            {},
        ),
        "googlenet": (
            lambda: tv.googlenet(aux_logits=False, init_weights=False),
            (3, 48, 96),
            {"inception5b": "/inception5b/Concat_output_0", "inception3a": "/inception3a/Concat_output_0"},
            {},
        ),
        "shufflenet_v2_x1_0": (
            tv.shufflenet_v2_x1_0,
            IMAGE,
            {"conv5": "/conv5/conv5.2/Relu_output_0", "stage2": "/stage2/stage2.3/Reshape_1_output_0"},
            {},
        ),
        "regnet_y_400mf": (
            tv.regnet_y_400mf,
            IMAGE,
            {
                "trunk_output": "/trunk_output/block4/block4-5/activation/Relu_output_0",
                "trunk_output.block2": "/trunk_output/block2/block2-2/activation/Relu_output_0",
            },
            {},
        ),
        # Behind features.1 and features.5 a norm over channels follows at once, and HiResCAM is 0 in front of one.
        "convnext_tiny": (
            tv.convnext_tiny,
            IMAGE,
            {
                "features.7": "/features/features.7/features.7.2/Add_output_0",
                "features.3.0": "/features/features.3/features.3.0/Add_output_0",
            },
            {},
        ),
        "r3d_18": (
            r3d_18,
            (3, 8, 24, 32),
            {"layer4.1": "/layer4/layer4.1/relu/Relu_output_0", "layer2.1": "/layer2/layer2.1/relu/Relu_output_0"},
            {"open_space": False, "candidates": range(0, 400, 13)},
        ),
        "ecg": (
            Ecg,
            (2, 256),
            {"blocks.2": "/blocks/blocks.2/relu_1/Relu_output_0", "blocks.0": "/blocks/blocks.0/relu_1/Relu_output_0"},
            {"open_space": False, "candidates": range(5)},
        ),
    }


def main(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if not names or "lite0" in names:
        lite0(folder)
    for name, (build, size, layers, how) in networks().items():
        if not names or name in names:
            candidates = list(how.pop("candidates", range(0, 1000, 33)))
            fixture(folder, name, exported(build(), size, **how), size, layers, candidates)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    known = {"lite0", *networks()}
    folders = [a for a in arguments if a not in known]
    main(Path(folders[0]) if folders else ROOT / "crates/testkit/fixtures/networks", [a for a in arguments if a in known])
