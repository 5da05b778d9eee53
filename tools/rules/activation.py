"""The rarer activations."""

import numpy as np
import torch
import torch.nn.functional as F

from .case import case, data, f32, one

around = lambda name, *kinks: np.append(data(name, 9, lo=-4, hi=4, kinks=kinks or (0.0,)), f32(*(kinks or (0,))))
single = lambda number: float(np.float32(number))
for label, fn, op, lo, attrs, kinks in [
    ("", F.elu, "Elu", 7, {}, ()),
    ("_alpha", lambda x: F.elu(x, 0.5), "Elu", 7, {"alpha": 0.5}, ()),
    ("", F.selu, "Selu", 7, {}, ()),
    ("_alpha_gamma", lambda x: 0.75 * F.elu(x, 1.5), "Selu", 7, {"alpha": 1.5, "gamma": 0.75}, ()),
    ("", F.celu, "Celu", 12, {}, ()),
    ("_alpha", lambda x: F.celu(x, 0.3), "Celu", 12, {"alpha": 0.3}, ()),
    ("", F.softplus, "Softplus", 7, {}, ()),
    ("", F.softsign, "Softsign", 7, {}, ()),
    ("", F.mish, "Mish", 18, {}, ()),
    ("", F.silu, "Swish", 24, {}, ()),
    ("_alpha", lambda x: x * torch.sigmoid(1.5 * x), "Swish", 24, {"alpha": 1.5}, ()),
    ("", lambda x: F.threshold(x, 1.0, 0.0), "ThresholdedRelu", 10, {}, (1.0,)),
    ("_alpha", lambda x: F.threshold(x, -0.5, 0.0), "ThresholdedRelu", 10, {"alpha": -0.5}, (-0.5,)),
    ("", F.hardshrink, "Shrink", 9, {}, (-0.5, 0.5)),
    ("_soft", lambda x: F.softshrink(x, 0.75), "Shrink", 9, {"lambd": 0.75, "bias": 0.75}, (-0.75, 0.75)),
]:
    case("activation", op + label, op, {"x": around(op + label, *kinks)}, fn, one(op, lo=lo, **attrs))
case("activation", "Elu_far", "Elu", {"x": f32(-100, 100, -20, 20)}, F.elu, one("Elu"))
case("activation", "Elu_flat", "Elu", {"x": f32(-8, -9, -12)}, F.elu, one("Elu"))
case("activation", "Softplus_far", "Softplus", {"x": f32(-100, 100, -5, 5)}, F.softplus, one("Softplus"))
case("activation", "Mish_far", "Mish", {"x": f32(-100, 100, -5, 5)}, F.mish, one("Mish", lo=18))
case("activation", "Swish_far", "Swish", {"x": f32(-100, 100, -5, 5)}, F.silu, one("Swish", lo=24))
prelu = lambda x, s: torch.where(x > 0, x, s * x)
case("activation", "PRelu_one", "PRelu", {"x": np.append(data("pr1", 5), f32(0)), "s": f32(0.25)}, prelu, one("PRelu", "x s"))
case("activation", "PRelu_channels", "PRelu", {"x": data("pr2", 2, 3, 2, 2), "s": data("pr3", 3, 1, 1)}, prelu, one("PRelu", "x s"))
case("activation", "PRelu_each", "PRelu", {"x": data("pr4", 2, 3), "s": data("pr5", 2, 3)}, prelu, one("PRelu", "x s"))
at_0 = torch.zeros(1, dtype=torch.float64, requires_grad=True)
assert torch.autograd.grad(F.prelu(at_0, torch.tensor([0.25], dtype=torch.float64)).sum(), at_0)[0] == 0.25
