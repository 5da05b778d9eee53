"""Operators that ONNX Runtime's optimizer writes. They have no drawn cases."""

import numpy as np
import torch
import torch.nn.functional as F

from . import chosen
from .chosen import Form, Optimized, anywhere, data, one
from .reference import node

case, _ = chosen.family("contrib")
# Opset 14 has no way to name the type of a constant, 20 the operator Gelu.
OPSETS = [(12, 14), (15, 19), (20, 22)]

double = lambda array: torch.tensor(np.asarray(array, np.float32).astype(np.float64))
single = lambda number: float(np.float32(number))


def contrib(op, label, inputs, function, constants=None, names=None, **attributes):
    names = names or " ".join([*inputs, *(constants or {})])
    spelled = {"domain": "com.microsoft", **attributes}
    forms = [one(op, names, constants, lo=lo, hi=hi, **spelled) for lo, hi in OPSETS]
    case(op + label, op, inputs, *forms, function=function)


x, b = anywhere("cgx", 2, 3, 4), anywhere("cgb", 4)
contrib("Gelu", "", {"x": x}, F.gelu)
contrib("BiasGelu", "", {"x": x, "b": b}, lambda x, b: F.gelu(x + b))
contrib("FastGelu", "", {"x": x}, lambda x: F.gelu(x, approximate="tanh"))
contrib("FastGelu", "_bias", {"x": x, "b": b}, lambda x, b: F.gelu(x + b, approximate="tanh"))
contrib("QuickGelu", "", {"x": x}, lambda x: x * torch.sigmoid(single(1.702) * x))
contrib("QuickGelu", "_alpha", {"x": x}, lambda x: x * torch.sigmoid(1.5 * x), alpha=1.5)

g, beta, skip = data("cgg", 4, lo=0.5, hi=1.5), anywhere("cge", 4), anywhere("cgs", 2, 3, 4)
epsilon, both = {"epsilon": 1e-5}, {"g": g, "e": beta}
norm = lambda v, bias=True: F.layer_norm(v, (4,), double(g), double(beta) if bias else None, single(1e-5))
op, inputs = "SkipLayerNormalization", {"x": x, "s": skip}
contrib(op, "", inputs, lambda x, s: norm(x + s), both, **epsilon)
contrib(op, "_no_beta", inputs, lambda x, s: norm(x + s, False), {"g": g}, **epsilon)
contrib(op, "_bias", {**inputs, "b": b}, lambda x, s, b: norm(x + s + b), both, "x s g e b", **epsilon)
nodes = [node(op, "x s g e", "n _ _ total", domain="com.microsoft", **epsilon), node("Mul", "n total")]
case(op + "_sum", op, inputs, Form(13, 22, nodes, both), function=lambda x, s: norm(x + s) * (x + s))

image, w, z = anywhere("ccx", 1, 3, 5, 4), anywhere("ccw", 4, 3, 3, 3), anywhere("ccz", 1, 4, 5, 4)
conv = lambda x, bias=None: F.conv2d(x, double(w), bias, padding=1)
window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
for activation, parameters, function in [
    ("Relu", None, F.relu),
    ("Tanh", None, torch.tanh),
    ("Sigmoid", None, torch.sigmoid),
    ("LeakyRelu", [0.25], lambda x: F.leaky_relu(x, 0.25)),
    ("Clip", [-0.5, 1.5], lambda x: x.clamp(-0.5, 1.5)),
    ("HardSigmoid", [0.125, 0.5], lambda x: (x * 0.125 + 0.5).clamp(0, 1)),
]:
    fused = lambda x, function=function: function(conv(x))
    attributes = {**window, "activation": activation, "activation_params": parameters}
    contrib("FusedConv", f"_{activation}", {"x": image}, fused, {"w": w}, **attributes)
bias = anywhere("ccb", 4)
fused, constants = lambda x, z: F.relu(conv(x, double(bias)) + z), {"w": w, "b": bias}
contrib("FusedConv", "_bias_sum", {"x": image, "z": z}, fused, constants, "x w b z", activation="Relu", **window)
ga, gb = anywhere("cga", 3, 4), anywhere("cgw", 4, 5)
fused = lambda x: F.relu(0.5 * x @ double(gb))
contrib("FusedGemm", "_Relu", {"x": ga}, fused, {"w": gb}, activation="Relu", alpha=0.5)
fused = lambda x: F.leaky_relu(x @ double(gb), 0.25)
contrib("FusedGemm", "_LeakyRelu", {"x": ga}, fused, {"w": gb}, activation="LeakyRelu", activation_alpha=0.25)
turn = lambda t, turned: t.mT if turned else t
for ta in (0, 1):
    for tb in (0, 1):
        a, m = anywhere(f"cm{ta}", 2, 3, 4), anywhere(f"cn{tb}", 2, 4, 5)
        inputs = {"a": a.transpose(0, 2, 1).copy() if ta else a, "m": m.transpose(0, 2, 1).copy() if tb else m}
        product = lambda a, m, ta=ta, tb=tb: 0.5 * turn(a, ta) @ turn(m, tb)
        contrib("FusedMatMul", f"_{ta}{tb}", inputs, product, transA=ta, transB=tb, alpha=0.5)
simple = lambda x, s: F.rms_norm(x + s, (4,), double(g), single(1e-5))
contrib("SkipSimplifiedLayerNormalization", "", {"x": x, "s": skip}, simple, {"g": g}, **epsilon)


class Block(torch.nn.Module):
    """A convolution, and a transformer block on its pixels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        linear, norm = torch.nn.Linear, torch.nn.LayerNorm
        self.conv, self.head = torch.nn.Conv2d(3, 8, 3, padding=1), linear(8, 5)
        self.norms, self.qkv, self.out = torch.nn.ModuleList([norm(8), norm(8)]), linear(8, 24), linear(8, 8)
        self.up, self.down = linear(8, 16), linear(16, 8)

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norms[0](x)).reshape(x.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return self.head((x + self.down(F.gelu(self.up(self.norms[1](x))))).mean(1))


optimized = [Optimized(Block(), opset) for opset in (13, 17)]
case("optimised_block", "FusedConv", {"x": anywhere("cbl", 2, 3, 4, 4)}, *optimized, function=Block().double())
