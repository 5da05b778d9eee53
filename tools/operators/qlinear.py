"""Operators on quantized numbers: what they read is dequantized, what they give is quantized. They are ONNX Runtime's."""

import numpy as np
import torch
import torch.nn.functional as F

from .chosen import anywhere, f32, rng
from .quantize import Dynamic, dequantize_linear, dynamic, pair, quantize, quantize_linear, spread
from .reference import node, tensor

INPUT, OUTPUT = (np.float32(0.02), np.array(110, np.uint8)), (np.float32(0.05), np.array(120, np.uint8))
SHARE = np.float32(1 / 256), np.array(0, np.uint8)


def double(array):
    return torch.tensor(np.asarray(array).astype(np.float64))


def rounded(x, scale, zero):
    """The nearest numbers that a scale and a zero point give."""
    scale, zero = tensor(scale), torch.as_tensor(zero)
    return dequantize_linear(quantize_linear(x, scale, zero), scale, zero)


def clear(name, shape, function, scale):
    """An input whose results are nowhere near the middle of two steps, where float32 may round either way."""
    for attempt in range(400):
        x = spread(f"{attempt:03}{name[-5:]}", shape, *INPUT, beyond=10)
        steps = (function(rounded(double(x), *INPUT)) / double(scale)).numpy()
        if np.abs(steps - np.floor(steps) - 0.5).min() > 2e-3:
            return x
    raise AssertionError(name)


def operator(op, label, shape, function, inputs, constants=None, lo=11, domain="com.microsoft", output=OUTPUT, **attributes):
    """`inputs` are those of the node, with q, s, z for x quantized and ys, yz for the scale and zero point of the result."""
    x = clear(op + label, shape, function, output[0])
    nodes = [node("QuantizeLinear", "x s z", "q"), node(op, inputs, "r", domain=domain, **attributes)]
    numbers = dict(zip(["s", "z", "ys", "yz"], [*INPUT, *output], strict=True))
    whole = lambda x: rounded(function(rounded(x, *INPUT)), *output)
    quantize(label, op, x, [*nodes, node("DequantizeLinear", "r ys yz")], numbers | (constants or {}), lo, whole)


weight = lambda name, *shape: rng(name).integers(-127, 127, shape).astype(np.int8)
bias = lambda name: rng(name).integers(-4000, 4000, 4).astype(np.int32)
each, zeros = f32(0.004, 0.002, 0.003, 0.001), np.zeros(4, np.int8)
single, zero = np.float32(0.003), np.array(5, np.int8)
same = {"ws": single, "wz": zero}
w, b = weight("qlw", 4, 3, 3, 3), bias("qlb")
window = {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1], "strides": [1, 2]}
conv = lambda x, weights, bias=None: F.conv2d(F.pad(x, (0, 1, 1, 0)), weights, bias, stride=(1, 2))
function = lambda x: conv(x, (double(w) - 5) * double(single))
operator("QLinearConv", "", (1, 3, 5, 4), function, "q s z w ws wz ys yz", {"w": w, **same}, 10, None, **window)
channels, summands = double(w) * double(each).reshape(4, 1, 1, 1), double(b) * double(INPUT[0]) * double(each)
constants = {"w": w, "ws": each, "wz": zeros, "b": b}
function = lambda x: conv(x, channels, summands)
operator("QLinearConv", "_channels", (1, 3, 5, 4), function, "q s z w ws wz ys yz b", constants, 10, None, **window)
m = weight("qlm", 5, 4)
function = lambda x: x @ ((double(m) - 5) * double(single))
operator("QLinearMatMul", "", (2, 3, 5), function, "q s z w ws wz ys yz", {"w": m, **same}, 10, None)
function = lambda x: x @ (double(m) * double(each))
constants = {"w": m, "ws": each, "wz": zeros}
operator("QLinearMatMul", "_columns", (2, 3, 5), function, "q s z w ws wz ys yz", constants, 10, None)
sides = {"o": rng("qlo").integers(0, 255, (1, 3, 1, 4)).astype(np.uint8), "os": np.float32(0.01), "oz": np.array(99, np.uint8)}
other = lambda o: (double(o) - 99) * double(sides["os"])
summand = other(sides["o"])
operator("QLinearAdd", "", (2, 3, 2, 4), lambda x: x + summand, "q s z o os oz ys yz", sides)
operator("QLinearMul", "", (2, 3, 1, 4), lambda x: x * summand, "q s z o os oz ys yz", sides)
operator("QLinearAdd", "_twice", (2, 3, 4), lambda x: x + x, "q s z q s z ys yz")
mean = lambda x: x.mean((2, 3), keepdim=True)
operator("QLinearGlobalAveragePool", "", (2, 3, 4, 5), mean, "q s z ys yz", channels_last=0)
pool = lambda x: F.avg_pool2d(x, 2, 2, 1, count_include_pad=False)
window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 0, 0], "count_include_pad": 0}
operator("QLinearAveragePool", "", (1, 2, 5, 5), pool, "q s z ys yz", **window)
leaky = lambda x: torch.where(x > 0, x, x * 0.125)
operator("QLinearLeakyRelu", "", (2, 3, 4), leaky, "q s z ys yz", alpha=0.125)
twice = lambda x: torch.cat([x, x * 1.0], 1)
operator("QLinearConcat", "", (2, 2, 3), twice, "ys yz q s z q s z", axis=1)
g, gb = weight("qgw", 4, 6), bias("qgb")
gemm = {"w": g, "ws": each, "wz": zeros, "b": gb}
product = lambda x: 0.5 * (x @ (double(g) * double(each).reshape(4, 1)).T)
linear = lambda x: product(x) + 0.5 * double(gb) * double(INPUT[0]) * double(each)
operator("QGemm", "", (3, 6), linear, "q s z w ws wz b ys yz", gemm, 13, transB=1, alpha=0.5)
floats = node("QGemm", "q s z w ws wz b", transB=1, alpha=0.5, domain="com.microsoft")
numbers = {"s": INPUT[0], "z": INPUT[1]} | gemm
nodes = [node("QuantizeLinear", "x s z", "q"), floats]
quantize("_floats", "QGemm", spread("qgf", (3, 6), *INPUT), nodes, numbers, 13, lambda x: linear(rounded(x, *INPUT)))
s, z, shape = f32(0.01, 0.5, 0.2), np.array([-128, 3, 90], np.int8), (1, 3, 1, 1)
x = spread("cms", (2, 3, 4, 5), s.reshape(shape), z.reshape(shape))
quantize("_microsoft", "QuantizeLinear", x, pair(axis=1, domain="com.microsoft"), {"s": s, "z": z}, 13)
operator("QLinearSigmoid", "", (2, 3, 4), torch.sigmoid, "q s z ys yz", output=SHARE)
attributes = {"output": SHARE, "lo": 13, "axis": -1, "opset": 13}
operator("QLinearSoftmax", "", (2, 3, 4), lambda x: x.softmax(-1), "q s z ys yz", **attributes)
where, o = np.array([[[True], [False], [True]]]), rng("qlo").integers(0, 255, (1, 3, 4)).astype(np.uint8)
function = lambda x: torch.where(torch.tensor(where), x, other(o))
operator("QLinearWhere", "", (2, 3, 4), function, "c q s z o os oz ys yz", {"c": where} | sides | {"o": o})
x = spread("dynm", (3, 5), np.float32(0.02), np.array(80, np.uint8), beyond=-5)
x.flat[:2] = np.float32(-80 * 0.02), np.float32(175 * 0.02)
added = anywhere("dmb", 4)
nodes = [node("DynamicQuantizeMatMul", "x w ws _ b", domain="com.microsoft")]
function = lambda x: Dynamic.apply(x) @ (double(m) * double(single)) + double(added)
quantize("", "DynamicQuantizeMatMul", x, nodes, {"w": m, "ws": single, "b": added}, 11, function)
nodes = [dynamic, node("MatMulIntegerToFloat", "q w s ws z", domain="com.microsoft")]
function = lambda x: Dynamic.apply(x) @ (double(m) * double(each))
quantize("", "MatMulIntegerToFloat", x, nodes, {"w": m, "ws": each}, 13, function)
