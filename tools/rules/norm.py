"""Normalisations."""

import numpy as np
import torch
import torch.nn.functional as F

from .case import anywhere, case, data, one

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
