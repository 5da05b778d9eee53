# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "torchvision==0.29.2", "onnx==1.23.2", "grad-cam==1.5.7", "numpy"]
# ///
"""Writes the references of guided backpropagation and of the input gradient: crates/testkit/fixtures/guided.

python tools/guided_cases.py [FOLDER]

Networks of torchvision with the weights scale · uniform(seed, name) of tools/splitmix.py; <name>.onnx is the export
without them, <name>.json has the scales and, for each image of a batch and its own class, every STEP-th entry of
both maps in float64 (C, H, W order), of their pictures by pytorch-grad-cam's deprocess_image, and the largest entry:
guided-backprop is pytorch-grad-cam's GuidedBackpropReLUModel, saliency the gradient by torch.autograd. Batch norms are
left out and convolutions have biases, as after folding; the input of 64x96 is too small for vgg16's adaptive pooling,
which is left out too. A fixture is well-conditioned: float32 and float64 torch must agree to 1e-5 of the largest entry,
else another seed is tried.
"""

import copy
import io
import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torchvision.models as tv
from pytorch_grad_cam import GuidedBackpropReLUModel
from pytorch_grad_cam.utils.image import deprocess_image
from torch import nn

from splitmix import uniform

warnings.filterwarnings("ignore")
ROOT = Path(__file__).parent.parent
CONDITION = 1e-5
DISTINCT = 1e-2
INPUT = (2, 3, 64, 96)
CLASSES = (3, 700)
STEP = 13


def resnet18():
    net = tv.resnet18(weights=None, norm_layer=lambda channels: nn.Identity())
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return net


def vgg16():
    net = tv.vgg16(weights=None)
    net.avgpool = nn.Identity()
    net.classifier[0] = nn.Linear(512 * 2 * 3, 4096)
    return net


def scale_of(name, tensor):
    """He's variance; biases are small, and so is the last convolution of a residual branch."""
    if tensor.dim() == 1:
        return 0.1
    gain = 0.2 if name.startswith("layer") and ".conv2." in name else 1.0
    return gain * math.sqrt(6 / tensor[0].numel())


def weigh(net, seed):
    scales = {}
    for name, tensor in net.named_parameters():
        scales[name] = float(np.float32(scale_of(name, tensor)))
        values = uniform(seed, name, tensor.numel()) * np.float32(scales[name])
        tensor.data = torch.tensor(values).reshape(tensor.shape)
    return scales


def saliency(net, x, k):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(net(x)[0, k], x)[0][0]


def guided(net, x, k):
    # The class replaces modules of the network by functions, and returns [H, W, C].
    rows = GuidedBackpropReLUModel(copy.deepcopy(net))(x.clone(), k)
    return torch.tensor(rows.transpose(2, 0, 1).copy())


METHODS = {"guided-backprop": guided, "saliency": saliency}


def error(got, want):
    return float((got.double() - want).abs().max() / want.abs().max())


def references(net, x):
    """For each method the maps of the batch; None where they are ill-conditioned."""
    exact = copy.deepcopy(net).double()
    found = {}
    for method, of in METHODS.items():
        maps = [of(exact, image[None].double(), k) for image, k in zip(x, CLASSES, strict=True)]
        rough = [of(net, image[None], k) for image, k in zip(x, CLASSES, strict=True)]
        condition = max(error(r, m) for r, m in zip(rough, maps, strict=True))
        print(f"    {method}: float32 against float64 {condition:.1e}")
        if condition > CONDITION:
            return None
        found[method] = {"maps": maps, "condition": condition}
    for one, other in zip(found["guided-backprop"]["maps"], found["saliency"]["maps"], strict=True):
        apart = error(one, other)
        print(f"    guided and plain gradient differ by {apart:.2f}")
        assert apart >= DISTINCT
    return found


def fixture(folder, name, build):
    net = build().eval()
    for seed in range(2026, 2126):
        print(f"  {name}, seed {seed}")
        scales = weigh(net, seed)
        x = torch.tensor(uniform(seed, "input", math.prod(INPUT))).reshape(INPUT)
        found = references(net, x)
        if found:
            break
    else:
        raise SystemExit(f"{name}: no seed gives a well-conditioned fixture")
    buffer = io.BytesIO()
    torch.onnx.export(
        net,
        x[:1],
        buffer,
        dynamo=False,
        opset_version=17,
        do_constant_folding=False,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
    )
    model = onnx.load_from_string(buffer.getvalue())
    named = {t.name: t for t in model.graph.initializer}
    assert set(named) == set(scales), set(named) ^ set(scales)
    for t in named.values():
        t.ClearField("raw_data")
    del model.graph.value_info[:]
    onnx.save(model, folder / f"{name}.onnx")
    for row in found.values():
        maps = row.pop("maps")
        row["largest"] = [float(m.abs().max()) for m in maps]
        row["entries"] = [[float(f"{v:.9g}") for v in m.flatten()[::STEP]] for m in maps]
        row["picture"] = [deprocess_image(m.numpy()).flatten()[::STEP].tolist() for m in maps]
    text = {"seed": seed, "input": INPUT, "classes": CLASSES, "scales": scales, "step": STEP, "methods": found}
    (folder / f"{name}.json").write_text(json.dumps(text, separators=(",", ":")) + "\n")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    fixture(folder, "resnet18", resnet18)
    fixture(folder, "vgg16", vgg16)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "crates/testkit/fixtures/guided")
