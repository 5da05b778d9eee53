"""Operators that pick or place elements by index."""

import numpy as np
import torch

from . import chosen, drawn
from .chosen import Form, anywhere, distinct, ints, one
from .oracle import Again
from .reference import NEWEST, OLDEST, node, operator

case, use = chosen.family("index")
spec = drawn.family("index")


@operator("Gather")
def gather(x, indices, *, axis=0):
    indices, axis = indices.long(), axis % x.ndim
    picked = x.index_select(axis, indices.flatten() % x.shape[axis])
    return picked.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@operator("GatherElements", since=11)
def gather_elements(x, indices, *, axis=0):
    return x.gather(axis % x.ndim, indices.long() % x.shape[axis])


@operator("GatherND", since=11)
def gather_nd(x, indices, *, batch_dims=0):
    indices = indices.long()
    if batch_dims:
        return torch.stack([gather_nd(x[b], indices[b], batch_dims=batch_dims - 1) for b in range(x.shape[0])])
    return x[indices.unbind(-1)]


@operator("ScatterElements", since=11)
def scatter_elements(x, indices, updates, *, axis=0, reduction="none"):
    indices = indices.long() % x.shape[axis]
    return {"none": x.scatter, "add": x.scatter_add}[reduction](axis, indices, updates)


@operator("ScatterND", since=11)
def scatter_nd(x, indices, updates, *, reduction="none"):
    return x.index_put(indices.long().unbind(-1), updates, accumulate=reduction == "add")


@operator("TopK")
def top_k(x, count=None, *, k=None, axis=-1, largest=1, sorted=1):
    return tuple(x.topk(int(count) if k is None else k, axis, bool(largest)))


# Chosen cases.


def computed(indices, add=None):
    """Indices that depend on x, times 0, and are known only in a run. `add` is a second summand."""
    nodes = [node("ReduceMax", "x", "m", keepdims=0), node("Mul", "m zero", "z"), node("Add", "f z", "g")]
    constants = {"zero": np.float32(0), "f": indices.astype(np.float32)}
    if add is not None:
        nodes.append(node("Add", "g h", "hh"))
        constants["h"] = add.astype(np.float32)
    return [*nodes, node("Cast", nodes[-1][2][0], "i", to=7)], constants


def pick(op, label, x, indices, lo=None, **attributes):
    lo = lo or (11 if (indices < 0).any() else OLDEST)
    use(op, label, {"x": x}, {"i": indices}, lo=lo, **attributes)


gx = anywhere("gx", 2, 6, 3)
for label, indices in [
    ("run", ints(2, 3, 4)),
    ("last", np.array(-1, np.int64)),
    ("one_in_a_list", ints(0)),
    ("permutation", ints(5, 3, 1, 0, 2, 4)),
    ("subset", ints(4, 1)),
    ("repeated", ints(3, 3, 0, 5, 3, 0)),
]:
    pick("Gather", f"_{label}", gx, indices, axis=1)
pick("Gather", "_often", anywhere("go", 2, 2, 3), ints(*([1, 0] * 12)), axis=1)
pick("Gather", "_rank4", anywhere("g4", 24), np.arange(24).reshape(1, 2, 3, 4)[..., ::-1].copy(), axis=0)
pick("Gather", "_int32", gx, np.array([1, 4], np.int32), axis=1)
tall, flat = np.arange(60).reshape(60, 1) * 20, np.arange(50) * 6
for label, x, summands in [("", gx, (ints(4, -2, 0, 4),)), ("_many", anywhere("gm", 2, 1500), (tall, flat))]:
    nodes, constants = computed(*summands)
    form = Form(11, NEWEST, [*nodes, node("Gather", "x i", axis=1)], constants)
    case(f"Gather{label}_computed", "Gather", {"x": x}, form)
r = np.random.default_rng(5)
pick("GatherElements", "_rows", anywhere("ge0", 3, 4), r.integers(0, 3, (2, 4)), 11, axis=0)
pick("GatherElements", "_columns", anywhere("ge1", 2, 3, 4), r.integers(-4, 4, (2, 3, 5)), 11, axis=-1)
pick("GatherElements", "_middle", anywhere("ge2", 2, 4, 3), r.integers(0, 4, (2, 6, 3)).astype(np.int32), 11, axis=1)
pick("GatherElements", "_corner", anywhere("ge3", 3, 4, 4), r.integers(0, 4, (2, 3, 2)), 11, axis=1)
for label, x, indices, batch in [
    ("elements", anywhere("n1", 3, 4), ints(0, 1, 2, 3, 0, 1).reshape(3, 2), None),
    ("rows", anywhere("n2", 4, 2, 3), ints(1, -1, 1, 0).reshape(2, 2, 1), None),
    ("pairs", anywhere("n3", 3, 4, 2), ints(0, 3, -1, 1, 2, -2).reshape(3, 2), None),
    ("batch", anywhere("n4", 2, 4, 3), ints(1, 3, 3, 0, 1, -1).reshape(2, 3, 1), 1),
]:
    lo = 12 if batch else 11
    pick("GatherND", f"_{label}", x, indices, lo, batch_dims=batch)
    nodes, constants = computed(indices)
    form = Form(lo, NEWEST, [*nodes, node("GatherND", "x i", batch_dims=batch)], constants)
    case(f"GatherND_{label}_computed", "GatherND", {"x": x}, form)


def place(op, label, x, updates, indices, lo=11, **attributes):
    case(op + label, op, {"x": x, "u": updates}, one(op, "x i u", {"i": indices}, lo=lo, **attributes))


updates = anywhere("su", 2, 3)
at = ints(1, 0, 3, 2, 3, 0).reshape(2, 3)
for axis, shape in ((0, (4, 3)), (1, (2, 5))):
    x = anywhere(f"se{axis}", *shape)
    place("ScatterElements", f"_axis{axis}", x, updates, at, axis=axis)
    place("ScatterElements", f"_add_axis{axis}", x, updates, at // 2, 16, axis=axis, reduction="add")
place("ScatterElements", "_from_the_end", anywhere("sn", 4, 3), updates, at - 4)
rows, cells = ints(2, 0).reshape(2, 1), ints(0, 1, 2, 3, 1, 1).reshape(3, 2)
for label, indices, shape in ("rows", rows, (2, 4)), ("cells", cells, (3,)):
    x = anywhere("sx" + label, 3, 4)
    place("ScatterND", f"_{label}", x, anywhere("sv" + label, *shape), indices)
    again = np.concatenate([indices, indices[:1]])
    updates = anywhere("sw" + label, len(again), *shape[1:])
    place("ScatterND", f"_add_{label}", x, updates, again, 16, reduction="add")
for label, x, k, axis, largest in [
    ("last", distinct("tk", 2, 3, 6), 3, None, None),
    ("middle", distinct("tm", 2, 5, 2), 2, 1, None),
    ("smallest", distinct("ts", 2, 6), 2, 1, 0),
]:
    count, given = {"k": ints(k)}, {"outputs": "y i", "axis": axis}
    forms = [one("TopK", "x k", count, lo=11, largest=largest, **given)]
    if largest is None:
        forms = [one("TopK", hi=9, k=k, **given), one("TopK", "x k", count, lo=10, hi=10, **given), *forms]
    use("TopK", f"_{label}", x, None, *forms)


# Drawn cases.


def places(d, n, shape):
    low = -n if d.opset >= 11 else 0
    return d.r.integers(low, n, shape)


@spec("Gather", count=24, standard=True)
def _(d):
    dims = d.shape(1, 3, 24)
    axis = d.maybe(d.axis(len(dims)), 0.8)
    d.x("x", dims)
    shape = d.shape(0, 2, 6) if d.opset > 7 else d.shape(1, 2, 6)
    d.where("i", places(d, dims[axis or 0], shape))
    d.node("Gather", "x i", axis=axis)


@spec("GatherElements", count=24)
def _(d):
    dims = d.shape(1, 4, 24)
    axis = d.maybe(d.axis(len(dims)), 0.8)
    at = (axis or 0) % len(dims)
    shape = [d.int(1, 4) if a == at else d.int(1, n) for a, n in enumerate(dims)]
    d.x("x", dims)
    d.where("i", places(d, dims[at], shape))
    d.node("GatherElements", "x i", axis=axis)


@spec("GatherND", count=24, standard=True)
def _(d):
    dims = d.shape(1, 4, 24)
    batch = d.int(0, len(dims) - 1) if d.opset >= 12 else 0
    depth = d.int(1, len(dims) - batch)
    d.x("x", dims)
    outer = d.shape(0 if batch else 1, 2, 4)
    index = [d.r.integers(-n, n, dims[:batch] + outer) for n in dims[batch : batch + depth]]
    d.where("i", np.stack(index, -1), np.int64)
    d.node("GatherND", "x i", batch_dims=batch or (d.maybe(0) if d.opset >= 12 else None))


def reductions(d):
    if d.opset < 16:
        return None
    return d.pick([None, "none", "add", "mul"] + (["max", "min"] if d.opset >= 18 else []))


@spec("ScatterElements", count=36, standard=True)
def _(d):
    dims = d.shape(1, 4, 24)
    axis = d.maybe(d.axis(len(dims)), 0.8)
    at = (axis or 0) % len(dims)
    reduction = reductions(d)
    shape = [d.int(1, n) if a == at or d.index % 2 else n for a, n in enumerate(dims)]
    if reduction == "add":
        index = d.r.integers(0, dims[at], shape)
    else:
        some = lambda row: d.r.permutation(dims[at])[: len(row)]
        index = np.apply_along_axis(some, at, np.zeros(shape, np.int64))
    index = np.where(d.r.random(shape) < 0.3, index - dims[at], index)
    d.x("x", dims)
    d.x("u", shape)
    d.where("i", index)
    d.node("ScatterElements", "x i u", axis=axis, reduction=reduction)


@spec("ScatterND", count=36, standard=True)
def _(d):
    dims = d.shape(1, 4, 24)
    depth = d.int(1, len(dims))
    reduction = reductions(d)
    outer = d.shape(1, 2, 4)
    count = int(np.prod(outer))
    head = dims[:depth]
    if reduction == "add":
        flat = d.r.integers(0, int(np.prod(head)), count)
    else:
        if count > np.prod(head):
            raise Again
        flat = d.r.permutation(int(np.prod(head)))[:count]
    index = np.stack(np.unravel_index(flat, head), -1).reshape([*outer, depth])
    index = np.where(d.r.random(index.shape) < 0.3, index - np.array(head), index)
    d.x("x", dims)
    d.x("u", outer + dims[depth:])
    d.where("i", index, np.int64)
    d.node("ScatterND", "x i u", reduction=reduction)


@spec("TopK", count=24)
def _(d):
    dims = d.shape(1, 4, sizes=(1, 2, 3, 4, 5))
    axis = d.maybe(d.axis(len(dims)), 0.8)
    k = d.int(1, dims[-1 if axis is None else axis])
    d.x("x", dims)
    largest, ordered = (d.pick([None, 0, 1]), d.pick([None, 1])) if d.opset >= 11 else (None, None)
    given = {"axis": axis, "largest": largest, "sorted": ordered}
    if d.opset >= 10:
        d.const("k", [k])
        d.node("TopK", "x k", "y i", **given)
    else:
        d.node("TopK", "x", "y i", k=k, **given)


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
        key = t["x"].detach().numpy()
        order = torch.tensor(np.argsort(-key if largest else key, 1, kind="stable")[:, :k])
        return t["x"].gather(1, order) * order

    d.fn = fn


@spec("TopK", 11, count=3, label="_alone")
def _(d):
    """Without its second output it is refused."""
    d.x("x", [2, 5])
    d.const("k", [2])
    d.node("TopK", "x k", "y _")
