"""Quantisation, differentiated straight through: what rounds counts as the identity, what is clipped has no gradient."""

import numpy as np
import torch
import torch.nn.functional as F

from .draw import spec

RANGES = {np.int8: (-128, 127), np.uint8: (0, 255), np.int16: (-32768, 32767), np.uint16: (0, 65535)}


class Quantized(torch.autograd.Function):
    """The integers as floats; dx = g/s strictly inside (min − z)·s and (max − z)·s."""

    @staticmethod
    def forward(ctx, x, s, z, low, high):
        ctx.save_for_backward((((low - z) * s < x) & (x < (high - z) * s)) / s)
        return (torch.round(x / s) + z).clamp(low, high)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].to(g.dtype), None, None, None, None


def draw_scales(d, dims, kind):
    """A scale and zero point, or one for each index of an axis; steps are powers of two, so that no number is in the middle of two."""
    axis, count = None, 0
    if d.opset >= 13 and len(dims) > 1 and d.pick([True, False]):
        axis = d.maybe(d.int(-len(dims), len(dims) - 1), 0.8)
        count = dims[1 if axis is None else axis]
    low, high = RANGES[kind]
    shape = [count] if count else d.pick([[], [1]] if d.opset < 13 else [[]])
    s = np.asarray(d.r.choice([1 / 8, 1 / 16, 1 / 64], shape), np.float32)
    z = np.asarray(d.r.integers(max(low, -60), min(high, 160), shape), kind)
    along = [1] * len(dims)
    if count:
        along[(1 if axis is None else axis) % len(dims)] = count
    return s, z, axis, along


def pair(op, count):
    @spec(op, 10, count=count)
    def _(d):
        kind = d.pick([np.int8, np.uint8] + ([np.int16, np.uint16] if d.opset >= 21 else []))
        dims = d.shape(1, 4)
        s, z, axis, along = draw_scales(d, dims, kind)
        d.x("x", dims, 8 if d.pick([True, False]) else 2, 1 / 512, 64)
        d.const("s", s, np.float32)
        d.const("z", z, kind)
        d.node("QuantizeLinear", "x s z", "q", axis=axis)
        middle, t, v = "q", s, z
        if op == "DequantizeLinear":
            d.node("Reshape", "q same", "r")
            d.const("same", [0] * len(dims))
            middle = "r"
            if d.pick([True, False]):
                t, v = s * np.float32(2), z
        d.const("t", t, np.float32)
        d.const("v", v, kind)
        d.node("DequantizeLinear", f"{middle} t v", axis=axis)
        low, high = RANGES[kind]
        turn = lambda n, x: torch.tensor(np.asarray(n).astype(np.float64)).to(x.dtype).reshape(along if np.size(n) > 1 else [])

        def fn(t_):
            x = t_["x"]
            return (Quantized.apply(x, turn(s, x), turn(z, x), low, high) - turn(v, x)) * turn(t, x)

        d.fn = fn


pair("QuantizeLinear", 24)
pair("DequantizeLinear", 24)


def integers(d, dims):
    d.x("x", dims, 2, 1 / 512, 64)
    s, z = np.float32(1 / 16), np.array(100, np.uint8)
    d.const("s", s, np.float32)
    d.const("z", z, np.uint8)
    d.node("QuantizeLinear", "x s z", "q")
    return lambda x: Quantized.apply(x, torch.tensor(float(s)).to(x.dtype), torch.tensor(100.0).to(x.dtype), 0, 255)


@spec("MatMulInteger", 10, 27, count=14)
def _(d):
    m, k, n = d.ints(1, 4, 3)
    q = integers(d, d.shape(0, 1, 3) + [m, k])
    w = d.r.integers(-100, 100, [k, n]).astype(np.int8)
    d.const("w", w, np.int8)
    zeros = d.pick([None, 3])
    if zeros is not None:
        d.const("wz", zeros, np.int8)
    ins = d.pick(["q w", "q w z"]) if zeros is None else d.pick(["q w z wz", "q w _ wz"])
    d.node("MatMulInteger", ins, "i")
    d.node("Cast", "i", to=1)
    d.fn = lambda t: (q(t["x"]) - (100 if " z" in ins else 0)) @ (torch.tensor(w.astype(np.float64)).to(t["x"].dtype) - (zeros or 0))


@spec("ConvInteger", 10, 27, count=14)
def _(d):
    deep, out = d.int(1, 2), d.int(1, 2)
    q = integers(d, [1, deep, *d.ints(3, 4, 2)])
    w = d.r.integers(-100, 100, [out, deep, *d.ints(1, 3, 2)]).astype(np.int8)
    d.const("w", w, np.int8)
    pads, strides = d.maybe(d.ints(0, 1, 4)), d.maybe(d.ints(1, 2, 2))
    d.const("wz", 3, np.int8)
    ins = d.pick(["q w", "q w z", "q w z wz"])
    d.node("ConvInteger", ins, "i", pads=pads, strides=strides)
    d.node("Cast", "i", to=1)
    top, left, bottom, right = pads or [0] * 4
    zx, zw = (100 if " z" in ins else 0), (3 if "wz" in ins else 0)
    # What is padded is the zero point.
    d.fn = lambda t: F.conv2d(F.pad(q(t["x"]) - zx, (left, right, top, bottom)), torch.tensor(w.astype(np.float64)).to(t["x"].dtype) - zw, stride=strides or 1)


class Dynamic(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        low, high = min(x.min(), 0), max(x.max(), 0)
        s = float(np.float32((float(high) - float(low)) / 255))
        zero = torch.round(torch.as_tensor(-float(low) / s)).clamp(0, 255)
        return ((torch.round(x / s) + zero).clamp(0, 255) - zero) * s

    @staticmethod
    def backward(ctx, g):
        return g


@spec("DynamicQuantizeLinear", 11, 27, count=12)
def _(d):
    d.x("x", d.shape(1, 4), 2)
    d.node("DynamicQuantizeLinear", "x", "q s z")
    if d.pick([True, False]):
        d.node("DequantizeLinear", "q s z")
    else:
        d.node("Cast", "q", "qf", to=1)
        d.node("Cast", "z", "zf", to=1)
        d.node("Sub", "qf zf", "c")
        d.node("Mul", "c s")
    d.fn = lambda t: Dynamic.apply(t["x"])


def blocked(op):
    @spec(op, 21, 27, count=3, label="_blocked")
    def _(d):
        """A scale for each block is refused."""
        d.x("x", [4, 3], 2, 1 / 512, 64)
        s = np.array([[0.125, 0.0625, 0.125], [0.25, 0.125, 0.0625]], np.float32)
        d.const("s", s, np.float32)
        d.const("z", np.zeros((2, 3)), np.int8)
        d.node("QuantizeLinear", "x s z", "q", axis=0, block_size=2)
        d.node("DequantizeLinear", "q s z", axis=0, block_size=2)
        wide = torch.tensor(s.repeat(2, 0))
        d.fn = lambda t: Quantized.apply(t["x"], wide.to(t["x"].dtype), torch.zeros(4, 3, dtype=t["x"].dtype), -128, 127) * wide.to(t["x"].dtype)


blocked("QuantizeLinear")
blocked("DequantizeLinear")
