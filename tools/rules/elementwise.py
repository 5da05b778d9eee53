"""Operators that work element by element."""

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto

from .case import NEWEST, Form, case, data, f32, one

for op, fn in [("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul), ("Div", torch.div)]:
    for label, sa, sb in [("same", (2, 3, 4), (2, 3, 4)), ("scalar", (2, 3), ()), ("channel", (2, 3, 2, 2), (3, 1, 1)),
                          ("both", (2, 1, 4), (1, 3, 1)), ("rank", (4,), (2, 3, 4)), ("one", (1, 1), (2, 3))]:
        n = f"{op}_{label}"
        case("elementwise", n, op, {"a": data(n + "a", *sa), "b": data(n + "b", *sb, gap=0.4)}, fn, one(op, "a b"))
case("elementwise", "Mul_twice", "Mul", {"x": data("m2", 2, 3)}, lambda x: x * x, one("Mul", "x x"))
case("elementwise", "Add_twice", "Add", {"x": data("a2", 2, 3)}, lambda x: x + x, one("Add", "x x"))
case("elementwise", "Sum_3", "Sum", {"a": data("s1", 2, 3), "b": data("s2", 3), "c": data("s3", 2, 1)}, lambda a, b, c: a + b + c, one("Sum", "a b c", lo=8))
case("elementwise", "Sum_same", "Sum", {"a": data("s4", 2, 3), "b": data("s5", 2, 3)}, lambda a, b: a + b, one("Sum", "a b"))
case("elementwise", "Sum_1", "Sum", {"a": data("s6", 2, 3)}, lambda a: a * 1, one("Sum", "a"))
case("elementwise", "Neg", "Neg", {"x": data("neg", 2, 3)}, torch.neg, one("Neg"))
case("elementwise", "Sqrt", "Sqrt", {"x": data("sq", 2, 3, lo=0.3, hi=3)}, torch.sqrt, one("Sqrt"))
case("elementwise", "Exp", "Exp", {"x": data("xp", 2, 3)}, torch.exp, one("Exp"))
case("elementwise", "Log", "Log", {"x": data("lg", 2, 3, lo=0.3, hi=3)}, torch.log, one("Log"))
case("elementwise", "Erf", "Erf", {"x": np.append(data("er", 6), f32(0, 5, -30))}, torch.erf, one("Erf", lo=9))
for form in ("none", "tanh"):
    attrs = {} if form == "none" else {"approximate": form}
    case("elementwise", f"Gelu_{form}", "Gelu", {"x": np.append(data(form, 8, lo=-4, hi=4), f32(0, 20, -20))}, lambda x, f=form: F.gelu(x, approximate=f), one("Gelu", lo=20, **attrs))
positive = data("pw", 2, 3, lo=0.3, hi=2)
for label, x, p in [("square", data("p2", 2, 3), 2), ("cube", data("p3", 2, 3), 3), ("half", positive, 0.5), ("reciprocal", positive, -1), ("one", data("p1", 2, 3), 1),
                    ("zero", f32(-1, 0, 2), 0), ("square_at_0", f32(-1, 0, 2), 2), ("channels", data("pc", 2, 3), [2, 3, 1])]:
    fn = lambda x, p=p: torch.pow(x, torch.tensor(np.array(p, np.float64)))
    case("elementwise", f"Pow_{label}", "Pow", {"x": x}, fn, one("Pow", "x p", consts={"p": np.array(p, np.float32)}))
    if isinstance(p, int):
        case("elementwise", f"Pow_{label}_int", "Pow", {"x": x}, fn, one("Pow", "x p", lo=12, consts={"p": np.array(p, np.int64)}))
case("elementwise", "Pow_exponent", "Pow", {"x": data("px", 2, 3, lo=0.3, hi=2), "p": data("pp", 3)}, torch.pow, one("Pow", "x p"))
case("elementwise", "Pow_exponent_at_0", "Pow", {"x": f32(0, 0, 2, 3), "p": f32(0, 1.5, 0, 2)}, torch.pow, one("Pow", "x p"))
case("elementwise", "Pow_scalar_base", "Pow", {"x": f32(1.5), "p": data("ps", 2, 3)}, torch.pow, one("Pow", "x p"))
case("elementwise", "Identity", "Identity", {"x": data("id", 2, 3)}, lambda x: x * 1, one("Identity"))
case("elementwise", "Relu", "Relu", {"x": data("re", 2, 3, 4)}, F.relu, one("Relu"))
case("elementwise", "Relu_at_0", "Relu", {"x": f32(-1, 0, 0, 2)}, F.relu, one("Relu"))
case("elementwise", "LeakyRelu", "LeakyRelu", {"x": data("lr", 2, 3, 4)}, lambda x: F.leaky_relu(x, float(np.float32(0.01))), one("LeakyRelu"))
case("elementwise", "LeakyRelu_slope", "LeakyRelu", {"x": data("ls", 2, 3, 4)}, lambda x: F.leaky_relu(x, 0.25), one("LeakyRelu", alpha=0.25))
case("elementwise", "LeakyRelu_at_0", "LeakyRelu", {"x": f32(-1, 0, 2)}, lambda x: F.leaky_relu(x, 0.25), one("LeakyRelu", alpha=0.25))
bounds = {"lo": np.float32(-0.5), "hi": np.float32(1.0)}
for label, x, lo, hi in [("both", data("cb", 3, 4, kinks=(-0.5, 1.0)), -0.5, 1.0), ("low", data("cl", 3, 4, kinks=(-0.5,)), -0.5, None),
                         ("high", data("ch", 3, 4, kinks=(1.0,)), None, 1.0), ("at_bounds", f32(-1, -0.5, 0.3, 1, 2), -0.5, 1.0)]:
    # Strict bounds, as torch.clamp of 2.15, relu6 and hardtanh.
    def clip(x, lo=lo, hi=hi):
        inside = torch.ones_like(x, dtype=torch.bool)
        out = x
        if lo is not None:
            out, inside = torch.clamp(out, min=lo), inside & (x > lo)
        if hi is not None:
            out, inside = torch.clamp(out, max=hi), inside & (x < hi)
        return out.detach() + (x * inside - (x * inside).detach())
    attrs = {k: v for k, v in (("min", lo), ("max", hi)) if v is not None}
    ins = "x " + ("lo" if lo is not None else "_") + (" hi" if hi is not None else "")
    consts = {k: bounds[k] for k, v in (("lo", lo), ("hi", hi)) if v is not None}
    case("elementwise", f"Clip_{label}", "Clip", {"x": x}, clip, one("Clip", hi=10, **attrs), one("Clip", ins.strip(), lo=11, consts=consts))
assert torch.equal(torch.autograd.grad(F.relu6(t := torch.tensor([0.0, 6.0, 3.0], requires_grad=True)).sum(), t)[0], torch.tensor([0.0, 0.0, 1.0]))
case("elementwise", "Sigmoid", "Sigmoid", {"x": np.append(data("si", 6), f32(80, -80))}, torch.sigmoid, one("Sigmoid"))
case("elementwise", "Tanh", "Tanh", {"x": data("ta", 2, 3)}, torch.tanh, one("Tanh"))


def hard_sigmoid(x, alpha, beta):
    y = alpha * x + beta
    return torch.where((y > 0) & (y < 1), y, y.clamp(0, 1).detach())


a02 = float(np.float32(0.2))
case("elementwise", "HardSigmoid", "HardSigmoid", {"x": data("hs", 3, 4, lo=-4, hi=4, kinks=(-2.5, 2.5))}, lambda x: hard_sigmoid(x, a02, 0.5), one("HardSigmoid"))
sixth = float(np.float32(1 / 6))
case("elementwise", "HardSigmoid_sixth", "HardSigmoid", {"x": data("h6", 3, 4, lo=-5, hi=5, kinks=(-3, 3))}, lambda x: hard_sigmoid(x, sixth, 0.5), one("HardSigmoid", alpha=1 / 6, beta=0.5))
case("elementwise", "HardSigmoid_at_kinks", "HardSigmoid", {"x": f32(-2, -1, 0, 1, 2)}, lambda x: hard_sigmoid(x, 0.5, 0.5), one("HardSigmoid", alpha=0.5, beta=0.5))
case("elementwise", "HardSwish", "HardSwish", {"x": np.append(data("hw", 10, lo=-5, hi=5, kinks=(-3, 3)), f32(-3, 3))}, F.hardswish, one("HardSwish", lo=14))
case("elementwise", "Max_2", "Max", {"a": data("mx1", 2, 3), "b": data("mx2", 3)}, torch.maximum, one("Max", "a b", lo=8))
case("elementwise", "Max_same", "Max", {"a": data("mx3", 2, 3), "b": data("mx4", 2, 3)}, torch.maximum, one("Max", "a b"))
case("elementwise", "Max_tie", "Max", {"a": f32(1, 2, 3), "b": f32(1, 3, 2)}, torch.maximum, one("Max", "a b"))
case("elementwise", "Max_3", "Max", {"a": data("mx5", 2, 3), "b": data("mx6", 3), "c": data("mx7", 2, 1)}, lambda a, b, c: torch.maximum(torch.maximum(a, b), c), one("Max", "a b c", lo=8))
case("elementwise", "Min_2", "Min", {"a": data("mn1", 2, 3), "b": data("mn2", 3)}, torch.minimum, one("Min", "a b", lo=8))
case("elementwise", "Min_3", "Min", {"a": data("mn5", 2, 3), "b": data("mn6", 3), "c": data("mn7", 2, 1)}, lambda a, b, c: torch.minimum(torch.minimum(a, b), c), one("Min", "a b c", lo=8))
case("elementwise", "Min_tie", "Min", {"a": f32(1, 2, 3), "b": f32(1, 3, 2)}, torch.minimum, one("Min", "a b"))
case("elementwise", "Mean_3", "Mean", {"a": data("me1", 2, 3), "b": data("me2", 3), "c": data("me3", 2, 1)}, lambda a, b, c: (a + b + c) / 3, one("Mean", "a b c", lo=8))
case("elementwise", "Mean_same", "Mean", {"a": data("me4", 2, 3), "b": data("me5", 2, 3)}, lambda a, b: (a + b) / 2, one("Mean", "a b"))
choice = np.array([[True, False, True], [False, False, True]])
for label, sa, sb, c in [("same", (2, 3), (2, 3), choice), ("broadcast", (3,), (2, 1), choice), ("condition", (2, 3), (), choice[:1])]:
    case("elementwise", f"Where_{label}", "Where", {"a": data("wa" + label, *sa), "b": data("wb" + label, *sb)}, lambda a, b, c=torch.tensor(c): torch.where(c, a, b), one("Where", "c a b", lo=9, consts={"c": c}))
case("elementwise", "Mod_fmod", "Mod", {"a": data("md1", 2, 4, lo=-5, hi=5, kinks=(-4.5, -3, -1.5, 0, 1.5, 3, 4.5)), "b": f32(1.5)}, lambda a, b: torch.fmod(a, b), one("Mod", "a b", lo=10, fmod=1))
case("elementwise", "Mod_divisors", "Mod", {"a": f32(5.3, -5.3, 5.3, -5.3), "b": f32(2, 2, -2, -2)}, torch.fmod, one("Mod", "a b", lo=10, fmod=1))
case("elementwise", "Dropout", "Dropout", {"x": data("dr", 2, 3)}, lambda x: x * 1, one("Dropout", hi=11, ratio=0.3), one("Dropout", "x ratio", lo=12, consts={"ratio": np.float32(0.3)}))
case("elementwise", "Dropout_not_training", "Dropout", {"x": data("dn", 2, 3)}, lambda x: x * 1,
     one("Dropout", "x ratio training", lo=12, consts={"ratio": np.float32(0.3), "training": np.array(False)}))
case("elementwise", "Cast_round_trip", "Cast", {"x": data("ct", 2, 3)}, lambda x: x * 1,
     Form(7, NEWEST, [("Cast", ["x"], ["d"], {"to": TensorProto.DOUBLE}), ("Cast", ["d"], ["y"], {"to": TensorProto.FLOAT})]))
case("elementwise", "CastLike", "CastLike", {"x": data("cs", 2, 3), "like": data("cl2", 2)}, lambda x, like: x * 1, one("CastLike", "x like", lo=15))
case("elementwise", "Abs", "Abs", {"x": np.append(data("ab", 5), f32(0))}, torch.abs, one("Abs"))
case("elementwise", "Reciprocal", "Reciprocal", {"x": data("rc", 2, 3, gap=0.4)}, torch.reciprocal, one("Reciprocal"))
for op, lo, low, high in [("Sin", 7, -3, 3), ("Cos", 7, -3, 3), ("Tan", 7, -1.2, 1.2), ("Asin", 7, -0.8, 0.8), ("Acos", 7, -0.8, 0.8), ("Atan", 7, -3, 3),
                          ("Sinh", 9, -2, 2), ("Cosh", 9, -2, 2), ("Asinh", 9, -3, 3), ("Acosh", 9, 1.3, 4), ("Atanh", 9, -0.8, 0.8)]:
    case("elementwise", op, op, {"x": data("f" + op, 2, 3, lo=low, hi=high)}, getattr(torch, op.lower()), one(op, lo=lo))
