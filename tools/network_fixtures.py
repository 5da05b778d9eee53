# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "torchvision==0.29.2", "onnx==1.23.2", "onnxscript", "grad-cam==1.5.7", "pillow==13.0.0", "numpy"]
# ///
"""Writes the reference maps of whole networks: crates/testkit/fixtures/networks.

python tools/network_fixtures.py [FOLDER]

The ONNX file itself is interpreted with torch operators in float64, so that activations and gradients are
those of its own (rounded) weights. lite0.json: the built-in model on the two demo photos. The other networks
are skeletons: torchvision exports (legacy exporter, opset 17) without weights; each weight is
scale · uniform(seed, name) of tools/splitmix.py, with the scale in <name>.json. A fixture is well-conditioned:
float32 and float64 torch must agree to 1e-5 of the largest entry.
"""

import io
import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from splitmix import uniform

warnings.filterwarnings("ignore")
ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "crates/gradcam-cli/assets"
CONDITION = 1e-5
SEED = 2026


class Network(torch.nn.Module):
    """Runs an ONNX graph with torch operators; every value is kept, so that it can be differentiated."""

    def __init__(self, model, dtype):
        super().__init__()
        self.graph = model.graph
        self.constants = {}
        for t in self.graph.initializer:
            value = torch.tensor(numpy_helper.to_array(t).copy())
            self.constants[t.name] = value.to(dtype) if value.is_floating_point() else value
        self.dtype = dtype
        self.taps = {}
        self.device_of = torch.nn.Parameter(torch.zeros(1))  # pytorch-grad-cam looks for a parameter

    def tap(self, value):
        """A module through which a value passes, for hooks of pytorch-grad-cam."""
        self.taps[value] = torch.nn.Identity()
        return self.taps[value]

    def forward(self, x):
        v = dict(self.constants)
        v[self.graph.input[0].name] = x.to(self.dtype)
        for n in self.graph.node:
            a = {t.name: onnx.helper.get_attribute_value(t) for t in n.attribute}
            i = [v[name] if name else None for name in n.input]
            out = getattr(self, n.op_type.lower())(a, *i)
            name = n.output[0]
            v[name] = self.taps[name](out) if name in self.taps else out
        self.values = v
        return v[self.graph.output[0].name]

    def constant(self, a):
        t = torch.tensor(numpy_helper.to_array(a["value"]).copy())
        return t.to(self.dtype) if t.is_floating_point() else t

    def conv(self, a, x, w, b=None):
        p = a.get("pads", [0] * 4)
        return F.conv2d(F.pad(x, (p[1], p[3], p[0], p[2])), w, b, a.get("strides", 1), 0, a.get("dilations", 1), a.get("group", 1))

    def maxpool(self, a, x):
        p = a.get("pads", [0] * 4)
        assert p[0] == p[2] and p[1] == p[3]
        return F.max_pool2d(x, a["kernel_shape"], a["strides"], (p[0], p[1]), ceil_mode=bool(a.get("ceil_mode", 0)))

    def averagepool(self, a, x):
        return F.avg_pool2d(x, a["kernel_shape"], a["strides"], tuple(a.get("pads", [0] * 4)[:2]), bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0)))

    def clip(self, a, x, lo=None, hi=None):
        return F.hardtanh(x, float(lo), float(hi))

    def gemm(self, a, x, w, b):
        return x @ (w.T if a.get("transB", 0) else w) + b

    cast = staticmethod(lambda a, x: x)
    relu = staticmethod(lambda a, x: F.relu(x))
    add = staticmethod(lambda a, x, y: x + y)
    concat = staticmethod(lambda a, *x: torch.cat(x, a["axis"]))
    identity = staticmethod(lambda a, x: x)
    flatten = staticmethod(lambda a, x: x.flatten(a.get("axis", 1)))
    globalaveragepool = staticmethod(lambda a, x: x.mean((2, 3), keepdim=True))


def maps(network, x, layers, classes):
    """Raw maps and weights for each image and layer, each image for its own class."""
    logits = network(x.clone().requires_grad_())
    score = logits[torch.arange(len(classes)), torch.tensor(classes)].sum()
    values = [network.values[layer] for layer in layers]
    grads = torch.autograd.grad(score, values)
    rows = []
    for a, g in zip(values, grads):
        w = g.mean((2, 3))
        rows.append({"weights": w, "gradcam": (w[:, :, None, None] * a).sum(1), "hirescam": (g * a).sum(1), "layercam": (g.relu() * a).sum(1)})
    return logits, rows


def error(got, want):
    return float((got.double() - want.double()).abs().max() / want.abs().max())


def tensor(t):
    t = t.detach()
    return {"shape": list(t.shape), "data": [float(f"{v:.12g}") for v in t.double().flatten()]}


def references(name, model, x, layers, classes):
    exact, single = Network(model, torch.float64).eval(), Network(model, torch.float32).eval()
    logits, rows = maps(exact, x, list(layers.values()), classes)
    _, rough = maps(single, x, list(layers.values()), classes)
    found = {}
    for (path, value), row, other in zip(layers.items(), rows, rough):
        condition = {m: error(other[m], row[m]) for m in ("gradcam", "hirescam", "layercam")}
        print(f"  {name} {path}: float32 against float64", {k: f"{v:.1e}" for k, v in condition.items()})
        assert max(condition.values()) <= CONDITION, f"{name} {path} is ill-conditioned"
        found[path] = {"value": value} | {k: tensor(v) for k, v in row.items()} | {"condition": condition}
    return logits, found


def lite0(folder):
    model = onnx.load(ASSETS / "efficientnet_lite0.onnx")
    layers = {"bn2": "/bn2/act/Clip_output_0", "blocks.4.2": "/blocks/blocks.4/blocks.4.2/Add_output_0", "blocks.2.1": "/blocks/blocks.2/blocks.2.1/Add_output_0"}
    cases = []
    for photo in ("cat_over_coffee", "cat_beside_coffee"):
        image = Image.open(ASSETS / f"{photo}.png").convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        image.save(folder / f"{photo}_224.png")
        x = ((torch.tensor(np.asarray(image)).float() - 127) / 128).permute(2, 0, 1)[None]
        for k in (285, 967):
            logits, found = references(f"lite0 {photo} {k}", model, x, layers, [k])
            cases.append({"photo": photo, "class": k, "logits": tensor(logits[0]), "layers": found})
            act = found["bn2"]
            # The formulas agree with pytorch-grad-cam, run on the same network.
            for method, cam in (("gradcam", GradCAM), ("hirescam", HiResCAM), ("layercam", LayerCAM)):
                for path, value in layers.items():
                    network = Network(model, torch.float64).eval()
                    tapped = network.tap(value)
                    with cam(network, [tapped]) as extractor:
                        extractor(x.double().requires_grad_(), [ClassifierOutputTarget(k)])
                        a, g = extractor.activations_and_grads.activations[0], extractor.activations_and_grads.gradients[0]
                        theirs = extractor.get_cam_image(x, tapped, [ClassifierOutputTarget(k)], a.numpy(), g.numpy(), False)
                    want = np.array(found[path][method]["data"]).reshape(theirs.shape)
                    assert np.abs(theirs - want).max() <= 1e-6 * np.abs(want).max(), f"{method} at {path}"
            raw = np.array(act["gradcam"]["data"], np.float32).reshape(1, 7, 7)
            heat = scale_cam_image(scale_cam_image(np.maximum(raw, 0), (224, 224)), None)
            cases[-1]["heatmap_rows"] = {str(row): [float(v) for v in heat[0, row]] for row in (0, 37, 112, 223)}
    for method, other in (("gradcam", "hirescam"), ("gradcam", "layercam"), ("hirescam", "layercam")):
        at = cases[0]["layers"]["blocks.4.2"]
        one, two = (np.array(at[m]["data"]) for m in (method, other))
        print(f"  {method} and {other} at blocks.4.2 differ by {np.abs(one - two).max() / np.abs(one).max():.2f}")
    (folder / "lite0.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def skeleton(folder, name, build, layers, size=(96, 80), last_gain=None):
    """Exports a torchvision network, gives it weights from the seed, writes it without them."""
    net = build(weights=None).eval()
    fixed = size == (224, 224)
    buffer = io.BytesIO()
    torch.onnx.export(net, torch.zeros(1, 3, 224, 224), buffer, dynamo=False, opset_version=17, input_names=["input"], output_names=["logits"],
                      dynamic_axes={"input": {0: "batch"} if fixed else {0: "batch", 2: "height", 3: "width"}, "logits": {0: "batch"}})
    model = onnx.load_from_string(buffer.getvalue())
    users = {i: n for n in model.graph.node for i in n.input}
    scales = {}
    for t in model.graph.initializer:
        if t.data_type != onnx.TensorProto.FLOAT or not t.dims:
            continue
        user = users[t.name]
        fan_in = int(np.prod(t.dims[1:])) if len(t.dims) > 1 else 0
        if fan_in:
            scale = math.sqrt(3) * math.sqrt(2 / fan_in)
            if last_gain and last_gain[0] in user.name:
                scale *= last_gain[1]
        else:
            scale = 0.1
        scales[t.name] = float(np.float32(scale))
        values = uniform(SEED, t.name, int(np.prod(t.dims))) * np.float32(scale)
        t.CopyFrom(numpy_helper.from_array(values.reshape(tuple(t.dims)).astype(np.float32), t.name))
    x = torch.tensor(uniform(SEED, "input", 2 * 3 * size[0] * size[1]).reshape(2, 3, *size))
    classes = [3, 700]
    logits, found = references(name, model, x, layers, classes)
    for t in model.graph.initializer:
        if t.name in scales:
            t.ClearField("raw_data")
    del model.graph.value_info[:]
    onnx.save(model, folder / f"{name}.onnx")
    for row in found.values():
        row.pop("weights")
    text = {"seed": SEED, "input": [2, 3, *size], "classes": classes, "scales": scales, "logits": tensor(logits[:, :8]), "layers": found}
    (folder / f"{name}.json").write_text(json.dumps(text, separators=(",", ":")) + "\n")


def main(folder):
    import torchvision.models as tv

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    lite0(folder)
    skeleton(folder, "resnet50", tv.resnet50, {"layer4.2": "/layer4/layer4.2/relu_2/Relu_output_0", "layer3.5": "/layer3/layer3.5/relu_2/Relu_output_0"}, last_gain=("/conv3/", 0.2))
    skeleton(folder, "squeezenet1_1", tv.squeezenet1_1, {"features.12": "/features/features.12/Concat_output_0", "features.7": "/features/features.7/Concat_output_0"})
    skeleton(folder, "mobilenet_v2", tv.mobilenet_v2, {"features.18": "/features/features.18/features.18.2/Clip_output_0", "features.14": "/features/features.14/conv/conv.2/Conv_output_0"})
    skeleton(folder, "vgg11", tv.vgg11, {"features.19": "/features/features.19/Relu_output_0", "features.12": "/features/features.12/Relu_output_0"}, size=(224, 224))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "crates/testkit/fixtures/networks")
