"""Reductions, and what is made from them."""

import numpy as np
import torch

from .case import OLDEST, anywhere, case, data, distinct, ints, one


def reduce_case(op, name, x, torch_fn, axes, keepdims=1, split=13):
    attrs = {} if keepdims == 1 else {"keepdims": 0}
    if axes is None:
        case("reduce", name, op, {"x": x}, torch_fn, one(op, **attrs))
    else:
        case("reduce", name, op, {"x": x}, torch_fn, one(op, hi=split - 1, axes=axes, **attrs), one(op, "x axes", lo=split, consts={"axes": ints(*axes)}, **attrs))


for op, split, fn in [("ReduceSum", 13, torch.sum), ("ReduceMean", 18, torch.mean), ("ReduceMax", 18, torch.amax), ("ReduceMin", 18, torch.amin)]:
    make = distinct if "M" in op[6:7] and op != "ReduceMean" else anywhere
    for keep in (0, 1):
        reduce_case(op, f"{op}_space_keep{keep}", make(f"{op}1{keep}", 2, 3, 2, 4), lambda x, k=keep, fn=fn: fn(x, dim=(2, 3), keepdim=bool(k)), [2, 3], keep, split)
        reduce_case(op, f"{op}_negative_keep{keep}", make(f"{op}2{keep}", 2, 3, 4), lambda x, k=keep, fn=fn: fn(x, dim=(-2,), keepdim=bool(k)), [-2], keep, split)
    everything = lambda x, fn=fn: fn(x, dim=tuple(range(x.ndim)), keepdim=True)
    reduce_case(op, f"{op}_all", make(f"{op}3", 2, 3, 2), everything, None)
for op, lo in [("ReduceSum", 13), ("ReduceMean", 18)]:
    case("reduce", f"{op}_noop", op, {"x": anywhere(op + "n", 2, 3)}, lambda x: x * 1, one(op, "x axes", lo=lo, consts={"axes": np.array([], np.int64)}, noop_with_empty_axes=1))
for axis in (0, 1, 2, -1, -2):
    flat = lambda x, a=axis % 3: torch.softmax(x.reshape(int(np.prod(x.shape[:a])), -1), -1).reshape(x.shape)
    x = anywhere(f"sm{axis}", 2, 3, 4)
    if axis >= 0:
        case("reduce", f"Softmax_flat_axis{axis}", "Softmax", {"x": x}, flat, one("Softmax", hi=12, axis=axis))
    case("reduce", f"Softmax_axis{axis}", "Softmax", {"x": x}, lambda x, a=axis: torch.softmax(x, a), one("Softmax", lo=13, axis=axis))
case("reduce", "Softmax_default", "Softmax", {"x": anywhere("sd", 3, 4)}, lambda x: torch.softmax(x, 1), one("Softmax"))
case("reduce", "Softmax_large", "Softmax", {"x": anywhere("sl", 2, 4) * 30}, lambda x: torch.softmax(x, 1), one("Softmax", axis=1))
for op, fn in [
    ("ReduceL1", lambda x, dim, keepdim: x.abs().sum(dim, keepdim)),
    ("ReduceL2", lambda x, dim, keepdim: torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)),
    ("ReduceSumSquare", lambda x, dim, keepdim: (x * x).sum(dim, keepdim)),
    ("ReduceLogSum", lambda x, dim, keepdim: x.sum(dim, keepdim).log()),
    ("ReduceLogSumExp", torch.logsumexp),
    ("ReduceProd", lambda x, dim, keepdim: product(x, dim, keepdim)),
]:
    def product(x, dim, keepdim):
        for axis in sorted((d % x.ndim for d in dim), reverse=True):
            x = x.prod(axis, keepdim)
        return x

    make = lambda name, *shape: data(name, *shape, lo=0.3, hi=2) if op == "ReduceLogSum" else data(name, *shape)
    for keep in (0, 1):
        reduce_case(op, f"{op}_space_keep{keep}", make(f"{op}1{keep}", 2, 3, 2, 4), lambda x, k=keep, fn=fn: fn(x, (2, 3), bool(k)), [2, 3], keep, 18)
        reduce_case(op, f"{op}_negative_keep{keep}", make(f"{op}2{keep}", 2, 3, 5), lambda x, k=keep, fn=fn: fn(x, (-2,), bool(k)), [-2], keep, 18)
    reduce_case(op, f"{op}_all", make(f"{op}3", 2, 3, 2), lambda x, fn=fn: fn(x, tuple(range(x.ndim)), True), None)
at_zeros = np.array([[0, 0, 0], [0, 2, -1], [3, 0, 0]], np.float32)
reduce_case("ReduceL1", "ReduceL1_at_0", at_zeros, lambda x: x.abs().sum(1, True), [1], 1, 18)
reduce_case("ReduceL2", "ReduceL2_at_0", at_zeros, lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True), [1], 1, 18)
reduce_case("ReduceProd", "ReduceProd_at_0", at_zeros, lambda x: x.prod(1, True), [1], 1, 18)
reduce_case("ReduceLogSumExp", "ReduceLogSumExp_large", data("lse", 2, 4) * 100, lambda x: torch.logsumexp(x, 1, True), [1], 1, 18)
for axis in (0, 1, 2, -1, -2):
    flat = lambda x, a=axis % 3: torch.log_softmax(x.reshape(int(np.prod(x.shape[:a])), -1), -1).reshape(x.shape)
    x = anywhere(f"ls{axis}", 2, 3, 4)
    if axis >= 0:
        case("reduce", f"LogSoftmax_flat_axis{axis}", "LogSoftmax", {"x": x}, flat, one("LogSoftmax", hi=12, axis=axis))
    case("reduce", f"LogSoftmax_axis{axis}", "LogSoftmax", {"x": x}, lambda x, a=axis: torch.log_softmax(x, a), one("LogSoftmax", lo=13, axis=axis))
case("reduce", "LogSoftmax_default", "LogSoftmax", {"x": anywhere("lsd", 3, 4)}, lambda x: torch.log_softmax(x, 1), one("LogSoftmax"))
case("reduce", "LogSoftmax_large", "LogSoftmax", {"x": anywhere("lsl", 2, 4) * 100}, lambda x: torch.log_softmax(x, 1), one("LogSoftmax", axis=1))
for reverse in (0, 1):
    for exclusive in (0, 1):
        flip = (lambda x: x.flip(1)) if reverse else (lambda x: x)
        fn = lambda x, flip=flip, e=exclusive: flip(torch.cumsum(flip(x), 1) - e * flip(x))
        attrs = ({"reverse": 1} if reverse else {}) | ({"exclusive": 1} if exclusive else {})
        case("reduce", f"CumSum_reverse{reverse}_exclusive{exclusive}", "CumSum", {"x": anywhere(f"cs{reverse}{exclusive}", 2, 4, 3)}, fn, one("CumSum", "x axis", lo=11, consts={"axis": np.array(1, np.int64)}, **attrs))
