"""Normalisations."""

import numpy as np
import torch
import torch.nn.functional as F

from .case import NEWEST, Form, anywhere, case, data, one

stats = {"s": data("bs", 3, lo=0.5, hi=1.5), "b": data("bb", 3), "m": data("bm", 3), "v": data("bv", 3, lo=0.2, hi=2)}
s64 = {k: torch.tensor(v.astype(np.float64)) for k, v in stats.items()}
for label, shape, eps in [("2d", (2, 3, 2, 3), 1e-5), ("1d", (2, 3, 4), 1e-3), ("flat", (4, 3), 1e-5), ("3d", (1, 3, 2, 2, 2), 1e-5)]:
    fn = lambda x, eps=eps: F.batch_norm(x, s64["m"], s64["v"], s64["s"], s64["b"], eps=float(np.float32(eps)))
    attrs = {} if eps == 1e-5 else {"epsilon": eps}
    case("norm", f"BatchNormalization_{label}", "BatchNormalization", {"x": anywhere("bn" + label, *shape)}, fn,
         one("BatchNormalization", "x s b m v", hi=8, consts=stats, **attrs, spatial=1), one("BatchNormalization", "x s b m v", lo=9, consts=stats, **attrs))
for label, shape, axis, bias, eps in [("last", (2, 3, 4), -1, True, 1e-5), ("two_axes", (2, 3, 4), 1, True, 1e-3), ("no_bias", (2, 5), 1, False, 1e-5), ("tokens", (2, 3, 2, 6), 3, True, 1e-6)]:
    over = shape[axis:]
    w, b = data("lw" + label, *over, lo=0.5, hi=1.5), data("lb" + label, *over) if bias else None
    fn = lambda x, o=over, w=w, b=b, e=eps: F.layer_norm(x, o, torch.tensor(w.astype(np.float64)), None if b is None else torch.tensor(b.astype(np.float64)), float(np.float32(e)))
    attrs = ({} if axis == -1 else {"axis": axis}) | ({} if eps == 1e-5 else {"epsilon": eps})
    consts = {"w": w} | ({"b": b} if bias else {})
    case("norm", f"LayerNormalization_{label}", "LayerNormalization", {"x": anywhere("ln" + label, *shape)}, fn,
         one("LayerNormalization", "x w b" if bias else "x w", lo=17, consts=consts, **attrs))
double = lambda array: torch.tensor(array.astype(np.float64))
case("norm", "LayerNormalization_of_ONNX_Runtime", "LayerNormalization", {"x": anywhere("lort", 2, 3, 4)}, lambda x: F.layer_norm(x, (4,), double(data("lort2", 4)), None, float(np.float32(1e-5))),
     one("LayerNormalization", "x w", hi=16, consts={"w": data("lort2", 4)}))
# The optional outputs and the parameters, by definition.
lx = anywhere("lo", 2, 3, 4)
single = lambda number: float(np.float32(number))
stat = lambda x: (x.mean(-1, keepdim=True), 1 / (x.var(-1, unbiased=False, keepdim=True) + single(1e-5)).sqrt())
lw4 = data("lw3", 4, lo=0.5, hi=1.5)
case("norm", "LayerNormalization_parameters", "LayerNormalization", {"x": lx, "w": data("lw2", 4, lo=0.5, hi=1.5), "b": data("lb2", 4)}, lambda x, w, b: F.layer_norm(x, (4,), w, b, single(1e-5)), one("LayerNormalization", "x w b", lo=17))
case("norm", "LayerNormalization_statistics", "LayerNormalization", {"x": lx}, lambda x: F.layer_norm(x, (4,), double(lw4), None, single(1e-5)) + stat(x)[0] * stat(x)[1],
     Form(17, NEWEST, [("LayerNormalization", ["x", "w"], ["n", "m", "r"], {}), ("Mul", ["m", "r"], ["k"], {}), ("Add", ["n", "k"], ["y"], {})], {"w": lw4}))
for label, shape, eps in [("2d", (2, 3, 2, 3), 1e-5), ("1d", (2, 3, 4), 1e-3), ("3d", (1, 3, 2, 2, 2), 1e-5)]:
    attrs = {} if eps == 1e-5 else {"epsilon": eps}
    case("norm", f"InstanceNormalization_{label}", "InstanceNormalization", {"x": anywhere("in" + label, *shape), "s": stats["s"], "b": stats["b"]}, lambda x, s, b, e=eps: F.instance_norm(x, weight=s, bias=b, eps=single(e)),
         one("InstanceNormalization", "x s b", **attrs))
for label, shape, groups, eps in [("2d", (2, 6, 2, 3), 2, 1e-5), ("1d", (2, 4, 5), 4, 1e-3), ("one", (2, 3, 2, 2), 1, 1e-5)]:
    attrs = {"num_groups": groups} | ({} if eps == 1e-5 else {"epsilon": eps})
    x, s, b = anywhere("gn" + label, *shape), data("gs" + label, shape[1], lo=0.5, hi=1.5), data("gb" + label, shape[1])
    case("norm", f"GroupNormalization_{label}", "GroupNormalization", {"x": x, "s": s, "b": b}, lambda x, s, b, g=groups, e=eps: F.group_norm(x, g, s, b, single(e)), one("GroupNormalization", "x s b", lo=21, **attrs))
    each = lambda t, c=shape[1] // groups: t.repeat_interleave(c)
    case("norm", f"GroupNormalization_{label}_per_group", "GroupNormalization", {"x": x, "s": s[:groups], "b": b[:groups]}, lambda x, s, b, g=groups, e=eps, each=each: F.group_norm(x, g, each(s), each(b), single(e)),
         one("GroupNormalization", "x s b", lo=18, hi=20, **attrs))
for label, shape, axis in [("last", (2, 3, 4), -1), ("two_axes", (2, 3, 4), 1)]:
    attrs = {} if axis == -1 else {"axis": axis, "epsilon": 1e-3}
    over = shape[axis:]
    case("norm", f"RMSNormalization_{label}", "RMSNormalization", {"x": anywhere("rm" + label, *shape), "s": data("rs" + label, *over)}, lambda x, s, o=over, e=attrs.get("epsilon", 1e-5): F.rms_norm(x, o, s, single(e)),
         one("RMSNormalization", "x s", lo=23, **attrs))
for p in (1, 2):
    for axis in (-1, 1):
        attrs = ({} if p == 2 else {"p": 1}) | ({} if axis == -1 else {"axis": axis})
        case("norm", f"LpNormalization_{p}_axis{axis}", "LpNormalization", {"x": data(f"lp{p}{axis}", 2, 3, 4)}, lambda x, p=p, a=axis: F.normalize(x, p, a), one("LpNormalization", **attrs))
for label, shape, axes in [("default", (2, 3, 2, 3), (0, 2, 3)), ("channels", (2, 3, 2, 3), (1, 2, 3)), ("one", (2, 5), (1,))]:
    attrs = {} if label == "default" else {"axes": axes}
    case("norm", f"MeanVarianceNormalization_{label}", "MeanVarianceNormalization", {"x": anywhere("mv" + label, *shape)}, lambda x, a=axes: (x - x.mean(a, keepdim=True)) / (x.var(a, unbiased=False, keepdim=True).sqrt() + 1e-9),
         one("MeanVarianceNormalization", lo=9, **attrs))


def local_response(x, size, alpha, beta, bias):
    rest = [0, 0] * (x.ndim - 2)
    square = F.pad(x * x, rest + [(size - 1) // 2, size // 2])
    total = sum(square[:, k:k + x.shape[1]] for k in range(size))
    return x / (bias + alpha / size * total) ** beta


for label, shape, size, attrs in [("3", (2, 5, 2, 3), 3, {}), ("5", (1, 6, 4, 3), 5, {"alpha": 0.5, "beta": 0.6, "bias": 2.0}), ("beyond", (1, 2, 2, 2), 5, {"alpha": 1.0}), ("even", (1, 5, 2, 2), 4, {"alpha": 0.5})]:
    numbers = [single(attrs.get(k, d)) for k, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))]
    fn = lambda x, s=size, n=numbers: local_response(x, s, *n)
    x = data("lrn" + label, *shape)
    if size % 2:
        assert torch.allclose(fn(double(x)), F.local_response_norm(double(x), size, *numbers), atol=1e-12)
    case("norm", f"LRN_{label}", "LRN", {"x": x}, fn, one("LRN", size=size, **attrs))
# The norm is 0: so is the output, and the gradient.
for p in (1, 2):
    zero_row = np.array([[3, 4], [0, 0]], np.float32)
    case("norm", f"LpNormalization_{p}_at_0", "LpNormalization", {"x": zero_row}, lambda x, p=p: torch.where(x.abs().sum(1, True) > 0, x / torch.where(x == 0, 1, x).norm(p, 1, True), 0), one("LpNormalization", p=p))
case("norm", "SimplifiedLayerNormalization", "SimplifiedLayerNormalization", {"x": lx, "w": lw4}, lambda x, w: F.rms_norm(x, (4,), w, single(1e-5)), one("SimplifiedLayerNormalization", "x w", axis=-1, epsilon=1e-5))
