"""Operators that move, repeat and drop elements. The standard's evaluator is the oracle: they are linear."""

import numpy as np
import torch

from .draw import Again, spec

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


@spec("Concat", count=16)
def _(d):
    dims = d.shape(1, 4, 24)
    axis = d.axis(len(dims))
    names = []
    for k in range(d.int(1, 4)):
        dims = list(dims)
        dims[axis] = d.int(1, 3)
        names.append(d.x(f"x{k}", dims))
    if d.pick([True, False]):
        dims[axis] = 2
        names.insert(d.int(0, len(names)), d.floats("c", dims))
    d.node("Concat", " ".join(names), axis=axis)


@spec("DepthToSpace", count=16)
def _(d):
    block = d.int(1, 3)
    d.x("x", [d.int(1, 2), block * block * d.int(1, 2), *d.ints(1, 3, 2)])
    d.node("DepthToSpace", "x", blocksize=block, mode=d.pick([None, "DCR", "CRD"]) if d.opset >= 11 else None)


@spec("SpaceToDepth", count=16)
def _(d):
    block = d.int(1, 3)
    d.x("x", [d.int(1, 2), d.int(1, 3), block * d.int(1, 2), block * d.int(1, 2)])
    mode = d.pick([None, "DCR", "CRD"]) if d.opset >= 28 else None
    d.node("SpaceToDepth", "x", blocksize=block, mode=mode)

    def fn(t):
        n, c, h, w = t["x"].shape
        x = t["x"].reshape(n, c, h // block, block, w // block, block)
        return x.permute(*([0, 1, 3, 5, 2, 4] if mode == "CRD" else [0, 3, 5, 1, 2, 4])).reshape(n, -1, h // block, w // block)

    d.fn = fn


@spec("Expand", 8, count=16)
def _(d):
    full = d.shape(1, 4)
    x = d.part(full)
    shape = d.part(full)
    if list(np.broadcast_shapes(x, shape)) != full and d.index % 2:
        raise Again
    d.x("x", x)
    d.const("shape", shape)
    d.node("Expand", "x shape")


@spec("Flatten")
def _(d):
    dims = d.shape(1, 4)
    axis = d.maybe(d.int(-len(dims) if d.opset >= 11 else 0, len(dims)), 0.8)
    d.x("x", dims)
    d.node("Flatten", "x", axis=axis)


@spec("Reshape", count=18)
def _(d):
    dims = d.shape(1, 4)
    rest, shape = int(np.prod(dims)), []
    for _ in range(d.int(0, 3)):
        part = d.pick([k for k in range(1, rest + 1) if rest % k == 0])
        shape.append(part)
        rest //= part
    shape.append(rest)
    if d.pick([True, False]):
        shape[d.int(0, len(shape) - 1)] = -1
    for at in range(min(len(shape), len(dims))):
        if shape[at] == dims[at] and d.pick([True, False]):
            shape[at] = 0
    d.x("x", dims)
    d.const("shape", shape)
    d.node("Reshape", "x shape", allowzero=d.maybe(0) if d.opset >= 14 else None)


@spec("Squeeze", count=16)
def _(d):
    dims = d.shape(1, 4, sizes=(1, 1, 2, 3))
    ones = [a for a, n in enumerate(dims) if n == 1]
    d.x("x", dims)
    axes = None
    if ones and d.pick([True, True, False]):
        axes = [int(a) for a in d.r.permutation(ones)[: d.int(1, len(ones))]]
        if d.opset >= 11:
            axes = [a - len(dims) if d.pick([True, False]) else a for a in axes]
    if d.opset >= 13 and axes is not None:
        d.const("axes", axes)
    gone = ones if axes is None else [a % len(dims) for a in axes]
    d.fn = lambda t: t["x"].reshape([n for a, n in enumerate(dims) if a not in gone])
    d.node("Squeeze", "x axes" if d.opset >= 13 and axes is not None else "x", axes=axes if d.opset < 13 else None)


@spec("Unsqueeze", count=16)
def _(d):
    dims = d.shape(0, 3)
    count = d.int(1, 2)
    rank = len(dims) + count
    axes = [int(a) for a in d.r.permutation(rank)[:count]]
    if d.opset >= 11:
        axes = [a - rank if d.pick([True, False]) else a for a in axes]
    d.x("x", dims)
    if d.opset >= 13:
        d.const("axes", axes)
    rest = iter(dims)
    full = [1 if a in [b % rank for b in axes] else next(rest) for a in range(rank)]
    d.fn = lambda t: t["x"].reshape(full)
    d.node("Unsqueeze", "x axes" if d.opset >= 13 else "x", axes=axes if d.opset < 13 else None)


@spec("Transpose")
def _(d):
    dims = d.shape(1, 4)
    d.x("x", dims)
    d.node("Transpose", "x", perm=d.maybe([int(a) for a in d.r.permutation(len(dims))], 0.8))


@spec("Tile", count=14)
def _(d):
    dims = d.shape(1, 4, 16)
    d.x("x", dims)
    d.const("repeats", [d.int(1, 3) for _ in dims])
    d.node("Tile", "x repeats")


@spec("Trilu", 14, count=14)
def _(d):
    dims = d.shape(2, 4)
    d.x("x", dims)
    k = d.maybe(d.int(-3, 3), 0.7)
    if k is not None:
        d.const("k", k)
    d.node("Trilu", "x" if k is None else "x k", upper=d.pick([None, 0, 1]))


@spec("Split", count=24)
def _(d):
    dims = d.shape(1, 4, sizes=(2, 3, 4, 5))
    axis = d.maybe(d.axis(len(dims)), 0.8)
    at = axis or 0
    n = dims[at]
    parts = d.int(1, min(3, n))
    sizes = None
    if n % parts or d.pick([True, False]):
        cuts = sorted(d.r.permutation(n - 1)[: parts - 1] + 1)
        sizes = [int(b - a) for a, b in zip([0, *cuts], [*cuts, n])]
    num = None
    if d.opset >= 18 and (sizes is None or d.pick([True, False])):
        sizes, num = None, parts
        if -(-n // parts) * (parts - 1) >= n:
            raise Again
    d.x("x", dims)
    outs = [f"o{k}" for k in range(parts)]
    if sizes is not None and d.opset >= 13:
        d.const("split", sizes)
    d.node("Split", "x split" if sizes is not None and d.opset >= 13 else "x", " ".join(outs), axis=axis, split=sizes if d.opset < 13 else None, num_outputs=num)
    used = outs[d.int(0, parts - 1) :]
    d.node("Neg", used[0], "n0")
    d.node("Concat", " ".join(["n0", *used[1:]]), axis=at if at >= 0 else at + len(dims))


@spec("Slice", count=60)
def _(d):
    dims = d.shape(1, 4, sizes=(1, 2, 3, 4, 5, 6))
    rank = len(dims)
    axes = d.axes(rank) if d.pick([True, True, False]) else None
    old = d.opset < 10
    if old and axes is not None:
        axes = sorted(a % rank for a in axes)
    chosen = list(range(d.int(1, rank))) if axes is None else axes
    starts, ends, steps = [], [], []
    for axis in chosen:
        n = dims[axis]
        step = 1 if old else d.pick([1, 1, 2, 3, -1, -2])
        a, b = (d.int(-n - 1, n - 1), d.pick([d.int(-n, n), n + 3, INT64_MAX])) if step > 0 else (d.pick([d.int(-n, n), n + 2, INT64_MAX]), d.pick([d.int(-n, n - 1), -n - 3, INT64_MIN]))
        if len(range(n)[slice(max(a, -n), b if b != INT64_MIN else None, step)]) == 0:
            raise Again
        starts.append(a)
        ends.append(b)
        steps.append(step)
    d.x("x", dims)
    if old:
        d.node("Slice", "x", starts=starts, ends=ends, axes=axes)
        return
    kind = np.int64 if any(abs(v) > 2**31 for v in starts + ends) else d.pick([np.int32, np.int64])
    d.const("starts", starts, kind)
    d.const("ends", ends, kind)
    if axes is not None:
        d.const("axes", axes, kind)
    one = all(s == 1 for s in steps) and d.pick([True, False])
    if not one:
        d.const("steps", steps, kind)
    d.node("Slice", ("x starts ends" if axes is None and one else "x starts ends axes" if one else "x starts ends _ steps" if axes is None else "x starts ends axes steps"))


@spec("Pad", count=60)
def _(d):
    dims = d.shape(1, 4, 24, sizes=(2, 3, 4))
    rank = len(dims)
    mode = d.pick([None, "constant", "reflect", "edge"] + (["wrap"] if d.opset >= 19 else []))
    axes = d.axes(rank) if d.opset >= 18 and d.pick([True, False]) else None
    chosen = list(range(rank)) if axes is None else axes
    lowest = d.pick([0, 0, -1])
    most = lambda axis: dims[axis] - 1 if mode == "reflect" else 3
    pads = [d.int(lowest, min(2, most(axis))) for axis in chosen] + [d.int(lowest, min(2, most(axis))) for axis in chosen]
    k = len(chosen)
    for i, axis in enumerate(chosen):
        left = dims[axis] + min(pads[i], 0) + min(pads[i + k], 0)
        if left < 1 or mode == "reflect" and max(pads[i], pads[i + k]) > left - 1:
            raise Again
        if mode in ("edge", "wrap", "reflect") and min(pads[i], pads[i + k]) < 0 and d.index % 3:
            raise Again
    d.x("x", dims)
    value = d.maybe(0.5) if mode in (None, "constant") else None
    if d.opset < 11:
        d.node("Pad", "x", mode=mode, pads=pads, value=value)
    else:
        d.const("pads", pads)
        ins = "x pads"
        if value is not None:
            d.const("value", value, np.float32)
            ins += " value"
        elif axes is not None:
            ins += " _"
        if axes is not None:
            d.const("axes", axes, d.pick([np.int32, np.int64]))
            ins += " axes"
        d.node("Pad", ins, mode=mode)
    # The reference evaluator has no negative pads.
    full = [(0, 0)] * rank
    for i, axis in enumerate(chosen):
        full[axis] = (pads[i], pads[i + k])

    def fn(t):
        x = t["x"]
        at = np.arange(x.numel()).reshape(x.shape)
        for axis, (a, b) in enumerate(full):
            n = at.shape[axis]
            at = at.take(np.arange(max(-a, 0), n - max(-b, 0)), axis)
            width = [(0, 0)] * rank
            width[axis] = (max(a, 0), max(b, 0))
            if mode in (None, "constant"):
                at = np.pad(at, width, constant_values=-1)
            else:
                at = np.pad(at, width, mode=mode)
        y = x.flatten()[torch.tensor(at.clip(0))]
        return torch.where(torch.tensor(at >= 0), y, torch.tensor(value or 0.0, dtype=x.dtype))

    d.fn = fn


@spec("Pad", 11, count=3, label="_far")
def _(d):
    """Reflecting beyond the far end is refused: engines differ."""
    d.x("x", [3])
    d.const("pads", [0, d.int(3, 4)])
    d.node("Pad", "x pads", mode="reflect")
    d.fn = lambda t: torch.cat([t["x"], t["x"].flip(0)[1:], t["x"][1:]])[: 3 + int(d.consts["pads"][1])]
