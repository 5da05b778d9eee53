"""Chosen cases: one operator used in one way, spelled for ranges of opsets, with inputs that are picked by hand."""

import base64
import functools
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import torch

from .model import build, run
from .oracle import differentiate
from .reference import NEWEST, OLDEST, OPERATORS, Run, evaluate, node

# The cases of each family, in the order of its file.
CHOSEN: dict[str, list["Case"]] = {}
# The first opset whose definition onnx.checker has: GroupNormalization of 18 was withdrawn; LayerNormalization before 17 and
# the simplified one are ONNX Runtime's.
CHECKED = {"GroupNormalization": 21, "LayerNormalization": 17, "SimplifiedLayerNormalization": NEWEST + 1}


class Form:
    """One spelling: nodes and constants for opsets lo to hi."""

    def __init__(self, lo, hi, nodes, constants=None):
        self.lo, self.hi, self.nodes, self.constants = lo, hi, nodes, constants or {}

    def model(self, inputs, y):
        shapes = {name: value.shape for name, value in inputs.items()}
        return build(self.nodes, shapes, list(y.shape), self.constants, self.lo, "case")


class Optimized:
    """A module as torch's legacy exporter and ONNX Runtime's optimizer write it."""

    def __init__(self, module, opset):
        self.module, self.lo, self.hi = module, opset, opset

    def model(self, inputs, _y):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain, optimized = f"{folder}/plain.onnx", f"{folder}/optimized.onnx"
            tensors = tuple(torch.tensor(v) for v in inputs.values())
            names = {"input_names": list(inputs), "output_names": ["y"]}
            torch.onnx.export(self.module.float(), tensors, plain, dynamo=False, opset_version=self.lo, **names)
            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = optimized
            ort.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
            return onnx.load(optimized)


@dataclass(frozen=True)
class Case:
    """`inputs` are name → array. `function` takes them as float64 tensors in that order; `check` is another that must agree."""

    name: str
    op: str
    inputs: dict[str, np.ndarray]
    forms: tuple[Form | Optimized, ...]
    function: Callable
    check: Callable | None


def family(name):
    """What adds cases to a family: `case(name, op, inputs, *forms)`, and `use(op, label, inputs)` for a single node."""
    return functools.partial(case, name), functools.partial(use, name)


def case(family, name, op, inputs, *forms, function=None, check=None):
    """Adds a case. The reference runs the nodes of the first form; where a function is given, it must agree with that."""
    reference = lambda *tensors: by_reference(forms[0], dict(zip(inputs, tensors, strict=True)))
    if function is not None and check is None and known(forms[0]):
        check = reference
    function = function or reference
    CHOSEN.setdefault(family, []).append(Case(name, op, inputs, forms, function, check))


def known(form):
    """Whether the reference has every operator of a form, at its opset."""
    nodes = [] if isinstance(form, Optimized) else form.nodes
    return bool(nodes) and all(op in OPERATORS and OPERATORS[op].since <= form.lo for op, *_ in nodes)


def by_reference(form, tensors):
    return evaluate(form.nodes, form.constants | tensors, Run(form.lo))


def use(family, op, label, inputs, constants=None, *forms, function=None, check=None, **spelling):
    """Adds the case `op + label` of a single node; an array alone is the input x."""
    inputs = inputs if isinstance(inputs, dict) else {"x": inputs}
    forms = forms or [one(op, inputs, constants, **spelling)]
    case(family, op + label, op, inputs, *forms, function=function, check=check)


def one(op, inputs="x", constants=None, lo=None, hi=NEWEST, outputs="y", **attributes):
    """A form of a single node. Inputs are names between blanks; those of a dictionary come before the constants."""
    names = inputs if isinstance(inputs, str) else " ".join([*inputs, *(constants or {})])
    return Form(lo or OPERATORS[op].since, hi, [node(op, names, outputs, **attributes)], constants)


def row(case, log):
    """The case as the fixture has it. Every model must agree with torch where ONNX Runtime runs it."""
    tensors = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in case.inputs.values()]
    y = case.function(*tensors)
    if case.check is not None:
        assert torch.allclose(y, case.check(*tensors), atol=1e-9), f"{case.name}: two functions of torch differ"
    sign = np.where(rng("sign" + case.name).random(tuple(y.shape)) < 0.5, -1, 1)
    cotangent = (rng("seed" + case.name).uniform(0.5, 1.5, tuple(y.shape)) * sign).astype(np.float32)
    grads = differentiate(y, tensors, torch.tensor(cotangent.astype(np.float64)))
    y = y.detach().numpy()
    tensor = lambda a: {"shape": list(a.shape), "data": [float(v) for v in np.asarray(a).ravel()]}
    variants = [variant(case, form, y, log) for form in case.forms]
    return {
        "name": case.name,
        "op": case.op,
        "variants": variants,
        "wrt": list(case.inputs),
        "inputs": {name: tensor(value) for name, value in case.inputs.items()},
        "seed": tensor(cotangent),
        "forward": tensor(y),
        "grads": {name: tensor(grad.numpy()) for name, grad in zip(case.inputs, grads, strict=True)},
    }


def variant(case, form, y, log):
    model = form.model(case.inputs, y)
    if not isinstance(form, Optimized) and form.lo >= CHECKED.get(case.op, OLDEST):
        onnx.checker.check_model(model, full_check=False)
    try:
        found = run(model, case.inputs)
    except Exception as error:
        # ONNX Runtime has no kernel for this opset, which is no fault of the case.
        log(f"{case.name} {form.lo}: ONNX Runtime: {str(error)[:110]}")
    else:
        assert found.shape == y.shape, f"{case.name} {form.lo}: ONNX Runtime gives {found.shape}, torch {y.shape}"
        error = np.abs(found - y).max() / max(np.abs(y).max(), 1e-30)
        assert error < 1e-5, f"{case.name} {form.lo}: ONNX Runtime and torch differ by {error:.1e}"
    return {"opsets": [form.lo, form.hi], "model": base64.b64encode(model.SerializeToString()).decode()}


# Inputs.


def rng(name):
    return np.random.default_rng(abs(int.from_bytes(name.encode()[-8:], "little")) % 2**32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def f32(*values):
    return np.array(values, dtype=np.float32)


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
