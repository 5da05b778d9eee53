"""Operators that pick or place elements by index."""

import numpy as np
import torch

from .case import NEWEST, OLDEST, Form, anywhere, case, distinct, ints, one

i32 = lambda *v: np.array(v, np.int32)


def computed(indices, add=None):
    """Indices that nobody knows before the run: they depend on x, times 0. `add` is a second summand."""
    nodes = [("ReduceMax", ["x"], ["m"], {"keepdims": 0}), ("Mul", ["m", "zero"], ["z"], {}), ("Add", ["f", "z"], ["g"], {})]
    consts = {"zero": np.float32(0), "f": indices.astype(np.float32)}
    if add is not None:
        nodes.append(("Add", ["g", "h"], ["hh"], {}))
        consts["h"] = add.astype(np.float32)
    return nodes + [("Cast", [nodes[-1][2][0]], ["i"], {"to": 7})], consts


def gather_case(name, x, indices, axis, **attrs):
    fn = lambda t: t.index_select(axis, torch.tensor(indices.ravel() % x.shape[axis])).reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1:])
    lo = 11 if (indices < 0).any() else OLDEST
    case("index", name, "Gather", {"x": x}, fn, one("Gather", "x i", lo=lo, consts={"i": indices}, axis=axis))


gx = anywhere("gx", 2, 6, 3)
gather_case("Gather_run", gx, ints(2, 3, 4), 1)
gather_case("Gather_last", gx, np.array(-1, np.int64), 1)
gather_case("Gather_one_in_a_list", gx, ints(0), 1)
gather_case("Gather_permutation", gx, ints(5, 3, 1, 0, 2, 4), 1)
gather_case("Gather_subset", gx, ints(4, 1), 1)
gather_case("Gather_repeated", gx, ints(3, 3, 0, 5, 3, 0), 1)
gather_case("Gather_often", anywhere("go", 2, 2, 3), ints(*([1, 0] * 12)), 1)
gather_case("Gather_rank4", anywhere("g4", 24), np.arange(24).reshape(1, 2, 3, 4)[..., ::-1].copy(), 0)
gather_case("Gather_int32", gx, i32(1, 4), 1)
nodes, consts = computed(ints(4, -2, 0, 4))
case("index", "Gather_computed", "Gather", {"x": gx}, lambda x: x[:, [4, 4, 0, 4]], Form(11, NEWEST, nodes + [("Gather", ["x", "i"], ["y"], {"axis": 1})], consts))
tall, flat = np.arange(60).reshape(60, 1) * 20, np.arange(50) * 6
nodes, consts = computed(tall, flat)
case("index", "Gather_many_computed", "Gather", {"x": anywhere("gm", 2, 1500)}, lambda x: x[:, tall + flat], Form(11, NEWEST, nodes + [("Gather", ["x", "i"], ["y"], {"axis": 1})], consts))


def elements_case(name, x, indices, axis):
    fn = lambda t: t.gather(axis % x.ndim, torch.tensor(indices % x.shape[axis]).long())
    case("index", name, "GatherElements", {"x": x}, fn, one("GatherElements", "x i", lo=11, consts={"i": indices}, axis=axis))


r = np.random.default_rng(5)
elements_case("GatherElements_rows", anywhere("ge0", 3, 4), r.integers(0, 3, (2, 4)), 0)
elements_case("GatherElements_columns", anywhere("ge1", 2, 3, 4), r.integers(-4, 4, (2, 3, 5)), -1)
elements_case("GatherElements_middle", anywhere("ge2", 2, 4, 3), r.integers(0, 4, (2, 6, 3)).astype(np.int32), 1)
elements_case("GatherElements_corner", anywhere("ge3", 3, 4, 4), r.integers(0, 4, (2, 3, 2)), 1)


def nd_case(name, x, indices, batch=0):
    def fn(t):
        depth = indices.shape[-1]
        if batch == 0:
            return t[tuple(torch.tensor(indices[..., k]) for k in range(depth))]
        return torch.stack([t[b][tuple(torch.tensor(indices[b][..., k]) for k in range(depth))] for b in range(x.shape[0])])

    attrs = {"batch_dims": batch} if batch else {}
    lo = 12 if batch else 11
    case("index", name, "GatherND", {"x": x}, fn, one("GatherND", "x i", lo=lo, consts={"i": indices}, **attrs))
    nodes, consts = computed(indices)
    case("index", name + "_computed", "GatherND", {"x": x}, fn, Form(lo, NEWEST, nodes + [("GatherND", ["x", "i"], ["y"], attrs)], consts))


nd_case("GatherND_elements", anywhere("n1", 3, 4), ints(0, 1, 2, 3, 0, 1).reshape(3, 2))
nd_case("GatherND_rows", anywhere("n2", 4, 2, 3), ints(1, -1, 1, 0).reshape(2, 2, 1))
nd_case("GatherND_pairs", anywhere("n3", 3, 4, 2), ints(0, 3, -1, 1, 2, -2).reshape(3, 2))
nd_case("GatherND_batch", anywhere("n4", 2, 4, 3), ints(1, 3, 3, 0, 1, -1).reshape(2, 3, 1), 1)

upd = anywhere("su", 2, 3)
at = ints(1, 0, 3, 2, 3, 0).reshape(2, 3)


def scatter_elements(x, updates, indices, axis, add):
    i = torch.tensor(indices % x.shape[axis])
    return x.scatter_add(axis, i, updates) if add else x.scatter(axis, i, updates)


for axis, shape in ((0, (4, 3)), (1, (2, 5))):
    x = anywhere(f"se{axis}", *shape)
    case("index", f"ScatterElements_axis{axis}", "ScatterElements", {"x": x, "u": upd}, lambda x, u, a=axis: scatter_elements(x, u, at, a, False), one("ScatterElements", "x i u", lo=11, consts={"i": at}, axis=axis))
    case("index", f"ScatterElements_add_axis{axis}", "ScatterElements", {"x": x, "u": upd}, lambda x, u, a=axis: scatter_elements(x, u, at * 0 + at // 2, a, True), one("ScatterElements", "x i u", lo=16, consts={"i": at // 2}, axis=axis, reduction="add"))
case("index", "ScatterElements_from_the_end", "ScatterElements", {"x": anywhere("sn", 4, 3), "u": upd}, lambda x, u: scatter_elements(x, u, at, 0, False), one("ScatterElements", "x i u", lo=11, consts={"i": at - 4}))


def scatter_nd(x, updates, indices, add):
    return x.index_put(tuple(torch.tensor(indices[..., k]) for k in range(indices.shape[-1])), updates, accumulate=add)


rows = ints(2, 0).reshape(2, 1)
cells = ints(0, 1, 2, 3, 1, 1).reshape(3, 2)
for label, indices, shape in ("rows", rows, (2, 4)), ("cells", cells, (3,)):
    x, u = anywhere("sx" + label, 3, 4), anywhere("sv" + label, *shape)
    case("index", f"ScatterND_{label}", "ScatterND", {"x": x, "u": u}, lambda x, u, i=indices: scatter_nd(x, u, i, False), one("ScatterND", "x i u", lo=11, consts={"i": indices}))
    again = np.concatenate([indices, indices[:1]])
    u = anywhere("sw" + label, len(again), *shape[1:])
    case("index", f"ScatterND_add_{label}", "ScatterND", {"x": x, "u": u}, lambda x, u, i=again: scatter_nd(x, u, i, True), one("ScatterND", "x i u", lo=16, consts={"i": again}, reduction="add"))


def top_k(name, x, k, axis, largest=True):
    fn = lambda t: t.topk(k, axis, largest).values
    attrs = {"axis": axis} if axis != -1 else {}
    forms = [] if not largest else [one("TopK", lo=OLDEST, hi=9, outs="y i", k=k, **attrs), one("TopK", "x k", lo=10, hi=10, outs="y i", consts={"k": ints(k)}, **attrs)]
    forms.append(one("TopK", "x k", lo=11, outs="y i", consts={"k": ints(k)}, **attrs | ({} if largest else {"largest": 0})))
    case("index", name, "TopK", {"x": x}, fn, *forms)


top_k("TopK_last", distinct("tk", 2, 3, 6), 3, -1)
top_k("TopK_middle", distinct("tm", 2, 5, 2), 2, 1)
top_k("TopK_smallest", distinct("ts", 2, 6), 2, 1, False)
