"""Resize and Upsample. Their definition is written out in float64 as a matrix for each axis, independently of how
the project does it, and compared with torch where torch has the mode. Cases that name the sizes of all axes are called `…_sized`."""

import math
import string

import numpy as np
import torch
import torch.nn.functional as F

from .case import NEWEST, anywhere, case, f32, ints, one


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


ROUND = {"round_prefer_floor": lambda x: math.ceil(x - 0.5), "round_prefer_ceil": lambda x: math.floor(x + 0.5), "floor": math.floor, "ceil": math.ceil}


def cubic(u, a):
    u = abs(u)
    return (a + 2) * u**3 - (a + 3) * u**2 + 1 if u <= 1 else a * u**3 - 5 * a * u**2 + 8 * a * u - 4 * a if u < 2 else 0.0


def matrix(length, out, scale, mode, coordinates, nearest, a, exclude, antialias):
    m = np.zeros((out, length))
    for o in range(out):
        x = source(o, length, out, scale, coordinates)
        if mode == "nearest":
            m[o, min(max(ROUND[nearest](x), 0), length - 1)] = 1
            continue
        shrink = min(scale, 1.0) if antialias else 1.0
        for i in range(-4 * length - 9, 5 * length + 9):
            u = (i - x) * shrink
            w = max(1 - abs(u), 0) if mode == "linear" else cubic(u, a)
            if not exclude or 0 <= i < length:
                m[o, min(max(i, 0), length - 1)] += w
        m[o] /= m[o].sum()
    return torch.tensor(m)


def resize_case(name, x, scales=None, sizes=None, mode="nearest", coordinates="half_pixel", nearest="round_prefer_floor", a=-0.75, exclude=0, antialias=0, axes=None, policy=None, check=None, lo=11, forms=None):
    places = [i % x.ndim for i in axes] if axes else list(range(x.ndim))
    attrs = {"keep_aspect_ratio_policy": policy} if policy else {}
    if policy:
        common = {"not_larger": min, "not_smaller": max}[policy](size / x.shape[place] for size, place in zip(sizes, places))
    steps = []
    for at, place in enumerate(places):
        length = x.shape[place]
        out = math.floor(length * common + 0.5) if policy else sizes[at] if sizes else int(length * scales[at])
        scale = common if policy else scales[at] if scales else out / length
        if scale != 1:
            steps.append((place, matrix(length, out, float(np.float32(scale)) if scales else scale, mode, coordinates, nearest, a, exclude, antialias)))

    def fn(t):
        for place, m in steps:
            t = torch.movedim(torch.movedim(t, place, -1) @ m.T, -1, place)
        return t

    if check is not None:
        t = torch.tensor(x.astype(np.float64))
        assert torch.allclose(fn(t), check(t), atol=1e-9), name
    attrs |= {"mode": mode} | ({"coordinate_transformation_mode": coordinates} if coordinates != "half_pixel" else {})
    attrs |= {"nearest_mode": nearest} if mode == "nearest" else {}
    attrs |= {"cubic_coeff_a": a} if mode == "cubic" else {}
    attrs |= {"exclude_outside": 1} if exclude else {}
    attrs |= {"antialias": 1} if antialias else {}
    attrs |= {"axes": axes} if axes else {}
    consts = {"scales": f32(*scales)} if scales else {"sizes": ints(*sizes)}
    # Opset 11 still wanted a roi and a list of scales.
    empty = consts | {"roi": f32(), "none": f32()}
    lo = 18 if antialias or axes or policy else lo
    if forms is None:
        forms = [one("Resize", "x roi scales" if scales else "x roi none sizes", lo=11, hi=12, consts=empty, **attrs)] if lo < 13 else []
        forms.append(one("Resize", "x _ scales" if scales else "x _ _ sizes", lo=max(lo, 13), consts=consts, **attrs))
    case("resize", name + "_sized" if sizes and not axes else name, "Resize" if forms[0].nodes[0][0] == "Resize" else "Upsample", {"x": x}, fn, *forms)


up = lambda mode, **k: lambda t: F.interpolate(t, mode=mode, **k)
rx = anywhere("rx", 2, 2, 5, 6)
exact = lambda *to, **k: up("nearest-exact", size=to, **k)
resize_case("Resize_nearest_x2", rx, [1, 1, 2, 3], coordinates="asymmetric", nearest="floor", check=up("nearest", scale_factor=(2, 3)))
resize_case("Resize_nearest_half_pixel_x2", rx, [1, 1, 2, 2], check=exact(10, 12))
resize_case("Resize_nearest_up", rx, sizes=[2, 2, 7, 11], coordinates="asymmetric", nearest="floor", check=up("nearest", size=(7, 11)))
resize_case("Resize_nearest_down", rx, sizes=[2, 2, 3, 4], coordinates="asymmetric", nearest="floor", check=up("nearest", size=(3, 4)))
resize_case("Resize_linear_up", rx, sizes=[2, 2, 9, 8], mode="linear", check=up("bilinear", size=(9, 8)))
resize_case("Resize_linear_pytorch_to_1", rx, sizes=[2, 2, 1, 9], mode="linear", coordinates="pytorch_half_pixel")
resize_case("Resize_linear_down", rx, sizes=[2, 2, 3, 4], mode="linear", check=up("bilinear", size=(3, 4)))
resize_case("Resize_linear_scale", anywhere("rs", 1, 2, 7, 7), [1, 1, 1.6, 2.5], mode="linear")
resize_case("Resize_linear_corners", rx, sizes=[2, 2, 9, 4], mode="linear", coordinates="align_corners", check=up("bilinear", size=(9, 4), align_corners=True))
resize_case("Resize_linear_asymmetric", rx, [1, 1, 2, 2], mode="linear", coordinates="asymmetric")
resize_case("Resize_linear_1d", anywhere("rl", 2, 3, 5), sizes=[2, 3, 8], mode="linear", check=up("linear", size=8))
resize_case("Resize_linear_3d", anywhere("rd", 1, 2, 3, 4, 3), sizes=[1, 2, 5, 3, 6], mode="linear", check=up("trilinear", size=(5, 3, 6)))
resize_case("Resize_nearest_3d", anywhere("rn", 1, 2, 3, 2, 3), [1, 1, 2, 2, 2], coordinates="asymmetric", nearest="floor", check=up("nearest", scale_factor=2))
resize_case("Resize_cubic_up", rx, sizes=[2, 2, 9, 8], mode="cubic", check=up("bicubic", size=(9, 8)))
resize_case("Resize_cubic_down", rx, sizes=[2, 2, 3, 4], mode="cubic", check=up("bicubic", size=(3, 4)))
resize_case("Resize_cubic_corners", rx, sizes=[2, 2, 9, 8], mode="cubic", coordinates="align_corners", check=up("bicubic", size=(9, 8), align_corners=True))
resize_case("Resize_cubic_exclude_outside", rx, sizes=[2, 2, 8, 4], mode="cubic", a=-0.5, exclude=1)
resize_case("Resize_cubic_asymmetric", rx, [1, 1, 1.5, 2], mode="cubic", coordinates="asymmetric")
resize_case("Resize_symmetric_linear", rx, [1, 1, 1.3, 0.7], mode="linear", coordinates="half_pixel_symmetric", lo=19)
resize_case("Resize_antialias_linear", anywhere("ra", 1, 2, 9, 11), sizes=[1, 2, 4, 5], mode="linear", antialias=1, exclude=1, check=up("bilinear", size=(4, 5), antialias=True))
resize_case("Resize_antialias_cubic", anywhere("rc", 1, 2, 9, 11), sizes=[1, 2, 4, 5], mode="cubic", a=-0.5, antialias=1, exclude=1, check=up("bicubic", size=(4, 5), antialias=True))
resize_case("Resize_antialias_border", anywhere("rb", 1, 2, 9, 11), sizes=[1, 2, 4, 5], mode="linear", antialias=1)
resize_case("Resize_antialias_up", rx, sizes=[2, 2, 9, 8], mode="linear", antialias=1, exclude=1)
resize_case("Resize_axes", rx, sizes=[8, 9], mode="linear", axes=[2, 3])
for policy in ("not_larger", "not_smaller"):
    resize_case(f"Resize_{policy}", rx, sizes=[8, 11], mode="linear", axes=[2, 3], policy=policy)
    resize_case(f"Resize_{policy}_down", rx, sizes=[4, 3], mode="cubic", axes=[3, 2], policy=policy)
resize_case("Resize_axes_turned", rx, [2, 0.5], coordinates="asymmetric", nearest="floor", axes=[-1, 2])
resize_case("Resize_channels_last", anywhere("rh", 2, 3, 4, 2), [1, 2, 2, 1], mode="linear", coordinates="asymmetric")
for rounding in ROUND:
    for coordinates in ("half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn"):
        lo, hi = (11, 12) if coordinates == "tf_half_pixel_for_nn" else (11, NEWEST)
        forms = None
        for word, sizes in ("up", [2, 2, 8, 9]), ("down", [2, 2, 2, 4]):
            attrs = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
            if hi == 12:
                forms = [one("Resize", "x roi none sizes", lo=11, hi=12, consts={"sizes": ints(*sizes), "roi": f32(), "none": f32()}, **attrs)]
            resize_case(f"Resize_nearest_{coordinates}_{rounding}_{word}", rx, sizes=sizes, coordinates=coordinates, nearest=rounding, forms=forms)
for mode, scales, word in [("nearest", [1, 1, 2, 3], "nearest"), ("linear", [1, 1, 2, 3], "linear")]:
    consts = {"scales": f32(*scales)}
    attrs = {"mode": mode}
    resize_case(f"Resize_10_{word}", rx, scales, mode=mode, coordinates="asymmetric", nearest="floor", forms=[one("Resize", "x scales", lo=10, hi=10, consts=consts, **attrs)])
    forms = [one("Upsample", lo=7, hi=8, scales=[float(s) for s in scales], **attrs), one("Upsample", "x scales", lo=9, hi=9, consts=consts, **attrs)]
    resize_case(f"Upsample_{word}", rx, scales, mode=mode, coordinates="asymmetric", nearest="floor", forms=forms)
resize_case("Resize_10_down", rx, [1, 1, 0.6, 0.5], coordinates="asymmetric", nearest="ceil", forms=[one("Resize", "x scales", lo=10, hi=10, consts={"scales": f32(1, 1, 0.6, 0.5)}, mode="nearest")])
