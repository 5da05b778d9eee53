"""What each operator computes: a table of functions of torch tensors, and runs of nodes by it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from onnx import TensorProto

OLDEST, NEWEST = 7, 28
OPERATORS: dict[str, "Operator"] = {}


@dataclass(frozen=True)
class Operator:
    """`function` takes the inputs, None where one is left out, and the attributes by name. `since` is the first opset."""

    function: Callable
    since: int
    takes_run: bool


@dataclass(frozen=True)
class Run:
    """The opset of the nodes, the float type of the tensors, whether float attributes keep their decimal digits, and how
    many outputs the node has."""

    opset: int
    kind: torch.dtype = torch.float64
    decimal: bool = False
    outputs: int = 1

    def round(self, number):
        """A float attribute as the file holds it: rounded to float32."""
        return number if self.decimal else float(np.float32(number))


def operator(*names, since=OLDEST, takes_run=False):
    """Registers a function as the reference of operators. With `takes_run` it gets the `Run` first."""

    def register(function):
        for name in names:
            OPERATORS[name] = Operator(function, since, takes_run)
        return function

    return register


def operators(since, **functions):
    """Registers functions that take tensors alone, by the names of their operators."""
    for name, function in functions.items():
        operator(name, since=since)(function)


def node(op, inputs="x", outputs="y", **attributes):
    """A node. Inputs and outputs are names between blanks, '_' leaves one out; attributes of None are left out."""
    names = lambda text: ["" if name == "_" else name for name in text.split()]
    return op, names(inputs), names(outputs), {k: v for k, v in attributes.items() if v is not None}


def evaluate(nodes, values, run):
    """The tensor `y` of nodes. `values` are tensors that gradients flow to, and arrays of constants."""
    values = {name: tensor(value, run.kind) for name, value in values.items()}
    for op, inputs, outputs, attributes in nodes:
        entry = OPERATORS[op]
        rounded = {k: run.round(v) if isinstance(v, float) else v for k, v in attributes.items() if k != "domain"}
        given = [values[name] if name else None for name in inputs]
        first = [replace(run, outputs=len(outputs))] if entry.takes_run else []
        results = entry.function(*first, *given, **rounded)
        results = results if isinstance(results, tuple) else (results,)
        # A reference may lack outputs that no case reads.
        values |= zip(outputs, results, strict=False)
    return values["y"]


def tensor(value, kind=torch.float64):
    """An array as a tensor, with floats of one type."""
    value = torch.as_tensor(value)
    return value.to(kind) if value.is_floating_point() else value


@operator("Cast", takes_run=True)
def cast(run, x, *, to):
    """The gradient stops at integers and truth values. Integers made from floats stay floats."""
    if to == TensorProto.BOOL:
        return x.detach() != 0
    if to in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return x if x.is_floating_point() else x.to(run.kind)
    return x.detach().trunc() if x.is_floating_point() else x
