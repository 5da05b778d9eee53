"""Operators whose derivative is zero: their result is multiplied with x, or added to it."""

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from . import chosen, drawn
from .chosen import Form, data, distinct, f32, ints
from .oracle import Again
from .reference import NEWEST, node, operator, operators

case, _ = chosen.family("zero")
spec = drawn.family("zero")
FLOAT = TensorProto.FLOAT


def fixed(function):
    """A function whose result has no derivative."""
    return lambda *xs, **attributes: function(*(x.detach() for x in xs), **attributes)


operators(
    7,
    And=torch.logical_and,
    Greater=torch.gt,
    Less=torch.lt,
    Not=torch.logical_not,
    Or=torch.logical_or,
    Size=lambda x: torch.tensor(x.numel()),
    Xor=torch.logical_xor,
    Ceil=fixed(torch.ceil),
    Floor=fixed(torch.floor),
    ArgMax=fixed(lambda x, axis, keepdims: x.argmax(axis, keepdim=bool(keepdims))),
    ArgMin=fixed(lambda x, axis, keepdims: x.argmin(axis, keepdim=bool(keepdims))),
)
operators(9, IsNaN=torch.isnan, NonZero=lambda x: x.nonzero().T, Sign=fixed(torch.sign))
operators(10, IsInf=torch.isinf)
operators(11, Equal=torch.eq, Range=torch.arange, Round=fixed(torch.round), Unique=fixed(lambda x, sorted=1: x.unique()))
operators(12, GreaterOrEqual=torch.ge, LessOrEqual=torch.le)
bits = lambda x: x.detach().to(torch.uint8)
operators(
    18,
    BitwiseAnd=lambda x, y: bits(x) & y,
    BitwiseNot=lambda x: 255 - bits(x),
    BitwiseOr=lambda x, y: bits(x) | y,
    BitwiseXor=lambda x, y: bits(x) ^ y,
)
operator("BitShift", since=11)(lambda x, y, direction: bits(x) << y if direction == "LEFT" else bits(x) >> y)
operator("Shape")(lambda x, start=None, end=None: torch.tensor(x.shape[start:end]))
operator("EyeLike", since=9)(lambda x, k=0, dtype=FLOAT: torch.ones_like(x.detach()).triu(k).tril(k))


@operator("ConstantOfShape", since=9)
def constant_of_shape(shape, *, value=None):
    number = 0.0 if value is None else float(numpy_helper.to_array(value)[0])
    return torch.full(shape.tolist(), number)


@operator("OneHot", since=9)
def one_hot(indices, depth, values, *, axis=-1):
    hot = F.one_hot(indices.long() % int(depth), int(depth))
    return torch.where(hot == 1, values[1], values[0])


@operator("Hardmax", takes_run=True)
def hard_max(run, x, *, axis=None):
    x, at = x.detach(), (-1 if run.opset >= 13 else 1) if axis is None else axis
    rows = x if run.opset >= 13 else x.reshape(int(np.prod(x.shape[: at % x.ndim])), -1)
    over = at if run.opset >= 13 else 1
    return torch.zeros_like(rows).scatter(over, rows.argmax(over, keepdim=True), 1.0).reshape(x.shape)


# Chosen cases.


def zero(op, x, nodes, constants=None, lo=None, hi=NEWEST, name=None, function=None):
    inputs = x if isinstance(x, dict) else {"x": x}
    lo = lo or chosen.OPERATORS[op].since
    case(name or op, op, inputs, Form(lo, hi, nodes, constants), function=function)


def times(value, by="x", cast="f"):
    """y = x · value."""
    return [node("Cast", value, cast, to=FLOAT), node("Mul", f"{by} {cast}")]


zx = data("zx", 3, 4, kinks=(-2, -1, 0, 1, 2, -1.5, -0.5, 0.5, 1.5))
for op in ("Ceil", "Floor", "Round", "Sign"):
    zero(op, zx, [node(op, "x", "z"), node("Mul", "x z")])
zero("Sign", f32(-2, 0, 3), [node("Sign", "x", "z"), node("Add", "x z")], name="Sign_at_0")
za, zb = data("za", 3, 4), f32(0.25, -1, 1, 0.5)
za[0, 1] = zb[1]
for op in ("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual"):
    zero(op, {"a": za, "b": zb}, [node(op, "a b", "c"), *times("c", "a", "m")])
nodes = [node("Cast", "x", "i", to=TensorProto.INT64), node("Equal", "i one", "c"), *times("c", cast="m")]
zero("Equal", zx, nodes, {"one": np.array(1, np.int64)}, 7, name="Equal_integers")
bounds = {"low": np.float32(-0.7), "high": np.float32(0.7)}
for op in ("And", "Or", "Xor"):
    nodes = [node("Greater", "x low", "p"), node("Less", "x high", "q"), node(op, "p q", "c"), *times("c", cast="m")]
    zero(op, zx, nodes, bounds)
low = {"low": np.float32(0.3)}
zero("Not", zx, [node("Greater", "x low", "p"), node("Not", "p", "c"), *times("c", cast="m")], low)
zt = distinct("zt", 3, 4)
zt[1] = 2
for op in ("ArgMax", "ArgMin"):
    nodes = [node(op, "x", "i", axis=1, keepdims=1), node("Cast", "i", "f", to=FLOAT), node("Add", "x f")]
    zero(op, zt, nodes)
whole = lambda number: np.array(number, np.int64)
zero("Shape", zx, [node("Shape", "x", "s"), node("Gather", "s one", "n"), *times("n")], {"one": whole(1)})
zero("Size", zx, [node("Size", "x", "n"), *times("n")])
zero("ConstantOfShape", zx, [node("Shape", "x", "s"), node("ConstantOfShape", "s", "n"), *times("n")])
zero("Range", zx, [node("Range", "a b c", "n"), *times("n")], {"a": whole(0), "b": whole(4), "c": whole(1)})
numbers = {"i": ints(2), "depth": whole(4), "values": f32(0, 1)}
zero("OneHot", zx, [node("OneHot", "i depth values", "n"), *times("n")], numbers)
most = [node("ReduceMax", "f", "m", keepdims=0), node("Reshape", "m shape", "k"), node("Add", "x k")]
nodes = [node("Greater", "x low", "p"), node("Cast", "p", "q", to=FLOAT), node("NonZero", "q", "i")]
zero("NonZero", zx, [*nodes, node("Cast", "i", "f", to=FLOAT), *most], low | {"shape": ints(1)})
for op in ("IsNaN", "IsInf"):
    nodes = [node("Reciprocal", "x", "r"), node(op, "r", "c"), node("Cast", "c", "m", to=FLOAT)]
    zero(op, zx, [*nodes, node("Add", "m one", "n"), node("Mul", "x n")], {"one": np.float32(1)})
zero("Hardmax", zx, [node("Hardmax", "x", "h", axis=1), node("Add", "x h")])
nodes = [node("Unique", "x", "u", sorted=1), node("ReduceMin", "u", "m", keepdims=0)]
zero("Unique", zx, [*nodes, node("Reshape", "m shape", "k"), node("Add", "x k")], {"shape": ints(1)})
zero("EyeLike", zx, [node("EyeLike", "x", "i"), node("Add", "x i")])
boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1.1], [2, 2, 3, 3]], np.float32)
nodes = [node("Reshape", "x batch", "b"), node("NonMaxSuppression", "b s k iou", "i"), node("Cast", "i", "f", to=FLOAT)]
nodes += [node("ReduceMax", "f", "m", keepdims=0), node("Reshape", "m shape", "last"), node("Add", "x last")]
numbers = {"shape": ints(1), "batch": ints(1, 3, 4), "s": np.array([[[0.9, 0.8, 0.7]]], np.float32)}
numbers |= {"k": whole(5), "iou": np.float32(0.5)}
zero("NonMaxSuppression", boxes, nodes, numbers, 10, function=lambda x: x + 2)
# Random numbers times 0: the gradient must stop there. ONNX Runtime has them up to opset 21.
RANDOM = {
    "RandomNormal": (7, "", {"shape": [3, 4]}),
    "RandomNormalLike": (7, "x", {}),
    "RandomUniform": (7, "", {"shape": [3, 4]}),
    "RandomUniformLike": (7, "x", {}),
    "Bernoulli": (15, "p", {}),
    "Multinomial": (7, "x", {"sample_size": 4}),
}
none = {"none": np.float32(0)}
for op, (lo, names, attributes) in RANDOM.items():
    nodes = [node("Sigmoid", "x", "p"), node(op, names, "r", **attributes), node("Cast", "r", "f", to=FLOAT)]
    nodes += [node("Mul", "f none", "n"), node("Add", "x x", "d"), node("Add", "d n")]
    zero(op, zx, nodes, none, lo, 21, function=lambda x: x * 2)
    zero(op, zx, nodes, none, 22, name=op + "_22", function=lambda x: x * 2)
for op in ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"):
    names, direction = "i" if op == "BitwiseNot" else "i bits", "LEFT" if op == "BitShift" else None
    nodes = [node("Cast", "x", "i", to=TensorProto.UINT8), node(op, names, "j", direction=direction), *times("j")]
    x = data("bw", 3, 4, lo=0, hi=9, kinks=range(10))
    zero(op, x, nodes, {"bits": np.array(3, np.uint8)})


# Drawn cases.


def multiplied(d, value):
    """y = x · value, which has the shape of x or broadcasts to it."""
    d.nodes += times(value)


def added(d, value):
    """y = x + the largest of value."""
    d.node("Cast", value, "f", to=FLOAT)
    d.node("ReduceMax", "f", "m", keepdims=0)
    d.node("Add", "x m")


for op in ["Ceil", "Floor", "Round", "Sign"]:

    @spec(op, standard=True)
    def _(d, op=op):
        d.x("x", d.shape(0, 4), 3)
        d.node(op, "x", "z")
        d.node("Mul", "x z")


for op in ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]:

    @spec(op, standard=True)
    def _(d, op=op):
        full = d.shape(1, 4)
        d.x("x", full)
        d.x("b", d.part(full))
        d.node(op, "x b", "c")
        multiplied(d, "c")


for op in ["And", "Or", "Xor"]:

    @spec(op, standard=True)
    def _(d, op=op):
        d.x("x", d.shape(1, 4))
        d.const("low", -0.7, np.float32)
        d.const("high", 0.7, np.float32)
        d.node("Greater", "x low", "p")
        d.node("Less", "x high", "q")
        d.node(op, "p q", "c")
        multiplied(d, "c")


@spec("Not", standard=True)
def _(d):
    d.x("x", d.shape(1, 4))
    d.const("low", 0.3, np.float32)
    d.node("Greater", "x low", "p")
    d.node("Not", "p", "c")
    multiplied(d, "c")


for op in ["ArgMax", "ArgMin"]:

    @spec(op, count=14, standard=True)
    def _(d, op=op):
        dims = d.shape(1, 4)
        axis = d.maybe(d.axis(len(dims)), 0.8)
        d.x("x", dims)
        keep, last = d.pick([None, 1]), d.pick([None, 0, 1]) if d.opset >= 12 else None
        d.node(op, "x", "i", axis=axis, keepdims=keep, select_last_index=last)
        multiplied(d, "i")


for op in ["BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"]:

    @spec(op, standard=True)
    def _(d, op=op):
        d.x("x", d.shape(1, 4), 4, 4.5)
        d.node("Cast", "x", "i", to=TensorProto.UINT8)
        d.const("bits", 3, np.uint8)
        direction = d.pick(["LEFT", "RIGHT"]) if op == "BitShift" else None
        d.node(op, "i" if op == "BitwiseNot" else "i bits", "j", direction=direction)
        multiplied(d, "j")


@spec("ConstantOfShape", standard=True)
def _(d):
    d.x("x", d.shape(1, 4))
    d.node("Shape", "x", "s")
    d.node("ConstantOfShape", "s", "c", value=d.maybe(helper.make_tensor("v", FLOAT, [1], [1.5])))
    multiplied(d, "c")


@spec("EyeLike", standard=True)
def _(d):
    d.x("x", d.shape(2, 2))
    d.node("EyeLike", "x", "e", k=d.maybe(d.int(-2, 2)), dtype=d.maybe(FLOAT))
    multiplied(d, "e")


@spec("Hardmax", count=14)
def _(d):
    dims = d.shape(2, 4)
    axis = d.maybe(d.axis(len(dims)), 0.8)
    d.x("x", dims)
    d.node("Hardmax", "x", "h", axis=axis)
    multiplied(d, "h")


for op in ["IsInf", "IsNaN"]:

    @spec(op, standard=True)
    def _(d, op=op):
        d.x("x", d.shape(1, 4))
        signs = ("detect_negative", "detect_positive") if op == "IsInf" else ()
        given = {name: d.maybe(d.int(0, 1)) for name in signs}
        d.node("Exp", "x", "e")
        d.node(op, "e", "c", **given)
        d.node("Not", "c", "n")
        multiplied(d, "n")


@spec("NonZero", standard=True)
def _(d):
    d.x("x", d.shape(1, 4))
    d.node("NonZero", "x", "i")
    added(d, "i")


@spec("OneHot", count=14)
def _(d):
    rows, depth = d.int(1, 4), d.int(2, 5)
    d.x("x", [rows, depth])
    index = d.r.integers(-depth if d.opset >= 11 else 0, depth, rows)
    d.const("i", index, d.pick([np.int64, np.int32]))
    d.const("depth", d.pick([depth, [depth]]))
    d.const("values", [-0.5, 2.0], np.float32)
    d.node("OneHot", "i depth values", "h", axis=d.pick([None, -1, 1]))
    multiplied(d, "h")


@spec("Range", standard=True)
def _(d):
    n = d.int(1, 6)
    d.x("x", [*d.shape(0, 2), n])
    kind = d.pick([np.int64, np.float32, np.int32])
    step = d.pick([1, 2, -1])
    for name, value in (("a", 2), ("b", 2 + n * step), ("c", step)):
        d.const(name, value, kind)
    d.node("Range", "a b c", "r")
    multiplied(d, "r")


@spec("Shape", standard=True)
def _(d):
    dims = d.shape(1, 4)
    d.x("x", dims)
    start, end = (d.maybe(d.int(-3, 0)), d.maybe(d.int(1, 4))) if d.opset >= 15 else (None, None)
    if len(dims[slice(start, end)]) == 0:
        raise Again
    d.node("Shape", "x", "s", start=start, end=end)
    added(d, "s")


@spec("Size", standard=True)
def _(d):
    d.x("x", d.shape(1, 4))
    d.node("Size", "x", "s")
    multiplied(d, "s")


@spec("Unique")
def _(d):
    d.x("x", d.shape(1, 3), 2, 0, 2)
    d.node("Unique", "x", "u", sorted=d.pick([None, 0, 1]))
    added(d, "u")


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
    added(d, "three")


for op, (lo, names, _) in RANDOM.items():

    @spec(op, lo)
    def _(d, op=op, names=names):
        """Times 0, because nobody knows the numbers: the gradient stops there."""
        dims = d.shape(2, 2) if op == "Multinomial" else d.shape(1, 4)
        d.x("x", dims)
        d.node("Sigmoid", "x", "p")
        shape = dims if op in ("RandomNormal", "RandomUniform") else None
        d.node(op, names, "r", shape=shape, sample_size=dims[1] if op == "Multinomial" else None)
        d.node("Cast", "r", "f", to=FLOAT)
        d.const("none", 0, np.float32)
        d.node("Mul", "f none", "n")
        d.node("Add", "x n")
        d.fn = lambda t: t["x"] * 1
