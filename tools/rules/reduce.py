"""Reductions, and what is made from them."""

import numpy as np
import torch

from .case import OLDEST, anywhere, case, distinct, ints, one


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
