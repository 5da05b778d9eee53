"""Quantization, differentiated straight through: what rounds counts as the identity, what is clipped has no gradient."""

import numpy as np
import torch

from . import chosen, drawn
from .chosen import Form, anywhere, f32, ints, rng
from .linear import conv
from .reference import node, operator

case, _ = chosen.family("quantize")
spec = drawn.family("quantize")

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}
OUTPUT_TYPES = {3: "int8"}


class Quantized(torch.autograd.Function):
    """The integers as floats; dx = g/s strictly inside (min − z)·s and (max − z)·s."""

    @staticmethod
    def forward(ctx, x, scale, zero, low, high):
        ctx.save_for_backward((((low - zero) * scale < x) & (x < (high - zero) * scale)) / scale)
        return (torch.round(x / scale) + zero).clamp(low, high)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].to(g.dtype), None, None, None, None


class Dynamic(torch.autograd.Function):
    """What DynamicQuantizeLinear and DequantizeLinear make of x together; dx = g, because nothing is clipped."""

    @staticmethod
    def forward(ctx, x):
        scale, zero = dynamic_range(x)
        return ((torch.round(x / scale) + zero).clamp(0, 255) - zero) * scale

    @staticmethod
    def backward(ctx, g):
        return g


def dynamic_range(x):
    low, high = min(float(x.min()), 0), max(float(x.max()), 0)
    scale = float(np.float32((high - low) / 255))
    return scale, torch.round(torch.as_tensor(-low / scale)).clamp(0, 255)


def along(v, x, axis, block):
    """A scale or a zero point, a vector of them along an axis, or one for each block, as it broadcasts to x."""
    v = v.to(x.dtype)
    if block:
        return v.repeat_interleave(block, axis)
    return v.reshape([-1 if a == axis % x.ndim else 1 for a in range(x.ndim)] if v.numel() > 1 else [])


@operator("QuantizeLinear", since=10)
def quantize_linear(x, scale, zero=None, *, axis=1, block_size=0, output_dtype=2):
    kind = OUTPUT_TYPES.get(output_dtype, "uint8") if zero is None else str(zero.dtype).removeprefix("torch.")
    zero = torch.tensor(0) if zero is None else zero
    return Quantized.apply(x, along(scale, x, axis, block_size), along(zero, x, axis, block_size), *RANGES[kind])


@operator("DequantizeLinear", since=10)
def dequantize_linear(q, scale, zero=None, *, axis=1, block_size=0):
    zero = torch.tensor(0) if zero is None else zero
    return (q - along(zero, q, axis, block_size)) * along(scale, q, axis, block_size)


@operator("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x):
    scale, zero = dynamic_range(x.detach())
    q = Quantized.apply(x, torch.tensor(scale, dtype=x.dtype), zero.to(x.dtype), -torch.inf, torch.inf)
    return q, torch.tensor(scale, dtype=x.dtype), zero.to(x.dtype)


def centered(q, zero, like):
    q = q.to(like.dtype)
    return q if zero is None else q - zero.to(like.dtype)


@operator("MatMulInteger", since=10)
def mat_mul_integer(a, b, a_zero=None, b_zero=None):
    return centered(a, a_zero, a) @ centered(b, b_zero, a)


@operator("ConvInteger", since=10)
def conv_integer(x, w, x_zero=None, w_zero=None, **attributes):
    """Padding is the zero point, which is 0 after centering."""
    return conv(centered(x, x_zero, x), centered(w, w_zero, x), **attributes)


# Chosen cases.


def spread(name, shape, scale, zero, beyond=40):
    """Numbers within 0.4 steps of the integers' own, some of them beyond their range."""
    low, high = RANGES[str(np.asarray(zero).dtype)]
    r = rng(name)
    steps = r.integers(low - beyond, high + beyond, shape) + r.uniform(-0.4, 0.4, shape)
    return ((steps - zero.astype(np.float64)) * scale).astype(np.float32)


# ONNX Runtime 1.32 has no kernels of QuantizeLinear and DequantizeLinear for opset 28, so cases of it are separate.
AT_28 = ["QuantizeLinear_int8", "DequantizeLinear_Transpose"]
BY_28 = ("Quantize", "Dequantize", "DynamicQuantizeMat", "MatMulIntegerTo")


def quantize(label, op, x, nodes, constants, lo=10, function=None):
    newest = 27 if any(node[0].startswith(BY_28) for node in nodes) else 28
    case(op + label, op, {"x": x}, Form(lo, newest, nodes, constants), function=function)
    if op + label in AT_28:
        case(f"at_28_{op}{label}", op, {"x": x}, Form(28, 28, nodes, constants), function=function)


def pair(numbers="s z", **attributes):
    """Quantized and dequantized by the same numbers."""
    there = node("QuantizeLinear", f"x {numbers}", "q", **attributes)
    return [there, node("DequantizeLinear", f"q {numbers}", **attributes)]


def pair_case(label, x, scale, zero, lo=10, **attributes):
    quantize(label, "QuantizeLinear", x, pair(**attributes), {"s": scale, "z": zero}, lo)


for name, kind, zero, lo in [
    ("int8", np.int8, -128, 10),
    ("int8_symmetric", np.int8, 0, 10),
    ("uint8", np.uint8, 113, 10),
    ("uint8_symmetric", np.uint8, 128, 10),
    ("int16", np.int16, -700, 21),
    ("uint16", np.uint16, 30000, 21),
]:
    s, z = np.float32(0.023), np.array(zero, kind)
    pair_case("_" + name, spread(name, (2, 3, 4, 5), s, z), s, z, lo)
s, z = np.float32(0.5), np.array(-3, np.int8)
# Exact numbers: both bounds, and the numbers next to them.
pair_case("_bounds", f32(-62.5, -62.49, -62.51, 65, 64.99, 65.01, 0, 1.1), s, z)
none = np.array(0, np.uint8)
quantize("_no_zero_point", "QuantizeLinear", spread("nz", (2, 3, 4), s, none), pair("s"), {"s": s})
one, half = f32(0.125), np.array([7], np.int8)
pair_case("_one", spread("q1", (2, 3, 4), one, half), one, half)
steps, zeros = f32(0.01, 0.5, 0.2), np.array([-128, 3, 90], np.int8)
shape = (1, 3, 1, 1)
x = spread("qax", (2, 3, 4, 5), steps.reshape(shape), zeros.reshape(shape))
pair_case("_axis_default", x, steps, zeros, 13)
pair_case("_axis_negative", x, steps, zeros, 13, axis=-3)
x = spread("qrow", (3, 7), steps.reshape(3, 1), zeros.reshape(3, 1))
pair_case("_axis_first", x, steps, zeros, 13, axis=0)
typed = [node("QuantizeLinear", "x s", "q", output_dtype=3), node("DequantizeLinear", "q s")]
quantize("_output_dtype", "QuantizeLinear", spread("qod", (2, 9), s, np.array(0, np.int8)), typed, {"s": s}, 21)

# Operators between both, on integers. They are dequantized with another scale than they are quantized with.


def between(label, nodes, constants=None, lo=10, kind=np.int8):
    zero, other = np.array(-20 if kind == np.int8 else 100, kind), np.array(5, kind)
    s, t = np.float32(0.03), np.float32(0.07)
    nodes = [node("QuantizeLinear", "x s z", "q"), *nodes, node("DequantizeLinear", "r t v")]
    numbers = {"s": s, "z": zero, "t": t, "v": other} | (constants or {})
    quantize(f"_{label}", "DequantizeLinear", spread("b" + label, (2, 3, 4, 5), s, zero), nodes, numbers, lo)


between("plain", [node("Identity", "q", "r")], lo=14)
between("Transpose", [node("Transpose", "q", "r", perm=[0, 2, 3, 1])])
between("Reshape", [node("Reshape", "q shape", "r")], {"shape": ints(0, 12, 5)})
between("Concat", [node("Concat", "q q", "r", axis=1)])
between("Slice", [node("Slice", "q a b axes", "r")], {"a": ints(1), "b": ints(3), "axes": ints(2)})
between("Gather", [node("Gather", "q at", "r", axis=1)], {"at": ints(2, 0)})
parts = [node("Split", "q sizes", "p1 p2", axis=1), node("Concat", "p2 p1", "r", axis=1)]
between("Split", parts, {"sizes": ints(1, 2)}, lo=13)
halved = {"kernel_shape": [2, 2], "strides": [2, 2]}
between("MaxPool", [node("MaxPool", "q", "r", **halved)], lo=12, kind=np.uint8)

# Dynamic quantization: the range is that of the input. The extremes are 0 and 255 steps of 0.02, the rest lies near whole steps.
x = spread("dyn", (3, 6), np.float32(0.02), np.array(80, np.uint8), beyond=-5)
x.flat[:2] = np.float32(-80 * 0.02), np.float32(175 * 0.02)
dynamic = node("DynamicQuantizeLinear", "x", "q s z")
apart = [node("Cast", "q", "qf", to=1), node("Cast", "z", "zf", to=1), node("Sub", "qf zf", "d"), node("Mul", "d s")]
quantize("", "DynamicQuantizeLinear", x, [dynamic, *apart], {}, 11, Dynamic.apply)
together = [dynamic, node("DequantizeLinear", "q s z")]
quantize("_pair", "DynamicQuantizeLinear", x, together, {}, 11, Dynamic.apply)
w, wz, ws = rng("dynw").integers(-127, 127, (6, 4)).astype(np.int8), np.array(3, np.int8), np.float32(0.01)
bias = anywhere("dynb", 4)
nodes = [dynamic, node("MatMulInteger", "q w z wz", "i"), node("Cast", "i", "f", to=1), node("Mul", "s ws", "both")]
nodes += [node("Mul", "f both", "m"), node("Add", "m b")]
product = lambda x, w=w: Dynamic.apply(x) @ ((torch.tensor(w).double() - 3) * float(ws)) + torch.tensor(bias).double()
quantize("_dynamic", "MatMulInteger", x, nodes, {"w": w, "wz": wz, "ws": ws, "b": bias}, 11, product)

numbers = {"s": np.float32(0.03), "z": np.array(100, np.uint8)}


def integer(op, label, x, inputs, constants, **attributes):
    nodes = [node("QuantizeLinear", "x s z", "q"), node(op, f"q {inputs}", "i", **attributes), node("Cast", "i", to=1)]
    quantize(label, op, x, nodes, numbers | constants)


matrix = spread("mi", (2, 5, 6), *numbers.values())
integer("MatMulInteger", "", matrix, "w z wz", {"w": w, "wz": wz})
integer("MatMulInteger", "_columns", matrix, "w z wz", {"w": w, "wz": np.array([3, -2, 0, 9], np.int8)})
integer("MatMulInteger", "_plain", matrix, "w", {"w": w})
kernel = rng("ciw").integers(-127, 127, (4, 3, 3, 3)).astype(np.int8)
image = spread("ci", (2, 3, 7, 6), *numbers.values())
window = {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1], "strides": [2, 1]}
integer("ConvInteger", "", image, "w z wz", {"w": kernel, "wz": wz}, **window)
integer("ConvInteger", "_plain", image, "w", {"w": kernel})
picture = spread("dync", (1, 2, 5, 4), np.float32(0.02), np.array(80, np.uint8), beyond=-5)
picture.flat[:2] = x.flat[:2]
small = kernel[:, :2]
nodes = [dynamic, node("ConvInteger", "q w z wz", "i", pads=[1, 1, 1, 1]), node("Cast", "i", "f", to=1), node("Mul", "f s")]
function = lambda x: conv(Dynamic.apply(x), torch.tensor(small).double() - 3, pads=[1, 1, 1, 1])
quantize("_dynamic", "ConvInteger", picture, nodes, {"w": small, "wz": wz}, 11, function)


# Drawn cases.


def draw_scales(d, dims, kind):
    """A scale and zero point, or one for each index of an axis; steps are powers of two, so that no number is in the middle of two."""
    axis, count = None, 0
    if d.opset >= 13 and len(dims) > 1 and d.pick([True, False]):
        axis = d.maybe(d.int(-len(dims), len(dims) - 1), 0.8)
        count = dims[1 if axis is None else axis]
    low, high = RANGES[np.dtype(kind).name]
    shape = [count] if count else d.pick([[], [1]] if d.opset < 13 else [[]])
    s = np.asarray(d.r.choice([1 / 8, 1 / 16, 1 / 64], shape), np.float32)
    z = np.asarray(d.r.integers(max(low, -60), min(high, 160), shape), kind)
    return s, z, axis


def draw_pair(op):
    @spec(op, count=24)
    def _(d):
        kind = d.pick([np.int8, np.uint8] + ([np.int16, np.uint16] if d.opset >= 21 else []))
        dims = d.shape(1, 4)
        s, z, axis = draw_scales(d, dims, kind)
        d.x("x", dims, 8 if d.pick([True, False]) else 2, 1 / 512, 64)
        d.const("s", s, np.float32)
        d.const("z", z, kind)
        d.node("QuantizeLinear", "x s z", "q", axis=axis)
        between, t = "q", s
        if op == "DequantizeLinear":
            d.node("Reshape", "q same", "r")
            d.const("same", [0] * len(dims))
            between = "r"
            if d.pick([True, False]):
                t = s * np.float32(2)
        d.const("t", t, np.float32)
        d.const("v", z, kind)
        d.node("DequantizeLinear", f"{between} t v", axis=axis)


draw_pair("QuantizeLinear")
draw_pair("DequantizeLinear")


def integers(d, dims):
    d.x("x", dims, 2, 1 / 512, 64)
    d.const("s", 1 / 16, np.float32)
    d.const("z", 100, np.uint8)
    d.node("QuantizeLinear", "x s z", "q")


@spec("MatMulInteger", 10, 27, count=14)
def _(d):
    m, k, n = d.ints(1, 4, 3)
    integers(d, [*d.shape(0, 1, 3), m, k])
    d.const("w", d.r.integers(-100, 100, [k, n]), np.int8)
    zeros = d.pick([None, 3])
    if zeros is not None:
        d.const("wz", zeros, np.int8)
    d.node("MatMulInteger", d.pick(["q w", "q w z"] if zeros is None else ["q w z wz", "q w _ wz"]), "i")
    d.node("Cast", "i", to=1)


@spec("ConvInteger", 10, 27, count=14)
def _(d):
    deep, out = d.int(1, 2), d.int(1, 2)
    integers(d, [1, deep, *d.ints(3, 4, 2)])
    d.const("w", d.r.integers(-100, 100, [out, deep, *d.ints(1, 3, 2)]), np.int8)
    pads, strides = d.maybe(d.ints(0, 1, 4)), d.maybe(d.ints(1, 2, 2))
    d.const("wz", 3, np.int8)
    d.node("ConvInteger", d.pick(["q w", "q w z", "q w z wz"]), "i", pads=pads, strides=strides)
    d.node("Cast", "i", to=1)


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


def draw_blocked(op):
    @spec(op, 21, 27, count=3, label="_blocked")
    def _(d):
        """A scale for each block is refused."""
        d.x("x", [4, 3], 2, 1 / 512, 64)
        d.const("s", [[0.125, 0.0625, 0.125], [0.25, 0.125, 0.0625]], np.float32)
        d.const("z", np.zeros((2, 3)), np.int8)
        d.node("QuantizeLinear", "x s z", "q", axis=0, block_size=2)
        d.node("DequantizeLinear", "q s z", axis=0, block_size=2)


draw_blocked("QuantizeLinear")
draw_blocked("DequantizeLinear")
