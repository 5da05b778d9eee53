"""Operators whose derivative is zero: the result is multiplied with or added to something that has one."""

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto

from .case import NEWEST, Form, case, data, distinct, f32, ints

to_float = {"to": TensorProto.FLOAT}
zx = data("zx", 3, 4, kinks=(-2, -1, 0, 1, 2, -1.5, -0.5, 0.5, 1.5))
for op, lo, fn in [("Ceil", 7, torch.ceil), ("Floor", 7, torch.floor), ("Round", 11, torch.round), ("Sign", 9, torch.sign)]:
    case("zero", op, op, {"x": zx}, lambda x, fn=fn: x * fn(x).detach(), Form(lo, NEWEST, [(op, ["x"], ["z"], {}), ("Mul", ["x", "z"], ["y"], {})]))
case("zero", "Sign_at_0", "Sign", {"x": f32(-2, 0, 3)}, lambda x: x + torch.sign(x).detach(), Form(9, NEWEST, [("Sign", ["x"], ["z"], {}), ("Add", ["x", "z"], ["y"], {})]))
za, zb = data("za", 3, 4), f32(0.25, -1, 1, 0.5)
za[0, 1] = zb[1]
for op, lo, fn in [("Greater", 7, torch.gt), ("Less", 7, torch.lt), ("Equal", 11, torch.eq), ("GreaterOrEqual", 12, torch.ge), ("LessOrEqual", 12, torch.le)]:
    case("zero", op, op, {"a": za, "b": zb}, lambda a, b, fn=fn: a * fn(a, b), Form(lo, NEWEST, [(op, ["a", "b"], ["c"], {}), ("Cast", ["c"], ["m"], to_float), ("Mul", ["a", "m"], ["y"], {})]))
case("zero", "Equal_integers", "Equal", {"x": zx}, lambda x: x * (x.trunc() == 1), Form(7, NEWEST, [("Cast", ["x"], ["i"], {"to": TensorProto.INT64}), ("Equal", ["i", "one"], ["c"], {}), ("Cast", ["c"], ["m"], to_float), ("Mul", ["x", "m"], ["y"], {})], {"one": np.array(1, np.int64)}))
for op, fn in [("And", torch.logical_and), ("Or", torch.logical_or), ("Xor", torch.logical_xor)]:
    nodes = [("Greater", ["x", "low"], ["p"], {}), ("Less", ["x", "high"], ["q"], {}), (op, ["p", "q"], ["c"], {}), ("Cast", ["c"], ["m"], to_float), ("Mul", ["x", "m"], ["y"], {})]
    case("zero", op, op, {"x": zx}, lambda x, fn=fn: x * fn(x > -0.7, x < 0.7), Form(7, NEWEST, nodes, {"low": np.float32(-0.7), "high": np.float32(0.7)}))
case("zero", "Not", "Not", {"x": zx}, lambda x: x * ~(x > 0.3), Form(7, NEWEST, [("Greater", ["x", "low"], ["p"], {}), ("Not", ["p"], ["c"], {}), ("Cast", ["c"], ["m"], to_float), ("Mul", ["x", "m"], ["y"], {})], {"low": np.float32(0.3)}))
zt = distinct("zt", 3, 4)
zt[1] = 2
for op, fn in [("ArgMax", torch.argmax), ("ArgMin", torch.argmin)]:
    case("zero", op, op, {"x": zt}, lambda x, fn=fn: x + fn(x.flip(1) * 0 + x, 1, keepdim=True), Form(7, NEWEST, [(op, ["x"], ["i"], {"axis": 1, "keepdims": 1}), ("Cast", ["i"], ["f"], to_float), ("Add", ["x", "f"], ["y"], {})]))
scaled = lambda tail, consts: (tail + [("Cast", ["n"], ["f"], to_float), ("Mul", ["x", "f"], ["y"], {})], consts)
for name, op, lo, factor, (nodes, consts) in [
    ("Shape", "Shape", 7, 4, scaled([("Shape", ["x"], ["s"], {}), ("Gather", ["s", "one"], ["n"], {})], {"one": np.array(1, np.int64)})),
    ("Size", "Size", 7, 12, scaled([("Size", ["x"], ["n"], {})], {})),
    ("ConstantOfShape", "ConstantOfShape", 9, 0, scaled([("Shape", ["x"], ["s"], {}), ("ConstantOfShape", ["s"], ["n"], {})], {})),
    ("Range", "Range", 11, torch.tensor([0.0, 1, 2, 3]), scaled([("Range", ["a", "b", "c"], ["n"], {})], {"a": np.array(0, np.int64), "b": np.array(4, np.int64), "c": np.array(1, np.int64)})),
    ("OneHot", "OneHot", 9, torch.tensor([[0.0, 0, 1, 0]]), scaled([("OneHot", ["i", "depth", "values"], ["n"], {})], {"i": ints(2), "depth": np.array(4, np.int64), "values": f32(0, 1)})),
]:
    case("zero", name, op, {"x": zx}, lambda x, f=factor: x * f, Form(lo, NEWEST, nodes, consts))
case("zero", "NonZero", "NonZero", {"x": zx}, lambda x: x + (x.detach() > 0.3).nonzero()[:, 1].max(),
     Form(9, NEWEST, [("Greater", ["x", "low"], ["p"], {}), ("Cast", ["p"], ["q"], to_float), ("NonZero", ["q"], ["i"], {}), ("Cast", ["i"], ["f"], to_float), ("ReduceMax", ["f"], ["m"], {"keepdims": 0}), ("Reshape", ["m", "shape"], ["k"], {}), ("Add", ["x", "k"], ["y"], {})], {"low": np.float32(0.3), "shape": ints(1)}))
for op, lo, fn in [("IsNaN", 9, torch.isnan), ("IsInf", 10, torch.isinf)]:
    case("zero", op, op, {"x": zx}, lambda x, fn=fn: x * (1 + fn(1 / x).double()), Form(lo, NEWEST, [("Reciprocal", ["x"], ["r"], {}), (op, ["r"], ["c"], {}), ("Cast", ["c"], ["m"], to_float), ("Add", ["m", "one"], ["n"], {}), ("Mul", ["x", "n"], ["y"], {})], {"one": np.float32(1)}))
case("zero", "Hardmax", "Hardmax", {"x": zx}, lambda x: x + F.one_hot(x.argmax(1), 4), Form(7, NEWEST, [("Hardmax", ["x"], ["h"], {"axis": 1}), ("Add", ["x", "h"], ["y"], {})]))
case("zero", "Unique", "Unique", {"x": zx}, lambda x: x + x.detach().min(), Form(11, NEWEST, [("Unique", ["x"], ["u"], {"sorted": 1}), ("ReduceMin", ["u"], ["m"], {"keepdims": 0}), ("Reshape", ["m", "shape"], ["k"], {}), ("Add", ["x", "k"], ["y"], {})], {"shape": ints(1)}))
case("zero", "EyeLike", "EyeLike", {"x": zx}, lambda x: x + torch.eye(3, 4), Form(9, NEWEST, [("EyeLike", ["x"], ["i"], {}), ("Add", ["x", "i"], ["y"], {})]))
boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1.1], [2, 2, 3, 3]], np.float32)
case("zero", "NonMaxSuppression", "NonMaxSuppression", {"x": boxes}, lambda x: x + 2,
     Form(10, NEWEST, [("Reshape", ["x", "batch"], ["b"], {}), ("NonMaxSuppression", ["b", "s", "k", "iou"], ["i"], {}), ("Cast", ["i"], ["f"], to_float), ("ReduceMax", ["f"], ["m"], {"keepdims": 0}), ("Reshape", ["m", "shape"], ["last"], {}), ("Add", ["x", "last"], ["y"], {})],
          {"shape": ints(1), "batch": ints(1, 3, 4), "s": np.array([[[0.9, 0.8, 0.7]]], np.float32), "k": np.array(5, np.int64), "iou": np.float32(0.5)}))
# Random numbers times 0: what is tested is that the gradient stops there. ONNX Runtime has them up to opset 21.
for op, lo, ins, attrs in [("RandomNormal", 7, [], {"shape": [3, 4]}), ("RandomNormalLike", 7, ["x"], {}), ("RandomUniform", 7, [], {"shape": [3, 4]}), ("RandomUniformLike", 7, ["x"], {}),
                           ("Bernoulli", 15, ["p"], {}), ("Multinomial", 7, ["x"], {"sample_size": 4})]:
    nodes = [("Sigmoid", ["x"], ["p"], {}), (op, ins, ["r"], attrs), ("Cast", ["r"], ["f"], to_float), ("Mul", ["f", "none"], ["n"], {}), ("Add", ["x", "x"], ["d"], {}), ("Add", ["d", "n"], ["y"], {})]
    case("zero", op, op, {"x": zx}, lambda x: x * 2, Form(lo, 21, nodes, {"none": np.float32(0)}))
    case("zero", op + "_22", op, {"x": zx}, lambda x: x * 2, Form(22, NEWEST, nodes, {"none": np.float32(0)}))
bits = np.array(3, np.uint8)
for op, lo, fn, attrs in [("BitShift", 11, lambda i: i * 8, {"direction": "LEFT"}), ("BitwiseAnd", 18, lambda i: i & 3, {}), ("BitwiseOr", 18, lambda i: i | 3, {}), ("BitwiseXor", 18, lambda i: i ^ 3, {}), ("BitwiseNot", 18, lambda i: 255 - i, {})]:
    ins = ["i"] if op == "BitwiseNot" else ["i", "bits"]
    case("zero", op, op, {"x": data("bw", 3, 4, lo=0, hi=9, kinks=range(10))}, lambda x, fn=fn: x * fn(x.detach().to(torch.uint8)).double(), Form(lo, NEWEST, [("Cast", ["x"], ["i"], {"to": TensorProto.UINT8}), (op, ins, ["j"], attrs), ("Cast", ["j"], ["f"], to_float), ("Mul", ["x", "f"], ["y"], {})], {"bits": bits}))
