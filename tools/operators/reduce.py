"""Reductions, softmax, cumulative sums."""

import numpy as np
import torch

from . import chosen, drawn
from .chosen import anywhere, data, distinct, ints, one
from .oracle import Again
from .reference import operator

case, use = chosen.family("reduce")
spec = drawn.family("reduce")


def product(x, axes, keep):
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keep)
    return x


REDUCTIONS = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceProd": product,
    "ReduceSum": torch.sum,
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keep),
}
# The opset since which axes are an input.
AXES_INPUT = {op: 13 if op == "ReduceSum" else 18 for op in REDUCTIONS}


def reduction(op, reduce):
    @operator(op)
    def _(x, among=None, *, axes=None, keepdims=1, noop_with_empty_axes=0):
        axes = tuple(axes or ([] if among is None else among.tolist()))
        if not axes and noop_with_empty_axes:
            # Nothing is reduced, and the function of each element remains.
            return reduce(x.unsqueeze(-1), (x.ndim,), False)
        return reduce(x, axes or tuple(range(x.ndim)), bool(keepdims))


for op, reduce in REDUCTIONS.items():
    reduction(op, reduce)


def soft(op, function):
    @operator(op, takes_run=True)
    def _(run, x, *, axis=None):
        """Below opset 13 the function is taken over all axes from `axis` on."""
        if run.opset >= 13:
            return function(x, -1 if axis is None else axis)
        at = (1 if axis is None else axis) % x.ndim
        return function(x.reshape(int(np.prod(x.shape[:at])), -1), -1).reshape(x.shape)


soft("Softmax", torch.softmax)
soft("LogSoftmax", torch.log_softmax)


@operator("CumSum", since=11)
def cumulative_sum(x, axis, *, exclusive=0, reverse=0):
    axis = int(axis)
    flip = (lambda x: x.flip(axis)) if reverse else (lambda x: x)
    return flip(flip(x).cumsum(axis) - exclusive * flip(x))


# Chosen cases.


def reduce_case(op, label, x, axes, keepdims=None):
    if axes is None:
        return use(op, label, x, keepdims=keepdims)
    old = one(op, hi=AXES_INPUT[op] - 1, axes=axes, keepdims=keepdims)
    new = one(op, "x axes", {"axes": ints(*axes)}, lo=AXES_INPUT[op], keepdims=keepdims)
    return use(op, label, x, None, old, new)


def reduce_cases(op, make, odd):
    for keep in (0, 1):
        keepdims = None if keep else 0
        reduce_case(op, f"_space_keep{keep}", make(f"{op}1{keep}", 2, 3, 2, 4), [2, 3], keepdims)
        reduce_case(op, f"_negative_keep{keep}", make(f"{op}2{keep}", 2, 3, odd), [-2], keepdims)
    reduce_case(op, "_all", make(f"{op}3", 2, 3, 2), None)


def soft_cases(op, name):
    for axis in (0, 1, 2, -1, -2):
        x = anywhere(f"{name}{axis}", 2, 3, 4)
        if axis >= 0:
            use(op, f"_flat_axis{axis}", x, hi=12, axis=axis)
        use(op, f"_axis{axis}", x, lo=13, axis=axis)


for op, make in [("ReduceSum", anywhere), ("ReduceMean", anywhere), ("ReduceMax", distinct), ("ReduceMin", distinct)]:
    reduce_cases(op, make, 4)
for op in ("ReduceSum", "ReduceMean"):
    axes = {"axes": np.array([], np.int64)}
    use(op, "_noop", {"x": anywhere(op + "n", 2, 3)}, axes, lo=AXES_INPUT[op], noop_with_empty_axes=1)
soft_cases("Softmax", "sm")
use("Softmax", "_default", anywhere("sd", 3, 4))
use("Softmax", "_large", anywhere("sl", 2, 4) * 30, axis=1)
for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd"):
    low = {"lo": 0.3} if op == "ReduceLogSum" else {}
    reduce_cases(op, lambda name, *shape, low=low: data(name, *shape, **low), 5)
at_zeros = np.array([[0, 0, 0], [0, 2, -1], [3, 0, 0]], np.float32)
for op in ("ReduceL1", "ReduceL2", "ReduceProd"):
    reduce_case(op, "_at_0", at_zeros, [1])
reduce_case("ReduceLogSumExp", "_large", data("lse", 2, 4) * 100, [1])
soft_cases("LogSoftmax", "ls")
use("LogSoftmax", "_default", anywhere("lsd", 3, 4))
use("LogSoftmax", "_large", anywhere("lsl", 2, 4) * 100, axis=1)
for reverse in (0, 1):
    for exclusive in (0, 1):
        x, axis = anywhere(f"cs{reverse}{exclusive}", 2, 4, 3), np.array(1, np.int64)
        given = {"reverse": reverse or None, "exclusive": exclusive or None}
        use("CumSum", f"_reverse{reverse}_exclusive{exclusive}", {"x": x}, {"axis": axis}, **given)


# Drawn cases.


def draw_reduction(op, scale, offset):
    @spec(op, count=16)
    def _(d):
        dims = d.shape(1, 4)
        rank, since = len(dims), AXES_INPUT[op]
        d.x("x", dims, scale, offset)
        axes = d.pick([None, d.axes(rank), d.axes(rank)])
        if d.opset < 11 and axes is not None:
            axes = [axis % rank for axis in axes]
        keep = d.pick([None, 0, 1])
        noop = d.maybe(d.int(0, 1), 0.4) if d.opset >= since else None
        inputs = "x"
        if axes is not None and d.opset >= since:
            d.const("axes", axes)
            inputs = "x axes"
        elif axes is None and d.opset >= since and d.pick([True, False]):
            d.const("axes", np.zeros(0))
            inputs = "x axes"
        d.node(op, inputs, axes=axes if d.opset < since else None, keepdims=keep, noop_with_empty_axes=noop)


for op in REDUCTIONS:
    draw_reduction(op, *((0.75, 1.25) if op == "ReduceLogSum" else (2.0, 0.0)))


def draw_soft(op):
    @spec(op, count=20)
    def _(d):
        dims = d.shape(1, 4)
        rank = len(dims)
        axis = d.maybe(d.axis(rank), 0.8)
        if axis is None and rank == 1 and d.opset < 13:
            raise Again
        d.x("x", dims, 4)
        d.node(op, axis=axis)


draw_soft("Softmax")
draw_soft("LogSoftmax")


@spec("CumSum", count=20)
def _(d):
    dims = d.shape(1, 4)
    axis = d.axis(len(dims))
    d.x("x", dims)
    d.const("axis", d.pick([axis, [axis]]), d.pick([np.int32, np.int64]))
    exclusive, reverse = d.pick([None, 0, 1]), d.pick([None, 0, 1])
    d.node("CumSum", "x axis", exclusive=exclusive, reverse=reverse)


def draw_nothing(op):
    @spec(op, 18, count=2, label="_noop")
    def _(d):
        """The standard does not settle what is done to elements where nothing is reduced."""
        d.positive("x", d.shape(1, 3))
        d.node(op, noop_with_empty_axes=1)


for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"):
    draw_nothing(op)
