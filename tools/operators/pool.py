"""Pools, written as a gather of windows."""

import numpy as np
import torch

from .draw import Again, spec
from .linear import geometry, padding


def windows(x, kernel, strides, dilations, made, ceil, fill):
    """[N, C, out…, taps] and for each tap whether it is inside the input, and inside the padding."""
    axes = x.ndim - 2
    inside, padded, outs = None, None, []
    y = x
    places = []
    for a in range(axes):
        n, (before, after) = x.shape[a + 2], made[a]
        span = (kernel[a] - 1) * dilations[a] + 1
        room = n + before + after - span
        if room < 0:
            raise Again
        out = (-(-room // strides[a]) if ceil else room // strides[a]) + 1
        if ceil and (out - 1) * strides[a] >= n + before:
            out -= 1
        outs.append(out)
        at = np.arange(out)[:, None] * strides[a] + np.arange(kernel[a])[None] * dilations[a] - before
        places.append((at, (at >= 0) & (at < n), at < n + after))
    grid = lambda k: np.ix_(*[np.arange(p[k].size) for p in places])
    index, ok, counted = 0, True, True
    shape = [d for a in range(axes) for d in places[a][0].shape]
    for a in range(axes):
        view = [1] * (2 * axes)
        view[2 * a], view[2 * a + 1] = places[a][0].shape
        index = index * x.shape[a + 2] + places[a][0].clip(0, x.shape[a + 2] - 1).reshape(view)
        ok = ok & places[a][1].reshape(view)
        counted = counted & places[a][2].reshape(view)
    order = [2 * a for a in range(axes)] + [2 * a + 1 for a in range(axes)]
    turn = lambda v: torch.tensor(np.broadcast_to(v, shape).transpose(order).reshape(*outs, -1).copy())
    index, ok, counted = turn(index), turn(ok), turn(counted)
    taken = x.flatten(2)[:, :, index]
    return torch.where(ok, taken, torch.tensor(fill, dtype=x.dtype)), ok, counted


def pool(op, count, lo=7):
    @spec(op, lo, count=count)
    def _(d):
        axes = d.pick([1, 2, 2, 2, 3])
        kernel, strides, dilations, auto, pads = geometry(d, axes, most_kernel=3 if axes < 3 else 2)
        dilates, ceils = {"MaxPool": (10, 10), "AveragePool": (19, 10), "LpPool": (18, 18)}[op]
        if d.opset < dilates:
            dilations = None
        ceil = d.pick([None, 0, 1]) if d.opset >= ceils else None
        sizes = [d.int(2, {1: 9, 2: 5, 3: 3}[axes]) for _ in range(axes)]
        s, l, p = strides or [1] * axes, dilations or [1] * axes, pads or [0] * (2 * axes)
        if any(p[a] >= kernel[a] or p[a + axes] >= kernel[a] for a in range(axes)) or auto in ("SAME_UPPER", "SAME_LOWER", "VALID") and (ceil or max(l) > 1):
            raise Again
        made = padding(auto, sizes, kernel, s, l, p)
        include = d.pick([None, 0, 1]) if op == "AveragePool" else None
        order = d.pick([None, 0, 1]) if op == "MaxPool" and d.opset >= 8 else None
        power = d.pick([None, 1, 2, 3, 4]) if op == "LpPool" else None
        d.x("x", [d.int(1, 2), d.int(1, 2), *sizes])
        d.node(op, "x", kernel_shape=kernel, strides=strides, dilations=dilations, auto_pad=auto, pads=pads, ceil_mode=ceil, count_include_pad=include, storage_order=order, p=power)

        def fn(t):
            fill = -np.inf if op == "MaxPool" else 0.0
            taps, ok, counted = windows(t["x"], kernel, s, l, made, ceil, fill)
            if not ok.any(-1).all():
                raise Again
            if op == "MaxPool":
                return taps.gather(-1, taps.argmax(-1, keepdim=True)).squeeze(-1)
            if op == "AveragePool":
                return taps.sum(-1) / (counted if include else ok).sum(-1)
            q = power or 2
            return taps.abs().pow(q).sum(-1).pow(1 / q)

        d.fn = fn


pool("MaxPool", 48)
pool("AveragePool", 48)
pool("LpPool", 36)


@spec("MaxPool", 8, count=6, label="_ties")
def _(d):
    d.x("x", [1, 2, 5, 4], 2, 0, 1)
    kernel, strides = d.ints(2, 3, 2), d.ints(1, 2, 2)
    d.node("MaxPool", "x", kernel_shape=kernel, strides=strides)

    def fn(t):
        taps, _, _ = windows(t["x"], kernel, strides, [1, 1], [(0, 0)] * 2, 0, -np.inf)
        first = torch.tensor(taps.detach().numpy().argmax(-1))
        return taps.gather(-1, first.unsqueeze(-1)).squeeze(-1)

    d.fn = fn


@spec("MaxPool", 8, count=6, label="_indices")
def _(d):
    """Its second output, which has no derivative, is used too."""
    d.x("x", [1, 2, 4, 5])
    kernel, strides = d.ints(2, 3, 2), d.ints(1, 2, 2)
    d.node("MaxPool", "x", "m i", kernel_shape=kernel, strides=strides)
    d.node("Cast", "i", "f", to=1)
    d.node("Mul", "m f")

    def fn(t):
        taps, _, _ = windows(t["x"], kernel, strides, [1, 1], [(0, 0)] * 2, 0, -np.inf)
        at = torch.arange(40.0).reshape(1, 2, 4, 5).to(taps.dtype)
        at, _, _ = windows(at, kernel, strides, [1, 1], [(0, 0)] * 2, 0, 0.0)
        top = taps.argmax(-1, keepdim=True)
        return taps.gather(-1, top).squeeze(-1) * at.gather(-1, top).squeeze(-1)

    d.fn = fn


@spec("MaxUnpool", 9)
def _(d):
    d.x("x", [d.int(1, 2), 1, 4, 6])
    d.node("MaxPool", "x", "m i", kernel_shape=[2, 2], strides=[2, 2])
    d.node("MaxUnpool", "m i", kernel_shape=[2, 2], strides=[2, 2])

    def fn(t):
        x = t["x"]
        taps, _, _ = windows(x, [2, 2], [2, 2], [1, 1], [(0, 0)] * 2, 0, -np.inf)
        top = taps.amax(-1).repeat_interleave(2, -1).repeat_interleave(2, -2)
        return torch.where(top == x, x, torch.zeros_like(x))

    d.fn = fn


def everywhere(op, fn):
    @spec(op)
    def _(d):
        dims = [d.int(1, 3), d.int(1, 3), *d.shape(1, 3, 8)]
        power = d.pick([None, 1, 2, 3]) if op == "GlobalLpPool" else None
        d.x("x", dims)
        d.node(op, "x", p=power)
        d.fn = lambda t: fn(t["x"].flatten(2), power or 2).reshape(dims[:2] + [1] * (len(dims) - 2))


everywhere("GlobalAveragePool", lambda x, p: x.mean(-1))
everywhere("GlobalLpPool", lambda x, p: x.abs().pow(p).sum(-1).pow(1 / p))
everywhere("GlobalMaxPool", lambda x, p: x.gather(-1, x.argmax(-1, keepdim=True)).squeeze(-1))


@spec("MaxUnpool", 9, count=3, label="_shape")
def _(d):
    """The shape of the output as an input is refused."""
    d.x("x", [1, 1, 2, 2])
    d.const("i", [[[[0, 3], [8, 11]]]])
    d.const("shape", [1, 1, 4, 4])
    d.node("MaxUnpool", "x i shape", kernel_shape=[2, 2], strides=[2, 2])
    d.fn = lambda t: torch.zeros(16, dtype=t["x"].dtype).index_copy(0, torch.tensor([0, 3, 8, 11]), t["x"].flatten()).reshape(1, 1, 4, 4)
