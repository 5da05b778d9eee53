"""Operators that move elements."""

import functools

import numpy as np
import torch
import torch.nn.functional as F

from .case import INT64_MAX, INT64_MIN, NEWEST, OLDEST, Form, anywhere, case, ints, one

for axis in (0, 1, 2, -1):
    shapes = [list((2, 3, 4)) for _ in range(3)]
    for i, s in enumerate(shapes):
        s[axis] += i
    xs = {k: anywhere(f"cc{axis}{k}", *s) for k, s in zip("abc", shapes)}
    form = one("Concat", "a b c", axis=axis, lo=11 if axis < 0 else OLDEST)
    case("layout", f"Concat_axis{axis}", "Concat", xs, lambda a, b, c, d=axis: torch.cat([a, b, c], d), form)


def split_forms(sizes, axis, tail, outs, extra_consts=None):
    nodes = lambda split_ins, attrs: [("Split", ["x"] + split_ins, outs, attrs)] + tail
    return [Form(7, 12, nodes([], {"axis": axis, "split": sizes})), Form(13, NEWEST, nodes(["sizes"], {"axis": axis}), {"sizes": ints(*sizes)})]


x = anywhere("sp", 2, 6, 3)
case("layout", "Split_used_twice", "Split", {"x": x}, lambda x: torch.cat([x[:, 4:] * 2, x[:, :1]], 1),
     *split_forms([1, 3, 2], 1, [("Add", ["c", "c"], ["c2"], {}), ("Concat", ["c2", "a"], ["y"], {"axis": 1})], ["a", "b", "c"]))
case("layout", "Split_one_used", "Split", {"x": x}, lambda x: x[:, 1:4] * 1, *split_forms([1, 3, 2], 1, [("Identity", ["b"], ["y"], {})], ["a", "b", "c"]))
half = [("Mul", ["a", "b"], ["y"], {})]
case("layout", "Split_equal", "Split", {"x": x}, lambda x: x[:, :3] * x[:, 3:], Form(7, 17, [("Split", ["x"], ["a", "b"], {"axis": 1})] + half),
     Form(18, NEWEST, [("Split", ["x"], ["a", "b"], {"axis": 1, "num_outputs": 2})] + half))
case("layout", "Split_shorter_last", "Split", {"x": anywhere("sp5", 5, 2)}, lambda x: torch.cat([x[3:], x[:3]]) * 1,
     Form(18, NEWEST, [("Split", ["x"], ["a", "b"], {"axis": 0, "num_outputs": 2}), ("Concat", ["b", "a"], ["y"], {"axis": 0})]))


def slice_case(name, x, starts, ends, axes=None, steps=None):
    index = [slice(None)] * x.ndim
    order = torch.arange
    picks = []
    for place, (a, b) in enumerate(zip(starts, ends)):
        axis = (axes[place] if axes else place) % x.ndim
        step = steps[place] if steps else 1
        picks.append((axis, list(range(x.shape[axis]))[slice(a, b if b > INT64_MIN // 2 else None, step)]))
    fn = lambda t: functools.reduce(lambda t, p: t.index_select(p[0], torch.tensor(p[1])), picks, t)
    forms = []
    if not steps:
        forms.append(one("Slice", hi=9, starts=starts, ends=ends, **({"axes": axes} if axes else {})))
    consts = {"starts": ints(*starts), "ends": ints(*ends)} | ({"axes": ints(*axes)} if axes else {}) | ({"steps": ints(*steps)} if steps else {})
    names = "x starts ends" + (" axes" if axes else " _" if steps else "") + (" steps" if steps else "")
    forms.append(one("Slice", names, lo=10, consts=consts))
    case("layout", name, "Slice", {"x": x}, fn, *forms)


sx = anywhere("sx", 3, 5, 6)
slice_case("Slice_plain", sx, [1, 2], [3, 5], [1, 2])
slice_case("Slice_no_axes", sx, [0, 1], [2, 4])
slice_case("Slice_negative", sx, [-3], [-1], [1])
slice_case("Slice_to_the_end", sx, [2], [INT64_MAX], [2])
slice_case("Slice_step2", sx, [0, 1], [INT64_MAX, INT64_MAX], [1, 2], [2, 2])
slice_case("Slice_step4", sx, [1], [6], [2], [4])
slice_case("Slice_backwards", sx, [-1], [INT64_MIN], [2], [-1])
slice_case("Slice_backwards_step2", sx, [4], [0], [2], [-2])
slice_case("Slice_default_axes_steps", sx, [0, 0], [3, 5], None, [2, 3])


def pad_case(name, x, begins, ends, value=None, axes=None):
    axes_full = axes or list(range(x.ndim))
    full = [[0, 0] for _ in range(x.ndim)]
    for place, axis in enumerate(axes_full):
        full[axis] = [begins[place], ends[place]]
    fn = lambda t: F.pad(t, [v for pair in reversed(full) for v in pair], value=value or 0.0)
    forms = []
    pads = begins + ends
    if axes is None:
        forms.append(one("Pad", hi=10, pads=pads, mode="constant", **({} if value is None else {"value": value})))
        consts = {"pads": ints(*pads)} | ({} if value is None else {"c": np.float32(value)})
        forms.append(one("Pad", "x pads" + ("" if value is None else " c"), lo=11, consts=consts))
    else:
        forms.append(one("Pad", "x pads _ axes", lo=18, consts={"pads": ints(*pads), "axes": ints(*axes)}))
    case("layout", name, "Pad", {"x": x}, fn, *forms)


px = anywhere("px", 2, 3, 4)
pad_case("Pad_zeros", px, [0, 1, 2], [0, 0, 1])
pad_case("Pad_value", px, [1, 0, 2], [0, 2, 1], 1.5)
pad_case("Pad_negative", px, [0, -1, 1], [0, 0, -2])
pad_case("Pad_axes", px, [1, 2], [0, 1], axes=[2, 1])


def repeat_case(name, x, begins, ends, mode, axes=None):
    """A pad that repeats elements: what is negative crops first."""
    def fn(t):
        for place, axis in enumerate(axes or range(x.ndim)):
            b, e = begins[place], ends[place]
            t = t.narrow(axis, max(-b, 0), t.shape[axis] + min(b, 0) + min(e, 0))
            if max(b, 0) + max(e, 0) == 0:
                continue
            index = np.pad(np.arange(t.shape[axis]), (max(b, 0), max(e, 0)), mode=mode)
            t = t.index_select(axis % x.ndim, torch.tensor(index))
        return t

    pads = begins + ends
    forms = [one("Pad", lo=OLDEST, hi=10, pads=pads, mode=mode)] if axes is None and mode != "wrap" else []
    lo = 19 if mode == "wrap" else 18 if axes else 11
    consts = {"pads": ints(*pads)} | ({"axes": ints(*axes)} if axes else {})
    forms.append(one("Pad", "x pads _ axes" if axes else "x pads", lo=lo, consts=consts, mode=mode))
    case("layout", name, "Pad", {"x": x}, fn, *forms)


ix = anywhere("ix", 2, 2, 5, 4)
for mode in ("reflect", "edge", "wrap"):
    repeat_case(f"Pad_{mode}", ix, [0, 0, 2, 1], [0, 0, 1, 3], mode)
    repeat_case(f"Pad_{mode}_axes", ix, [1, 2], [2, 0], mode, axes=[3, 2])
    repeat_case(f"Pad_{mode}_negative", ix, [0, 0, -2, 1], [0, 0, 2, -1], mode)
    repeat_case(f"Pad_{mode}_1d", anywhere("iy", 2, 3, 4), [0, 0, 3], [0, 0, 2], mode)
tx = anywhere("tx", 2, 3, 2)
for label, repeats in ("inner", [1, 1, 3]), ("outer", [2, 1, 1]), ("all", [2, 3, 2]), ("none", [1, 1, 1]):
    case("layout", f"Tile_{label}", "Tile", {"x": tx}, lambda x, r=repeats: x.repeat(r) * 1, one("Tile", "x r", consts={"r": ints(*repeats)}))
deep, wide = anywhere("dd", 2, 8, 2, 3), anywhere("dw", 2, 3, 4, 6)
dcr = lambda x, b=2: x.reshape(x.shape[0], b, b, -1, *x.shape[2:]).permute(0, 3, 4, 1, 5, 2).reshape(x.shape[0], -1, x.shape[2] * b, x.shape[3] * b)
crd = lambda x: torch.nn.functional.pixel_shuffle(x, 2)
back = lambda x, b=2: x.reshape(*x.shape[:2], x.shape[2] // b, b, x.shape[3] // b, b).permute(0, 3, 5, 1, 2, 4).reshape(x.shape[0], -1, x.shape[2] // b, x.shape[3] // b)
case("layout", "DepthToSpace", "DepthToSpace", {"x": deep}, dcr, one("DepthToSpace", blocksize=2))
case("layout", "DepthToSpace_DCR", "DepthToSpace", {"x": deep}, dcr, one("DepthToSpace", lo=11, blocksize=2, mode="DCR"))
case("layout", "DepthToSpace_CRD", "DepthToSpace", {"x": deep}, crd, one("DepthToSpace", lo=11, blocksize=2, mode="CRD"))
case("layout", "SpaceToDepth", "SpaceToDepth", {"x": wide}, back, one("SpaceToDepth", blocksize=2))
case("layout", "SpaceToDepth_CRD", "SpaceToDepth", {"x": wide}, lambda x: torch.nn.functional.pixel_unshuffle(x, 2), one("SpaceToDepth", lo=28, blocksize=2, mode="CRD"))
tri = anywhere("tr", 2, 4, 5)
for label, upper, k in ("upper", 1, None), ("lower", 0, None), ("upper_k", 1, 2), ("lower_k", 0, -1):
    fn = lambda x, f=torch.triu if upper else torch.tril, k=k or 0: f(x, k)
    case("layout", f"Trilu_{label}", "Trilu", {"x": tri}, fn, one("Trilu", "x" if k is None else "x k", lo=14, consts={} if k is None else {"k": np.array(k, np.int64)}, **({} if upper else {"upper": 0})))
qx = anywhere("qx", 2, 3, 4)
shape_of = lambda *s: {"shape": ints(*s)}
case("layout", "Reshape_minus1", "Reshape", {"x": qx}, lambda x: x.reshape(2, 12), one("Reshape", "x shape", consts=shape_of(2, -1)))
case("layout", "Reshape_zero", "Reshape", {"x": qx}, lambda x: x.reshape(2, 3, 2, 2), one("Reshape", "x shape", consts=shape_of(0, 0, 2, -1)))
case("layout", "Reshape_allowzero", "Reshape", {"x": qx}, lambda x: x.reshape(6, 4), one("Reshape", "x shape", lo=14, consts=shape_of(6, 4), allowzero=1))
for axis in (0, 1, 2, 3, -1):
    fn = lambda x, a=axis % 3 if axis < 0 else axis: x.reshape(int(np.prod(x.shape[:a])), -1)
    case("layout", f"Flatten_{axis}", "Flatten", {"x": qx}, fn, one("Flatten", axis=axis, lo=11 if axis < 0 else OLDEST))
ox = anywhere("ox", 1, 3, 1, 2)
case("layout", "Squeeze_axes", "Squeeze", {"x": ox}, lambda x: x.squeeze(2), one("Squeeze", hi=12, axes=[2]), one("Squeeze", "x axes", lo=13, consts={"axes": ints(-2)}))
case("layout", "Squeeze_all", "Squeeze", {"x": ox}, lambda x: x.squeeze(), one("Squeeze"))
case("layout", "Unsqueeze", "Unsqueeze", {"x": anywhere("ux", 3, 2)}, lambda x: x[None, :, None], one("Unsqueeze", hi=12, axes=[0, 2]), one("Unsqueeze", "x axes", lo=13, consts={"axes": ints(0, 2)}))
case("layout", "Transpose", "Transpose", {"x": qx}, lambda x: x.permute(2, 0, 1), one("Transpose", perm=[2, 0, 1]))
case("layout", "Transpose_default", "Transpose", {"x": qx}, lambda x: x.permute(2, 1, 0), one("Transpose"))
for label, src, to, want in [("ones", (2, 1, 3), (2, 4, 3), (2, 4, 3)), ("rank", (3, 1), (2, 3, 4), (2, 3, 4)), ("shorter", (2, 1, 3), (4, 1), (2, 4, 3)), ("scalar", (), (2, 3), (2, 3))]:
    case("layout", f"Expand_{label}", "Expand", {"x": anywhere("ex" + label, *src)}, lambda x, w=want: x.expand(w), one("Expand", "x shape", lo=8, consts=shape_of(*to)))
for label, indices, axis in [("rows", ints(2, 0, 0), 0), ("negative", ints(-1, 1), 1), ("scalar", np.array(1, np.int64), 1), ("matrix", ints(0, 2, 2, 1).reshape(2, 2), 1)]:
    fn = lambda x, i=indices, a=axis: x.index_select(a, torch.tensor(i.ravel() % x.shape[a])).reshape(x.shape[:a] + i.shape + x.shape[a + 1:])
    case("layout", f"Gather_{label}", "Gather", {"x": anywhere("gt" + label, 3, 3, 2)}, fn, one("Gather", "x i", consts={"i": indices}, axis=axis, lo=11 if (indices < 0).any() else OLDEST))
case("layout", "GatherElements_score", "GatherElements", {"x": anywhere("ge", 3, 4)}, lambda x: x.gather(1, torch.tensor([[2], [0], [3]])),
     one("GatherElements", "x i", lo=11, consts={"i": ints(2, 0, 3).reshape(3, 1)}, axis=1))
case("layout", "GatherElements_from_the_end", "GatherElements", {"x": anywhere("gn", 3, 4)}, lambda x: x.gather(1, torch.tensor([[3], [0], [1]])),
     one("GatherElements", "x i", lo=11, consts={"i": np.array([[-1], [0], [-3]], np.int32)}, axis=1))
