"""Operators that move, repeat and drop elements. They are linear, so ONNX's evaluator is the oracle of most drawn cases."""

import numpy as np
import torch
import torch.nn.functional as F

from . import chosen, drawn
from .chosen import Form, anywhere, ints, one
from .oracle import Again
from .reference import NEWEST, OLDEST, node, operator

case, use = chosen.family("layout")
spec = drawn.family("layout")
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)

operator("Concat")(lambda *xs, axis: torch.cat(xs, axis))
operator("Expand", since=8)(lambda x, shape: x.expand(np.broadcast_shapes(x.shape, tuple(shape.tolist()))))
operator("Tile")(lambda x, repeats: x.repeat(repeats.tolist()) * 1)
operator("Transpose")(lambda x, perm=None: x.permute(perm or list(range(x.ndim))[::-1]))
operator("Trilu", since=14)(lambda x, k=0, upper=1: (torch.triu if upper else torch.tril)(x, int(k)))


def numbers(value):
    """The numbers of an input, or of the attribute that older opsets have in its place."""
    return value.tolist() if torch.is_tensor(value) else value


@operator("Split", takes_run=True)
def split(run, x, sizes=None, *, split=None, axis=0, num_outputs=None):
    sizes = numbers(split if sizes is None else sizes)
    return x.split(sizes or -(-x.shape[axis] // (num_outputs or run.outputs)), axis)


@operator("Slice")
def cut(x, starts, ends, axes=None, steps=None):
    starts = numbers(starts)
    axes, steps = numbers(axes) or range(len(starts)), numbers(steps) or [1] * len(starts)
    for start, end, axis, step in zip(starts, numbers(ends), axes, steps, strict=True):
        picked = range(x.shape[axis])[slice(start, end if end > INT64_MIN // 2 else None, step)]
        x = x.index_select(axis, torch.tensor(list(picked)))
    return x


@operator("Pad")
def pad(x, pads, value=None, axes=None, *, mode="constant"):
    """Negative pads crop first."""
    axes = [axis % x.ndim for axis in numbers(axes) or range(x.ndim)]
    pads = numbers(pads)
    width = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    if mode == "constant":
        flat = [n for axis in reversed(range(x.ndim)) for n in width.get(axis, (0, 0))]
        return F.pad(x, flat, value=0.0 if value is None else float(value))
    for axis, (before, after) in width.items():
        x = x.narrow(axis, max(-before, 0), x.shape[axis] + min(before, 0) + min(after, 0))
        if max(before, after) > 0:
            index = np.pad(np.arange(x.shape[axis]), (max(before, 0), max(after, 0)), mode=mode)
            x = x.index_select(axis, torch.tensor(index))
    return x


@operator("DepthToSpace")
def depth_to_space(x, *, blocksize, mode="DCR"):
    n, _, h, w = x.shape
    if mode == "CRD":
        return F.pixel_shuffle(x, blocksize)
    blocks = x.reshape(n, blocksize, blocksize, -1, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, -1, h * blocksize, w * blocksize)


@operator("SpaceToDepth")
def space_to_depth(x, *, blocksize, mode="DCR"):
    n, c, h, w = x.shape
    if mode == "CRD":
        return F.pixel_unshuffle(x, blocksize)
    blocks = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, -1, h // blocksize, w // blocksize)


@operator("Reshape")
def reshape(x, shape, *, allowzero=0):
    return x.reshape([x.shape[at] if n == 0 and not allowzero else n for at, n in enumerate(numbers(shape))])


@operator("Flatten")
def flatten(x, *, axis=1):
    at = axis % x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:at])), -1)


@operator("Squeeze")
def squeeze(x, axes=None):
    return x.squeeze() if axes is None else x.squeeze(tuple(numbers(axes)))


@operator("Unsqueeze")
def unsqueeze(x, axes):
    axes = numbers(axes)
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


# Chosen cases.

for axis in (0, 1, 2, -1):
    shapes = [[2, 3, 4] for _ in "abc"]
    for i, shape in enumerate(shapes):
        shape[axis] += i
    xs = {name: anywhere(f"cc{axis}{name}", *shape) for name, shape in zip("abc", shapes, strict=True)}
    use("Concat", f"_axis{axis}", xs, axis=axis, lo=11 if axis < 0 else None)

x, sizes = {"x": anywhere("sp", 2, 6, 3)}, {"sizes": ints(1, 3, 2)}
for label, tail in [
    ("used_twice", [node("Add", "c c", "c2"), node("Concat", "c2 a", axis=1)]),
    ("one_used", [node("Identity", "b")]),
]:
    old = Form(7, 12, [node("Split", "x", "a b c", axis=1, split=[1, 3, 2]), *tail])
    new = Form(13, NEWEST, [node("Split", "x sizes", "a b c", axis=1), *tail], sizes)
    case(f"Split_{label}", "Split", x, old, new)
product = node("Mul", "a b")
old = Form(7, 17, [node("Split", "x", "a b", axis=1), product])
new = Form(18, NEWEST, [node("Split", "x", "a b", axis=1, num_outputs=2), product])
case("Split_equal", "Split", x, old, new)
nodes = [node("Split", "x", "a b", axis=0, num_outputs=2), node("Concat", "b a", axis=0)]
case("Split_shorter_last", "Split", {"x": anywhere("sp5", 5, 2)}, Form(18, NEWEST, nodes))

sx = anywhere("sx", 3, 5, 6)
for label, starts, ends, axes, steps in [
    ("plain", [1, 2], [3, 5], [1, 2], None),
    ("no_axes", [0, 1], [2, 4], None, None),
    ("negative", [-3], [-1], [1], None),
    ("to_the_end", [2], [INT64_MAX], [2], None),
    ("step2", [0, 1], [INT64_MAX, INT64_MAX], [1, 2], [2, 2]),
    ("step4", [1], [6], [2], [4]),
    ("backwards", [-1], [INT64_MIN], [2], [-1]),
    ("backwards_step2", [4], [0], [2], [-2]),
    ("default_axes_steps", [0, 0], [3, 5], None, [2, 3]),
]:
    given = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    constants = {name: ints(*value) for name, value in given.items() if value}
    names = "x starts ends" + (" axes" if axes else " _" if steps else "") + (" steps" if steps else "")
    forms = [] if steps else [one("Slice", hi=9, starts=starts, ends=ends, axes=axes)]
    use("Slice", f"_{label}", sx, None, *forms, one("Slice", names, constants, lo=10))


def pad_case(label, x, pads, value=None, axes=None, mode="constant"):
    constants = {"pads": ints(*pads)}
    if mode == "constant" and value is not None:
        constants["c"] = np.float32(value)
    if axes is not None:
        constants["axes"] = ints(*axes)
    names = "x pads _ axes" if axes else "x pads c" if "c" in constants else "x pads"
    written = {} if mode == "constant" else {"mode": mode}
    new = one("Pad", names, constants, lo=19 if mode == "wrap" else 18 if axes else 11, **written)
    old = [] if axes or mode == "wrap" else [one("Pad", hi=10, pads=pads, mode=mode, value=value)]
    use("Pad", f"_{label}", x, None, *old, new)


px = anywhere("px", 2, 3, 4)
pad_case("zeros", px, [0, 1, 2, 0, 0, 1])
pad_case("value", px, [1, 0, 2, 0, 2, 1], 1.5)
pad_case("negative", px, [0, -1, 1, 0, 0, -2])
pad_case("axes", px, [1, 2, 0, 1], axes=[2, 1])
ix = anywhere("ix", 2, 2, 5, 4)
for mode in ("reflect", "edge", "wrap"):
    pad_case(mode, ix, [0, 0, 2, 1, 0, 0, 1, 3], mode=mode)
    pad_case(f"{mode}_axes", ix, [1, 2, 2, 0], axes=[3, 2], mode=mode)
    pad_case(f"{mode}_negative", ix, [0, 0, -2, 1, 0, 0, 2, -1], mode=mode)
    pad_case(f"{mode}_1d", anywhere("iy", 2, 3, 4), [0, 0, 3, 0, 0, 2], mode=mode)
tx = anywhere("tx", 2, 3, 2)
for label, repeats in ("inner", [1, 1, 3]), ("outer", [2, 1, 1]), ("all", [2, 3, 2]), ("none", [1, 1, 1]):
    use("Tile", f"_{label}", {"x": tx}, {"r": ints(*repeats)})
deep, wide = anywhere("dd", 2, 8, 2, 3), anywhere("dw", 2, 3, 4, 6)
use("DepthToSpace", "", deep, blocksize=2)
use("DepthToSpace", "_DCR", deep, lo=11, blocksize=2, mode="DCR")
use("DepthToSpace", "_CRD", deep, lo=11, blocksize=2, mode="CRD")
use("SpaceToDepth", "", wide, blocksize=2)
use("SpaceToDepth", "_CRD", wide, lo=28, blocksize=2, mode="CRD")
tri = anywhere("tr", 2, 4, 5)
for label, upper, k in ("upper", None, None), ("lower", 0, None), ("upper_k", None, 2), ("lower_k", 0, -1):
    use("Trilu", f"_{label}", {"x": tri}, {} if k is None else {"k": np.array(k, np.int64)}, upper=upper)
qx = anywhere("qx", 2, 3, 4)
use("Reshape", "_minus1", {"x": qx}, {"shape": ints(2, -1)})
use("Reshape", "_zero", {"x": qx}, {"shape": ints(0, 0, 2, -1)})
use("Reshape", "_allowzero", {"x": qx}, {"shape": ints(6, 4)}, lo=14, allowzero=1)
for axis in (0, 1, 2, 3, -1):
    use("Flatten", f"_{axis}", qx, axis=axis, lo=11 if axis < 0 else None)
ox = anywhere("ox", 1, 3, 1, 2)
new = one("Squeeze", "x axes", {"axes": ints(-2)}, lo=13)
use("Squeeze", "_axes", ox, None, one("Squeeze", hi=12, axes=[2]), new)
use("Squeeze", "_all", ox)
new = one("Unsqueeze", "x axes", {"axes": ints(0, 2)}, lo=13)
use("Unsqueeze", "", anywhere("ux", 3, 2), None, one("Unsqueeze", hi=12, axes=[0, 2]), new)
use("Transpose", "", qx, perm=[2, 0, 1])
use("Transpose", "_default", qx)
for label, shape, to in [
    ("ones", (2, 1, 3), (2, 4, 3)),
    ("rank", (3, 1), (2, 3, 4)),
    ("shorter", (2, 1, 3), (4, 1)),
    ("scalar", (), (2, 3)),
]:
    use("Expand", f"_{label}", {"x": anywhere("ex" + label, *shape)}, {"shape": ints(*to)})
for label, indices, axis in [
    ("rows", ints(2, 0, 0), 0),
    ("negative", ints(-1, 1), 1),
    ("scalar", np.array(1, np.int64), 1),
    ("matrix", ints(0, 2, 2, 1).reshape(2, 2), 1),
]:
    x = {"x": anywhere("gt" + label, 3, 3, 2)}
    use("Gather", f"_{label}", x, {"i": indices}, axis=axis, lo=11 if label == "negative" else OLDEST)
score, last = ints(2, 0, 3).reshape(3, 1), np.array([[-1], [0], [-3]], np.int32)
use("GatherElements", "_score", {"x": anywhere("ge", 3, 4)}, {"i": score}, lo=11, axis=1)
use("GatherElements", "_from_the_end", {"x": anywhere("gn", 3, 4)}, {"i": last}, lo=11, axis=1)


# Drawn cases.


@spec("Concat", count=16, standard=True)
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


@spec("DepthToSpace", count=16, standard=True)
def _(d):
    block = d.int(1, 3)
    d.x("x", [d.int(1, 2), block * block * d.int(1, 2), *d.ints(1, 3, 2)])
    d.node("DepthToSpace", blocksize=block, mode=d.pick([None, "DCR", "CRD"]) if d.opset >= 11 else None)


@spec("SpaceToDepth", count=16)
def _(d):
    block = d.int(1, 3)
    d.x("x", [d.int(1, 2), d.int(1, 3), block * d.int(1, 2), block * d.int(1, 2)])
    d.node("SpaceToDepth", blocksize=block, mode=d.pick([None, "DCR", "CRD"]) if d.opset >= 28 else None)


@spec("Expand", count=16, standard=True)
def _(d):
    full = d.shape(1, 4)
    x = d.part(full)
    shape = d.part(full)
    if list(np.broadcast_shapes(x, shape)) != full and d.index % 2:
        raise Again
    d.x("x", x)
    d.const("shape", shape)
    d.node("Expand", "x shape")


@spec("Flatten", standard=True)
def _(d):
    dims = d.shape(1, 4)
    axis = d.maybe(d.int(-len(dims) if d.opset >= 11 else 0, len(dims)), 0.8)
    d.x("x", dims)
    d.node("Flatten", axis=axis)


@spec("Reshape", count=18, standard=True)
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


def moved(d, op, axes):
    """A node whose axes are an attribute before opset 13, then an input."""
    if axes is not None and d.opset >= 13:
        d.const("axes", axes)
        d.node(op, "x axes")
    else:
        d.node(op, axes=axes)


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
    moved(d, "Squeeze", axes)


@spec("Unsqueeze", count=16)
def _(d):
    dims = d.shape(0, 3)
    count = d.int(1, 2)
    rank = len(dims) + count
    axes = [int(a) for a in d.r.permutation(rank)[:count]]
    if d.opset >= 11:
        axes = [a - rank if d.pick([True, False]) else a for a in axes]
    d.x("x", dims)
    moved(d, "Unsqueeze", axes)


@spec("Transpose", standard=True)
def _(d):
    dims = d.shape(1, 4)
    d.x("x", dims)
    d.node("Transpose", perm=d.maybe([int(a) for a in d.r.permutation(len(dims))], 0.8))


@spec("Tile", count=14, standard=True)
def _(d):
    dims = d.shape(1, 4, 16)
    d.x("x", dims)
    d.const("repeats", [d.int(1, 3) for _ in dims])
    d.node("Tile", "x repeats")


@spec("Trilu", count=14, standard=True)
def _(d):
    dims = d.shape(2, 4)
    d.x("x", dims)
    k = d.maybe(d.int(-3, 3), 0.7)
    if k is not None:
        d.const("k", k)
    d.node("Trilu", "x" if k is None else "x k", upper=d.pick([None, 0, 1]))


@spec("Split", count=24, standard=True)
def _(d):
    dims = d.shape(1, 4, sizes=(2, 3, 4, 5))
    axis = d.maybe(d.axis(len(dims)), 0.8)
    at = axis or 0
    n = dims[at]
    parts = d.int(1, min(3, n))
    sizes = None
    if n % parts or d.pick([True, False]):
        cuts = sorted(d.r.permutation(n - 1)[: parts - 1] + 1)
        sizes = [int(b - a) for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    count = None
    if d.opset >= 18 and (sizes is None or d.pick([True, False])):
        sizes, count = None, parts
        if -(-n // parts) * (parts - 1) >= n:
            raise Again
    d.x("x", dims)
    outs = [f"o{k}" for k in range(parts)]
    given = {"axis": axis, "num_outputs": count}
    if sizes is not None and d.opset >= 13:
        d.const("split", sizes)
        d.node("Split", "x split", " ".join(outs), **given)
    else:
        d.node("Split", "x", " ".join(outs), split=sizes, **given)
    used = outs[d.int(0, parts - 1) :]
    d.node("Neg", used[0], "n0")
    d.node("Concat", " ".join(["n0", *used[1:]]), axis=at if at >= 0 else at + len(dims))


@spec("Slice", count=60, standard=True)
def _(d):
    dims = d.shape(1, 4, sizes=(1, 2, 3, 4, 5, 6))
    rank = len(dims)
    axes = d.axes(rank) if d.pick([True, True, False]) else None
    old = d.opset < 10
    if old and axes is not None:
        axes = sorted(a % rank for a in axes)
    starts, ends, steps = [], [], []
    for axis in list(range(d.int(1, rank))) if axes is None else axes:
        n = dims[axis]
        step = 1 if old else d.pick([1, 1, 2, 3, -1, -2])
        if step > 0:
            a, b = d.int(-n - 1, n - 1), d.pick([d.int(-n, n), n + 3, INT64_MAX])
        else:
            a, b = d.pick([d.int(-n, n), n + 2, INT64_MAX]), d.pick([d.int(-n, n - 1), -n - 3, INT64_MIN])
        if len(range(n)[slice(max(a, -n), b if b != INT64_MIN else None, step)]) == 0:
            raise Again
        starts.append(a)
        ends.append(b)
        steps.append(step)
    d.x("x", dims)
    if old:
        d.node("Slice", starts=starts, ends=ends, axes=axes)
        return
    kind = np.int64 if any(abs(v) > 2**31 for v in starts + ends) else d.pick([np.int32, np.int64])
    d.const("starts", starts, kind)
    d.const("ends", ends, kind)
    names = "x starts ends"
    if axes is not None:
        d.const("axes", axes, kind)
        names += " axes"
    if not (all(s == 1 for s in steps) and d.pick([True, False])):
        d.const("steps", steps, kind)
        names += " steps" if axes is not None else " _ steps"
    d.node("Slice", names)


@spec("Pad", count=60)
def _(d):
    dims = d.shape(1, 4, 24, sizes=(2, 3, 4))
    rank = len(dims)
    mode = d.pick([None, "constant", "reflect", "edge"] + (["wrap"] if d.opset >= 19 else []))
    axes = d.axes(rank) if d.opset >= 18 and d.pick([True, False]) else None
    among = list(range(rank)) if axes is None else axes
    lowest = d.pick([0, 0, -1])
    most = lambda axis: min(2, dims[axis] - 1 if mode == "reflect" else 3)
    pads = [d.int(lowest, most(axis)) for axis in among + among]
    for axis, before, after in zip(among, pads, pads[len(among) :], strict=False):
        left = dims[axis] + min(before, 0) + min(after, 0)
        if left < 1 or (mode == "reflect" and max(before, after) > left - 1):
            raise Again
        if mode in ("edge", "wrap", "reflect") and min(before, after) < 0 and d.index % 3:
            raise Again
    d.x("x", dims)
    value = d.maybe(0.5) if mode in (None, "constant") else None
    if d.opset < 11:
        d.node("Pad", mode=mode, pads=pads, value=value)
        return
    d.const("pads", pads)
    names = "x pads"
    if value is not None:
        d.const("value", value, np.float32)
        names += " value"
    elif axes is not None:
        names += " _"
    if axes is not None:
        d.const("axes", axes, d.pick([np.int32, np.int64]))
        names += " axes"
    d.node("Pad", names, mode=mode)


@spec("Pad", 11, count=3, label="_far")
def _(d):
    """Reflecting beyond the far end is refused: engines differ."""
    d.x("x", [3])
    d.const("pads", [0, d.int(3, 4)])
    d.node("Pad", "x pads", mode="reflect")
