"""Reductions, softmax, cumulative sums."""

import numpy as np
import torch

from .draw import Again, spec


def reduction(op, fn, scale=2.0, offset=0.0, since=18):
    @spec(op, count=16)
    def _(d):
        dims = d.shape(1, 4)
        rank = len(dims)
        d.x("x", dims, scale, offset)
        axes = d.pick([None, d.axes(rank), d.axes(rank)])
        if d.opset < 11 and axes is not None:
            axes = [axis % rank for axis in axes]
        keep = d.pick([None, 0, 1])
        noop = d.maybe(d.int(0, 1), 0.4) if d.opset >= since else None
        ins = "x"
        if axes is not None and d.opset >= since:
            d.const("axes", axes)
            ins = "x axes"
        elif axes is None and d.opset >= since and d.pick([True, False]):
            d.const("axes", np.zeros(0))
            ins = "x axes"
        d.node(op, ins, axes=axes if d.opset < since else None, keepdims=keep, noop_with_empty_axes=noop)
        over = tuple(axis % rank for axis in axes) if axes is not None else () if noop else tuple(range(rank))
        d.fn = lambda t: fn(t["x"], over, keep != 0)
        if not over:
            # Nothing is reduced; what is done to each element is done.
            d.fn = lambda t: fn(t["x"].unsqueeze(-1), (rank,), False)


summed = lambda f: lambda x, axes, keep: f(x).sum(axes, keepdim=keep)


def product(x, axes, keep):
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=True)
    return x if keep else x.reshape([n for axis, n in enumerate(x.shape) if axis not in axes])


for row in [
    ("ReduceL1", summed(torch.abs)), ("ReduceL2", lambda x, axes, keep: (x * x).sum(axes, keepdim=keep).sqrt()), ("ReduceLogSum", lambda x, axes, keep: x.sum(axes, keepdim=keep).log(), 0.75, 1.25),
    ("ReduceLogSumExp", lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep)), ("ReduceMax", lambda x, axes, keep: x.amax(axes, keepdim=keep)), ("ReduceMean", lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    ("ReduceMin", lambda x, axes, keep: x.amin(axes, keepdim=keep)), ("ReduceProd", product), ("ReduceSum", lambda x, axes, keep: x.sum(axes, keepdim=keep), 2.0, 0.0, 13), ("ReduceSumSquare", summed(torch.square)),
]:
    reduction(*row)


def softmax(op, fn):
    @spec(op, count=20)
    def _(d):
        dims = d.shape(1, 4)
        rank = len(dims)
        axis = d.maybe(d.axis(rank), 0.8)
        if axis is None and rank == 1 and d.opset < 13:
            raise Again
        d.x("x", dims, 4)
        d.node(op, "x", axis=axis)
        if d.opset >= 13:
            d.fn = lambda t: fn(t["x"], -1 if axis is None else axis)
        else:
            at = 1 if axis is None else axis % rank
            d.fn = lambda t: fn(t["x"].reshape(int(np.prod(dims[:at])), -1), 1).reshape(dims)


softmax("Softmax", torch.softmax)
softmax("LogSoftmax", torch.log_softmax)


@spec("CumSum", 11, count=20)
def _(d):
    dims = d.shape(1, 4)
    axis = d.axis(len(dims))
    d.x("x", dims)
    d.const("axis", d.pick([axis, [axis]]), d.pick([np.int32, np.int64]))
    exclusive, reverse = d.pick([None, 0, 1]), d.pick([None, 0, 1])
    d.node("CumSum", "x axis", exclusive=exclusive, reverse=reverse)

    def fn(t):
        x = t["x"].flip(axis) if reverse else t["x"]
        y = x.cumsum(axis) - (x if exclusive else 0)
        return y.flip(axis) if reverse else y

    d.fn = fn


def nothing(op, fn):
    @spec(op, 18, count=2, label="_noop")
    def _(d):
        """What is done to elements where nothing is reduced is not settled."""
        d.positive("x", d.shape(1, 3))
        d.node(op, "x", noop_with_empty_axes=1)
        d.fn = lambda t: fn(t["x"])


for op, fn in [("ReduceL1", torch.abs), ("ReduceL2", torch.abs), ("ReduceLogSum", torch.log), ("ReduceLogSumExp", lambda x: x * 1), ("ReduceProd", lambda x: x * 1), ("ReduceSumSquare", torch.square)]:
    nothing(op, fn)
