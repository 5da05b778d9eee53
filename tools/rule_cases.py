# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "onnxruntime==1.32.0", "numpy"]
# ///
"""Writes the reference cases of the gradient rules: crates/testkit/fixtures/rules/<family>.json.

python tools/rule_cases.py [FOLDER]

A case is one operator used in one way (or a few operators together): ONNX models that spell it for ranges of opsets, the
inputs, a cotangent of the output, and what float64 torch autograd says of output and input gradients. Every
model is checked by onnx.checker and run by ONNX Runtime, whose output must agree with torch's to 1e-5.
Inputs are float32 numbers away from kinks, except in cases named for what happens there.
"""

import base64
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

OLDEST, NEWEST = 7, 28
CASES: dict[str, list] = {}
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
ort.set_default_logger_severity(4)


def rng(name):
    return np.random.default_rng(abs(int.from_bytes(name.encode()[-8:], "little")) % 2**32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def f32(*values):
    return np.array(values, dtype=np.float32)


class Form:
    """One spelling: nodes (op, inputs, outputs, attributes) and constants for opsets lo to hi."""

    def __init__(self, lo, hi, nodes, consts=None):
        self.lo, self.hi, self.nodes, self.consts = lo, hi, nodes, consts or {}


def one(op, ins="x", lo=OLDEST, hi=NEWEST, consts=None, outs="y", **attrs):
    """A form of a single node; inputs are a string of names between blanks, '_' leaves one out."""
    names = [n.replace("_", "") if n == "_" else n for n in ins.split()]
    return Form(lo, hi, [(op, names, outs.split(), attrs)], consts)


def case(family, name, op, inputs, torch_fn, *forms):
    """Adds a case. `inputs` are name → array; `torch_fn` takes them as float64 tensors in that order."""
    tensors = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in inputs.values()]
    y = torch_fn(*tensors)
    seed = rng("seed" + name).uniform(0.5, 1.5, tuple(y.shape)) * np.where(rng("sign" + name).random(tuple(y.shape)) < 0.5, -1, 1)
    seed = seed.astype(np.float32)
    grads = torch.autograd.grad(y, tensors, torch.tensor(seed.astype(np.float64)), allow_unused=True)
    grads = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, grads)]
    row = {"name": name, "op": op, "variants": [], "wrt": list(inputs)}
    for form in forms:
        model = build(form, inputs, y)
        onnx.checker.check_model(model, full_check=False)
        got = None
        try:
            session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            got = session.run(["y"], {k: v for k, v in inputs.items()})[0]
        except Exception as error:  # an opset whose kernel ORT lacks is not our question
            print(f"  {name} {form.lo}: ORT: {str(error)[:110]}")
        if got is not None:
            want = y.detach().numpy()
            scale = max(np.abs(want).max(), 1e-30)
            assert got.shape == want.shape, f"{name} {form.lo}: ORT gives {got.shape}, torch {want.shape}"
            error = np.abs(got - want).max() / scale
            assert error < 1e-5, f"{name} {form.lo}: ORT and torch differ by {error}"
        row["variants"].append({"opsets": [form.lo, form.hi], "model": base64.b64encode(model.SerializeToString()).decode()})
    tensor = lambda a: {"shape": list(a.shape), "data": [float(v) for v in np.asarray(a).ravel()]}
    row["inputs"] = {k: tensor(v) for k, v in inputs.items()}
    row["seed"] = tensor(seed)
    row["forward"] = tensor(y.detach().numpy())
    row["grads"] = {k: tensor(g.numpy()) for k, g in zip(inputs, grads)}
    CASES.setdefault(family, []).append(row)


def build(form, inputs, y):
    info = lambda n, s: helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
    nodes = [helper.make_node(op, ins, outs, name=f"{outs[0]}_node", **attrs) for op, ins, outs, attrs in form.nodes]
    consts = [numpy_helper.from_array(np.asarray(v), k) for k, v in form.consts.items()]
    graph = helper.make_graph(nodes, "case", [info(k, v.shape) for k, v in inputs.items()], [info("y", list(y.shape))], consts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", form.lo)], ir_version=8)


def data(name, *shape, lo=-2.0, hi=2.0, gap=0.05, kinks=(0.0,)):
    """Uniform numbers that keep a distance to the kinks."""
    r = rng(name)
    out = r.uniform(lo, hi, shape).astype(np.float32)
    for _ in range(100):
        near = np.zeros(shape, bool)
        for kink in kinks:
            near |= np.abs(out - kink) < gap
        if not near.any():
            break
        out[near] = r.uniform(lo, hi, near.sum()).astype(np.float32)
    return out


def distinct(name, *shape):
    """A permutation: no two numbers are equal, so pools have no ties."""
    count = int(np.prod(shape))
    return (rng(name).permutation(count).reshape(shape).astype(np.float32) - count / 2) / 8


# Element by element.
E = "elementwise"
for op, fn in [("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul), ("Div", torch.div)]:
    for label, sa, sb in [("same", (2, 3, 4), (2, 3, 4)), ("scalar", (2, 3), ()), ("channel", (2, 3, 2, 2), (3, 1, 1)),
                          ("both", (2, 1, 4), (1, 3, 1)), ("rank", (4,), (2, 3, 4)), ("one", (1, 1), (2, 3))]:
        n = f"{op}_{label}"
        case(E, n, op, {"a": data(n + "a", *sa), "b": data(n + "b", *sb, gap=0.4)}, fn, one(op, "a b"))
case(E, "Mul_twice", "Mul", {"x": data("m2", 2, 3)}, lambda x: x * x, one("Mul", "x x"))
case(E, "Add_twice", "Add", {"x": data("a2", 2, 3)}, lambda x: x + x, one("Add", "x x"))
case(E, "Sum_3", "Sum", {"a": data("s1", 2, 3), "b": data("s2", 3), "c": data("s3", 2, 1)}, lambda a, b, c: a + b + c, one("Sum", "a b c", lo=8))
case(E, "Sum_same", "Sum", {"a": data("s4", 2, 3), "b": data("s5", 2, 3)}, lambda a, b: a + b, one("Sum", "a b"))
case(E, "Sum_1", "Sum", {"a": data("s6", 2, 3)}, lambda a: a * 1, one("Sum", "a"))
case(E, "Neg", "Neg", {"x": data("neg", 2, 3)}, torch.neg, one("Neg"))
case(E, "Sqrt", "Sqrt", {"x": data("sq", 2, 3, lo=0.3, hi=3)}, torch.sqrt, one("Sqrt"))
case(E, "Identity", "Identity", {"x": data("id", 2, 3)}, lambda x: x * 1, one("Identity"))
case(E, "Relu", "Relu", {"x": data("re", 2, 3, 4)}, F.relu, one("Relu"))
case(E, "Relu_at_0", "Relu", {"x": f32(-1, 0, 0, 2)}, F.relu, one("Relu"))
case(E, "LeakyRelu", "LeakyRelu", {"x": data("lr", 2, 3, 4)}, lambda x: F.leaky_relu(x, float(np.float32(0.01))), one("LeakyRelu"))
case(E, "LeakyRelu_slope", "LeakyRelu", {"x": data("ls", 2, 3, 4)}, lambda x: F.leaky_relu(x, 0.25), one("LeakyRelu", alpha=0.25))
case(E, "LeakyRelu_at_0", "LeakyRelu", {"x": f32(-1, 0, 2)}, lambda x: F.leaky_relu(x, 0.25), one("LeakyRelu", alpha=0.25))
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
    case(E, f"Clip_{label}", "Clip", {"x": x}, clip, one("Clip", hi=10, **attrs), one("Clip", ins.strip(), lo=11, consts=consts))
assert torch.equal(torch.autograd.grad(F.relu6(t := torch.tensor([0.0, 6.0, 3.0], requires_grad=True)).sum(), t)[0], torch.tensor([0.0, 0.0, 1.0]))
case(E, "Sigmoid", "Sigmoid", {"x": np.append(data("si", 6), f32(80, -80))}, torch.sigmoid, one("Sigmoid"))
case(E, "Tanh", "Tanh", {"x": data("ta", 2, 3)}, torch.tanh, one("Tanh"))


def hard_sigmoid(x, alpha, beta):
    y = alpha * x + beta
    return torch.where((y > 0) & (y < 1), y, y.clamp(0, 1).detach())


a02 = float(np.float32(0.2))
case(E, "HardSigmoid", "HardSigmoid", {"x": data("hs", 3, 4, lo=-4, hi=4, kinks=(-2.5, 2.5))}, lambda x: hard_sigmoid(x, a02, 0.5), one("HardSigmoid"))
sixth = float(np.float32(1 / 6))
case(E, "HardSigmoid_sixth", "HardSigmoid", {"x": data("h6", 3, 4, lo=-5, hi=5, kinks=(-3, 3))}, lambda x: hard_sigmoid(x, sixth, 0.5), one("HardSigmoid", alpha=1 / 6, beta=0.5))
case(E, "HardSigmoid_at_kinks", "HardSigmoid", {"x": f32(-2, -1, 0, 1, 2)}, lambda x: hard_sigmoid(x, 0.5, 0.5), one("HardSigmoid", alpha=0.5, beta=0.5))
case(E, "HardSwish", "HardSwish", {"x": np.append(data("hw", 10, lo=-5, hi=5, kinks=(-3, 3)), f32(-3, 3))}, F.hardswish, one("HardSwish", lo=14))
case(E, "Max_2", "Max", {"a": data("mx1", 2, 3), "b": data("mx2", 3)}, torch.maximum, one("Max", "a b", lo=8))
case(E, "Max_same", "Max", {"a": data("mx3", 2, 3), "b": data("mx4", 2, 3)}, torch.maximum, one("Max", "a b"))
case(E, "Max_tie", "Max", {"a": f32(1, 2, 3), "b": f32(1, 3, 2)}, torch.maximum, one("Max", "a b"))
case(E, "Dropout", "Dropout", {"x": data("dr", 2, 3)}, lambda x: x * 1, one("Dropout", hi=11, ratio=0.3), one("Dropout", "x ratio", lo=12, consts={"ratio": np.float32(0.3)}))
case(E, "Dropout_not_training", "Dropout", {"x": data("dn", 2, 3)}, lambda x: x * 1,
     one("Dropout", "x ratio training", lo=12, consts={"ratio": np.float32(0.3), "training": np.array(False)}))
case(E, "Cast_round_trip", "Cast", {"x": data("ct", 2, 3)}, lambda x: x * 1,
     Form(7, NEWEST, [("Cast", ["x"], ["d"], {"to": TensorProto.DOUBLE}), ("Cast", ["d"], ["y"], {"to": TensorProto.FLOAT})]))

# Linear.
L = "linear"


def conv_case(name, x, w, bias=None, strides=None, pads=None, dilations=None, group=1, auto_pad=None, bare=False):
    d = x.ndim - 2
    k = w.shape[2:]
    s = strides or [1] * d
    dl = dilations or [1] * d
    p = list(pads or [0] * (2 * d))
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        total = [max((-(-x.shape[i + 2] // s[i]) - 1) * s[i] + (k[i] - 1) * dl[i] + 1 - x.shape[i + 2], 0) for i in range(d)]
        small = [t // 2 for t in total]
        p = small + [t - h for t, h in zip(total, small)]
        if auto_pad == "SAME_LOWER":
            p = p[d:] + p[:d]
    fn = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[d]
    wt = torch.tensor(w.astype(np.float64))
    bt = None if bias is None else torch.tensor(bias.astype(np.float64))
    torch_pads = [v for i in reversed(range(d)) for v in (p[i], p[i + d])]
    attrs = {} if bare else {"kernel_shape": list(k), "group": group}
    if strides or not bare:
        attrs["strides"] = s
    if dilations or not bare:
        attrs["dilations"] = dl
    if auto_pad:
        attrs["auto_pad"] = auto_pad
    elif pads or not bare:
        attrs["pads"] = p
    consts = {"w": w} | ({} if bias is None else {"b": bias})
    case(L, name, "Conv", {"x": x}, lambda t: fn(F.pad(t, torch_pads), wt, bt, s, 0, dl, group), one("Conv", "x w" + ("" if bias is None else " b"), consts=consts, **attrs))


cx = lambda n, *s: data(n, *s, kinks=())
conv_case("Conv_3x3", cx("c1", 2, 2, 5, 6), cx("w1", 3, 2, 3, 3), cx("b1", 3), pads=[1, 1, 1, 1])
conv_case("Conv_bare", cx("c2", 1, 2, 4, 5), cx("w2", 2, 2, 3, 3), bare=True)
conv_case("Conv_1x1", cx("c3", 2, 3, 3, 4), cx("w3", 2, 3, 1, 1))
conv_case("Conv_1x1_s2", cx("c4", 1, 3, 5, 6), cx("w4", 2, 3, 1, 1), strides=[2, 2])
conv_case("Conv_1x1_s3_pad", cx("c5", 1, 2, 5, 7), cx("w5", 2, 2, 1, 1), strides=[3, 2], pads=[1, 0, 2, 1])
conv_case("Conv_s2_odd", cx("c6", 2, 2, 7, 5), cx("w6", 2, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
conv_case("Conv_s2_even", cx("c7", 1, 2, 6, 8), cx("w7", 2, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
conv_case("Conv_s3", cx("c8", 1, 1, 8, 10), cx("w8", 2, 1, 3, 2), strides=[3, 3])
conv_case("Conv_k_less_s", cx("c9", 1, 1, 8, 9), cx("w9", 1, 1, 2, 2), strides=[3, 4])
conv_case("Conv_7x7_s2", cx("c10", 1, 1, 9, 8), cx("w10", 1, 1, 7, 7), strides=[2, 2], pads=[3, 3, 3, 3])
conv_case("Conv_asymmetric", cx("c11", 1, 2, 5, 6), cx("w11", 2, 2, 3, 3), pads=[0, 1, 2, 0])
conv_case("Conv_asymmetric_s2", cx("c12", 1, 2, 6, 7), cx("w12", 2, 2, 3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
conv_case("Conv_pad_beyond_kernel", cx("c13", 1, 1, 3, 4), cx("w13", 1, 1, 2, 2), pads=[3, 2, 2, 3])
conv_case("Conv_dilated", cx("c14", 1, 2, 7, 8), cx("w14", 2, 2, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2])
conv_case("Conv_dilated_s2", cx("c15", 1, 1, 9, 8), cx("w15", 1, 1, 3, 3), dilations=[2, 3], strides=[2, 2], pads=[1, 2, 1, 2])
conv_case("Conv_groups", cx("c16", 2, 4, 5, 4), cx("w16", 6, 2, 3, 3), group=2, pads=[1, 1, 1, 1])
conv_case("Conv_groups_s2", cx("c17", 1, 4, 5, 6), cx("w17", 4, 2, 3, 3), group=2, strides=[2, 2], pads=[1, 1, 1, 1])
conv_case("Conv_depthwise", cx("c18", 2, 3, 5, 4), cx("w18", 3, 1, 3, 3), cx("b18", 3), group=3, pads=[1, 1, 1, 1])
conv_case("Conv_depthwise_s2", cx("c19", 1, 3, 6, 5), cx("w19", 3, 1, 3, 3), group=3, strides=[2, 2], pads=[0, 1, 1, 0])
conv_case("Conv_depthwise_multiplier", cx("c20", 1, 3, 4, 5), cx("w20", 6, 1, 3, 3), group=3, pads=[1, 1, 1, 1])
conv_case("Conv_5x5_depthwise", cx("c21", 1, 2, 6, 6), cx("w21", 2, 1, 5, 5), group=2, pads=[2, 2, 2, 2])
conv_case("Conv_1x3", cx("c22", 1, 2, 3, 6), cx("w22", 2, 2, 1, 3), pads=[0, 1, 0, 1])
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    conv_case(f"Conv_{auto}", cx(f"c23{auto}", 1, 2, 5, 6), cx(f"w23{auto}", 2, 2, 2, 3), auto_pad=auto)
    conv_case(f"Conv_{auto}_s2", cx(f"c24{auto}", 1, 2, 7, 6), cx(f"w24{auto}", 2, 2, 3, 4), strides=[2, 2], auto_pad=auto)
conv_case("Conv_1d", cx("c25", 2, 3, 9), cx("w25", 2, 3, 3), strides=[2], pads=[1, 1])
conv_case("Conv_1d_dilated", cx("c26", 1, 2, 9), cx("w26", 2, 2, 3), dilations=[2], pads=[2, 1])
conv_case("Conv_3d", cx("c27", 1, 2, 4, 5, 4), cx("w27", 2, 2, 3, 3, 3), pads=[1, 1, 1, 1, 1, 1])
conv_case("Conv_3d_s2", cx("c28", 1, 1, 5, 4, 5), cx("w28", 2, 1, 3, 3, 3), strides=[2, 2, 1], pads=[1, 1, 0, 1, 1, 0])
wt = cx("wct", 2, 3, 3, 3)
case(L, "ConvTranspose_s2", "ConvTranspose", {"x": cx("ct2", 1, 2, 3, 4)},
     lambda t: F.conv_transpose2d(t, torch.tensor(wt.astype(np.float64)), stride=2, padding=1, output_padding=1),
     one("ConvTranspose", "x w", consts={"w": wt}, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1], kernel_shape=[3, 3]))
for ta, tb in itertools.product((0, 1), (0, 1)):
    n = f"Gemm_{ta}{tb}"
    case(L, n, "Gemm", {"a": data(n + "a", *((4, 2) if ta else (2, 4))), "b": data(n + "b", *((3, 4) if tb else (4, 3))), "c": data(n + "c", 3)},
         lambda a, b, c, ta=ta, tb=tb: 0.5 * ((a.T if ta else a) @ (b.T if tb else b)) + 2 * c, one("Gemm", "a b c", alpha=0.5, beta=2.0, transA=ta, transB=tb))
for label, shape in [("full", (2, 3)), ("column", (2, 1)), ("scalar", ())]:
    case(L, f"Gemm_c_{label}", "Gemm", {"a": data("ga" + label, 2, 4), "b": data("gb" + label, 4, 3), "c": data("gc" + label, *shape)}, lambda a, b, c: a @ b + c, one("Gemm", "a b c"))
case(L, "Gemm_no_c", "Gemm", {"a": data("g1", 2, 4), "b": data("g2", 3, 4)}, lambda a, b: a @ b.T, one("Gemm", "a b", lo=11, transB=1))
for label, sa, sb in [("2d", (2, 3), (3, 4)), ("batched", (2, 2, 3), (2, 3, 2)), ("broadcast", (2, 1, 2, 3), (3, 3, 2)), ("weights", (2, 4, 3), (3, 2)),
                      ("vector_left", (3,), (3, 2)), ("vector_right", (2, 3), (3,)), ("vectors", (3,), (3,)), ("vector_batched", (3,), (2, 3, 2)), ("batched_vector", (2, 4, 3), (3,))]:
    case(L, f"MatMul_{label}", "MatMul", {"a": data("ma" + label, *sa), "b": data("mb" + label, *sb)}, torch.matmul, one("MatMul", "a b"))

# Pools.
P = "pool"


def pool_pads(x, k, s, dl, pads, auto_pad, ceil):
    d = len(k)
    p = list(pads or [0] * (2 * d))
    size = lambda i: (k[i] - 1) * dl[i] + 1
    if auto_pad and auto_pad.startswith("SAME"):
        total = [max((-(-x.shape[i + 2] // s[i]) - 1) * s[i] + size(i) - x.shape[i + 2], 0) for i in range(d)]
        small = [t // 2 for t in total]
        p = small + [t - h for t, h in zip(total, small)]
        if auto_pad == "SAME_LOWER":
            p = p[d:] + p[:d]
    outs = []
    for i in range(d):
        room = x.shape[i + 2] + p[i] + p[i + d] - size(i)
        out = (-(-room // s[i]) if ceil else room // s[i]) + 1
        if ceil and (out - 1) * s[i] >= x.shape[i + 2] + p[i]:
            out -= 1
        outs.append(out)
    return p, outs


def windows(t, k, s, dl, p, outs, fill):
    """[N, C, out…, taps] of the padded input; taps in row order."""
    d = len(k)
    need = [(outs[i] - 1) * s[i] + (k[i] - 1) * dl[i] + 1 for i in range(d)]
    ends = [max(need[i] - t.shape[i + 2] - p[i], 0) for i in range(d)]
    padded = F.pad(t, [v for i in reversed(range(d)) for v in (p[i], ends[i])], value=fill)
    taps = []
    for tap in itertools.product(*[range(n) for n in k]):
        view = padded
        for i in range(d):
            start = tap[i] * dl[i]
            view = view.narrow(i + 2, start, (outs[i] - 1) * s[i] + 1)
            view = view[(slice(None),) * (i + 2) + (slice(None, None, s[i]),)]
        taps.append(view)
    return torch.stack(taps, -1)


def first_max(stack):
    """The maximum over the last axis whose gradient goes to the first of equal ones, as torch's max_pool."""
    best = stack.detach().max(-1, keepdim=True).values
    hit = stack.detach() == best
    first = hit & (hit.cumsum(-1) == 1)
    return (stack * first).masked_fill(~first, 0).sum(-1)


def max_pool_case(name, x, k, strides=None, pads=None, dilations=None, ceil=0, auto_pad=None, torch_args=None):
    d = len(k)
    s, dl = strides or [1] * d, dilations or [1] * d
    p, outs = pool_pads(x, k, s, dl, pads, auto_pad, ceil)
    attrs = {"kernel_shape": k}
    attrs |= {"strides": strides} if strides else {}
    attrs |= {"pads": pads} if pads else {}
    attrs |= {"dilations": dilations} if dilations else {}
    attrs |= {"ceil_mode": 1} if ceil else {}
    attrs |= {"auto_pad": auto_pad} if auto_pad else {}
    fn = lambda t: first_max(windows(t, k, s, dl, p, outs, -torch.inf).nan_to_num(neginf=-1e30))
    if torch_args is not None:
        ours, t = fn, {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[d]
        fn = lambda v: t(v, k, **torch_args)
        assert torch.equal(ours(torch.tensor(x.astype(np.float64))), fn(torch.tensor(x.astype(np.float64))))
    case(P, name, "MaxPool", {"x": x}, fn, one("MaxPool", lo=10 if ceil or dilations else OLDEST, **attrs))


max_pool_case("MaxPool_2x2", distinct("p1", 2, 2, 4, 6), [2, 2], [2, 2], torch_args={"stride": 2})
max_pool_case("MaxPool_k3s2p1", distinct("p2", 1, 2, 7, 6), [3, 3], [2, 2], [1, 1, 1, 1], torch_args={"stride": 2, "padding": 1})
max_pool_case("MaxPool_k3s1p1", distinct("p3", 1, 2, 4, 5), [3, 3], [1, 1], [1, 1, 1, 1], torch_args={"stride": 1, "padding": 1})
max_pool_case("MaxPool_k5s1p2", distinct("p4", 1, 1, 6, 6), [5, 5], [1, 1], [2, 2, 2, 2], torch_args={"stride": 1, "padding": 2})
max_pool_case("MaxPool_ceil", distinct("p5", 1, 2, 6, 7), [3, 3], [2, 2], ceil=1, torch_args={"stride": 2, "ceil_mode": True})
max_pool_case("MaxPool_ceil_p1", distinct("p6", 1, 1, 6, 5), [2, 3], [2, 2], [1, 1, 1, 1], ceil=1, torch_args={"stride": 2, "padding": [1, 1], "ceil_mode": True})
max_pool_case("MaxPool_remainder", distinct("p7", 1, 1, 7, 8), [2, 3], [2, 3], torch_args={"stride": [2, 3]})
max_pool_case("MaxPool_k_less_s", distinct("p8", 1, 1, 8, 7), [2, 1], [3, 2], torch_args={"stride": [3, 2]})
max_pool_case("MaxPool_asymmetric", distinct("p9", 1, 1, 5, 6), [3, 3], [2, 2], [0, 1, 2, 0])
max_pool_case("MaxPool_no_strides", distinct("p10", 1, 1, 4, 5), [2, 3])
max_pool_case("MaxPool_dilated", distinct("p11", 1, 1, 7, 8), [2, 3], [1, 2], [1, 1, 1, 1], dilations=[3, 2])
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    max_pool_case(f"MaxPool_{auto}", distinct("p12" + auto, 1, 1, 5, 6), [2, 3], [2, 2], auto_pad=auto)
max_pool_case("MaxPool_1d", distinct("p13", 2, 2, 9), [3], [2], [1, 1], torch_args={"stride": 2, "padding": 1})
max_pool_case("MaxPool_3d", distinct("p14", 1, 1, 4, 5, 4), [2, 3, 2], [2, 2, 2], [0, 1, 0, 0, 1, 0], torch_args={"stride": 2, "padding": [0, 1, 0]})
ties = rng("ties").integers(0, 3, (2, 2, 6, 7)).astype(np.float32)
max_pool_case("MaxPool_ties_2x2", ties, [2, 2], [2, 2], torch_args={"stride": 2})
max_pool_case("MaxPool_ties_k3s2p1", ties, [3, 3], [2, 2], [1, 1, 1, 1], torch_args={"stride": 2, "padding": 1})
max_pool_case("MaxPool_ties_k3s1", np.zeros((1, 1, 4, 4), np.float32), [3, 3], [1, 1], torch_args={"stride": 1})


def average_pool_case(name, x, k, strides=None, pads=None, include=0, ceil=0, auto_pad=None, dilations=None, torch_args=None):
    d = len(k)
    s, dl = strides or [1] * d, dilations or [1] * d
    p, outs = pool_pads(x, k, s, dl, pads, auto_pad, ceil)
    attrs = {"kernel_shape": k}
    attrs |= {"strides": strides} if strides else {}
    attrs |= {"pads": pads} if pads else {}
    attrs |= {"count_include_pad": 1} if include else {}
    attrs |= {"ceil_mode": 1} if ceil else {}
    attrs |= {"auto_pad": auto_pad} if auto_pad else {}
    attrs |= {"dilations": dilations} if dilations else {}
    counts = torch.ones(x.shape[2:], dtype=torch.float64)[None, None]
    if include:
        counts = F.pad(counts, [v for i in reversed(range(d)) for v in (p[i], p[i + d])], value=1.0)
    weight = windows(counts, k, s, dl, [0] * 2 * d if include else p, outs, 0.0).sum(-1)
    fn = lambda t: windows(t, k, s, dl, p, outs, 0.0).sum(-1) / weight
    if torch_args is not None:
        ours, t = fn, {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[d]
        fn = lambda v: t(v, k, count_include_pad=bool(include), **torch_args)
        v = torch.tensor(x.astype(np.float64))
        assert torch.allclose(ours(v), fn(v), atol=1e-12), name
    lo = 19 if dilations else 10 if ceil else OLDEST
    case(P, name, "AveragePool", {"x": x}, fn, one("AveragePool", lo=lo, **attrs))


ax = lambda n, *s: data(n, *s, kinks=())
for include in (0, 1):
    i = f"_include{include}"
    average_pool_case("AveragePool_2x2" + i, ax("a1" + i, 2, 2, 4, 6), [2, 2], [2, 2], include=include, torch_args={"stride": 2})
    average_pool_case("AveragePool_k3s2p1" + i, ax("a2" + i, 1, 2, 7, 6), [3, 3], [2, 2], [1, 1, 1, 1], include=include, torch_args={"stride": 2, "padding": 1})
    average_pool_case("AveragePool_k3s1p1" + i, ax("a3" + i, 1, 1, 4, 5), [3, 3], [1, 1], [1, 1, 1, 1], include=include, torch_args={"stride": 1, "padding": 1})
    average_pool_case("AveragePool_ceil" + i, ax("a4" + i, 1, 1, 6, 7), [3, 3], [2, 2], [1, 0, 1, 0], include=include, ceil=1, torch_args={"stride": 2, "padding": [1, 0], "ceil_mode": True})
    average_pool_case("AveragePool_asymmetric" + i, ax("a5" + i, 1, 1, 5, 6), [3, 2], [2, 1], [0, 1, 2, 0], include=include)
    average_pool_case("AveragePool_SAME_UPPER" + i, ax("a6" + i, 1, 1, 5, 6), [2, 3], [2, 2], auto_pad="SAME_UPPER", include=include)
    average_pool_case("AveragePool_SAME_LOWER" + i, ax("a7" + i, 1, 1, 5, 6), [2, 3], [2, 2], auto_pad="SAME_LOWER", include=include)
    average_pool_case("AveragePool_dilated" + i, ax("a13" + i, 1, 1, 7, 8), [2, 3], [2, 1], [1, 1, 1, 1], include=include, dilations=[2, 2])
average_pool_case("AveragePool_whole", ax("a8", 2, 3, 3, 4), [3, 4], torch_args={"stride": 1})
average_pool_case("AveragePool_one_axis", ax("a9", 2, 3, 3, 4), [3, 2], [1, 2], torch_args={"stride": [1, 2]})
average_pool_case("AveragePool_1d", ax("a10", 2, 2, 9), [3], [2], [1, 1], torch_args={"stride": 2, "padding": 1})
average_pool_case("AveragePool_3d", ax("a11", 1, 1, 4, 5, 4), [2, 3, 2], [2, 2, 2], [0, 1, 0, 0, 1, 0], torch_args={"stride": 2, "padding": [0, 1, 0]})
average_pool_case("AveragePool_remainder", ax("a12", 1, 1, 7, 8), [2, 3], [3, 3], torch_args={"stride": 3})
for d, shape in [("1d", (2, 3, 5)), ("2d", (2, 3, 4, 3)), ("3d", (1, 2, 2, 3, 2))]:
    axes = tuple(range(2, len(shape)))
    case(P, f"GlobalAveragePool_{d}", "GlobalAveragePool", {"x": ax("ga" + d, *shape)}, lambda x, axes=axes: x.mean(axes, keepdim=True), one("GlobalAveragePool"))
    flat = lambda x: first_max(x.flatten(2)).reshape(x.shape[:2] + (1,) * (x.ndim - 2))
    case(P, f"GlobalMaxPool_{d}", "GlobalMaxPool", {"x": distinct("gm" + d, *shape)}, flat, one("GlobalMaxPool"))
case(P, "GlobalMaxPool_ties", "GlobalMaxPool", {"x": ties}, lambda x: F.adaptive_max_pool2d(x, 1), one("GlobalMaxPool"))

# Normalisation and reductions.
R = "reduce"
stats = {"s": data("bs", 3, lo=0.5, hi=1.5), "b": data("bb", 3), "m": data("bm", 3), "v": data("bv", 3, lo=0.2, hi=2)}
s64 = {k: torch.tensor(v.astype(np.float64)) for k, v in stats.items()}
for label, shape, eps in [("2d", (2, 3, 2, 3), 1e-5), ("1d", (2, 3, 4), 1e-3), ("flat", (4, 3), 1e-5), ("3d", (1, 3, 2, 2, 2), 1e-5)]:
    fn = lambda x, eps=eps: F.batch_norm(x, s64["m"], s64["v"], s64["s"], s64["b"], eps=float(np.float32(eps)))
    attrs = {} if eps == 1e-5 else {"epsilon": eps}
    case(R, f"BatchNormalization_{label}", "BatchNormalization", {"x": ax("bn" + label, *shape)}, fn,
         one("BatchNormalization", "x s b m v", hi=8, consts=stats, **attrs, spatial=1), one("BatchNormalization", "x s b m v", lo=9, consts=stats, **attrs))


def reduce_case(op, name, x, torch_fn, axes, keepdims=1, split=13):
    attrs = {} if keepdims == 1 else {"keepdims": 0}
    if axes is None:
        case(R, name, op, {"x": x}, torch_fn, one(op, **attrs))
    else:
        case(R, name, op, {"x": x}, torch_fn, one(op, hi=split - 1, axes=axes, **attrs), one(op, "x axes", lo=split, consts={"axes": ints(*axes)}, **attrs))


for op, split, fn in [("ReduceSum", 13, torch.sum), ("ReduceMean", 18, torch.mean), ("ReduceMax", 18, torch.amax), ("ReduceMin", 18, torch.amin)]:
    make = distinct if "M" in op[6:7] and op != "ReduceMean" else ax
    for keep in (0, 1):
        reduce_case(op, f"{op}_space_keep{keep}", make(f"{op}1{keep}", 2, 3, 2, 4), lambda x, k=keep, fn=fn: fn(x, dim=(2, 3), keepdim=bool(k)), [2, 3], keep, split)
        reduce_case(op, f"{op}_negative_keep{keep}", make(f"{op}2{keep}", 2, 3, 4), lambda x, k=keep, fn=fn: fn(x, dim=(-2,), keepdim=bool(k)), [-2], keep, split)
    everything = lambda x, fn=fn: fn(x, dim=tuple(range(x.ndim)), keepdim=True)
    reduce_case(op, f"{op}_all", make(f"{op}3", 2, 3, 2), everything, None)
for op, lo in [("ReduceSum", 13), ("ReduceMean", 18)]:
    case(R, f"{op}_noop", op, {"x": ax(op + "n", 2, 3)}, lambda x: x * 1, one(op, "x axes", lo=lo, consts={"axes": np.array([], np.int64)}, noop_with_empty_axes=1))
for axis in (0, 1, 2, -1, -2):
    flat = lambda x, a=axis % 3: torch.softmax(x.reshape(int(np.prod(x.shape[:a])), -1), -1).reshape(x.shape)
    x = ax(f"sm{axis}", 2, 3, 4)
    if axis >= 0:
        case(R, f"Softmax_flat_axis{axis}", "Softmax", {"x": x}, flat, one("Softmax", hi=12, axis=axis))
    case(R, f"Softmax_axis{axis}", "Softmax", {"x": x}, lambda x, a=axis: torch.softmax(x, a), one("Softmax", lo=13, axis=axis))
case(R, "Softmax_default", "Softmax", {"x": ax("sd", 3, 4)}, lambda x: torch.softmax(x, 1), one("Softmax"))
case(R, "Softmax_large", "Softmax", {"x": ax("sl", 2, 4) * 30}, lambda x: torch.softmax(x, 1), one("Softmax", axis=1))

# Layout.
Y = "layout"
for axis in (0, 1, 2, -1):
    shapes = [list((2, 3, 4)) for _ in range(3)]
    for i, s in enumerate(shapes):
        s[axis] += i
    xs = {k: ax(f"cc{axis}{k}", *s) for k, s in zip("abc", shapes)}
    form = one("Concat", "a b c", axis=axis, lo=11 if axis < 0 else OLDEST)
    case(Y, f"Concat_axis{axis}", "Concat", xs, lambda a, b, c, d=axis: torch.cat([a, b, c], d), form)


def split_forms(sizes, axis, tail, outs, extra_consts=None):
    nodes = lambda split_ins, attrs: [("Split", ["x"] + split_ins, outs, attrs)] + tail
    return [Form(7, 12, nodes([], {"axis": axis, "split": sizes})), Form(13, NEWEST, nodes(["sizes"], {"axis": axis}), {"sizes": ints(*sizes)})]


x = ax("sp", 2, 6, 3)
case(Y, "Split_used_twice", "Split", {"x": x}, lambda x: torch.cat([x[:, 4:] * 2, x[:, :1]], 1),
     *split_forms([1, 3, 2], 1, [("Add", ["c", "c"], ["c2"], {}), ("Concat", ["c2", "a"], ["y"], {"axis": 1})], ["a", "b", "c"]))
case(Y, "Split_one_used", "Split", {"x": x}, lambda x: x[:, 1:4] * 1, *split_forms([1, 3, 2], 1, [("Identity", ["b"], ["y"], {})], ["a", "b", "c"]))
half = [("Mul", ["a", "b"], ["y"], {})]
case(Y, "Split_equal", "Split", {"x": x}, lambda x: x[:, :3] * x[:, 3:], Form(7, 17, [("Split", ["x"], ["a", "b"], {"axis": 1})] + half),
     Form(18, NEWEST, [("Split", ["x"], ["a", "b"], {"axis": 1, "num_outputs": 2})] + half))
case(Y, "Split_shorter_last", "Split", {"x": ax("sp5", 5, 2)}, lambda x: torch.cat([x[3:], x[:3]]) * 1,
     Form(18, NEWEST, [("Split", ["x"], ["a", "b"], {"axis": 0, "num_outputs": 2}), ("Concat", ["b", "a"], ["y"], {"axis": 0})]))


def slice_case(name, x, starts, ends, axes=None, steps=None):
    index = [slice(None)] * x.ndim
    order = torch.arange
    picks = []
    for place, (a, b) in enumerate(zip(starts, ends)):
        axis = (axes[place] if axes else place) % x.ndim
        step = steps[place] if steps else 1
        picks.append((axis, list(range(x.shape[axis]))[slice(a, b if b > INT64_MIN // 2 else None, step)]))
    fn = lambda t: __import__("functools").reduce(lambda t, p: t.index_select(p[0], torch.tensor(p[1])), picks, t)
    forms = []
    if not steps:
        forms.append(one("Slice", hi=9, starts=starts, ends=ends, **({"axes": axes} if axes else {})))
    consts = {"starts": ints(*starts), "ends": ints(*ends)} | ({"axes": ints(*axes)} if axes else {}) | ({"steps": ints(*steps)} if steps else {})
    names = "x starts ends" + (" axes" if axes else " _" if steps else "") + (" steps" if steps else "")
    forms.append(one("Slice", names, lo=10, consts=consts))
    case(Y, name, "Slice", {"x": x}, fn, *forms)


sx = ax("sx", 3, 5, 6)
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
    case(Y, name, "Pad", {"x": x}, fn, *forms)


px = ax("px", 2, 3, 4)
pad_case("Pad_zeros", px, [0, 1, 2], [0, 0, 1])
pad_case("Pad_value", px, [1, 0, 2], [0, 2, 1], 1.5)
pad_case("Pad_negative", px, [0, -1, 1], [0, 0, -2])
pad_case("Pad_axes", px, [1, 2], [0, 1], axes=[2, 1])
qx = ax("qx", 2, 3, 4)
shape_of = lambda *s: {"shape": ints(*s)}
case(Y, "Reshape_minus1", "Reshape", {"x": qx}, lambda x: x.reshape(2, 12), one("Reshape", "x shape", consts=shape_of(2, -1)))
case(Y, "Reshape_zero", "Reshape", {"x": qx}, lambda x: x.reshape(2, 3, 2, 2), one("Reshape", "x shape", consts=shape_of(0, 0, 2, -1)))
case(Y, "Reshape_allowzero", "Reshape", {"x": qx}, lambda x: x.reshape(6, 4), one("Reshape", "x shape", lo=14, consts=shape_of(6, 4), allowzero=1))
for axis in (0, 1, 2, 3, -1):
    fn = lambda x, a=axis % 3 if axis < 0 else axis: x.reshape(int(np.prod(x.shape[:a])), -1)
    case(Y, f"Flatten_{axis}", "Flatten", {"x": qx}, fn, one("Flatten", axis=axis, lo=11 if axis < 0 else OLDEST))
ox = ax("ox", 1, 3, 1, 2)
case(Y, "Squeeze_axes", "Squeeze", {"x": ox}, lambda x: x.squeeze(2), one("Squeeze", hi=12, axes=[2]), one("Squeeze", "x axes", lo=13, consts={"axes": ints(-2)}))
case(Y, "Squeeze_all", "Squeeze", {"x": ox}, lambda x: x.squeeze(), one("Squeeze"))
case(Y, "Unsqueeze", "Unsqueeze", {"x": ax("ux", 3, 2)}, lambda x: x[None, :, None], one("Unsqueeze", hi=12, axes=[0, 2]), one("Unsqueeze", "x axes", lo=13, consts={"axes": ints(0, 2)}))
case(Y, "Transpose", "Transpose", {"x": qx}, lambda x: x.permute(2, 0, 1), one("Transpose", perm=[2, 0, 1]))
case(Y, "Transpose_default", "Transpose", {"x": qx}, lambda x: x.permute(2, 1, 0), one("Transpose"))
for label, src, to, want in [("ones", (2, 1, 3), (2, 4, 3), (2, 4, 3)), ("rank", (3, 1), (2, 3, 4), (2, 3, 4)), ("shorter", (2, 1, 3), (4, 1), (2, 4, 3)), ("scalar", (), (2, 3), (2, 3))]:
    case(Y, f"Expand_{label}", "Expand", {"x": ax("ex" + label, *src)}, lambda x, w=want: x.expand(w), one("Expand", "x shape", lo=8, consts=shape_of(*to)))
for label, indices, axis in [("rows", ints(2, 0, 0), 0), ("negative", ints(-1, 1), 1), ("scalar", np.array(1, np.int64), 1), ("matrix", ints(0, 2, 2, 1).reshape(2, 2), 1)]:
    fn = lambda x, i=indices, a=axis: x.index_select(a, torch.tensor(i.ravel() % x.shape[a])).reshape(x.shape[:a] + i.shape + x.shape[a + 1:])
    case(Y, f"Gather_{label}", "Gather", {"x": ax("gt" + label, 3, 3, 2)}, fn, one("Gather", "x i", consts={"i": indices}, axis=axis, lo=11 if (indices < 0).any() else OLDEST))
case(Y, "GatherElements_score", "GatherElements", {"x": ax("ge", 3, 4)}, lambda x: x.gather(1, torch.tensor([[2], [0], [3]])),
     one("GatherElements", "x i", lo=11, consts={"i": ints(2, 0, 3).reshape(3, 1)}, axis=1))
case(Y, "GatherElements_from_the_end", "GatherElements", {"x": ax("gn", 3, 4)}, lambda x: x.gather(1, torch.tensor([[3], [0], [1]])),
     one("GatherElements", "x i", lo=11, consts={"i": np.array([[-1], [0], [-3]], np.int32)}, axis=1))

# Operators together: what the driver does.
T = "together"
w3 = cx("tw", 3, 3, 3, 3)
w64 = torch.tensor(w3.astype(np.float64))
case(T, "residual_block", "Conv", {"x": ax("t1", 2, 3, 4, 5)}, lambda x: F.relu(F.batch_norm(F.conv2d(x, w64, padding=1), s64["m"], s64["v"], s64["s"], s64["b"], eps=float(np.float32(1e-5))) + x),
     Form(9, NEWEST, [("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]}), ("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], {}), ("Add", ["n", "x"], ["r"], {}), ("Relu", ["r"], ["y"], {})], {"w": w3} | stats))
case(T, "squeeze_excite", "Mul", {"x": ax("t2", 2, 3, 4, 4)}, lambda x: x * torch.sigmoid(F.conv2d(x.mean((2, 3), keepdim=True), w64[:, :, :1, :1])),
     Form(7, NEWEST, [("GlobalAveragePool", ["x"], ["p"], {}), ("Conv", ["p", "w"], ["c"], {}), ("Sigmoid", ["c"], ["g"], {}), ("Mul", ["x", "g"], ["y"], {})], {"w": w3[:, :, :1, :1]}))
case(T, "used_three_times", "Add", {"x": ax("t3", 2, 3)}, lambda x: torch.tanh(x) * x + torch.sigmoid(x),
     Form(7, NEWEST, [("Tanh", ["x"], ["a"], {}), ("Sigmoid", ["x"], ["b"], {}), ("Mul", ["a", "x"], ["c"], {}), ("Add", ["c", "b"], ["y"], {})]))
case(T, "dead_branch", "Relu", {"x": ax("t4", 2, 3)}, lambda x: torch.tanh(x), Form(7, NEWEST, [("Sigmoid", ["x"], ["dead"], {}), ("Tanh", ["x"], ["y"], {})]))
wg = cx("wg", 4, 3 * 2 * 2)
case(T, "pool_flatten_gemm", "Gemm", {"x": distinct("t5", 2, 3, 4, 4)}, lambda x: F.max_pool2d(x, 2).flatten(1) @ torch.tensor(wg.astype(np.float64)).T,
     Form(11, NEWEST, [("MaxPool", ["x"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Flatten", ["p"], ["f"], {}), ("Gemm", ["f", "w"], ["y"], {"transB": 1})], {"w": wg}))
case(T, "batch_dependent_shape", "Reshape", {"x": ax("t6", 2, 3, 2, 2)}, lambda x: x.reshape(2, -1) * 2,
     Form(13, NEWEST, [("Shape", ["x"], ["s"], {}), ("Gather", ["s", "zero"], ["n"], {}), ("Unsqueeze", ["n", "zero1"], ["n1"], {}), ("Concat", ["n1", "rest"], ["t"], {"axis": 0}), ("Reshape", ["x", "t"], ["r"], {}), ("Add", ["r", "r"], ["y"], {})],
          {"zero": np.array(0, np.int64), "zero1": ints(0), "rest": ints(-1)}))
# The mean leaves [N, 3] of [N, 3, 4, 3]: the width, not the channels.
case(T, "mean_over_channels_leaves_a_width_as_large", "ReduceMean", {"x": ax("t7", 2, 3, 4, 3)}, lambda x: x.mean((1, 2)),
     Form(7, 17, [("ReduceMean", ["x"], ["y"], {"axes": [1, 2], "keepdims": 0})]),
     Form(18, NEWEST, [("ReduceMean", ["x", "a"], ["y"], {"keepdims": 0})], {"a": ints(1, 2)}))
flat12 = {k: np.concatenate([v, v * 2, v * 3, v * 4]) for k, v in stats.items()}
f64 = {k: torch.tensor(v.astype(np.float64)) for k, v in flat12.items()}
case(T, "flatten_batch_norm", "BatchNormalization", {"x": ax("t8", 2, 3, 2, 2)}, lambda x: F.batch_norm(x.flatten(1), f64["m"], f64["v"], f64["s"], f64["b"], eps=float(np.float32(1e-5))),
     Form(9, NEWEST, [("Flatten", ["x"], ["f"], {}), ("BatchNormalization", ["f", "s", "b", "m", "v"], ["y"], {})], flat12))
for label, group in [("", 1), ("_groups", 2)]:
    wp = cx("tp" + label, 6, 4 // group, 1, 1)
    fn = lambda x, w=torch.tensor(wp.astype(np.float64)), g=group: F.conv2d(x, w, groups=g).mean(1, keepdim=True)
    nodes = [("Conv", ["x", "w"], ["c"], {"group": group})]
    case(T, "pointwise_conv_channel_mean" + label, "Conv", {"x": ax("t9" + label, 2, 4, 3, 3)}, fn,
         Form(7, 17, nodes + [("ReduceMean", ["c"], ["y"], {"axes": [1]})], {"w": wp}),
         Form(18, NEWEST, nodes + [("ReduceMean", ["c", "a"], ["y"], {})], {"w": wp, "a": ints(1)}))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for family, cases in CASES.items():
        names = [c["name"] for c in cases]
        assert len(set(names)) == len(names), "two cases share a name"
        text = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
        (folder / f"{family}.json").write_text(f"[\n{text}\n]\n")
        print(f"{family}: {len(cases)} cases")


if __name__ == "__main__":
    default = Path(__file__).parent.parent / "crates/testkit/fixtures/rules"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
