"""Quantisation, differentiated straight through: what rounds counts as the identity, what is clipped has no gradient."""

import numpy as np
import torch
import torch.nn.functional as F

from .case import Form, anywhere, case, f32, ints, rng

RANGES = {np.int8: (-128, 127), np.uint8: (0, 255), np.int16: (-32768, 32767), np.uint16: (0, 65535)}
double = lambda array: torch.tensor(np.asarray(array).astype(np.float64))


class Quantized(torch.autograd.Function):
    """The integers as float64; dx = g/s strictly inside (min − z)·s and (max − z)·s."""

    @staticmethod
    def forward(ctx, x, scale, zero, low, high):
        ctx.save_for_backward((((low - zero) * scale < x) & (x < (high - zero) * scale)) / scale)
        return (torch.round(x / scale) + zero).clamp(low, high)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None, None, None, None


def quantized(x, scale, zero, shape=()):
    low, high = RANGES[np.asarray(zero).dtype.type]
    return Quantized.apply(x, double(scale).reshape(shape), double(zero).reshape(shape), low, high)


def dequantized(q, scale, zero, shape=()):
    return (q - double(zero).reshape(shape)) * double(scale).reshape(shape)


def spread(name, shape, scale, zero, beyond=40):
    """Numbers within 0.4 steps of the integers' own, some of them beyond their range."""
    low, high = RANGES[np.asarray(zero).dtype.type]
    r = rng(name)
    steps = r.integers(low - beyond, high + beyond, shape) + r.uniform(-0.4, 0.4, shape)
    return ((steps - zero.astype(np.float64)) * scale).astype(np.float32)


# ONNX Runtime 1.32 has no kernels of QuantizeLinear and DequantizeLinear for opset 28: cases of that are apart.
AT_28 = ["QuantizeLinear_int8", "DequantizeLinear_Transpose"]


def quantize(label, op, x, fn, nodes, consts, lo=10):
    by_28 = any(node[0].startswith(("Quantize", "Dequantize", "DynamicQuantizeMat", "MatMulIntegerTo")) for node in nodes)
    case("quantize", op + label, op, {"x": x}, fn, Form(lo, 27 if by_28 else 28, nodes, consts))
    if op + label in AT_28:
        case("quantize", "at_28_" + op + label, op, {"x": x}, fn, Form(28, 28, nodes, consts))


pair = lambda q, d, **attrs: [("QuantizeLinear", ["x", *q.split()], ["q"], attrs), ("DequantizeLinear", ["q", *d.split()], ["y"], attrs)]
for name, kind, zero, lo in [("int8", np.int8, -128, 10), ("int8_symmetric", np.int8, 0, 10), ("uint8", np.uint8, 113, 10), ("uint8_symmetric", np.uint8, 128, 10), ("int16", np.int16, -700, 21), ("uint16", np.uint16, 30000, 21)]:
    s, z = np.float32(0.023), np.array(zero, kind)
    x = spread(name, (2, 3, 4, 5), s, z)
    quantize("_" + name, "QuantizeLinear", x, lambda x, s=s, z=z: dequantized(quantized(x, s, z), s, z), pair("s z", "s z"), {"s": s, "z": z}, lo)
s, z = np.float32(0.5), np.array(-3, np.int8)
# Exact numbers: both bounds, and the numbers next to them.
x = f32(-62.5, -62.49, -62.51, 65, 64.99, 65.01, 0, 1.1)
quantize("_bounds", "QuantizeLinear", x, lambda x: dequantized(quantized(x, s, z), s, z), pair("s z", "s z"), {"s": s, "z": z})
none = np.array(0, np.uint8)
quantize("_no_zero_point", "QuantizeLinear", spread("nz", (2, 3, 4), s, none), lambda x: dequantized(quantized(x, s, none), s, none), pair("s", "s"), {"s": s})
one, half = f32(0.125), np.array([7], np.int8)
quantize("_one", "QuantizeLinear", spread("q1", (2, 3, 4), one, half), lambda x: dequantized(quantized(x, one, half), one, half), pair("s z", "s z"), {"s": one, "z": half})
steps, zeros = f32(0.01, 0.5, 0.2), np.array([-128, 3, 90], np.int8)
along = (1, 3, 1, 1)
x = spread("qax", (2, 3, 4, 5), steps.reshape(along), zeros.reshape(along))
axis = lambda x: dequantized(quantized(x, steps, zeros, along), steps, zeros, along)
quantize("_axis_default", "QuantizeLinear", x, axis, pair("s z", "s z"), {"s": steps, "z": zeros}, 13)
quantize("_axis_negative", "QuantizeLinear", x, axis, pair("s z", "s z", axis=-3), {"s": steps, "z": zeros}, 13)
rows = (3, 1)
quantize("_axis_first", "QuantizeLinear", spread("qrow", (3, 7), steps.reshape(rows), zeros.reshape(rows)), lambda x: dequantized(quantized(x, steps, zeros, rows), steps, zeros, rows), pair("s z", "s z", axis=0), {"s": steps, "z": zeros}, 13)
typed = [("QuantizeLinear", ["x", "s"], ["q"], {"output_dtype": 3}), ("DequantizeLinear", ["q", "s"], ["y"], {})]
signed = np.array(0, np.int8)
quantize("_output_dtype", "QuantizeLinear", spread("qod", (2, 9), s, signed), lambda x: dequantized(quantized(x, s, signed), s, signed), typed, {"s": s}, 21)

# Operators on the integers in between, which are read with another scale than they were written with.
s, z, t, v = np.float32(0.03), np.array(-20, np.int8), np.float32(0.07), np.array(5, np.int8)


def between(label, fn, nodes, shape=(2, 3, 4, 5), consts=None, lo=10, kind=np.int8):
    zero, other = z.astype(kind) if kind == np.int8 else np.array(100, kind), v.astype(kind)
    x = spread("b" + label, shape, s, zero)
    nodes = [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), *nodes, ("DequantizeLinear", ["r", "t", "v"], ["y"], {})]
    numbers = {"s": s, "z": zero, "t": t, "v": other} | (consts or {})
    quantize("_" + label, "DequantizeLinear", x, lambda x: dequantized(fn(quantized(x, s, zero)), t, other), nodes, numbers, lo)


between("plain", lambda q: q, [("Identity", ["q"], ["r"], {})], lo=14)
between("Transpose", lambda q: q.permute(0, 2, 3, 1), [("Transpose", ["q"], ["r"], {"perm": [0, 2, 3, 1]})])
between("Reshape", lambda q: q.reshape(2, 12, 5), [("Reshape", ["q", "shape"], ["r"], {})], consts={"shape": ints(0, 12, 5)})
between("Concat", lambda q: torch.cat([q, q], 1), [("Concat", ["q", "q"], ["r"], {"axis": 1})])
between("Slice", lambda q: q[:, :, 1:3], [("Slice", ["q", "a", "b", "axes"], ["r"], {})], consts={"a": ints(1), "b": ints(3), "axes": ints(2)})
between("Gather", lambda q: q[:, [2, 0]], [("Gather", ["q", "at"], ["r"], {"axis": 1})], consts={"at": ints(2, 0)})
between("Split", lambda q: torch.cat([q[:, 1:], q[:, :1]], 1), [("Split", ["q", "sizes"], ["p1", "p2"], {"axis": 1}), ("Concat", ["p2", "p1"], ["r"], {"axis": 1})], consts={"sizes": ints(1, 2)}, lo=13)
between("MaxPool", lambda q: F.max_pool2d(q, 2), [("MaxPool", ["q"], ["r"], {"kernel_shape": [2, 2], "strides": [2, 2]})], lo=12, kind=np.uint8)

# Dynamic quantisation: the range is that of the input, so that nothing is clipped.
class Dynamic(torch.autograd.Function):
    """What DynamicQuantizeLinear and DequantizeLinear make of x together; dx = g."""

    @staticmethod
    def forward(ctx, x):
        low, high = min(x.min(), 0), max(x.max(), 0)
        s = np.float32((high - low) / 255)
        zero = torch.round(torch.as_tensor(-low / float(s))).clamp(0, 255)
        return ((torch.round(x / float(s)) + zero).clamp(0, 255) - zero) * float(s)

    @staticmethod
    def backward(ctx, g):
        return g


# The extremes are 0 and 255 steps of 0.02, the rest lies near whole steps.
x = spread("dyn", (3, 6), np.float32(0.02), np.array(80, np.uint8), beyond=-5)
x.flat[:2] = np.float32(-80 * 0.02), np.float32(175 * 0.02)
dynamic = [("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {})]
apart = [("Cast", ["q"], ["qf"], {"to": 1}), ("Cast", ["z"], ["zf"], {"to": 1}), ("Sub", ["qf", "zf"], ["d"], {}), ("Mul", ["d", "s"], ["y"], {})]
quantize("", "DynamicQuantizeLinear", x, Dynamic.apply, [*dynamic, *apart], {}, 11)
quantize("_pair", "DynamicQuantizeLinear", x, Dynamic.apply, [*dynamic, ("DequantizeLinear", ["q", "s", "z"], ["y"], {})], {}, 11)
w, wz, ws, bias = rng("dynw").integers(-127, 127, (6, 4)).astype(np.int8), np.array(3, np.int8), np.float32(0.01), anywhere("dynb", 4)
linear = [*dynamic, ("MatMulInteger", ["q", "w", "z", "wz"], ["i"], {}), ("Cast", ["i"], ["f"], {"to": 1}), ("Mul", ["s", "ws"], ["both"], {}), ("Mul", ["f", "both"], ["m"], {}), ("Add", ["m", "b"], ["y"], {})]
quantize("_dynamic", "MatMulInteger", x, lambda x: Dynamic.apply(x) @ ((double(w) - 3) * double(ws)) + double(bias), linear, {"w": w, "wz": wz, "ws": ws, "b": bias}, 11)

s, z = np.float32(0.03), np.array(100, np.uint8)
integer = lambda op, inputs, **attrs: [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), (op, ["q", *inputs.split()], ["i"], attrs), ("Cast", ["i"], ["y"], {"to": 1})]
columns = np.array([3, -2, 0, 9], np.int8)
matrix = spread("mi", (2, 5, 6), s, z)
quantize("", "MatMulInteger", matrix, lambda x: (quantized(x, s, z) - 100) @ (double(w) - 3), integer("MatMulInteger", "w z wz"), {"s": s, "z": z, "w": w, "wz": wz})
quantize("_columns", "MatMulInteger", matrix, lambda x: (quantized(x, s, z) - 100) @ (double(w) - double(columns)), integer("MatMulInteger", "w z wz"), {"s": s, "z": z, "w": w, "wz": columns})
quantize("_plain", "MatMulInteger", matrix, lambda x: quantized(x, s, z) @ double(w), integer("MatMulInteger", "w"), {"s": s, "z": z, "w": w})
kernel = rng("ciw").integers(-127, 127, (4, 3, 3, 3)).astype(np.int8)
image = spread("ci", (2, 3, 7, 6), s, z)
window = {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1], "strides": [2, 1]}
padded = lambda x: F.pad(quantized(x, s, z) - 100, (0, 1, 1, 1))
quantize("", "ConvInteger", image, lambda x: F.conv2d(padded(x), double(kernel) - 3, stride=(2, 1)), integer("ConvInteger", "w z wz", **window), {"s": s, "z": z, "w": kernel, "wz": wz})
quantize("_plain", "ConvInteger", image, lambda x: F.conv2d(quantized(x, s, z), double(kernel)), integer("ConvInteger", "w"), {"s": s, "z": z, "w": kernel})
picture = spread("dync", (1, 2, 5, 4), np.float32(0.02), np.array(80, np.uint8), beyond=-5)
picture.flat[:2] = x.flat[:2]
small = kernel[:, :2]
dynamic_conv = [*dynamic, ("ConvInteger", ["q", "w", "z", "wz"], ["i"], {"pads": [1, 1, 1, 1]}), ("Cast", ["i"], ["f"], {"to": 1}), ("Mul", ["f", "s"], ["y"], {})]
quantize("_dynamic", "ConvInteger", picture, lambda x: F.conv2d(Dynamic.apply(x), double(small) - 3, padding=1), dynamic_conv, {"w": small, "wz": wz}, 11)

# Operators on quantised numbers: what they read is dequantised, what they give is quantised.
US, UZ, YS, YZ = np.float32(0.02), np.array(110, np.uint8), np.float32(0.05), np.array(120, np.uint8)
fake = lambda x, s, z: dequantized(quantized(x, s, z), s, z)


def clear(name, shape, fn):
    """An input whose results are nowhere near the middle of two steps, where float32 may round either way."""
    for attempt in range(400):
        x = spread(f"{attempt:03}{name[-5:]}", shape, US, UZ, beyond=10)
        steps = (fn(fake(torch.tensor(x.astype(np.float64)), US, UZ)) / double(YS)).numpy()
        if np.abs(steps - np.floor(steps) - 0.5).min() > 2e-3:
            return x
    raise AssertionError(name)


def operator(op, label, shape, fn, inputs, consts=None, lo=11, domain="com.microsoft", **attrs):
    """`inputs` are those of the node, with q, s, z for x quantised and ys, yz for the scale and zero point of the result."""
    x = clear(op + label, shape, fn)
    attrs = attrs | ({"domain": domain} if domain else {})
    nodes = [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), (op, inputs.split(), ["r"], attrs), ("DequantizeLinear", ["r", "ys", "yz"], ["y"], {})]
    used = {"s": US, "z": UZ, "ys": YS, "yz": YZ} | (consts or {})
    quantize(label, op, x, lambda x: fake(fn(fake(x, US, UZ)), YS, YZ), nodes, used, lo)


weight = lambda name, *shape: rng(name).integers(-127, 127, shape).astype(np.int8)
w1, each, zeros1 = weight("qlw", 4, 3, 3, 3), f32(0.004, 0.002, 0.003, 0.001), np.zeros(4, np.int8)
b1 = rng("qlb").integers(-4000, 4000, 4).astype(np.int32)
conv = {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1], "strides": [1, 2]}
padded = lambda x: F.pad(x, (0, 1, 1, 0))
one_scale, one_zero = np.float32(0.003), np.array(5, np.int8)
operator("QLinearConv", "", (1, 3, 5, 4), lambda x: F.conv2d(padded(x), (double(w1) - 5) * double(one_scale), stride=(1, 2)), "q s z w ws wz ys yz", {"w": w1, "ws": one_scale, "wz": one_zero}, 10, None, **conv)
channels = double(w1) * double(each).reshape(4, 1, 1, 1)
operator("QLinearConv", "_channels", (1, 3, 5, 4), lambda x: F.conv2d(padded(x), channels, double(b1) * double(US) * double(each), stride=(1, 2)), "q s z w ws wz ys yz b", {"w": w1, "ws": each, "wz": zeros1, "b": b1}, 10, None, **conv)
w2 = weight("qlm", 5, 4)
operator("QLinearMatMul", "", (2, 3, 5), lambda x: x @ ((double(w2) - 5) * double(one_scale)), "q s z w ws wz ys yz", {"w": w2, "ws": one_scale, "wz": one_zero}, 10, None)
operator("QLinearMatMul", "_columns", (2, 3, 5), lambda x: x @ (double(w2) * double(each)), "q s z w ws wz ys yz", {"w": w2, "ws": each, "wz": zeros1}, 10, None)
other, os, oz = rng("qlo").integers(0, 255, (1, 3, 1, 4)).astype(np.uint8), np.float32(0.01), np.array(99, np.uint8)
added = (double(other) - 99) * double(os)
sides = {"o": other, "os": os, "oz": oz}
operator("QLinearAdd", "", (2, 3, 2, 4), lambda x: x + added, "q s z o os oz ys yz", sides)
operator("QLinearMul", "", (2, 3, 1, 4), lambda x: x * added, "q s z o os oz ys yz", sides)
operator("QLinearAdd", "_twice", (2, 3, 4), lambda x: x + x, "q s z q s z ys yz")
operator("QLinearGlobalAveragePool", "", (2, 3, 4, 5), lambda x: x.mean((2, 3), keepdim=True), "q s z ys yz", channels_last=0)
operator("QLinearAveragePool", "", (1, 2, 5, 5), lambda x: F.avg_pool2d(x, 2, 2, 1, count_include_pad=False), "q s z ys yz", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0], count_include_pad=0)
operator("QLinearLeakyRelu", "", (2, 3, 4), lambda x: torch.where(x > 0, x, x * 0.125), "q s z ys yz", alpha=0.125)
operator("QLinearConcat", "", (2, 2, 3), lambda x: torch.cat([x, x * 1.0], 1), "ys yz q s z q s z", axis=1)
w3, b3 = weight("qgw", 4, 6), rng("qgb").integers(-4000, 4000, 4).astype(np.int32)
gemm = {"w": w3, "ws": each, "wz": zeros1, "b": b3}
linear = lambda x: 0.5 * (x @ (double(w3) * double(each).reshape(4, 1)).T) + 0.5 * double(b3) * double(US) * double(each)
operator("QGemm", "", (3, 6), linear, "q s z w ws wz b ys yz", gemm, 13, transB=1, alpha=0.5)
to_floats = [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), ("QGemm", ["q", "s", "z", "w", "ws", "wz", "b"], ["y"], {"transB": 1, "alpha": 0.5, "domain": "com.microsoft"})]
quantize("_floats", "QGemm", spread("qgf", (3, 6), US, UZ), lambda x: linear(fake(x, US, UZ)), to_floats, {"s": US, "z": UZ} | gemm, 13)
microsoft = [(op, ins, outs, attrs | {"domain": "com.microsoft"}) for op, ins, outs, attrs in pair("s z", "s z", axis=1)]
x = spread("cms", (2, 3, 4, 5), steps.reshape(along), zeros.reshape(along))
quantize("_microsoft", "QuantizeLinear", x, axis, microsoft, {"s": steps, "z": zeros}, 13)
YS, YZ = np.float32(1 / 256), np.array(0, np.uint8)
operator("QLinearSigmoid", "", (2, 3, 4), torch.sigmoid, "q s z ys yz")
operator("QLinearSoftmax", "", (2, 3, 4), lambda x: x.softmax(-1), "q s z ys yz", lo=13, axis=-1, opset=13)
chosen = np.array([[[True], [False], [True]]])
YS, YZ = np.float32(0.05), np.array(120, np.uint8)
other = rng("qlo").integers(0, 255, (1, 3, 4)).astype(np.uint8)
operator("QLinearWhere", "", (2, 3, 4), lambda x: torch.where(torch.tensor(chosen), x, (double(other) - 99) * double(os)), "c q s z o os oz ys yz", {"c": chosen, "o": other, "os": os, "oz": oz})
x = spread("dynm", (3, 5), np.float32(0.02), np.array(80, np.uint8), beyond=-5)
x.flat[:2] = np.float32(-80 * 0.02), np.float32(175 * 0.02)
bias = anywhere("dmb", 4)
dynamic_product = [("DynamicQuantizeMatMul", ["x", "w", "ws", "", "b"], ["y"], {"domain": "com.microsoft"})]
quantize("", "DynamicQuantizeMatMul", x, lambda x: Dynamic.apply(x) @ (double(w2) * double(one_scale)) + double(bias), dynamic_product, {"w": w2, "ws": one_scale, "b": bias}, 11)
to_float = [*dynamic, ("MatMulIntegerToFloat", ["q", "w", "s", "ws", "z"], ["y"], {"domain": "com.microsoft"})]
quantize("", "MatMulIntegerToFloat", x, lambda x: Dynamic.apply(x) @ (double(w2) * double(each)), to_float, {"w": w2, "ws": each}, 13)
