"""Pools. Where torch lacks a geometry, its definition is written with slices, and checked with torch where it has it."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from .case import OLDEST, anywhere, case, data, distinct, one, rng


def pool_pads(x, k, s, dl, pads, auto_pad, ceil):
    d = len(k)
    p = list(pads or [0] * (2 * d))
    size = lambda i: (k[i] - 1) * dl[i] + 1
    if auto_pad and auto_pad.startswith("SAME"):
        total = [max((-(-x.shape[i + 2] // s[i]) - 1) * s[i] + size(i) - x.shape[i + 2], 0) for i in range(d)]
        small = [t // 2 for t in total]
        p = small + [t - h for t, h in zip(total, small)]
        if auto_pad == "SAME_LOWER":
            p = p[d:] + p[:d]
    outs = []
    for i in range(d):
        room = x.shape[i + 2] + p[i] + p[i + d] - size(i)
        out = (-(-room // s[i]) if ceil else room // s[i]) + 1
        if ceil and (out - 1) * s[i] >= x.shape[i + 2] + p[i]:
            out -= 1
        outs.append(out)
    return p, outs


def windows(t, k, s, dl, p, outs, fill):
    """[N, C, out…, taps] of the padded input; taps in row order."""
    d = len(k)
    need = [(outs[i] - 1) * s[i] + (k[i] - 1) * dl[i] + 1 for i in range(d)]
    ends = [max(need[i] - t.shape[i + 2] - p[i], 0) for i in range(d)]
    padded = F.pad(t, [v for i in reversed(range(d)) for v in (p[i], ends[i])], value=fill)
    taps = []
    for tap in itertools.product(*[range(n) for n in k]):
        view = padded
        for i in range(d):
            start = tap[i] * dl[i]
            view = view.narrow(i + 2, start, (outs[i] - 1) * s[i] + 1)
            view = view[(slice(None),) * (i + 2) + (slice(None, None, s[i]),)]
        taps.append(view)
    return torch.stack(taps, -1)


def first_max(stack):
    """The maximum over the last axis whose gradient goes to the first of equal ones, as torch's max_pool."""
    best = stack.detach().max(-1, keepdim=True).values
    hit = stack.detach() == best
    first = hit & (hit.cumsum(-1) == 1)
    return (stack * first).masked_fill(~first, 0).sum(-1)


def max_pool_case(name, x, k, strides=None, pads=None, dilations=None, ceil=0, auto_pad=None, torch_args=None):
    d = len(k)
    s, dl = strides or [1] * d, dilations or [1] * d
    p, outs = pool_pads(x, k, s, dl, pads, auto_pad, ceil)
    attrs = {"kernel_shape": k}
    attrs |= {"strides": strides} if strides else {}
    attrs |= {"pads": pads} if pads else {}
    attrs |= {"dilations": dilations} if dilations else {}
    attrs |= {"ceil_mode": 1} if ceil else {}
    attrs |= {"auto_pad": auto_pad} if auto_pad else {}
    fn = lambda t: first_max(windows(t, k, s, dl, p, outs, -torch.inf).nan_to_num(neginf=-1e30))
    if torch_args is not None:
        ours, t = fn, {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[d]
        fn = lambda v: t(v, k, **torch_args)
        assert torch.equal(ours(torch.tensor(x.astype(np.float64))), fn(torch.tensor(x.astype(np.float64))))
    case("pool", name, "MaxPool", {"x": x}, fn, one("MaxPool", lo=10 if ceil or dilations else OLDEST, **attrs))


max_pool_case("MaxPool_2x2", distinct("p1", 2, 2, 4, 6), [2, 2], [2, 2], torch_args={"stride": 2})
max_pool_case("MaxPool_k3s2p1", distinct("p2", 1, 2, 7, 6), [3, 3], [2, 2], [1, 1, 1, 1], torch_args={"stride": 2, "padding": 1})
max_pool_case("MaxPool_k3s1p1", distinct("p3", 1, 2, 4, 5), [3, 3], [1, 1], [1, 1, 1, 1], torch_args={"stride": 1, "padding": 1})
max_pool_case("MaxPool_k5s1p2", distinct("p4", 1, 1, 6, 6), [5, 5], [1, 1], [2, 2, 2, 2], torch_args={"stride": 1, "padding": 2})
max_pool_case("MaxPool_ceil", distinct("p5", 1, 2, 6, 7), [3, 3], [2, 2], ceil=1, torch_args={"stride": 2, "ceil_mode": True})
max_pool_case("MaxPool_ceil_p1", distinct("p6", 1, 1, 6, 5), [2, 3], [2, 2], [1, 1, 1, 1], ceil=1, torch_args={"stride": 2, "padding": [1, 1], "ceil_mode": True})
max_pool_case("MaxPool_ceil_no_further", distinct("pz", 1, 1, 4, 4), [3, 3], [3, 3], [1, 1, 1, 1], ceil=1, torch_args={"stride": 3, "padding": 1, "ceil_mode": True})
max_pool_case("MaxPool_remainder", distinct("p7", 1, 1, 7, 8), [2, 3], [2, 3], torch_args={"stride": [2, 3]})
max_pool_case("MaxPool_k_less_s", distinct("p8", 1, 1, 8, 7), [2, 1], [3, 2], torch_args={"stride": [3, 2]})
max_pool_case("MaxPool_asymmetric", distinct("p9", 1, 1, 5, 6), [3, 3], [2, 2], [0, 1, 2, 0])
max_pool_case("MaxPool_no_strides", distinct("p10", 1, 1, 4, 5), [2, 3])
max_pool_case("MaxPool_dilated", distinct("p11", 1, 1, 7, 8), [2, 3], [1, 2], [1, 1, 1, 1], dilations=[3, 2])
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    max_pool_case(f"MaxPool_{auto}", distinct("p12" + auto, 1, 1, 5, 6), [2, 3], [2, 2], auto_pad=auto)
max_pool_case("MaxPool_1d", distinct("p13", 2, 2, 9), [3], [2], [1, 1], torch_args={"stride": 2, "padding": 1})
max_pool_case("MaxPool_3d", distinct("p14", 1, 1, 4, 5, 4), [2, 3, 2], [2, 2, 2], [0, 1, 0, 0, 1, 0], torch_args={"stride": 2, "padding": [0, 1, 0]})
ties = rng("ties").integers(0, 3, (2, 2, 6, 7)).astype(np.float32)
max_pool_case("MaxPool_ties_2x2", ties, [2, 2], [2, 2], torch_args={"stride": 2})
max_pool_case("MaxPool_ties_k3s2p1", ties, [3, 3], [2, 2], [1, 1, 1, 1], torch_args={"stride": 2, "padding": 1})
max_pool_case("MaxPool_ties_k3s1", np.zeros((1, 1, 4, 4), np.float32), [3, 3], [1, 1], torch_args={"stride": 1})


def average_pool_case(name, x, k, strides=None, pads=None, include=0, ceil=0, auto_pad=None, dilations=None, torch_args=None):
    d = len(k)
    s, dl = strides or [1] * d, dilations or [1] * d
    p, outs = pool_pads(x, k, s, dl, pads, auto_pad, ceil)
    attrs = {"kernel_shape": k}
    attrs |= {"strides": strides} if strides else {}
    attrs |= {"pads": pads} if pads else {}
    attrs |= {"count_include_pad": 1} if include else {}
    attrs |= {"ceil_mode": 1} if ceil else {}
    attrs |= {"auto_pad": auto_pad} if auto_pad else {}
    attrs |= {"dilations": dilations} if dilations else {}
    counts = torch.ones(x.shape[2:], dtype=torch.float64)[None, None]
    if include:
        counts = F.pad(counts, [v for i in reversed(range(d)) for v in (p[i], p[i + d])], value=1.0)
    weight = windows(counts, k, s, dl, [0] * 2 * d if include else p, outs, 0.0).sum(-1)
    fn = lambda t: windows(t, k, s, dl, p, outs, 0.0).sum(-1) / weight
    if torch_args is not None:
        ours, t = fn, {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[d]
        fn = lambda v: t(v, k, count_include_pad=bool(include), **torch_args)
        v = torch.tensor(x.astype(np.float64))
        assert torch.allclose(ours(v), fn(v), atol=1e-12), name
    lo = 19 if dilations else 10 if ceil else OLDEST
    case("pool", name, "AveragePool", {"x": x}, fn, one("AveragePool", lo=lo, **attrs))


for include in (0, 1):
    i = f"_include{include}"
    average_pool_case("AveragePool_2x2" + i, anywhere("a1" + i, 2, 2, 4, 6), [2, 2], [2, 2], include=include, torch_args={"stride": 2})
    average_pool_case("AveragePool_k3s2p1" + i, anywhere("a2" + i, 1, 2, 7, 6), [3, 3], [2, 2], [1, 1, 1, 1], include=include, torch_args={"stride": 2, "padding": 1})
    average_pool_case("AveragePool_k3s1p1" + i, anywhere("a3" + i, 1, 1, 4, 5), [3, 3], [1, 1], [1, 1, 1, 1], include=include, torch_args={"stride": 1, "padding": 1})
    average_pool_case("AveragePool_ceil" + i, anywhere("a4" + i, 1, 1, 6, 7), [3, 3], [2, 2], [1, 0, 1, 0], include=include, ceil=1, torch_args={"stride": 2, "padding": [1, 0], "ceil_mode": True})
    average_pool_case("AveragePool_asymmetric" + i, anywhere("a5" + i, 1, 1, 5, 6), [3, 2], [2, 1], [0, 1, 2, 0], include=include)
    average_pool_case("AveragePool_SAME_UPPER" + i, anywhere("a6" + i, 1, 1, 5, 6), [2, 3], [2, 2], auto_pad="SAME_UPPER", include=include)
    average_pool_case("AveragePool_SAME_LOWER" + i, anywhere("a7" + i, 1, 1, 5, 6), [2, 3], [2, 2], auto_pad="SAME_LOWER", include=include)
    average_pool_case("AveragePool_dilated" + i, anywhere("a13" + i, 1, 1, 7, 8), [2, 3], [2, 1], [1, 1, 1, 1], include=include, dilations=[2, 2])
average_pool_case("AveragePool_whole", anywhere("a8", 2, 3, 3, 4), [3, 4], torch_args={"stride": 1})
average_pool_case("AveragePool_one_axis", anywhere("a9", 2, 3, 3, 4), [3, 2], [1, 2], torch_args={"stride": [1, 2]})
average_pool_case("AveragePool_1d", anywhere("a10", 2, 2, 9), [3], [2], [1, 1], torch_args={"stride": 2, "padding": 1})
average_pool_case("AveragePool_3d", anywhere("a11", 1, 1, 4, 5, 4), [2, 3, 2], [2, 2, 2], [0, 1, 0, 0, 1, 0], torch_args={"stride": 2, "padding": [0, 1, 0]})
average_pool_case("AveragePool_remainder", anywhere("a12", 1, 1, 7, 8), [2, 3], [3, 3], torch_args={"stride": 3})
for d, shape in [("1d", (2, 3, 5)), ("2d", (2, 3, 4, 3)), ("3d", (1, 2, 2, 3, 2))]:
    axes = tuple(range(2, len(shape)))
    case("pool", f"GlobalAveragePool_{d}", "GlobalAveragePool", {"x": anywhere("ga" + d, *shape)}, lambda x, axes=axes: x.mean(axes, keepdim=True), one("GlobalAveragePool"))
    flat = lambda x: first_max(x.flatten(2)).reshape(x.shape[:2] + (1,) * (x.ndim - 2))
    case("pool", f"GlobalMaxPool_{d}", "GlobalMaxPool", {"x": distinct("gm" + d, *shape)}, flat, one("GlobalMaxPool"))
case("pool", "GlobalMaxPool_ties", "GlobalMaxPool", {"x": ties}, lambda x: F.adaptive_max_pool2d(x, 1), one("GlobalMaxPool"))


def lp_pool_case(name, x, k, p, strides=None, pads=None, dilations=None, ceil=0, auto_pad=None):
    d = len(k)
    s, dl = strides or [1] * d, dilations or [1] * d
    full, outs = pool_pads(x, k, s, dl, pads, auto_pad, ceil)
    attrs = {"kernel_shape": k} | ({} if p == 2 else {"p": p})
    attrs |= {"strides": strides} if strides else {}
    attrs |= {"pads": pads} if pads else {}
    attrs |= {"dilations": dilations} if dilations else {}
    attrs |= {"ceil_mode": 1} if ceil else {}
    attrs |= {"auto_pad": auto_pad} if auto_pad else {}
    fn = lambda t: (windows(t, k, s, dl, full, outs, 0.0).abs() ** p).sum(-1) ** (1 / p)
    case("pool", name, "LpPool", {"x": x}, fn, one("LpPool", lo=18 if dilations or ceil else OLDEST, **attrs))


for p in (1, 2, 3, 4):
    lp_pool_case(f"LpPool_p{p}", data(f"lp{p}", 2, 2, 5, 6), [2, 3], p, [2, 1])
    case("pool", f"GlobalLpPool_p{p}", "GlobalLpPool", {"x": data(f"gl{p}", 2, 3, 3, 4)}, lambda x, p=p: (x.abs() ** p).sum((2, 3), keepdim=True) ** (1 / p), one("GlobalLpPool", p=p))
lp_pool_case("LpPool_padded", data("lq", 1, 2, 6, 5), [3, 3], 2, [2, 2], [1, 1, 0, 1])
lp_pool_case("LpPool_dilated", data("lr", 1, 2, 7, 8), [2, 3], 2, [2, 1], [1, 0, 1, 0], dilations=[2, 2])
lp_pool_case("LpPool_ceil", data("lc", 1, 2, 6, 7), [3, 2], 3, [2, 2], ceil=1)
lp_pool_case("LpPool_SAME_UPPER", data("lu", 1, 1, 5, 6), [2, 3], 2, [2, 2], auto_pad="SAME_UPPER")
lp_pool_case("LpPool_1d", data("l1", 2, 2, 7), [3], 2, [2])
zeros = data("lz", 1, 1, 4, 4)
zeros[..., :2, :2] = 0
case("pool", "LpPool_zeros", "LpPool", {"x": zeros}, lambda x: torch.stack([torch.linalg.vector_norm(x[..., i : i + 2, j : j + 2], dim=(2, 3)) for i in (0, 2) for j in (0, 2)], -1).reshape(1, 1, 2, 2), one("LpPool", kernel_shape=[2, 2], strides=[2, 2]))
ux = distinct("mu", 2, 2, 3, 4)
base = np.arange(4).reshape(2, 2, 1, 1) * 48
inside = (np.arange(3) * 2).reshape(3, 1) * 8 + (np.arange(4) * 2) + rng("mi").integers(0, 2, (2, 2, 3, 4)) * 8 + rng("mj").integers(0, 2, (2, 2, 3, 4))
at = (base + inside).astype(np.int64)
case("pool", "MaxUnpool", "MaxUnpool", {"x": ux}, lambda x: torch.zeros(2 * 2 * 6 * 8, dtype=x.dtype).scatter(0, torch.tensor(at.ravel()), x.flatten()).reshape(2, 2, 6, 8), one("MaxUnpool", "x i", lo=9, consts={"i": at}, kernel_shape=[2, 2], strides=[2, 2]))
case("pool", "MaxPool_indices_unused", "MaxPool", {"x": distinct("mx", 1, 2, 4, 6)}, lambda x: F.max_pool2d(x, 2), one("MaxPool", lo=8, outs="y i", kernel_shape=[2, 2], strides=[2, 2]))
