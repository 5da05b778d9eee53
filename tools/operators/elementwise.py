"""Operators that work element by element."""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto

from . import chosen, drawn
from .chosen import data, f32, one
from .oracle import Again
from .reference import node, operator, operators

case, use = chosen.family("elementwise")
spec = drawn.family("elementwise")

operators(
    7,
    Abs=torch.abs,
    Acos=torch.acos,
    Add=torch.add,
    Asin=torch.asin,
    Atan=torch.atan,
    Cos=torch.cos,
    Div=torch.div,
    Exp=torch.exp,
    Identity=lambda x: x * 1,
    Log=torch.log,
    Mul=torch.mul,
    Neg=torch.neg,
    Pow=torch.pow,
    PRelu=lambda x, slope: torch.where(x > 0, x, slope * x),
    Reciprocal=torch.reciprocal,
    Relu=F.relu,
    Sigmoid=torch.sigmoid,
    Sin=torch.sin,
    Softplus=F.softplus,
    Softsign=F.softsign,
    Sqrt=torch.sqrt,
    Sub=torch.sub,
    Tan=torch.tan,
    Tanh=torch.tanh,
)
operators(
    9,
    Acosh=torch.acosh,
    Asinh=torch.asinh,
    Atanh=torch.atanh,
    Cosh=torch.cosh,
    Erf=torch.erf,
    Sinh=torch.sinh,
    Where=torch.where,
)
operators(14, HardSwish=F.hardswish)
operators(15, CastLike=lambda x, like: x * 1 if like.is_floating_point() else x.detach().trunc())
operators(18, Mish=F.mish)

operator("Elu")(lambda x, alpha=1.0: F.elu(x, alpha))
operator("Celu", since=12)(lambda x, alpha=1.0: F.celu(x, alpha))
operator("Swish", since=24)(lambda x, alpha=1.0: F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x))
operator("ThresholdedRelu", since=10)(lambda x, alpha=1.0: F.threshold(x, alpha, 0.0))
operator("Gelu", since=20)(lambda x, approximate="none": F.gelu(x, approximate=approximate))
operator("Mod", since=10)(lambda x, y, fmod=0: torch.fmod(x, y))


@operator("LeakyRelu", takes_run=True)
def leaky_relu(run, x, alpha=0.01):
    return F.leaky_relu(x, run.round(alpha))


@operator("HardSigmoid", takes_run=True)
def hard_sigmoid(run, x, alpha=0.2, beta=0.5):
    y = run.round(alpha) * x + beta
    return torch.where((y > 0) & (y < 1), y, y.clamp(0, 1).detach())


@operator("Selu", takes_run=True)
def selu(run, x, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    return run.round(gamma) * F.elu(x, run.round(alpha))


@operator("Shrink", since=9)
def shrink(x, bias=0.0, lambd=0.5):
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, torch.zeros_like(x)))


@operator("Clip")
def clip(x, low=None, high=None, *, min=None, max=None):
    """With a gradient strictly inside the bounds, as torch.clamp of 2.15, relu6 and hardtanh."""
    low = -math.inf if low is None and min is None else float(low if min is None else min)
    high = math.inf if high is None and max is None else float(high if max is None else max)
    return torch.where((x > low) & (x < high), x, x.detach().clamp(low, high))


def of_all(reduce):
    """A function of any number of tensors that broadcast."""
    return lambda *xs: reduce([x.expand(np.broadcast_shapes(*(x.shape for x in xs))) for x in xs])


operators(
    7,
    Max=of_all(lambda xs: torch.stack(xs).amax(0)),
    Min=of_all(lambda xs: torch.stack(xs).amin(0)),
    Mean=of_all(lambda xs: torch.stack(xs).mean(0)),
    Sum=of_all(lambda xs: torch.stack(xs).sum(0)),
)


@operator("Dropout")
def dropout(x, ratio=None, training=None, *, seed=None, **_):
    return x * 1


# Chosen cases.

for op in ("Add", "Sub", "Mul", "Div"):
    for label, sa, sb in [
        ("same", (2, 3, 4), (2, 3, 4)),
        ("scalar", (2, 3), ()),
        ("channel", (2, 3, 2, 2), (3, 1, 1)),
        ("both", (2, 1, 4), (1, 3, 1)),
        ("rank", (4,), (2, 3, 4)),
        ("one", (1, 1), (2, 3)),
    ]:
        n = f"{op}_{label}"
        use(op, f"_{label}", {"a": data(n + "a", *sa), "b": data(n + "b", *sb, gap=0.4)})
case("Mul_twice", "Mul", {"x": data("m2", 2, 3)}, one("Mul", "x x"))
case("Add_twice", "Add", {"x": data("a2", 2, 3)}, one("Add", "x x"))
use("Sum", "_3", {"a": data("s1", 2, 3), "b": data("s2", 3), "c": data("s3", 2, 1)}, lo=8)
use("Sum", "_same", {"a": data("s4", 2, 3), "b": data("s5", 2, 3)})
use("Sum", "_1", {"a": data("s6", 2, 3)})
use("Neg", "", data("neg", 2, 3))
use("Sqrt", "", data("sq", 2, 3, lo=0.3, hi=3))
use("Exp", "", data("xp", 2, 3))
use("Log", "", data("lg", 2, 3, lo=0.3, hi=3))
use("Erf", "", np.append(data("er", 6), f32(0, 5, -30)))
for form in ("none", "tanh"):
    x = np.append(data(form, 8, lo=-4, hi=4), f32(0, 20, -20))
    use("Gelu", f"_{form}", x, approximate=None if form == "none" else form)
positive = data("pw", 2, 3, lo=0.3, hi=2)
for label, x, p in [
    ("square", data("p2", 2, 3), 2),
    ("cube", data("p3", 2, 3), 3),
    ("half", positive, 0.5),
    ("reciprocal", positive, -1),
    ("one", data("p1", 2, 3), 1),
    ("zero", f32(-1, 0, 2), 0),
    ("square_at_0", f32(-1, 0, 2), 2),
    ("channels", data("pc", 2, 3), [2, 3, 1]),
]:
    use("Pow", f"_{label}", {"x": x}, {"p": np.array(p, np.float32)})
    if isinstance(p, int):
        use("Pow", f"_{label}_int", {"x": x}, {"p": np.array(p, np.int64)}, lo=12)
use("Pow", "_exponent", {"x": data("px", 2, 3, lo=0.3, hi=2), "p": data("pp", 3)})
use("Pow", "_exponent_at_0", {"x": f32(0, 0, 2, 3), "p": f32(0, 1.5, 0, 2)})
use("Pow", "_scalar_base", {"x": f32(1.5), "p": data("ps", 2, 3)})
use("Identity", "", data("id", 2, 3))
use("Relu", "", data("re", 2, 3, 4))
use("Relu", "_at_0", f32(-1, 0, 0, 2))
use("LeakyRelu", "", data("lr", 2, 3, 4))
use("LeakyRelu", "_slope", data("ls", 2, 3, 4), alpha=0.25)
use("LeakyRelu", "_at_0", f32(-1, 0, 2), alpha=0.25)


def masked(x, lo, hi):
    """Clip with the gradient g · mask."""
    mask = (x > (-math.inf if lo is None else lo)) & (x < (math.inf if hi is None else hi))
    return x.detach().clamp(lo, hi) + (x * mask - (x * mask).detach())


for label, x, lo, hi in [
    ("both", data("cb", 3, 4, kinks=(-0.5, 1.0)), -0.5, 1.0),
    ("low", data("cl", 3, 4, kinks=(-0.5,)), -0.5, None),
    ("high", data("ch", 3, 4, kinks=(1.0,)), None, 1.0),
    ("at_bounds", f32(-1, -0.5, 0.3, 1, 2), -0.5, 1.0),
]:
    bounds = {name: np.float32(bound) for name, bound in (("lo", lo), ("hi", hi)) if bound is not None}
    names = "x lo hi" if len(bounds) == 2 else "x lo" if "lo" in bounds else "x _ hi"
    forms = one("Clip", hi=10, min=lo, max=hi), one("Clip", names, bounds, lo=11)
    use("Clip", f"_{label}", x, None, *forms, function=functools.partial(masked, lo=lo, hi=hi))
use("Sigmoid", "", np.append(data("si", 6), f32(80, -80)))
use("Tanh", "", data("ta", 2, 3))
use("HardSigmoid", "", data("hs", 3, 4, lo=-4, hi=4, kinks=(-2.5, 2.5)))
use("HardSigmoid", "_sixth", data("h6", 3, 4, lo=-5, hi=5, kinks=(-3, 3)), alpha=1 / 6, beta=0.5)
use("HardSigmoid", "_at_kinks", f32(-2, -1, 0, 1, 2), alpha=0.5, beta=0.5)
use("HardSwish", "", np.append(data("hw", 10, lo=-5, hi=5, kinks=(-3, 3)), f32(-3, 3)))
maximum, minimum = (lambda *xs, f=f: functools.reduce(f, xs) for f in (torch.maximum, torch.minimum))
use("Max", "_2", {"a": data("mx1", 2, 3), "b": data("mx2", 3)}, lo=8, function=maximum)
use("Max", "_same", {"a": data("mx3", 2, 3), "b": data("mx4", 2, 3)}, function=maximum)
use("Max", "_tie", {"a": f32(1, 2, 3), "b": f32(1, 3, 2)}, function=maximum)
use("Max", "_3", {"a": data("mx5", 2, 3), "b": data("mx6", 3), "c": data("mx7", 2, 1)}, lo=8, function=maximum)
use("Min", "_2", {"a": data("mn1", 2, 3), "b": data("mn2", 3)}, lo=8, function=minimum)
use("Min", "_3", {"a": data("mn5", 2, 3), "b": data("mn6", 3), "c": data("mn7", 2, 1)}, lo=8, function=minimum)
use("Min", "_tie", {"a": f32(1, 2, 3), "b": f32(1, 3, 2)}, function=minimum)
use("Mean", "_3", {"a": data("me1", 2, 3), "b": data("me2", 3), "c": data("me3", 2, 1)}, lo=8)
use("Mean", "_same", {"a": data("me4", 2, 3), "b": data("me5", 2, 3)})
choice = np.array([[True, False, True], [False, False, True]])
for label, sa, sb, c in [
    ("same", (2, 3), (2, 3), choice),
    ("broadcast", (3,), (2, 1), choice),
    ("condition", (2, 3), (), choice[:1]),
]:
    inputs = {"a": data("wa" + label, *sa), "b": data("wb" + label, *sb)}
    case(f"Where_{label}", "Where", inputs, one("Where", "c a b", {"c": c}))
divided = data("md1", 2, 4, lo=-5, hi=5, kinks=(-4.5, -3, -1.5, 0, 1.5, 3, 4.5))
use("Mod", "_fmod", {"a": divided, "b": f32(1.5)}, fmod=1)
use("Mod", "_divisors", {"a": f32(5.3, -5.3, 5.3, -5.3), "b": f32(2, 2, -2, -2)}, fmod=1)
ratio = {"ratio": np.float32(0.3)}
use("Dropout", "", data("dr", 2, 3), None, one("Dropout", hi=11, ratio=0.3), one("Dropout", "x ratio", ratio, lo=12))
use("Dropout", "_not_training", {"x": data("dn", 2, 3)}, ratio | {"training": np.array(False)}, lo=12)
there, back = node("Cast", "x", "d", to=TensorProto.DOUBLE), node("Cast", "d", to=TensorProto.FLOAT)
case("Cast_round_trip", "Cast", {"x": data("ct", 2, 3)}, chosen.Form(7, chosen.NEWEST, [there, back]))
use("CastLike", "", {"x": data("cs", 2, 3), "like": data("cl2", 2)})
use("Abs", "", np.append(data("ab", 5), f32(0)))
use("Reciprocal", "", data("rc", 2, 3, gap=0.4))
for op, low, high in [
    ("Sin", -3, 3),
    ("Cos", -3, 3),
    ("Tan", -1.2, 1.2),
    ("Asin", -0.8, 0.8),
    ("Acos", -0.8, 0.8),
    ("Atan", -3, 3),
    ("Sinh", -2, 2),
    ("Cosh", -2, 2),
    ("Asinh", -3, 3),
    ("Acosh", 1.3, 4),
    ("Atanh", -0.8, 0.8),
]:
    use(op, "", data("f" + op, 2, 3, lo=low, hi=high))

# The rarer activations, near their kinks and there.
rare, rarely = chosen.family("activation")
for op, label, attributes, kinks, function in [
    ("Elu", "", {}, (0.0,), None),
    ("Elu", "_alpha", {"alpha": 0.5}, (0.0,), None),
    ("Selu", "", {}, (0.0,), F.selu),
    ("Selu", "_alpha_gamma", {"alpha": 1.5, "gamma": 0.75}, (0.0,), None),
    ("Celu", "", {}, (0.0,), None),
    ("Celu", "_alpha", {"alpha": 0.3}, (0.0,), lambda x: F.celu(x, 0.3)),
    ("Softplus", "", {}, (0.0,), None),
    ("Softsign", "", {}, (0.0,), None),
    ("Mish", "", {}, (0.0,), None),
    ("Swish", "", {}, (0.0,), None),
    ("Swish", "_alpha", {"alpha": 1.5}, (0.0,), None),
    ("ThresholdedRelu", "", {}, (1.0,), None),
    ("ThresholdedRelu", "_alpha", {"alpha": -0.5}, (-0.5,), None),
    ("Shrink", "", {}, (-0.5, 0.5), None),
    ("Shrink", "_soft", {"lambd": 0.75, "bias": 0.75}, (-0.75, 0.75), lambda x: F.softshrink(x, 0.75)),
]:
    x = np.append(data(op + label, 9, lo=-4, hi=4, kinks=kinks), f32(*kinks))
    rarely(op, label, x, function=function, **attributes)
rarely("Elu", "_far", f32(-100, 100, -20, 20))
rarely("Elu", "_flat", f32(-8, -9, -12))
for op in ("Softplus", "Mish", "Swish"):
    rarely(op, "_far", f32(-100, 100, -5, 5))
rarely("PRelu", "_one", {"x": np.append(data("pr1", 5), f32(0)), "s": f32(0.25)})
rarely("PRelu", "_channels", {"x": data("pr2", 2, 3, 2, 2), "s": data("pr3", 3, 1, 1)})
rarely("PRelu", "_each", {"x": data("pr4", 2, 3), "s": data("pr5", 2, 3)})
# The gradients of PRelu at 0 and of Clip at its bounds are those of torch's own functions.
at = torch.tensor([0.0, 6.0, 3.0], requires_grad=True)
assert torch.equal(torch.autograd.grad(F.relu6(at).sum(), at)[0], torch.tensor([0.0, 0.0, 1.0]))
assert torch.autograd.grad(F.prelu(at, torch.tensor([0.25])).sum(), at)[0][0] == 0.25


# Drawn cases.


def unary(op, scale=2.0, offset=0.0):
    @spec(op)
    def _(d):
        shape = d.shape(0, 4)
        if scale >= 2 and np.prod(shape) < 4:
            raise Again  # Far out alone there is nothing to measure a small derivative against.
        d.x("x", shape, scale, offset)
        d.node(op)


for row in [
    ("Abs",),
    ("Acos", 0.9),
    ("Acosh", 0.75, 2.0),
    ("Asin", 0.9),
    ("Asinh",),
    ("Atan",),
    ("Atanh", 0.9),
    ("Cos",),
    ("Cosh",),
    ("Erf",),
    ("Exp",),
    ("HardSwish", 5.0),
    ("Identity",),
    ("Log", 0.75, 1.25),
    ("Mish", 4.0),
    ("Neg",),
    ("Reciprocal", 0.75, 1.25),
    ("Relu",),
    ("Sigmoid", 8.0),
    ("Sin",),
    ("Sinh",),
    ("Softplus", 30.0),
    ("Softsign",),
    ("Sqrt", 0.75, 1.25),
    ("Tan", 1.0),
    ("Tanh", 4.0),
]:
    unary(*row)


def scalars(op, **ranges):
    """Activations with float attributes, each between two numbers or left out."""

    @spec(op, decimal=True)
    def _(d):
        given = {k: d.maybe(float(np.float32(d.r.uniform(low, high)))) for k, (low, high) in ranges.items()}
        d.x("x", d.shape(0, 4), 3.0)
        d.node(op, **given)


scalars("Celu", alpha=(0.2, 3))
scalars("Elu", alpha=(-1, 3))
scalars("HardSigmoid", alpha=(-0.5, 0.9), beta=(-0.2, 1.2))
scalars("LeakyRelu", alpha=(-1, 2))
scalars("Selu", alpha=(0.2, 3), gamma=(0.2, 3))
scalars("Shrink", bias=(-1, 1), lambd=(0.1, 2))
scalars("Swish", alpha=(-2, 2))
scalars("ThresholdedRelu", alpha=(-1, 2))


@spec("Gelu")
def _(d):
    form = d.pick([None, "none", "tanh"])
    d.x("x", d.shape(0, 4), 3)
    d.node("Gelu", approximate=form)


def binary(op, second=(2.0, 0.0), first=(2.0, 0.0)):
    @spec(op, count=14)
    def _(d):
        full = d.shape(0, 4)
        d.x("a", d.part(full), *first)
        if d.pick([True, True, False]):
            d.x("b", d.part(full), *second)
        else:
            d.floats("b", d.part(full), second[1] - second[0], second[1] + second[0])
        d.node(op, "a b")


binary("Add")
binary("Sub")
binary("Mul")
binary("Div", (0.75, -1.25))
binary("Pow", (2.0, 0.0), (0.75, 1.25))


@spec("Pow", 12, count=16, label="_number")
def _(d):
    """Constant exponents, also of other types; integers take negative bases."""
    exponent = d.pick([0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.5, 4])
    kind = d.pick([np.float32, np.int64, np.int32]) if exponent == int(exponent) else np.float32
    d.x("a", d.shape(0, 3), 0.75, 1.25 if exponent != int(exponent) else d.pick([1.25, -1.25]))
    d.const("b", np.full(d.pick([[], [1]]), exponent), kind)
    d.node("Pow", "a b")


@spec("Mul", label="_twice", count=4)
def _(d):
    d.x("a", d.shape(0, 4))
    d.node("Mul", "a a")


def variadic(op):
    @spec(op, 8, count=14)
    def _(d):
        full = d.shape(0, 4)
        names = [f"x{k}" for k in range(d.int(1, 4))]
        for name in names:
            d.x(name, d.part(full))
        d.node(op, " ".join(names))


for op in ("Max", "Min", "Mean", "Sum"):
    variadic(op)


@spec("Max", 8, count=4, label="_ties")
def _(d):
    shape = d.shape(1, 3)
    for name in "abc":
        d.x(name, shape, 2, 0, 2)
    d.node("Max", "a b c")


@spec("Clip", count=20)
def _(d):
    low, high = d.pick([(-1.0, 1.0), (None, 0.5), (-0.5, None), (None, None), (0.0, 6.0)])
    d.x("x", d.shape(0, 4), 3)
    if d.opset < 11:
        d.node("Clip", min=low, max=high)
    else:
        names = ["x"]
        for name, value in (("low", low), ("high", high)):
            names.append("_" if value is None else d.const(name, value, np.float32) and name)
        while names[-1] == "_":
            names.pop()
        d.node("Clip", " ".join(names))


@spec("PRelu", count=14)
def _(d):
    full = d.shape(1, 4)
    d.x("x", full)
    slope = d.part(full)
    if d.opset < 9 and len(slope) < len(full):
        slope = [1] * (len(full) - len(slope)) + slope
    d.x("s", slope)
    d.node("PRelu", "x s")


@spec("Where", count=14)
def _(d):
    full = d.shape(1, 4)
    d.x("a", d.part(full))
    d.x("b", d.part(full))
    d.const("c", d.r.random(d.part(full)) < 0.5, np.bool_)
    d.node("Where", "c a b")


@spec("Mod", count=14)
def _(d):
    full = d.shape(1, 4)
    d.x("a", full, 5)
    d.floats("b", d.part(full), 0.7, 3)
    d.consts["b"] *= d.pick([1, -1])
    d.node("Mod", "a b", fmod=1)


@spec("Dropout", count=14)
def _(d):
    d.x("x", d.shape(1, 4))
    if d.opset < 12:
        d.node("Dropout", "x", d.pick(["y", "y mask"]), ratio=d.maybe(0.3))
    else:
        d.const("ratio", 0.3, np.float32)
        d.const("training", False, np.bool_)
        inputs = d.pick(["x", "x ratio", "x ratio training", "x _ training"])
        d.node("Dropout", inputs, d.pick(["y", "y mask"]), seed=d.maybe(3))


@spec("Dropout", 12, count=2, label="_training")
def _(d):
    d.x("x", d.shape(1, 4))
    d.const("ratio", 0.0, np.float32)
    d.const("training", True, np.bool_)
    d.node("Dropout", "x ratio training")


@spec("Cast")
def _(d):
    """A cast to another type and back: the gradient passes or stops."""
    through = [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL]
    through = d.pick(through)
    d.x("x", d.shape(0, 4))
    d.node("Cast", "x", "z", to=through)
    d.node("Cast", "z", "c", to=TensorProto.FLOAT)
    d.node("Mul", "x c")


@spec("CastLike")
def _(d):
    kind = d.pick([np.float64, np.int64, np.int32])
    d.x("x", d.shape(0, 4))
    d.const("like", 1, kind)
    d.const("back", 1, np.float32)
    d.node("CastLike", "x like", "z")
    d.node("CastLike", "z back", "c")
    d.node("Mul", "x c")


@spec("Celu", 12, count=3, label="_negative")
def _(d):
    """A negative alpha, with which the exponential grows, is refused."""
    d.x("x", d.shape(1, 3))
    d.node("Celu", "x", alpha=-0.5)
    d.fn = lambda t: t["x"].clamp(min=0) + (-0.5 * torch.expm1(t["x"] / -0.5)).clamp(max=0)
