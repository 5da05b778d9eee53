"""Operators whose derivative is zero: their result is multiplied with x, or its largest element added to it."""

import numpy as np
import torch
from onnx import TensorProto

from .draw import Again, spec

FLOAT = TensorProto.FLOAT


def times(d, value):
    """y = x · value, which has the shape of x or broadcasts to it."""
    d.node("Cast", value, "f", to=FLOAT)
    d.node("Mul", "x f")


def plus(d, value):
    """y = x + the largest of value."""
    d.node("Cast", value, "f", to=FLOAT)
    d.node("ReduceMax", "f", "m", keepdims=0)
    d.node("Add", "x m")


for op, lo in [("Ceil", 7), ("Floor", 7), ("Round", 11), ("Sign", 9)]:

    @spec(op, lo)
    def _(d, op=op):
        d.x("x", d.shape(0, 4), 3)
        d.node(op, "x", "z")
        d.node("Mul", "x z")


for op, lo in [("Equal", 11), ("Greater", 7), ("GreaterOrEqual", 12), ("Less", 7), ("LessOrEqual", 12)]:

    @spec(op, lo)
    def _(d, op=op):
        full = d.shape(1, 4)
        d.x("x", full)
        d.x("b", d.part(full))
        d.node(op, "x b", "c")
        times(d, "c")


for op in ["And", "Or", "Xor"]:

    @spec(op)
    def _(d, op=op):
        d.x("x", d.shape(1, 4))
        d.const("low", -0.7, np.float32)
        d.const("high", 0.7, np.float32)
        d.node("Greater", "x low", "p")
        d.node("Less", "x high", "q")
        d.node(op, "p q", "c")
        times(d, "c")


@spec("Not")
def _(d):
    d.x("x", d.shape(1, 4))
    d.const("low", 0.3, np.float32)
    d.node("Greater", "x low", "p")
    d.node("Not", "p", "c")
    times(d, "c")


for op in ["ArgMax", "ArgMin"]:

    @spec(op, count=14)
    def _(d, op=op):
        dims = d.shape(1, 4)
        axis = d.maybe(d.axis(len(dims)), 0.8)
        d.x("x", dims)
        d.node(op, "x", "i", axis=axis, keepdims=d.pick([None, 1]), select_last_index=d.pick([None, 0, 1]) if d.opset >= 12 else None)
        times(d, "i")


for op, lo, one in [("BitShift", 11, False), ("BitwiseAnd", 18, False), ("BitwiseOr", 18, False), ("BitwiseXor", 18, False), ("BitwiseNot", 18, True)]:

    @spec(op, lo)
    def _(d, op=op, one=one):
        d.x("x", d.shape(1, 4), 4, 4.5)
        d.node("Cast", "x", "i", to=TensorProto.UINT8)
        d.const("bits", 3, np.uint8)
        d.node(op, "i" if one else "i bits", "j", direction=d.pick(["LEFT", "RIGHT"]) if op == "BitShift" else None)
        times(d, "j")


@spec("ConstantOfShape", 9)
def _(d):
    from onnx import helper

    d.x("x", d.shape(1, 4))
    d.node("Shape", "x", "s")
    d.node("ConstantOfShape", "s", "c", value=d.maybe(helper.make_tensor("v", FLOAT, [1], [1.5])))
    times(d, "c")


@spec("EyeLike", 9)
def _(d):
    d.x("x", d.shape(2, 2))
    d.node("EyeLike", "x", "e", k=d.maybe(d.int(-2, 2)), dtype=d.maybe(FLOAT))
    times(d, "e")


@spec("Hardmax", count=14)
def _(d):
    dims = d.shape(2, 4)
    axis = d.maybe(d.axis(len(dims)), 0.8)
    d.x("x", dims)
    d.node("Hardmax", "x", "h", axis=axis)
    times(d, "h")

    def fn(t):
        at = (-1 if d.opset >= 13 else 1) if axis is None else axis
        x = t["x"].detach()
        rows = x if d.opset >= 13 else x.reshape(int(np.prod(dims[: at % len(dims)])), -1)
        over = at if d.opset >= 13 else 1
        hot = torch.zeros_like(rows).scatter(over, rows.argmax(over, keepdim=True), 1.0)
        return t["x"] * hot.reshape(x.shape)

    d.fn = fn


for op, lo in [("IsInf", 10), ("IsNaN", 9)]:

    @spec(op, lo)
    def _(d, op=op):
        d.x("x", d.shape(1, 4))
        signs = {k: d.maybe(d.int(0, 1)) for k in ("detect_negative", "detect_positive")} if op == "IsInf" else {}
        d.node("Exp", "x", "e")
        d.node(op, "e", "c", **signs)
        d.node("Not", "c", "n")
        times(d, "n")


@spec("NonZero", 9)
def _(d):
    d.x("x", d.shape(1, 4))
    d.node("NonZero", "x", "i")
    plus(d, "i")


@spec("OneHot", 9, count=14)
def _(d):
    rows, depth = d.int(1, 4), d.int(2, 5)
    d.x("x", [rows, depth])
    d.const("i", d.r.integers(-depth if d.opset >= 11 else 0, depth, rows), d.pick([np.int64, np.int32]))
    d.const("depth", d.pick([depth, [depth]]))
    d.const("values", [-0.5, 2.0], np.float32)
    d.node("OneHot", "i depth values", "h", axis=d.pick([None, -1, 1]))
    times(d, "h")
    hot = torch.nn.functional.one_hot(torch.tensor(d.consts["i"].astype(np.int64) % depth), depth)
    d.fn = lambda t: t["x"] * (hot * 2.5 - 0.5).to(t["x"].dtype)


@spec("Range", 11)
def _(d):
    n = d.int(1, 6)
    d.x("x", d.shape(0, 2) + [n])
    kind = d.pick([np.int64, np.float32, np.int32])
    step = d.pick([1, 2, -1])
    for name, value in (("a", 2), ("b", 2 + n * step), ("c", step)):
        d.const(name, value, kind)
    d.node("Range", "a b c", "r")
    times(d, "r")


@spec("Shape")
def _(d):
    dims = d.shape(1, 4)
    d.x("x", dims)
    start, end = (d.maybe(d.int(-3, 0)), d.maybe(d.int(1, 4))) if d.opset >= 15 else (None, None)
    if len(dims[slice(start, end)]) == 0:
        raise Again
    d.node("Shape", "x", "s", start=start, end=end)
    plus(d, "s")


@spec("Size")
def _(d):
    d.x("x", d.shape(1, 4))
    d.node("Size", "x", "s")
    times(d, "s")


@spec("Unique", 11)
def _(d):
    d.x("x", d.shape(1, 3), 2, 0, 2)
    d.node("Unique", "x", "u", sorted=d.pick([None, 0, 1]))
    plus(d, "u")
    d.fn = lambda t: t["x"] + t["x"].detach().max()


@spec("NonMaxSuppression", 10)
def _(d):
    n = d.int(1, 4)
    d.x("x", [1, n, 4], 1, 2)
    d.const("s", d.r.random([1, 1, n]), np.float32)
    d.const("k", n)
    d.const("iou", 0.5, np.float32)
    d.node("NonMaxSuppression", "x s k iou", "i", center_point_box=1)
    d.fn = lambda t: t["x"] + 3
    d.node("Shape", "i", "rows")
    d.const("last", 1)
    d.node("Gather", "rows last", "three")
    plus(d, "three")


for op, lo, ins in [("RandomNormal", 7, ""), ("RandomNormalLike", 7, "x"), ("RandomUniform", 7, ""), ("RandomUniformLike", 7, "x"), ("Bernoulli", 15, "p"), ("Multinomial", 7, "x")]:

    @spec(op, lo)
    def _(d, op=op, ins=ins):
        """Times 0, because nobody knows the numbers: the gradient stops there."""
        dims = d.shape(2, 2) if op == "Multinomial" else d.shape(1, 4)
        d.x("x", dims)
        d.node("Sigmoid", "x", "p")
        d.node(op, ins, "r", shape=dims if op in ("RandomNormal", "RandomUniform") else None, sample_size=dims[1] if op == "Multinomial" else None)
        d.node("Cast", "r", "f", to=FLOAT)
        d.const("none", 0, np.float32)
        d.node("Mul", "f none", "n")
        d.node("Add", "x n")
        d.fn = lambda t: t["x"] * 1
