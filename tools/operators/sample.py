"""Resize, Upsample, GridSample and AffineGrid."""

import numpy as np
import torch
import torch.nn.functional as F

from .draw import Again, spec

COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


@spec("Resize", 10, 10, count=12, label="_10")
def _(d):
    x = [1, d.int(1, 2), *d.ints(1, 4, 2)]
    mode = d.pick([None, "nearest", "linear"])
    d.x("x", x)
    d.const("scales", [1, 1, *[d.pick([1, 2, 3, 0.5, 1.5]) for _ in range(2)]], np.float32)
    d.node("Resize", "x scales", mode=mode)
    if any(int(n * s) < 1 for n, s in zip(x, d.consts["scales"])):
        raise Again
    by_ort(d)


def by_ort(d):
    """ONNX Runtime is the oracle: the old resizing is what it does, and it is linear, so that differences of float32 are exact enough."""
    import onnxruntime as ort

    from .draw import model

    rank = len(next(iter(d.inputs.values()))[0])
    # It takes a policy for axes from the end for another one.
    nodes = d.nodes
    d.nodes = [(*node, attrs | ({"axes": [axis % rank for axis in attrs["axes"]]} if "axes" in attrs else {})) for *node, attrs in nodes]
    written = model(d)
    d.nodes = nodes
    try:
        session = ort.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        raise Again
    (shape, *_), = [v for v in d.inputs.values()]
    size = int(np.prod(shape))
    try:
        columns = [session.run(["y"], {"x": np.eye(size, dtype=np.float32)[k].reshape(shape)})[0] for k in range(size)]
    except Exception:
        raise Again
    if columns[0].size == 0:
        raise Again
    matrix = np.stack(columns, -1).astype(np.float64)
    d.fn = lambda t: torch.tensor(matrix).to(t["x"].dtype) @ t["x"].flatten()


@spec("Upsample", 7, 9, count=16)
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
    by_ort(d)


@spec("Resize", 11, count=160)
def _(d):
    """All modes with all coordinates, sizes or scales, axes, policies, antialias."""
    rank = d.pick([1, 2, 3, 4, 4, 4])
    dims = ([1, d.int(1, 2)] if rank == 4 else [1] if rank == 3 else []) + d.ints(1, 5, min(rank, 2))
    mode = d.pick([None, "nearest", "linear", "cubic"])
    coordinates = d.pick([None, *COORDINATES] + (["half_pixel_symmetric"] if d.opset >= 19 else []) + (["tf_half_pixel_for_nn"] if d.opset < 13 else []))
    nearest = d.pick([None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]) if mode in (None, "nearest") else None
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
    roi = "_"
    if d.opset < 13:
        d.const("roi", np.zeros(0), np.float32)
        roi = "roi"
    if by_sizes:
        d.const("sizes", sizes)
        scale_name = "_"
        if d.opset < 13:
            d.const("empty", np.zeros(0), np.float32)
            scale_name = "empty"
        ins = f"x {roi} {scale_name} sizes"
    else:
        d.const("scales", scales, np.float32)
        ins = f"x {roi} scales"
    d.node("Resize", ins, mode=mode, coordinate_transformation_mode=coordinates, nearest_mode=nearest, antialias=anti, exclude_outside=outside, cubic_coeff_a=cubic, axes=axes, keep_aspect_ratio_policy=policy)
    try:
        by_ort(d)
    except Again:
        # The evaluator takes the fraction of a size that scales give for a size, where that is asked for.
        if coordinates in ("align_corners", "pytorch_half_pixel", "tf_half_pixel_for_nn"):
            raise


@spec("GridSample", 16, count=60)
def _(d):
    old = d.opset < 20
    mode = d.pick([None, "bilinear", "nearest", "bicubic"] if old else [None, "linear", "nearest", "cubic"])
    border = d.pick([None, "zeros", "border", "reflection"])
    corners = d.pick([None, 0, 1])
    n, c = d.int(1, 2), d.int(1, 2)
    space = 3 if not old and d.index % 5 == 0 and mode not in ("cubic",) else 2
    x, out = [n, c, *d.ints(2, 4, space)], d.ints(1, 3 if space == 2 else 2, space)
    d.x("x", x)
    d.x("grid", [n, *out, space], 1.3)
    d.node("GridSample", "x grid", mode=mode, padding_mode=border, align_corners=corners)
    torchs = {"bicubic": "bicubic", "cubic": "bicubic", "nearest": "nearest"}.get(mode, "bilinear")
    d.fn = lambda t: F.grid_sample(t["x"], t["grid"], torchs, border or "zeros", bool(corners))


@spec("AffineGrid", 20, count=12)
def _(d):
    n, space = d.int(1, 2), d.pick([2, 2, 3])
    size = [n, d.int(1, 2), *d.ints(1, 3, space)]
    corners = d.pick([None, 0, 1])
    d.x("theta", [n, space, space + 1])
    d.const("size", size)
    d.node("AffineGrid", "theta size", align_corners=corners)
    d.fn = lambda t: F.affine_grid(t["theta"], size, bool(corners))


@spec("Resize", 18, count=6, label="_computed")
def _(d):
    """Sizes that nobody knows before the run are those of the declared output, and refused with a policy."""
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
    d.node("Resize", "x none none sizes", keep_aspect_ratio_policy=policy, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    d.fn = lambda t: t["x"].repeat_interleave(2, 2).repeat_interleave(2, 3)


@spec("Resize", 11, count=3, label="_crop")
def _(d):
    """A region that is cropped is refused."""
    d.x("x", [1, 1, 4, 4])
    d.const("roi", [0, 0, 0.2, 0.2, 1, 1, 0.8, 0.8], np.float32)
    d.const("scales", [1, 1, 2, 2], np.float32)
    d.node("Resize", "x roi scales", mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
    by_ort(d)
