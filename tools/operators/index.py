"""Operators that pick or place elements by index."""

import numpy as np
import torch

from .draw import Again, spec


def places(d, n, shape):
    low = -n if d.opset >= 11 else 0
    return d.r.integers(low, n, shape)


@spec("Gather", count=24)
def _(d):
    dims = d.shape(1, 3, 24)
    axis = d.maybe(d.axis(len(dims)), 0.8)
    d.x("x", dims)
    shape = d.shape(0, 2, 6) if d.opset > 7 else d.shape(1, 2, 6)
    d.where("i", places(d, dims[axis or 0], shape))
    d.node("Gather", "x i", axis=axis)


@spec("GatherElements", 11, count=24)
def _(d):
    dims = d.shape(1, 4, 24)
    axis = d.maybe(d.axis(len(dims)), 0.8)
    at = (axis or 0) % len(dims)
    shape = [d.int(1, 4) if a == at else d.int(1, n) for a, n in enumerate(dims)]
    d.x("x", dims)
    index = places(d, dims[at], shape)
    d.where("i", index)
    d.node("GatherElements", "x i", axis=axis)
    d.fn = lambda t: t["x"].gather(at, torch.tensor(index % dims[at]))


def tuples(d, dims, batch, depth, outer):
    return np.stack([d.r.integers(-n, n, dims[:batch] + outer) for n in dims[batch : batch + depth]], -1)


@spec("GatherND", 11, count=24)
def _(d):
    dims = d.shape(1, 4, 24)
    batch = d.int(0, len(dims) - 1) if d.opset >= 12 else 0
    depth = d.int(1, len(dims) - batch)
    d.x("x", dims)
    d.where("i", tuples(d, dims, batch, depth, d.shape(0 if batch else 1, 2, 4)), np.int64)
    d.node("GatherND", "x i", batch_dims=batch if batch else d.maybe(0) if d.opset >= 12 else None)


def reductions(d):
    return d.pick([None, "none"] + (["add", "mul"] if d.opset >= 16 else []) + (["max", "min"] if d.opset >= 18 else [])) if d.opset >= 16 else None


@spec("ScatterElements", 11, count=36)
def _(d):
    dims = d.shape(1, 4, 24)
    axis = d.maybe(d.axis(len(dims)), 0.8)
    at = (axis or 0) % len(dims)
    reduction = reductions(d)
    repeats = reduction == "add"
    shape = [d.int(1, n) if a == at or d.index % 2 else n for a, n in enumerate(dims)]
    index = d.r.integers(0, dims[at], shape) if repeats else np.apply_along_axis(lambda row: d.r.permutation(dims[at])[: len(row)], at, np.zeros(shape, np.int64))
    index = np.where(d.r.random(shape) < 0.3, index - dims[at], index)
    d.x("x", dims)
    d.x("u", shape)
    d.where("i", index)
    d.node("ScatterElements", "x i u", axis=axis, reduction=reduction)


@spec("ScatterND", 11, count=36)
def _(d):
    dims = d.shape(1, 4, 24)
    depth = d.int(1, len(dims))
    reduction = reductions(d)
    outer = d.shape(1, 2, 4)
    count = int(np.prod(outer))
    head = dims[:depth]
    if reduction != "add":
        if count > np.prod(head):
            raise Again
        flat = d.r.permutation(int(np.prod(head)))[:count]
    else:
        flat = d.r.integers(0, int(np.prod(head)), count)
    index = np.stack(np.unravel_index(flat, head), -1).reshape(outer + [depth])
    index = np.where(d.r.random(index.shape) < 0.3, index - np.array(head), index)
    d.x("x", dims)
    d.x("u", outer + dims[depth:])
    d.where("i", index, np.int64)
    d.node("ScatterND", "x i u", reduction=reduction)


@spec("TopK", count=24)
def _(d):
    dims = d.shape(1, 4, sizes=(1, 2, 3, 4, 5))
    rank = len(dims)
    axis = d.maybe(d.axis(rank), 0.8)
    k = d.int(1, dims[-1 if axis is None else axis])
    d.x("x", dims)
    largest, ordered = (d.pick([None, 0, 1]), d.pick([None, 1])) if d.opset >= 11 else (None, None)
    if d.opset >= 10:
        d.const("k", [k])
    d.node("TopK", "x k" if d.opset >= 10 else "x", "y i", axis=axis, k=k if d.opset < 10 else None, largest=largest, sorted=ordered)
    d.fn = lambda t: t["x"].topk(k, -1 if axis is None else axis, largest != 0)[0]


@spec("TopK", 11, count=6, label="_ties")
def _(d):
    """Of equal elements the one with the smaller index comes first."""
    d.x("x", [3, 6], 2, 0, 1)
    k, largest = d.int(1, 5), d.pick([0, 1])
    d.const("k", [k])
    d.node("TopK", "x k", "v i", axis=1, largest=largest)
    d.node("Cast", "i", "f", to=1)
    d.node("Mul", "v f")

    def fn(t):
        x = t["x"]
        key = x.detach().numpy()
        order = torch.tensor(np.argsort(-key if largest else key, 1, kind="stable")[:, :k])
        return x.gather(1, order) * order
    d.fn = fn


@spec("TopK", 11, count=3, label="_alone")
def _(d):
    """Without its second output it is refused."""
    d.x("x", [2, 5])
    d.const("k", [2])
    d.node("TopK", "x k", "y _")
    d.fn = lambda t: t["x"].topk(2, 1)[0]
