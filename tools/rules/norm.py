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
