"""Operators that work element by element."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto

from .draw import Again, spec


def unary(op, fn, lo=7, scale=2.0, offset=0.0):
    @spec(op, lo)
    def _(d):
        shape = d.shape(0, 4)
        if scale >= 2 and np.prod(shape) < 4:
            raise Again  # Far out alone there is nothing to measure a small derivative against.
        d.x("x", shape, scale, offset)
        d.node(op, "x")
        d.fn = lambda t: fn(t["x"])


for row in [
    ("Abs", torch.abs), ("Acos", torch.acos, 7, 0.9), ("Acosh", torch.acosh, 9, 0.75, 2.0), ("Asin", torch.asin, 7, 0.9), ("Asinh", torch.asinh, 9),
    ("Atan", torch.atan), ("Atanh", torch.atanh, 9, 0.9), ("Cos", torch.cos), ("Cosh", torch.cosh, 9), ("Erf", torch.erf, 9), ("Exp", torch.exp),
    ("HardSwish", lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1), 14, 5.0), ("Identity", lambda x: x * 1), ("Log", torch.log, 7, 0.75, 1.25),
    ("Mish", F.mish, 18, 4.0), ("Neg", torch.neg), ("Reciprocal", torch.reciprocal, 7, 0.75, 1.25), ("Relu", F.relu), ("Sigmoid", torch.sigmoid, 7, 8.0),
    ("Sin", torch.sin), ("Sinh", torch.sinh, 9), ("Softplus", lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())), 7, 30.0), ("Softsign", F.softsign), ("Sqrt", torch.sqrt, 7, 0.75, 1.25),
    ("Tan", torch.tan, 7, 1.0), ("Tanh", torch.tanh, 7, 4.0),
]:
    unary(*row)


def scalars(op, fn, names, lo=7, scale=3.0):
    """Activations with float attributes: `names` are name → (default, low, high)."""

    @spec(op, lo)
    def _(d):
        given = {k: d.maybe(float(np.float32(d.r.uniform(low, high)))) for k, (_, low, high) in names.items()}
        used = {k: default if given[k] is None else given[k] for k, (default, *_) in names.items()}
        d.x("x", d.shape(0, 4), scale)
        d.node(op, "x", **given)
        d.fn = lambda t: fn(t["x"], **used)


negative = lambda x: x.clamp(max=0)
scalars("Celu", lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(negative(x) / alpha)), {"alpha": (1.0, 0.2, 3)}, 12)
scalars("Elu", lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(negative(x))), {"alpha": (1.0, -1, 3)})
scalars("HardSigmoid", lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1), {"alpha": (0.2, -0.5, 0.9), "beta": (0.5, -0.2, 1.2)})
scalars("LeakyRelu", lambda x, alpha: torch.where(x > 0, x, alpha * x), {"alpha": (0.01, -1, 2)})
scalars("Selu", lambda x, alpha, gamma: gamma * torch.where(x > 0, x, alpha * torch.expm1(negative(x))), {"alpha": (float(np.float32(1.67326319217681884765625)), 0.2, 3), "gamma": (float(np.float32(1.05070102214813232421875)), 0.2, 3)})
scalars("Shrink", lambda x, bias, lambd: torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, torch.zeros_like(x))), {"bias": (0.0, -1, 1), "lambd": (0.5, 0.1, 2)}, 9)
scalars("Swish", lambda x, alpha: x * torch.sigmoid(alpha * x), {"alpha": (1.0, -2, 2)}, 24)
scalars("ThresholdedRelu", lambda x, alpha: torch.where(x > alpha, x, torch.zeros_like(x)), {"alpha": (1.0, -1, 2)}, 10)


@spec("Gelu", 20)
def _(d):
    form = d.pick([None, "none", "tanh"])
    d.x("x", d.shape(0, 4), 3)
    d.node("Gelu", "x", approximate=form)
    d.fn = lambda t: F.gelu(t["x"], approximate=form or "none")


def binary(op, fn, second=(2.0, 0.0), first=(2.0, 0.0)):
    @spec(op, count=14)
    def _(d):
        full = d.shape(0, 4)
        d.x("a", d.part(full), *first)
        if d.pick([True, True, False]):
            d.x("b", d.part(full), *second)
            d.fn = lambda t: fn(t["a"], t["b"])
        else:
            d.floats("b", d.part(full), second[1] - second[0], second[1] + second[0])
            b = d.consts["b"]
            d.fn = lambda t: fn(t["a"], torch.tensor(b).to(t["a"].dtype))
        d.node(op, "a b")


binary("Add", torch.add)
binary("Sub", torch.sub)
binary("Mul", torch.mul)
binary("Div", torch.div, (0.75, -1.25))
binary("Pow", torch.pow, (2.0, 0.0), (0.75, 1.25))


@spec("Pow", 12, count=16, label="_number")
def _(d):
    """Constant exponents, also of other types; integers take negative bases."""
    exponent = d.pick([0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.5, 4])
    kind = d.pick([np.float32, np.int64, np.int32]) if exponent == int(exponent) else np.float32
    d.x("a", d.shape(0, 3), 0.75, 1.25 if exponent != int(exponent) else d.pick([1.25, -1.25]))
    d.const("b", np.full(d.pick([[], [1]]), exponent), kind)
    d.node("Pow", "a b")
    d.fn = lambda t: t["a"].pow(exponent).reshape(np.broadcast_shapes(t["a"].shape, d.consts["b"].shape))


@spec("Mul", label="_twice", count=4)
def _(d):
    d.x("a", d.shape(0, 4))
    d.node("Mul", "a a")
    d.fn = lambda t: t["a"] * t["a"]


def variadic(op, fn):
    @spec(op, 8, count=14)
    def _(d):
        full = d.shape(0, 4)
        names = [f"x{k}" for k in range(d.int(1, 4))]
        for name in names:
            d.x(name, d.part(full))
        d.node(op, " ".join(names))
        d.fn = lambda t: fn([v.expand(np.broadcast_shapes(*(v.shape for v in t.values()))) for v in t.values()])


variadic("Max", lambda ts: torch.stack(ts).amax(0))
variadic("Min", lambda ts: torch.stack(ts).amin(0))
variadic("Mean", lambda ts: torch.stack(ts).mean(0))
variadic("Sum", lambda ts: torch.stack(ts).sum(0))


@spec("Max", 8, count=4, label="_ties")
def _(d):
    shape = d.shape(1, 3)
    for name in "abc":
        d.x(name, shape, 2, 0, 2)
    d.node("Max", "a b c")
    d.fn = lambda t: torch.stack(list(t.values())).amax(0)


@spec("Clip", count=20)
def _(d):
    low, high = d.pick([(-1.0, 1.0), (None, 0.5), (-0.5, None), (None, None), (0.0, 6.0)])
    d.x("x", d.shape(0, 4), 3)
    if d.opset < 11:
        d.node("Clip", "x", min=low, max=high)
    else:
        ins = "x"
        for name, value in (("low", low), ("high", high)):
            if value is not None:
                d.const(name, value, np.float32)
            ins += " _" if value is None else " " + name
        while ins.endswith(" _"):
            ins = ins[:-2]
        d.node("Clip", ins)
    inf = math.inf
    inside = lambda x: (x > (-inf if low is None else low)) & (x < (inf if high is None else high))
    d.fn = lambda t: torch.where(inside(t["x"]), t["x"], t["x"].detach().clamp(-inf if low is None else low, inf if high is None else high))


@spec("PRelu", count=14)
def _(d):
    full = d.shape(1, 4)
    d.x("x", full)
    slope = d.part(full)
    if d.opset < 9 and len(slope) < len(full):
        slope = [1] * (len(full) - len(slope)) + slope
    d.x("s", slope)
    d.node("PRelu", "x s")
    d.fn = lambda t: torch.where(t["x"] > 0, t["x"], t["s"] * t["x"])


@spec("Where", 9, count=14)
def _(d):
    full = d.shape(1, 4)
    d.x("a", d.part(full))
    d.x("b", d.part(full))
    kept = d.r.random(d.part(full)) < 0.5
    d.const("c", kept, np.bool_)
    d.node("Where", "c a b")
    d.fn = lambda t: torch.where(torch.tensor(kept), t["a"], t["b"])


@spec("Mod", 10, count=14)
def _(d):
    full = d.shape(1, 4)
    d.x("a", full, 5)
    d.floats("b", d.part(full), 0.7, 3)
    d.consts["b"] *= d.pick([1, -1])
    b = d.consts["b"]
    d.node("Mod", "a b", fmod=1)
    d.fn = lambda t: torch.fmod(t["a"], torch.tensor(b).to(t["a"].dtype))


@spec("Dropout", count=14)
def _(d):
    d.x("x", d.shape(1, 4))
    if d.opset < 12:
        d.node("Dropout", "x", d.pick(["y", "y mask"]), ratio=d.maybe(0.3))
    else:
        d.const("ratio", 0.3, np.float32)
        d.const("training", False, np.bool_)
        d.node("Dropout", d.pick(["x", "x ratio", "x ratio training", "x _ training"]), d.pick(["y", "y mask"]), seed=d.maybe(3))
    d.fn = lambda t: t["x"] * 1


@spec("Dropout", 12, count=2, label="_training")
def _(d):
    d.x("x", d.shape(1, 4))
    d.const("ratio", 0.0, np.float32)
    d.const("training", True, np.bool_)
    d.node("Dropout", "x ratio training")
    d.fn = lambda t: t["x"] * 1


@spec("Cast")
def _(d):
    """By way of another type, where the gradient passes or stops."""
    through = d.pick([TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL])
    d.x("x", d.shape(0, 4))
    d.node("Cast", "x", "z", to=through)
    d.node("Cast", "z", "c", to=TensorProto.FLOAT)
    d.node("Mul", "x c")
    fn = {TensorProto.FLOAT: lambda x: x, TensorProto.DOUBLE: lambda x: x, TensorProto.BOOL: lambda x: (x != 0).to(x.dtype)}.get(through, lambda x: x.detach().trunc())
    d.fn = lambda t: t["x"] * fn(t["x"])


@spec("CastLike", 15)
def _(d):
    kind = d.pick([np.float64, np.int64, np.int32])
    d.x("x", d.shape(0, 4))
    d.const("like", 1, kind)
    d.const("back", 1, np.float32)
    d.node("CastLike", "x like", "z")
    d.node("CastLike", "z back", "c")
    d.node("Mul", "x c")
    d.fn = lambda t: t["x"] * (t["x"] if kind is np.float64 else t["x"].detach().trunc())


@spec("Celu", 12, count=3, label="_negative")
def _(d):
    """An alpha of which the exponential grows is refused."""
    d.x("x", d.shape(1, 3))
    d.node("Celu", "x", alpha=-0.5)
    d.fn = lambda t: t["x"].clamp(min=0) + (-0.5 * torch.expm1(t["x"] / -0.5)).clamp(max=0)
