"""Resize, Upsample, GridSample and AffineGrid.

The reference of a resizing is a matrix for each axis, compared with torch where torch has the mode. What it scales by is
the scale that the file says, or the quotient of the sizes. Chosen cases that name the sizes of all axes are called `…_sized`.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from . import chosen, drawn, model
from .chosen import anywhere, data, f32, ints, one
from .oracle import Again
from .reference import Run, operator

spec = drawn.family("sample")


def source(o, length, out, scale, mode):
    if mode == "align_corners":
        return 0.0 if out == 1 else o * (length - 1) / (out - 1)
    if mode == "pytorch_half_pixel" and out == 1:
        return 0.0
    if mode == "asymmetric":
        return o / scale
    if mode == "tf_half_pixel_for_nn":
        return (o + 0.5) / scale
    shift = length / 2 * (1 - out / (scale * length)) if mode == "half_pixel_symmetric" else 0.0
    return shift + (o + 0.5) / scale - 0.5


ROUND = {
    "round_prefer_floor": lambda x: math.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def cubic(u, a):
    u = abs(u)
    if u <= 1:
        return (a + 2) * u**3 - (a + 3) * u**2 + 1
    return a * u**3 - 5 * a * u**2 + 8 * a * u - 4 * a if u < 2 else 0.0


def matrix(
    length,
    out,
    scale,
    mode="nearest",
    coordinate_transformation_mode="half_pixel",
    nearest_mode="round_prefer_floor",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    antialias=0,
):
    """[out, length]: what each element of the output takes from each of the input."""
    m = np.zeros((out, length))
    shrink = min(scale, 1.0) if antialias else 1.0
    for o in range(out):
        x = source(o, length, out, scale, coordinate_transformation_mode)
        if mode == "nearest":
            m[o, min(max(ROUND[nearest_mode](x), 0), length - 1)] = 1
            continue
        for i in range(-4 * length - 9, 5 * length + 9):
            u = (i - x) * shrink
            w = max(1 - abs(u), 0) if mode == "linear" else cubic(u, cubic_coeff_a)
            if not exclude_outside or 0 <= i < length:
                m[o, min(max(i, 0), length - 1)] += w
        m[o] /= m[o].sum()
    return torch.tensor(m)


@operator("Resize", since=11, takes_run=True)
def resize(run, x, roi, scales=None, sizes=None, *, axes=None, keep_aspect_ratio_policy="stretch", **attributes):
    places = [axis % x.ndim for axis in axes] if axes else list(range(x.ndim))
    if sizes is None:
        factors = scales.tolist()
        outs = [int(x.shape[place] * factor) for place, factor in zip(places, factors, strict=True)]
    else:
        outs = sizes.tolist()
        factors = [out / x.shape[place] for place, out in zip(places, outs, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            common = {"not_larger": min, "not_smaller": max}[keep_aspect_ratio_policy](factors)
            factors = [common for _ in places]
            outs = [math.floor(x.shape[place] * common + 0.5) for place in places]
    for place, out, factor in zip(places, outs, factors, strict=True):
        if factor != 1:
            m = matrix(x.shape[place], out, factor, **attributes).to(run.kind)
            x = torch.movedim(torch.movedim(x, place, -1) @ m.T, -1, place)
    return x


@operator("Upsample", takes_run=True)
def upsample(run, x, factors=None, *, scales=None, **attributes):
    """The definition of Resize at opset 10 too."""
    factors = torch.tensor(scales) if factors is None else factors
    old = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return resize(run, x, None, factors, **(old | attributes))


@operator("GridSample", since=16)
def grid_sample(x, grid, *, mode="linear", padding_mode="zeros", align_corners=0):
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    return F.grid_sample(x, grid, mode, padding_mode, bool(align_corners))


@operator("AffineGrid", since=20)
def affine_grid(theta, size, *, align_corners=0):
    return F.affine_grid(theta, size.tolist(), bool(align_corners))


# Chosen cases.

case, use = chosen.family("resize")


def resize_case(label, x, scales=None, sizes=None, check=None, lo=11, axes=None, **attributes):
    """`check` is torch's own resizing, which must agree with the matrices."""
    attributes |= {"axes": axes, "mode": attributes.get("mode", "nearest")}
    if attributes["mode"] == "nearest":
        attributes = {"nearest_mode": "round_prefer_floor"} | attributes
    if attributes["mode"] == "cubic":
        attributes = {"cubic_coeff_a": -0.75} | attributes
    if any(attributes.get(name) for name in ("antialias", "axes", "keep_aspect_ratio_policy")):
        lo = 18
    constants = {"scales": f32(*scales)} if scales else {"sizes": ints(*sizes)}
    forms = []
    if lo < 13:
        # Opsets 11 and 12 want a roi and a list of scales.
        filled = constants | {"roi": f32(), "none": f32()}
        names = "x roi scales" if scales else "x roi none sizes"
        forms.append(one("Resize", names, filled, lo=11, hi=12, **attributes))
    if attributes.get("coordinate_transformation_mode") != "tf_half_pixel_for_nn":
        forms.append(one("Resize", "x _ scales" if scales else "x _ _ sizes", constants, lo=max(lo, 13), **attributes))
    use("Resize", f"_{label}_sized" if sizes and not axes else f"_{label}", x, None, *forms, check=check)


up = lambda mode, **k: lambda t: F.interpolate(t, mode=mode, **k)
rx = anywhere("rx", 2, 2, 5, 6)
floored = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
cornered = {"coordinate_transformation_mode": "align_corners"}
asymmetric = {"coordinate_transformation_mode": "asymmetric"}
resize_case("nearest_x2", rx, [1, 1, 2, 3], check=up("nearest", scale_factor=(2, 3)), **floored)
resize_case("nearest_half_pixel_x2", rx, [1, 1, 2, 2], check=up("nearest-exact", size=(10, 12)))
resize_case("nearest_up", rx, sizes=[2, 2, 7, 11], check=up("nearest", size=(7, 11)), **floored)
resize_case("nearest_down", rx, sizes=[2, 2, 3, 4], check=up("nearest", size=(3, 4)), **floored)
linear = {"mode": "linear"}
resize_case("linear_up", rx, sizes=[2, 2, 9, 8], check=up("bilinear", size=(9, 8)), **linear)
to_1 = {"coordinate_transformation_mode": "pytorch_half_pixel"}
resize_case("linear_pytorch_to_1", rx, sizes=[2, 2, 1, 9], **linear, **to_1)
resize_case("linear_down", rx, sizes=[2, 2, 3, 4], check=up("bilinear", size=(3, 4)), **linear)
resize_case("linear_scale", anywhere("rs", 1, 2, 7, 7), [1, 1, 1.6, 2.5], **linear)
check = up("bilinear", size=(9, 4), align_corners=True)
resize_case("linear_corners", rx, sizes=[2, 2, 9, 4], check=check, **linear, **cornered)
resize_case("linear_asymmetric", rx, [1, 1, 2, 2], **linear, **asymmetric)
resize_case("linear_1d", anywhere("rl", 2, 3, 5), sizes=[2, 3, 8], check=up("linear", size=8), **linear)
x, check = anywhere("rd", 1, 2, 3, 4, 3), up("trilinear", size=(5, 3, 6))
resize_case("linear_3d", x, sizes=[1, 2, 5, 3, 6], check=check, **linear)
x, check = anywhere("rn", 1, 2, 3, 2, 3), up("nearest", scale_factor=2)
resize_case("nearest_3d", x, [1, 1, 2, 2, 2], check=check, **floored)
of_cubes = {"mode": "cubic"}
resize_case("cubic_up", rx, sizes=[2, 2, 9, 8], check=up("bicubic", size=(9, 8)), **of_cubes)
resize_case("cubic_down", rx, sizes=[2, 2, 3, 4], check=up("bicubic", size=(3, 4)), **of_cubes)
check = up("bicubic", size=(9, 8), align_corners=True)
resize_case("cubic_corners", rx, sizes=[2, 2, 9, 8], check=check, **of_cubes, **cornered)
resize_case("cubic_exclude_outside", rx, sizes=[2, 2, 8, 4], cubic_coeff_a=-0.5, exclude_outside=1, **of_cubes)
resize_case("cubic_asymmetric", rx, [1, 1, 1.5, 2], **of_cubes, **asymmetric)
symmetric = {"coordinate_transformation_mode": "half_pixel_symmetric"}
resize_case("symmetric_linear", rx, [1, 1, 1.3, 0.7], lo=19, **linear, **symmetric)
smooth = {"antialias": 1, "exclude_outside": 1}
x, check = anywhere("ra", 1, 2, 9, 11), up("bilinear", size=(4, 5), antialias=True)
resize_case("antialias_linear", x, sizes=[1, 2, 4, 5], check=check, **linear, **smooth)
x, check = anywhere("rc", 1, 2, 9, 11), up("bicubic", size=(4, 5), antialias=True)
resize_case("antialias_cubic", x, sizes=[1, 2, 4, 5], cubic_coeff_a=-0.5, check=check, **of_cubes, **smooth)
resize_case("antialias_border", anywhere("rb", 1, 2, 9, 11), sizes=[1, 2, 4, 5], antialias=1, **linear)
resize_case("antialias_up", rx, sizes=[2, 2, 9, 8], **linear, **smooth)
resize_case("axes", rx, sizes=[8, 9], axes=[2, 3], **linear)
for policy in ("not_larger", "not_smaller"):
    kept = {"keep_aspect_ratio_policy": policy}
    resize_case(policy, rx, sizes=[8, 11], axes=[2, 3], **linear, **kept)
    resize_case(f"{policy}_down", rx, sizes=[4, 3], axes=[3, 2], **of_cubes, **kept)
resize_case("axes_turned", rx, [2, 0.5], axes=[-1, 2], **floored)
resize_case("channels_last", anywhere("rh", 2, 3, 4, 2), [1, 2, 2, 1], **linear, **asymmetric)
for rounding in ROUND:
    for coordinates in ("half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn"):
        given = {"nearest_mode": rounding}
        given |= {} if coordinates == "half_pixel" else {"coordinate_transformation_mode": coordinates}
        for word, sizes in ("up", [2, 2, 8, 9]), ("down", [2, 2, 2, 4]):
            resize_case(f"nearest_{coordinates}_{rounding}_{word}", rx, sizes=sizes, **given)
for mode in ("nearest", "linear"):
    scales = {"scales": f32(1, 1, 2, 3)}
    old = lambda x, mode=mode: upsample(Run(10), x, torch.tensor([1.0, 1, 2, 3]), mode=mode)
    use("Resize", f"_10_{mode}", {"x": rx}, scales, lo=10, hi=10, mode=mode, function=old)
    first = one("Upsample", hi=8, scales=[1.0, 1.0, 2.0, 3.0], mode=mode)
    use("Upsample", f"_{mode}", rx, None, first, one("Upsample", "x scales", scales, lo=9, hi=9, mode=mode))
smaller = f32(1, 1, 0.6, 0.5)
old = lambda x: upsample(Run(10), x, torch.tensor(smaller), nearest_mode="ceil")
use("Resize", "_10_down", {"x": rx}, {"scales": smaller}, lo=10, hi=10, mode="nearest", function=old)

case, use = chosen.family("attention")
sampled = {"x": anywhere("gs", 2, 3, 4, 5), "grid": data("gg", 2, 3, 4, 2, lo=-1.3, hi=1.3, kinks=())}
for mode in ("linear", "nearest"):
    for border in ("zeros", "border"):
        for corners in (0, 1):
            given = {"padding_mode": border, "align_corners": corners}
            old = one("GridSample", "x grid", hi=19, mode={"linear": "bilinear"}.get(mode, mode), **given)
            new = one("GridSample", "x grid", lo=20, mode=mode, **given)
            use("GridSample", f"_{mode}_{border}_{corners}", sampled, None, old, new)
use("GridSample", "_defaults", sampled)
volume = {"x": anywhere("gv", 1, 2, 3, 4, 3), "grid": data("gw", 1, 2, 3, 2, 3, lo=-1.3, hi=1.3, kinks=())}
use("GridSample", "_3d", volume, lo=20)
for corners in (0, 1):
    for label, theta, size in [
        ("2d", anywhere("t2", 2, 2, 3), (2, 3, 4, 5)),
        ("3d", anywhere("t3", 2, 3, 4), (2, 2, 3, 4, 2)),
    ]:
        use("AffineGrid", f"_{label}_{corners}", {"theta": theta}, {"size": ints(*size)}, align_corners=corners)


# Drawn cases.

COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


@spec("Resize", 10, 10, count=12, label="_10", standard=True)
def _(d):
    x = [1, d.int(1, 2), *d.ints(1, 4, 2)]
    mode = d.pick([None, "nearest", "linear"])
    d.x("x", x)
    scales = d.const("scales", [1, 1, *[d.pick([1, 2, 3, 0.5, 1.5]) for _ in range(2)]], np.float32)
    d.node("Resize", "x scales", mode=mode)
    if any(int(n * scale) < 1 for n, scale in zip(x, d.consts[scales], strict=True)):
        raise Again
    by_runtime(d)


def by_runtime(d):
    """ONNX Runtime is the oracle. Resizing at old opsets is what it does, and linear: float32 differences are exact enough."""
    ((shape, *_),) = d.inputs.values()
    # It takes a policy for axes from the end for another one.
    written = d.nodes
    positive = lambda attributes: {"axes": [axis % len(shape) for axis in attributes["axes"]]} if "axes" in attributes else {}
    d.nodes = [(*head, attributes | positive(attributes)) for *head, attributes in written]
    file = d.model()
    d.nodes = written
    units = np.eye(int(np.prod(shape)), dtype=np.float32)
    try:
        session = model.session(file)
        columns = [session.run(["y"], {"x": unit.reshape(shape)})[0] for unit in units]
    except Exception as error:
        raise Again from error
    if columns[0].size == 0:
        raise Again
    by_matrix = torch.tensor(np.stack(columns, -1).astype(np.float64))
    d.fn = lambda t: by_matrix.to(t["x"].dtype) @ t["x"].flatten()


@spec("Upsample", 7, 9, count=16, standard=True)
def _(d):
    x = [1, d.int(1, 2), *d.ints(1, 3, 2)]
    mode = d.pick([None, "nearest", "linear"])
    scales = [1, 1, *[d.pick([1, 2, 3, 1.5]) for _ in range(2)]]
    d.x("x", x)
    if d.opset < 9:
        d.node("Upsample", "x", mode=mode, scales=[float(s) for s in scales])
    else:
        d.const("scales", scales, np.float32)
        d.node("Upsample", "x scales", mode=mode)
    by_runtime(d)


@spec("Resize", 11, count=160, standard=True)
def _(d):
    """All modes with all coordinates, sizes or scales, axes, policies, antialias."""
    rank = d.pick([1, 2, 3, 4, 4, 4])
    dims = ([1, d.int(1, 2)] if rank == 4 else [1] if rank == 3 else []) + d.ints(1, 5, min(rank, 2))
    mode = d.pick([None, "nearest", "linear", "cubic"])
    newer = ["half_pixel_symmetric"] if d.opset >= 19 else []
    older = ["tf_half_pixel_for_nn"] if d.opset < 13 else []
    coordinates = d.pick([None, *COORDINATES, *newer, *older])
    nearest = d.pick([None, *ROUND]) if mode in (None, "nearest") else None
    anti = d.maybe(1, 0.3) if d.opset >= 18 and mode in ("linear", "cubic") else None
    outside = d.maybe(1, 0.3) if mode == "cubic" else None
    cubic = d.maybe(-0.5, 0.5) if mode == "cubic" else None
    axes = None
    if d.opset >= 18 and d.pick([True, False, False]):
        axes = sorted(int(a) for a in d.r.permutation(rank)[: d.int(1, min(2, rank))])
        if rank == 4 and axes[0] < 2:
            axes = d.pick([[2], [3], [2, 3], [3, 2], [-1], [-2, -1]])
    changed = [a % rank for a in axes] if axes is not None else list(range(rank))
    by_sizes = d.pick([True, False])
    policy = d.pick([None, "stretch", "not_larger", "not_smaller"]) if d.opset >= 18 and by_sizes else None
    sizes, scales = [], []
    for a in changed:
        free = rank < 3 or a >= rank - 2
        scale = d.pick([0.5, 0.75, 1.0, 1.5, 1.6, 2.0, 3.0]) if free else 1.0
        if int(dims[a] * scale) < 1:
            raise Again
        scales.append(scale)
        sizes.append(d.int(1, 7) if free else dims[a])
    if axes is None and policy in ("not_larger", "not_smaller") and rank > 2:
        raise Again  # Batch and channels would be scaled too.
    d.x("x", dims)
    # Opsets 11 and 12 want a roi and a list of scales.
    left_out = lambda name: d.const(name, np.zeros(0), np.float32) if d.opset < 13 else "_"
    names = ["x", left_out("roi")]
    if by_sizes:
        d.const("sizes", sizes)
        names += [left_out("empty"), "sizes"]
    else:
        names.append(d.const("scales", scales, np.float32))
    given = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest, "antialias": anti}
    given |= {"exclude_outside": outside, "cubic_coeff_a": cubic, "axes": axes, "keep_aspect_ratio_policy": policy}
    d.node("Resize", " ".join(names), mode=mode, **given)
    try:
        by_runtime(d)
    except Again:
        # The evaluator takes the fraction of a size that scales give for a size, where that is asked for.
        if coordinates in ("align_corners", "pytorch_half_pixel", "tf_half_pixel_for_nn"):
            raise


@spec("GridSample", count=60)
def _(d):
    old = d.opset < 20
    mode = d.pick([None, "bilinear", "nearest", "bicubic"] if old else [None, "linear", "nearest", "cubic"])
    border = d.pick([None, "zeros", "border", "reflection"])
    corners = d.pick([None, 0, 1])
    n, c = d.int(1, 2), d.int(1, 2)
    space = 3 if not old and d.index % 5 == 0 and mode != "cubic" else 2
    x, out = [n, c, *d.ints(2, 4, space)], d.ints(1, 3 if space == 2 else 2, space)
    d.x("x", x)
    d.x("grid", [n, *out, space], 1.3)
    d.node("GridSample", "x grid", mode=mode, padding_mode=border, align_corners=corners)


@spec("AffineGrid", count=12)
def _(d):
    n, space = d.int(1, 2), d.pick([2, 2, 3])
    size = [n, d.int(1, 2), *d.ints(1, 3, space)]
    corners = d.pick([None, 0, 1])
    d.x("theta", [n, space, space + 1])
    d.const("size", size)
    d.node("AffineGrid", "theta size", align_corners=corners)


@spec("Resize", 18, count=6, label="_computed")
def _(d):
    """Sizes that are known only in a run are those of the declared output, and refused with a policy."""
    d.x("x", [1, 1, 2, 2])
    d.const("none", np.zeros(0), np.float32)
    d.const("two", [1.0, 1.0, 4.0, 4.0], np.float32)
    d.const("nothing", 0, np.float32)
    d.node("ReduceMax", "x", "m", keepdims=0)
    d.node("Mul", "m nothing", "n")
    d.node("Add", "two n", "s")
    d.node("Cast", "s", "sizes", to=7)
    d.declared = [1, 1, 4, 4]
    policy = "not_larger" if d.index % 2 else None
    d.node("Resize", "x none none sizes", keep_aspect_ratio_policy=policy, **floored)
    d.fn = lambda t: t["x"].repeat_interleave(2, 2).repeat_interleave(2, 3)


@spec("Resize", 11, count=3, label="_crop", standard=True)
def _(d):
    """A region that is cropped is refused."""
    d.x("x", [1, 1, 4, 4])
    d.const("roi", [0, 0, 0.2, 0.2, 1, 1, 0.8, 0.8], np.float32)
    d.const("scales", [1, 1, 2, 2], np.float32)
    d.node("Resize", "x roi scales", mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
    by_runtime(d)
