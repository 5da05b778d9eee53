"""Normalisations."""

import numpy as np
import torch

from .draw import Again, spec


def like(v, x, axis=1):
    """A vector along an axis."""
    return torch.as_tensor(v).to(x.dtype).reshape([-1 if a == axis else 1 for a in range(x.ndim)])


def normal(x, axes, eps):
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / ((x - mean).square().mean(axes, keepdim=True) + eps).sqrt()


@spec("BatchNormalization", count=20)
def _(d):
    dims = [d.int(1, 3), d.int(1, 4), *d.shape(0, 3, 6)]
    eps = d.maybe(1e-3)
    c = dims[1]
    d.x("x", dims)
    scale, bias, mean, var = d.pick([True, False]), None, None, None
    if scale:
        d.x("s", [c])
        d.x("b", [c])
    else:
        d.floats("s", [c])
        d.floats("b", [c])
    d.floats("m", [c])
    d.floats("v", [c], 0.3, 2)
    training = d.maybe(0) if d.opset >= 14 else None
    spatial = d.maybe(1) if d.opset < 9 else None
    d.node("BatchNormalization", "x s b m v", epsilon=eps, momentum=d.maybe(0.8), training_mode=training, spatial=spatial)
    m, v, e = d.consts["m"], d.consts["v"], float(np.float32(1e-5 if eps is None else eps))

    def fn(t):
        x = t["x"]
        s, b = (t["s"], t["b"]) if scale else (d.consts["s"], d.consts["b"])
        return (x - like(m, x)) / (like(v, x) + e).sqrt() * like(s, x) + like(b, x)

    d.fn = fn


@spec("BatchNormalization", 14, count=6, label="_training")
def _(d):
    c = d.int(1, 3)
    d.x("x", [2, c, 3])
    for name in "sbm":
        d.floats(name, [c])
    d.floats("v", [c], 0.3, 2)
    d.node("BatchNormalization", "x s b m v", "y rm rv", training_mode=1)
    s, b = d.consts["s"], d.consts["b"]
    d.fn = lambda t: normal(t["x"], (0, 2), 1e-5) * like(s, t["x"]) + like(b, t["x"])


@spec("BatchNormalization", 7, 8, count=4, label="_spatial")
def _(d):
    d.x("x", [2, 2, 3])
    for name in "sbm":
        d.floats(name, [2, 3])
    d.floats("v", [2, 3], 0.3, 2)
    d.node("BatchNormalization", "x s b m v", spatial=0)
    s, b, m, v = (torch.tensor(d.consts[k]).double() for k in "sbmv")
    d.fn = lambda t: ((t["x"] - m) / (v + 1e-5).sqrt() * s + b).to(t["x"].dtype)


@spec("InstanceNormalization", count=16)
def _(d):
    c = d.int(1, 3)
    d.x("x", [d.int(1, 3), c, d.int(3, 5), *d.shape(0, 2, 4)])
    whole = d.pick([True, False])
    for name in "sb":
        d.x(name, [c]) if whole else d.floats(name, [c])
    eps = d.maybe(1e-3)
    d.node("InstanceNormalization", "x s b", epsilon=eps)

    def fn(t):
        x = t["x"]
        s, b = (t["s"], t["b"]) if whole else (d.consts["s"], d.consts["b"])
        return normal(x, tuple(range(2, x.ndim)), float(np.float32(1e-5 if eps is None else eps))) * like(s, x) + like(b, x)

    d.fn = fn


@spec("GroupNormalization", 18, count=20)
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
    eps = d.maybe(1e-3)
    d.node("GroupNormalization", "x s b", num_groups=groups, epsilon=eps, stash_type=d.maybe(1) if d.opset >= 21 else None)

    def fn(t):
        x = t["x"]
        s, b = (torch.as_tensor(v).to(x.dtype) for v in ((t["s"], t["b"]) if whole else (d.consts["s"], d.consts["b"])))
        if d.opset < 21:
            s, b = s.repeat_interleave(each), b.repeat_interleave(each)
        y = normal(x.reshape(x.shape[0], groups, -1), (2,), float(np.float32(1e-5 if eps is None else eps))).reshape(x.shape)
        return y * like(s, x) + like(b, x)

    d.fn = fn


def layer(op, lo, shift):
    @spec(op, lo, count=20)
    def _(d):
        dims = d.shape(1, 4, sizes=(2, 3, 4))
        rank = len(dims)
        axis = d.maybe(d.int(-rank, rank - 1), 0.8)
        at = (-1 if axis is None else axis) % rank
        eps = d.maybe(1e-3)
        d.x("x", dims)
        whole = d.pick([True, False])
        sizes = dims[at:]
        if op == "RMSNormalization" or d.pick([True, True, False]):
            sizes = d.part(dims[at:]) if d.pick([True, False]) and op != "RMSNormalization" else dims[at:]
        names = ["s"] + (["b"] if shift and d.pick([True, False]) else [])
        for name in names:
            d.x(name, sizes) if whole else d.floats(name, sizes)
        d.node(op, " ".join(["x", *names]), axis=axis, epsilon=eps, stash_type=d.maybe(1))
        e = float(np.float32(1e-5 if eps is None else eps))

        def fn(t):
            x = t["x"]
            get = lambda name: torch.as_tensor(t[name] if whole else d.consts[name]).to(x.dtype)
            over = tuple(range(at, rank))
            y = normal(x, over, e) if shift else x / (x.square().mean(over, keepdim=True) + e).sqrt()
            y = y * get("s")
            return y + get("b") if "b" in names else y

        d.fn = fn


layer("LayerNormalization", 17, True)
layer("RMSNormalization", 23, False)


@spec("LayerNormalization", 17, count=6, label="_statistics")
def _(d):
    """The mean and the inverse deviation are used too."""
    d.x("x", [2, 3, 4])
    d.floats("s", [4])
    d.node("LayerNormalization", "x s", "n mean inv")
    d.node("Mul", "n mean", "p")
    d.node("Add", "p inv")
    s = d.consts["s"]

    def fn(t):
        x = t["x"]
        mean = x.mean(-1, keepdim=True)
        inv = 1 / ((x - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return (x - mean) * inv * torch.tensor(s).to(x.dtype) * mean + inv

    d.fn = fn


@spec("LRN", count=20)
def _(d):
    c, size = d.int(1, 6), d.int(1, 6)
    d.x("x", [d.int(1, 2), c, *d.shape(2, 2, 4)])
    alpha, beta, bias = d.maybe(0.3), d.maybe(0.6), d.maybe(1.5)
    d.node("LRN", "x", size=size, alpha=alpha, beta=beta, bias=bias)
    a, b, k = (0.0001 if alpha is None else 0.3), (0.75 if beta is None else 0.6), (1.0 if bias is None else 1.5)

    def fn(t):
        x = t["x"]
        squares = [x[:, max(0, i - (size - 1) // 2) : min(c, i + size // 2 + 1)].square().sum(1) for i in range(c)]
        return x / (k + a / size * torch.stack(squares, 1)) ** b

    d.fn = fn


@spec("LpNormalization", count=14)
def _(d):
    dims = d.shape(1, 4, sizes=(2, 3, 4))
    axis, p = d.maybe(d.int(-len(dims), len(dims) - 1), 0.8), d.pick([None, 1, 2])
    d.x("x", dims)
    d.node("LpNormalization", "x", axis=axis, p=p)
    d.fn = lambda t: t["x"] / (t["x"].abs().pow(p or 2).sum(-1 if axis is None else axis, keepdim=True).pow(1 / (p or 2)))


@spec("MeanVarianceNormalization", 9, count=14)
def _(d):
    axes = d.maybe(sorted(a % 4 for a in d.axes(4)), 0.7)
    dims = [d.int(2, 3), d.int(1, 3), *d.ints(2, 3, 2)]
    if axes is not None and all(dims[a] == 1 for a in axes):
        raise Again
    d.x("x", dims)
    d.node("MeanVarianceNormalization", "x", axes=axes)
    over = tuple(axes or (0, 2, 3))

    def fn(t):
        x = t["x"]
        mean = x.mean(over, keepdim=True)
        return (x - mean) / (((x * x).mean(over, keepdim=True) - mean * mean).sqrt() + 1e-9)

    d.fn = fn
