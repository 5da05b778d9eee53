# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "onnxruntime==1.32.0", "numpy"]
# ///
"""Writes small networks as ONNX Runtime's quantization leaves them, and their maps: crates/testkit/fixtures/quantized.

python tools/quantized_cases.py [FOLDER]

Static quantization: both formats, uint8 and int8 activations, asymmetric (activations are removed, their work is done by the
range of the integers) and symmetric. Dynamic quantization: uint8 weights, and int8 weights per channel; of a transformer too.
The file is run with torch operators in float64; quantizing is differentiated straight through: dx = g/s strictly inside the
range of the integers, which stay in float64; scales that are found at run time count as constants. The logits are those
before they are quantized. Images are the first whose values all keep a distance from where float32 may round another way.
"""

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from torch import nn

from networks.interpret import Network

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
ort.set_default_logger_severity(4)
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "crates/testkit/fixtures/quantized")
LAYERS = {"small": ["stem", "pool", "block"], "tokens": ["norm1"]}
CLASSES = [3, 1]
DISTANCE = 4e-4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.act, self.conv2, self.last = nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.ReLU()

    def forward(self, x):
        return self.last(self.conv2(self.act(self.conv1(x))) + x)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU6())
        self.pool, self.block, self.mean, self.fc = nn.MaxPool2d(2), Block(), nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(self.mean(self.block(self.pool(self.stem(x)))).flatten(1))


class Tokens(nn.Module):
    """One block of a transformer over 4x4 patches."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm1, self.norm2 = nn.Conv2d(3, 8, 2, stride=2), nn.LayerNorm(8), nn.LayerNorm(8)
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.mlp, self.fc = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)), nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        n = self.norm1(x)
        x = x + self.out(torch.softmax(self.query(n) @ self.key(n).transpose(1, 2) * 0.5, -1) @ self.value(n))
        return self.fc((x + self.mlp(self.norm2(x))).mean(1))


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, zero, low, high):
        ctx.save_for_backward((((low - zero) * scale < x) & (x < (high - zero) * scale)) / scale)
        return (torch.round(x / scale) + zero).clamp(low, high)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None, None, None, None


class Quantized(Network):
    """A quantized graph; integers on the way are float64 numbers."""

    def begin(self, x):
        super().begin(x)
        self.distance = 1.0

    def quantizelinear(self, a, x, scale, zero):
        info = torch.iinfo(zero.dtype)
        steps = (x / scale).detach()
        # From the middle between two steps, and from the ends of the range.
        inside = ((steps + zero) > info.min - 1) & ((steps + zero) < info.max + 1)
        ends = torch.minimum((steps + zero - info.min).abs(), (steps + zero - info.max).abs())
        middle = (steps - steps.floor() - 0.5).abs()[inside]
        exact = ends == 0
        self.distance = min(self.distance, float(middle.min()), float(ends[~exact].min()))
        return StraightThrough.apply(x, scale, zero.double(), info.min, info.max)

    def step(self, n):
        if n.op_type != "DynamicQuantizeLinear":
            super().step(n)
            return
        x = self.values[n.input[0]]
        low, high = x.detach().min().clamp(max=0), x.detach().max().clamp(min=0)
        scale = (high - low) / 255
        zero = torch.round(-low / scale)
        for part in (x.detach() / scale, -low / scale):
            self.distance = min(self.distance, float((part - part.floor() - 0.5).abs().min()))
        # Nothing is clipped, up to the rounding of the zero point.
        numbers = StraightThrough.apply(x, scale, zero, torch.tensor(-1.0), torch.tensor(256.0))
        for name, value in zip(n.output, (numbers, scale, zero), strict=True):
            self.values[name] = value

    def convinteger(self, a, x, w, xz, wz):
        return self.conv(a, x - xz, w.double() - wz.double().reshape(-1, *[1] * (w.ndim - 1)))

    def matmulinteger(self, a, x, w, xz, wz):
        return (x - xz) @ (w.double() - wz.double())

    def dequantizelinear(self, a, q, scale, zero=None):
        shape = [-1 if axis == a.get("axis", 1) % max(q.ndim, 1) else 1 for axis in range(q.ndim)] if scale.numel() > 1 else []
        zero = torch.zeros(()) if zero is None else zero
        return (q.double() - zero.double().reshape(shape if zero.numel() > 1 else [])) * scale.reshape(shape)

    def qlinearconv(self, a, x, xs, xz, w, ws, wz, ys, yz, b=None):
        of = self.dequantizelinear
        bias = None if b is None else b.double() * xs * ws
        return self.quantizelinear({}, self.conv(a, of({}, x, xs, xz), of({"axis": 0}, w, ws, wz), bias), ys, yz)

    def qlinearadd(self, a, x, xs, xz, w, ws, wz, ys, yz):
        of = self.dequantizelinear
        return self.quantizelinear({}, of({}, x, xs, xz) + of({}, w, ws, wz), ys, yz)

    def qgemm(self, a, x, xs, xz, w, ws, wz, b, ys=None, yz=None):
        of = self.dequantizelinear
        y = of({}, x, xs, xz) @ of({"axis": 0}, w, ws, wz).T + b.double() * xs * ws
        assert a["transB"] == 1 and a.get("alpha", 1.0) == 1.0
        self.logits = y
        return y if ys is None else self.quantizelinear({}, y, ys, yz)

    def qlinearglobalaveragepool(self, a, x, xs, xz, ys, yz):
        return self.quantizelinear({}, self.dequantizelinear({}, x, xs, xz).mean((2, 3), keepdim=True), ys, yz)

    def gemm(self, a, x, w, b):
        self.logits = super().gemm(a, x, w, b)
        return self.logits

    def clip(self, a, x, lo=None, hi=None):
        return x.clamp(float(lo), float(hi))


class Images(CalibrationDataReader):
    def __init__(self):
        self.left = iter(np.random.default_rng(5).uniform(-4, 4, (8, 1, 3, 8, 8)).astype(np.float32))

    def get_next(self):
        image = next(self.left, None)
        return None if image is None else {"input": image}


def scoped(model, layer):
    """The last value that a node of the module's scope makes and one of another scope reads, dequantized."""
    inside = [n for n in model.graph.node if n.name.startswith(f"/{layer}/") and n.op_type != "DynamicQuantizeLinear"]
    read = {name for n in model.graph.node if n not in inside for name in n.input}
    value = [o for n in inside for o in n.output if o in read][-1]
    readers = lambda value: [n for n in model.graph.node if value in n.input]
    while len(found := readers(value)) == 1 and found[0].op_type in ("QuantizeLinear", "DequantizeLinear"):
        value = found[0].output[0]
    return value


def scale_of(model, value):
    """Scale and zero point of a value of integers, from a node that reads it or its largest numbers."""
    for n in model.graph.node:
        if value in n.input and n.op_type == "MaxPool":
            return scale_of(model, n.output[0])
        if value in n.input and n.op_type.startswith(("QLinear", "QGemm", "Dequantize")):
            at = list(n.input).index(value)
            return n.input[at + 1], n.input[at + 2]
    raise ValueError(f"no node tells the scale of {value}")


def grad_cam(a, g):
    if a.ndim == 3:
        return (g.mean(1, keepdim=True) * a).sum(2).unflatten(1, (4, 4))
    return (g.mean((2, 3), keepdim=True) * a).sum(1)


def reference(model, x, layers):
    network = Quantized(model, torch.float64).eval()
    x = x.double().requires_grad_()
    with torch.enable_grad():
        scores = network(x)
    network.logits = getattr(network, "logits", scores)
    values = {layer: scoped(model, layer) for layer in layers}
    score = network.logits[torch.arange(len(CLASSES)), torch.tensor(CLASSES)].sum()
    tensors = [network.values[v] for v in values.values()]
    *grads, image = torch.autograd.grad(score, tensors + [x])
    maps = {}
    for (layer, value), a, g in zip(values.items(), tensors, grads, strict=True):
        if a.detach().frac().abs().max() == 0:  # The value has integers.
            scale, zero = [network.values[name] for name in scale_of(model, value)]
            maps[layer] = grad_cam((a - zero.double()) * scale, g / scale)
        else:
            maps[layer] = grad_cam(a, g)
    return network, maps, image


def tensor(t):
    t = t.detach()
    return {"shape": list(t.shape), "data": [float(f"{v:.12g}") for v in t.double().flatten()]}


def exported(network, path):
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, 8, 8),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["input"],
        output_names=["scores"],
        dynamic_axes={"input": {0: "batch"}, "scores": {0: "batch"}},
    )


torch.manual_seed(3)
networks = {"small": Small(), "tokens": Tokens()}
FOLDER.mkdir(parents=True, exist_ok=True)
models = {}
with tempfile.TemporaryDirectory() as folder:
    plain = {name: f"{folder}/{name}.onnx" for name in networks}
    for name, network in networks.items():
        exported(network, plain[name])
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        for kind in (QuantType.QInt8, QuantType.QUInt8):
            for symmetric in (False, True):
                name = f"{form.name.lower()}_{kind.name[1:].lower()}{'_symmetric' if symmetric else ''}"
                quantize_static(
                    plain["small"],
                    FOLDER / f"{name}.onnx",
                    Images(),
                    quant_format=form,
                    activation_type=kind,
                    weight_type=QuantType.QInt8 if kind == QuantType.QInt8 or symmetric else QuantType.QUInt8,
                    per_channel=symmetric or kind == QuantType.QInt8,
                    extra_options={"ActivationSymmetric": symmetric},
                )
                models[name] = "small"
    for network in networks:
        for kind in (QuantType.QInt8, QuantType.QUInt8):
            name = f"dynamic_{kind.name[1:].lower()}{'_tokens' if network == 'tokens' else ''}"
            quantize_dynamic(plain[network], FOLDER / f"{name}.onnx", weight_type=kind, per_channel=kind == QuantType.QInt8)
            models[name] = network
files = {name: onnx.load(FOLDER / f"{name}.onnx") for name in models}
for seed in range(3000):
    x = torch.tensor(np.random.default_rng(seed).uniform(-4, 4, (2, 3, 8, 8)).astype(np.float32))
    found = {}
    for name, network in models.items():
        found[name] = reference(files[name], x, LAYERS[network])
        if found[name][0].distance <= DISTANCE:
            break
    else:
        break
else:
    raise AssertionError("no image keeps the distance")
cases = {}
for name, (run, maps, image) in found.items():
    theirs = ort.InferenceSession(files[name].SerializeToString()).run(None, {"input": x.numpy()})[0]
    ours = run.values[files[name].graph.output[0].name].detach().numpy()
    assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(ours).max(), name
    SHOWN = ("Clip", "MaxPool", "MatMulInteger", "ConvInteger")
    print(
        name,
        seed,
        run.distance,
        {layer: float(m.detach().abs().max()) for layer, m in maps.items()},
        [n.op_type for n in files[name].graph.node if "Relu" in n.op_type or n.op_type in SHOWN],
    )
    cases[name] = {"scores": tensor(run.logits), "image": tensor(image), "maps": {layer: tensor(m) for layer, m in maps.items()}}
text = {"input": tensor(x), "classes": CLASSES, "models": cases}
(FOLDER / "quantized.json").write_text(json.dumps(text, separators=(",", ":")) + "\n")
