"""Normalizations."""

import numpy as np
import torch
import torch.nn.functional as F

from . import chosen, drawn
from .chosen import Form, anywhere, data
from .oracle import Again
from .reference import NEWEST, node, operator, tensor

case, use = chosen.family("norm")
spec = drawn.family("norm")


def channels(v, x):
    """A vector along the channels of x."""
    return v.reshape([-1 if axis == 1 else 1 for axis in range(x.ndim)])


def normalized(x, axes, epsilon):
    centered = x - x.mean(axes, keepdim=True)
    return centered / (centered.square().mean(axes, keepdim=True) + epsilon).sqrt()


@operator("BatchNormalization", takes_run=True)
def batch_norm(run, x, scale, bias, mean, var, *, epsilon=1e-5, training_mode=0, spatial=1, **_):
    epsilon = run.round(epsilon)
    if training_mode:
        return normalized(x, (0, *range(2, x.ndim)), epsilon) * channels(scale, x) + channels(bias, x)
    if not spatial:
        return (x - mean) / (var + epsilon).sqrt() * scale + bias
    return F.batch_norm(x, mean, var, scale, bias, eps=epsilon)


@operator("LayerNormalization", since=17, takes_run=True)
def layer_norm(run, x, scale, bias=None, *, axis=-1, epsilon=1e-5, **_):
    """With the mean and the inverse deviation."""
    axes, epsilon = tuple(range(axis % x.ndim, x.ndim)), run.round(epsilon)
    over = x.shape[axes[0] :]
    if scale.shape == over and (bias is None or bias.shape == over):
        y = F.layer_norm(x, over, scale, bias, epsilon)
    else:
        y = F.layer_norm(x, over, None, None, epsilon) * scale
        y = y if bias is None else y + bias
    var = x.var(axes, unbiased=False, keepdim=True)
    return y, x.mean(axes, keepdim=True), 1 / (var + epsilon).sqrt()


@operator("RMSNormalization", since=23, takes_run=True)
@operator("SimplifiedLayerNormalization", takes_run=True)
def rms_norm(run, x, scale, *, axis=-1, epsilon=1e-5, **_):
    return F.rms_norm(x, x.shape[axis % x.ndim :], scale, run.round(epsilon))


@operator("InstanceNormalization", takes_run=True)
def instance_norm(run, x, scale, bias, *, epsilon=1e-5):
    return F.instance_norm(x, weight=scale, bias=bias, eps=run.round(epsilon))


@operator("GroupNormalization", since=18, takes_run=True)
def group_norm(run, x, scale, bias, *, num_groups, epsilon=1e-5, **_):
    """Below opset 21 scale and bias are those of groups."""
    if run.opset < 21:
        each = x.shape[1] // num_groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return F.group_norm(x, num_groups, scale, bias, run.round(epsilon))


@operator("LRN", takes_run=True)
def local_response(run, x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    square = F.pad(x * x, [0, 0] * (x.ndim - 2) + [(size - 1) // 2, size // 2])
    total = sum(square[:, k : k + x.shape[1]] for k in range(size))
    return x / (bias + run.round(alpha) / size * total) ** beta


operator("LpNormalization")(lambda x, axis=-1, p=2: F.normalize(x, p, axis))


@operator("MeanVarianceNormalization", since=9)
def mean_variance(x, *, axes=(0, 2, 3)):
    axes = tuple(axes)
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, unbiased=False, keepdim=True).sqrt() + 1e-9)


# Chosen cases.

stats = {
    "s": data("bs", 3, lo=0.5, hi=1.5),
    "b": data("bb", 3),
    "m": data("bm", 3),
    "v": data("bv", 3, lo=0.2, hi=2),
}
for label, shape, epsilon in [
    ("2d", (2, 3, 2, 3), None),
    ("1d", (2, 3, 4), 1e-3),
    ("flat", (4, 3), None),
    ("3d", (1, 3, 2, 2, 2), None),
]:
    x = {"x": anywhere("bn" + label, *shape)}
    old = chosen.one("BatchNormalization", "x s b m v", stats, hi=8, epsilon=epsilon, spatial=1)
    new = chosen.one("BatchNormalization", "x s b m v", stats, lo=9, epsilon=epsilon)
    use("BatchNormalization", f"_{label}", x, None, old, new)
for label, shape, axis, bias, epsilon in [
    ("last", (2, 3, 4), None, True, None),
    ("two_axes", (2, 3, 4), 1, True, 1e-3),
    ("no_bias", (2, 5), 1, False, None),
    ("tokens", (2, 3, 2, 6), 3, True, 1e-6),
]:
    over = shape[-1 if axis is None else axis :]
    weights = {"w": data("lw" + label, *over, lo=0.5, hi=1.5)} | ({"b": data("lb" + label, *over)} if bias else {})
    x = {"x": anywhere("ln" + label, *shape)}
    use("LayerNormalization", f"_{label}", x, weights, axis=axis, epsilon=epsilon)
x, weights = {"x": anywhere("lort", 2, 3, 4)}, {"w": data("lort2", 4)}
use("LayerNormalization", "_of_ONNX_Runtime", x, weights, lo=7, hi=16)
# The optional outputs and the parameters.
lx, lw4 = anywhere("lo", 2, 3, 4), data("lw3", 4, lo=0.5, hi=1.5)
inputs = {"x": lx, "w": data("lw2", 4, lo=0.5, hi=1.5), "b": data("lb2", 4)}
use("LayerNormalization", "_parameters", inputs)
nodes = [node("LayerNormalization", "x w", "n m r"), node("Mul", "m r", "k"), node("Add", "n k")]
case("LayerNormalization_statistics", "LayerNormalization", {"x": lx}, Form(17, NEWEST, nodes, {"w": lw4}))
for label, shape, epsilon in [("2d", (2, 3, 2, 3), None), ("1d", (2, 3, 4), 1e-3), ("3d", (1, 3, 2, 2, 2), None)]:
    inputs = {"x": anywhere("in" + label, *shape), "s": stats["s"], "b": stats["b"]}
    use("InstanceNormalization", f"_{label}", inputs, epsilon=epsilon)
for label, shape, groups, epsilon in [("2d", (2, 6, 2, 3), 2, None), ("1d", (2, 4, 5), 4, 1e-3), ("one", (2, 3, 2, 2), 1, None)]:
    x, s, b = anywhere("gn" + label, *shape), data("gs" + label, shape[1], lo=0.5, hi=1.5), data("gb" + label, shape[1])
    given = {"num_groups": groups, "epsilon": epsilon}
    use("GroupNormalization", f"_{label}", {"x": x, "s": s, "b": b}, lo=21, **given)
    inputs = {"x": x, "s": s[:groups], "b": b[:groups]}
    use("GroupNormalization", f"_{label}_per_group", inputs, lo=18, hi=20, **given)
for label, shape, given in [("last", (2, 3, 4), {}), ("two_axes", (2, 3, 4), {"axis": 1, "epsilon": 1e-3})]:
    inputs = {"x": anywhere("rm" + label, *shape), "s": data("rs" + label, *shape[given.get("axis", -1) :])}
    use("RMSNormalization", f"_{label}", inputs, **given)
for p in (1, 2):
    for axis in (-1, 1):
        given = {"p": None if p == 2 else p, "axis": None if axis == -1 else axis}
        use("LpNormalization", f"_{p}_axis{axis}", data(f"lp{p}{axis}", 2, 3, 4), **given)
for label, shape, axes in [("default", (2, 3, 2, 3), None), ("channels", (2, 3, 2, 3), (1, 2, 3)), ("one", (2, 5), (1,))]:
    use("MeanVarianceNormalization", f"_{label}", anywhere("mv" + label, *shape), axes=axes)
LRN = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
for label, shape, given in [
    ("3", (2, 5, 2, 3), {"size": 3}),
    ("5", (1, 6, 4, 3), {"size": 5, "alpha": 0.5, "beta": 0.6, "bias": 2.0}),
    ("beyond", (1, 2, 2, 2), {"size": 5, "alpha": 1.0}),
    ("even", (1, 5, 2, 2), {"size": 4, "alpha": 0.5}),
]:
    own = lambda x, n=LRN | given: F.local_response_norm(x, n["size"], n["alpha"], n["beta"], n["bias"])
    use("LRN", f"_{label}", data("lrn" + label, *shape), check=own if given["size"] % 2 else None, **given)


def defined_at_0(x, p):
    """Where the norm is 0, so are the output and the gradient."""
    return torch.where(x.abs().sum(1, True) > 0, x / torch.where(x == 0, 1, x).norm(p, 1, True), 0)


for p in (1, 2):
    x = np.array([[3, 4], [0, 0]], np.float32)
    use("LpNormalization", f"_{p}_at_0", x, p=p, function=lambda x, p=p: defined_at_0(x, p))
use("SimplifiedLayerNormalization", "", {"x": lx, "w": lw4}, axis=-1, epsilon=1e-5)


# Drawn cases.


@spec("BatchNormalization", count=20)
def _(d):
    dims = [d.int(1, 3), d.int(1, 4), *d.shape(0, 3, 6)]
    epsilon = d.maybe(1e-3)
    c = dims[1]
    d.x("x", dims)
    whole = d.pick([True, False])
    for name in "sb":
        d.x(name, [c]) if whole else d.floats(name, [c])
    d.floats("m", [c])
    d.floats("v", [c], 0.3, 2)
    training = d.maybe(0) if d.opset >= 14 else None
    spatial = d.maybe(1) if d.opset < 9 else None
    given = {"momentum": d.maybe(0.8), "training_mode": training, "spatial": spatial}
    d.node("BatchNormalization", "x s b m v", epsilon=epsilon, **given)


@spec("BatchNormalization", 14, count=6, label="_training", decimal=True)
def _(d):
    c = d.int(1, 3)
    d.x("x", [2, c, 3])
    for name in "sbm":
        d.floats(name, [c])
    d.floats("v", [c], 0.3, 2)
    d.node("BatchNormalization", "x s b m v", "y rm rv", training_mode=1)


@spec("BatchNormalization", 7, 8, count=4, label="_spatial", decimal=True)
def _(d):
    d.x("x", [2, 2, 3])
    for name in "sbm":
        d.floats(name, [2, 3])
    d.floats("v", [2, 3], 0.3, 2)
    d.node("BatchNormalization", "x s b m v", spatial=0)


@spec("InstanceNormalization", count=16)
def _(d):
    c = d.int(1, 3)
    d.x("x", [d.int(1, 3), c, d.int(3, 5), *d.shape(0, 2, 4)])
    whole = d.pick([True, False])
    for name in "sb":
        d.x(name, [c]) if whole else d.floats(name, [c])
    d.node("InstanceNormalization", "x s b", epsilon=d.maybe(1e-3))


@spec("GroupNormalization", count=20)
def _(d):
    groups, each = d.int(1, 3), d.int(1, 3)
    c = groups * each
    space = d.shape(1, 2, 6, (2, 3))
    if each * np.prod(space) < 4:
        raise Again  # Two numbers are ±1 whatever they were.
    d.x("x", [d.int(1, 2), c, *space])
    count = groups if d.opset < 21 else c
    whole = d.pick([True, False])
    for name in "sb":
        d.x(name, [count]) if whole else d.floats(name, [count])
    epsilon = d.maybe(1e-3)
    stash = d.maybe(1) if d.opset >= 21 else None
    d.node("GroupNormalization", "x s b", num_groups=groups, epsilon=epsilon, stash_type=stash)


def draw_layer(op, shift):
    @spec(op, count=20)
    def _(d):
        dims = d.shape(1, 4, sizes=(2, 3, 4))
        rank = len(dims)
        axis = d.maybe(d.int(-rank, rank - 1), 0.8)
        at = (-1 if axis is None else axis) % rank
        epsilon = d.maybe(1e-3)
        d.x("x", dims)
        whole = d.pick([True, False])
        sizes = dims[at:]
        if op == "RMSNormalization" or d.pick([True, True, False]):
            sizes = d.part(dims[at:]) if d.pick([True, False]) and op != "RMSNormalization" else dims[at:]
        names = ["s"] + (["b"] if shift and d.pick([True, False]) else [])
        for name in names:
            d.x(name, sizes) if whole else d.floats(name, sizes)
        d.node(op, " ".join(["x", *names]), axis=axis, epsilon=epsilon, stash_type=d.maybe(1))

        def defined(t):
            """Torch's own kernel rounds float32 otherwise, and the bounds of the cases come from float32."""
            values = {name: tensor(value, t["x"].dtype) for name, value in d.consts.items()} | t
            y = normalized(values["x"], tuple(range(at, rank)), float(np.float32(epsilon or 1e-5))) * values["s"]
            return y + values["b"] if "b" in values else y

        if shift:
            d.fn = defined


draw_layer("LayerNormalization", True)
draw_layer("RMSNormalization", False)


@spec("LayerNormalization", count=6, label="_statistics", decimal=True)
def _(d):
    """The mean and the inverse deviation are used too."""
    d.x("x", [2, 3, 4])
    d.floats("s", [4])
    d.node("LayerNormalization", "x s", "n mean inv")
    d.node("Mul", "n mean", "p")
    d.node("Add", "p inv")


@spec("LRN", count=20, decimal=True)
def _(d):
    c, size = d.int(1, 6), d.int(1, 6)
    d.x("x", [d.int(1, 2), c, *d.shape(2, 2, 4)])
    alpha, beta, bias = d.maybe(0.3), d.maybe(0.6), d.maybe(1.5)
    d.node("LRN", size=size, alpha=alpha, beta=beta, bias=bias)


@spec("LpNormalization", count=14)
def _(d):
    dims = d.shape(1, 4, sizes=(2, 3, 4))
    axis, p = d.maybe(d.int(-len(dims), len(dims) - 1), 0.8), d.pick([None, 1, 2])
    d.x("x", dims)
    d.node("LpNormalization", axis=axis, p=p)


@spec("MeanVarianceNormalization", count=14)
def _(d):
    axes = d.maybe(sorted(a % 4 for a in d.axes(4)), 0.7)
    dims = [d.int(2, 3), d.int(1, 3), *d.ints(2, 3, 2)]
    if axes is not None and all(dims[a] == 1 for a in axes):
        raise Again
    d.x("x", dims)
    d.node("MeanVarianceNormalization", axes=axes)
