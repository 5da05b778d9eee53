"""What the families of cases share: spellings, inputs, and `case`, which asks torch and checks with ONNX Runtime."""

import base64
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import torch
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
        # GroupNormalization of 18 was withdrawn; LayerNormalization before 17 and the simplified one are ONNX Runtime's.
        if not isinstance(form, Optimised) and form.lo >= {"GroupNormalization": 21, "LayerNormalization": 17, "SimplifiedLayerNormalization": NEWEST + 1}.get(op, OLDEST):
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


class Optimised:
    """A module as torch's legacy exporter and ONNX Runtime's optimiser write it."""

    def __init__(self, module, opset):
        self.module, self.lo, self.hi = module, opset, opset

    def model(self, inputs):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain, optimised = f"{folder}/plain.onnx", f"{folder}/optimised.onnx"
            tensors = tuple(torch.tensor(v) for v in inputs.values())
            torch.onnx.export(self.module.float(), tensors, plain, dynamo=False, opset_version=self.lo, input_names=list(inputs), output_names=["y"])
            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = optimised
            ort.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
            return onnx.load(optimised)


def build(form, inputs, y):
    if isinstance(form, Optimised):
        return form.model(inputs)
    info = lambda n, s: helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
    nodes = [helper.make_node(op, ins, outs, name=f"{outs[0]}_node", **attrs) for op, ins, outs, attrs in form.nodes]
    consts = [numpy_helper.from_array(np.asarray(v), k) for k, v in form.consts.items()]
    graph = helper.make_graph(nodes, "case", [info(k, v.shape) for k, v in inputs.items()], [info("y", list(y.shape))], consts)
    domains = {attrs["domain"]: 1 for *_, attrs in form.nodes if "domain" in attrs}
    imports = [helper.make_opsetid(domain, version) for domain, version in ({"": form.lo} | domains).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


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


def anywhere(name, *shape):
    """Uniform numbers for what has no kinks."""
    return data(name, *shape, kinks=())


def distinct(name, *shape):
    """A permutation: no two numbers are equal, so pools have no ties."""
    count = int(np.prod(shape))
    return (rng(name).permutation(count).reshape(shape).astype(np.float32) - count / 2) / 8
