"""Operators that ONNX Runtime's optimiser writes."""

import numpy as np
import torch
import torch.nn.functional as F

from .case import Form, Optimised, anywhere, case, data, one

double = lambda array: torch.tensor(np.asarray(array, np.float32).astype(np.float64))
single = lambda number: float(np.float32(number))


def contrib(op, label, inputs, fn, consts=None, outs="y", ins=None, **attrs):
    """Opset 14 has no way to name the type of a constant, 20 the operator Gelu."""
    names = ins or " ".join(list(inputs) + list(consts or {}))
    case("contrib", op + label, op, inputs, fn, *(one(op, names, lo=lo, hi=hi, outs=outs, consts=consts, domain="com.microsoft", **attrs) for lo, hi in CONTRIB))


CONTRIB = [(12, 14), (15, 19), (20, 22)]
x, b = anywhere("cgx", 2, 3, 4), anywhere("cgb", 4)
contrib("Gelu", "", {"x": x}, F.gelu)
contrib("BiasGelu", "", {"x": x, "b": b}, lambda x, b: F.gelu(x + b))
contrib("FastGelu", "", {"x": x}, lambda x: F.gelu(x, approximate="tanh"))
contrib("FastGelu", "_bias", {"x": x, "b": b}, lambda x, b: F.gelu(x + b, approximate="tanh"))
contrib("QuickGelu", "", {"x": x}, lambda x: x * torch.sigmoid(single(1.702) * x))
contrib("QuickGelu", "_alpha", {"x": x}, lambda x: x * torch.sigmoid(1.5 * x), alpha=1.5)
g, beta = data("cgg", 4, lo=0.5, hi=1.5), anywhere("cge", 4)
norm = lambda v, bias=True: F.layer_norm(v, (4,), double(g), double(beta) if bias else None, single(1e-5))
skip = anywhere("cgs", 2, 3, 4)
contrib("SkipLayerNormalization", "", {"x": x, "s": skip}, lambda x, s: norm(x + s), {"g": g, "e": beta}, epsilon=1e-5)
contrib("SkipLayerNormalization", "_no_beta", {"x": x, "s": skip}, lambda x, s: norm(x + s, False), {"g": g}, epsilon=1e-5)
contrib("SkipLayerNormalization", "_bias", {"x": x, "s": skip, "b": b}, lambda x, s, b: norm(x + s + b), {"g": g, "e": beta}, ins="x s g e b", epsilon=1e-5)
nodes = [("SkipLayerNormalization", ["x", "s", "g", "e"], ["n", "", "", "total"], {"epsilon": 1e-5, "domain": "com.microsoft"}), ("Mul", ["n", "total"], ["y"], {})]
case("contrib", "SkipLayerNormalization_sum", "SkipLayerNormalization", {"x": x, "s": skip}, lambda x, s: norm(x + s) * (x + s), Form(13, 22, nodes, {"g": g, "e": beta}))
image, w, z = anywhere("ccx", 1, 3, 5, 4), anywhere("ccw", 4, 3, 3, 3), anywhere("ccz", 1, 4, 5, 4)
conv = lambda x, bias=None: F.conv2d(x, double(w), bias, padding=1)
window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
for activation, params, fn in [("Relu", [], F.relu), ("Tanh", [], torch.tanh), ("Sigmoid", [], torch.sigmoid), ("LeakyRelu", [0.25], lambda x: F.leaky_relu(x, 0.25)),
                               ("Clip", [-0.5, 1.5], lambda x: x.clamp(-0.5, 1.5)), ("HardSigmoid", [0.125, 0.5], lambda x: (x * 0.125 + 0.5).clamp(0, 1))]:
    attrs = window | {"activation": activation} | ({"activation_params": params} if params else {})
    contrib("FusedConv", "_" + activation, {"x": image}, lambda x, fn=fn: fn(conv(x)), {"w": w}, **attrs)
bias = anywhere("ccb", 4)
contrib("FusedConv", "_bias_sum", {"x": image, "z": z}, lambda x, z: F.relu(conv(x, double(bias)) + z), {"w": w, "b": bias}, ins="x w b z", activation="Relu", **window)
ga, gb = anywhere("cga", 3, 4), anywhere("cgw", 4, 5)
contrib("FusedGemm", "_Relu", {"x": ga}, lambda x: F.relu(0.5 * x @ double(gb)), {"w": gb}, activation="Relu", alpha=0.5)
contrib("FusedGemm", "_LeakyRelu", {"x": ga}, lambda x: F.leaky_relu(x @ double(gb), 0.25), {"w": gb}, activation="LeakyRelu", activation_alpha=0.25)
for ta in (0, 1):
    for tb in (0, 1):
        a, m = anywhere(f"cm{ta}", 2, 3, 4), anywhere(f"cn{tb}", 2, 4, 5)
        inputs = {"a": a.transpose(0, 2, 1).copy() if ta else a, "m": m.transpose(0, 2, 1).copy() if tb else m}
        turn = lambda t, turned: t.mT if turned else t
        contrib("FusedMatMul", f"_{ta}{tb}", inputs, lambda a, m, ta=ta, tb=tb: 0.5 * turn(a, ta) @ turn(m, tb), transA=ta, transB=tb, alpha=0.5)
simple = lambda v: F.rms_norm(v, (4,), double(g), single(1e-5))
contrib("SkipSimplifiedLayerNormalization", "", {"x": x, "s": skip}, lambda x, s: simple(x + s), {"g": g}, epsilon=1e-5)


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


case("contrib", "optimised_block", "FusedConv", {"x": anywhere("cbl", 2, 3, 4, 4)}, Block().double(), *(Optimised(Block(), opset) for opset in (13, 17)))
