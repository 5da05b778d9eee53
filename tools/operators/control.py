"""Loop and Scan. What they compute is stated for each use: a body may hold any operators."""

import numpy as np
import torch
from onnx import TensorProto, helper

from . import chosen, drawn
from .chosen import Form, anywhere
from .reference import NEWEST, node

case, _ = chosen.family("control")
spec = drawn.family("control")
ROWS, COLUMNS = 2, 3
FOREVER = 2**63 - 1


def body(nodes, inputs, outputs):
    """A graph; inputs are name → shape, i the number of the trip and c the condition."""
    kinds = {"i": TensorProto.INT64, "c": TensorProto.BOOL, "go": TensorProto.BOOL}
    info = lambda name, shape: helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)
    made = [helper.make_node(op, ins, outs, **attributes) for op, ins, outs, attributes in nodes]
    return helper.make_graph(made, "body", [info(*item) for item in inputs.items()], [info(name, None) for name in outputs])


STEP = [node("Mul", "state w", "scaled"), node("Add", "scaled part", "inside"), node("Tanh", "inside", "next")]


def loop_body(last="Identity", shape=(ROWS, COLUMNS)):
    """s′ = tanh(s·w + x + i), where w and x are values outside, and s′·w as an element."""
    nodes = [node("Cast", "i", "number", to=TensorProto.FLOAT), node("Add", "x number", "part"), *STEP]
    nodes.append(node("Mul", "next w", "element"))
    nodes.append(node("Identity", "c", "go") if last == "Identity" else node(last, "i bound", "go"))
    return body(nodes, {"i": [], "c": [], "state": list(shape)}, ["go", "next", "element"])


def loop(s, w, x, trips):
    elements = []
    for trip in range(trips):
        s = torch.tanh(s * w + x + trip)
        elements.append(s * w)
    return s, torch.stack(elements) if elements else None


def scan_body(shape):
    """s′ = tanh(s·w + v), where w is outside and v is scanned, and s′·s′ as an element."""
    nodes = [*STEP, node("Mul", "next next", "element")]
    return body(nodes, {"state": shape, "part": shape}, ["next", "element"])


def scan(s, w, x, axis=0, backwards=0, out_axis=0, out_backwards=0):
    parts = list(x.unbind(axis))
    elements = []
    for part in parts[::-1] if backwards else parts:
        s = torch.tanh(s * w + part)
        elements.append(s * s)
    return s, torch.stack(elements[::-1] if out_backwards else elements, out_axis)


# Chosen cases.

given = {"s": anywhere("ls", ROWS, COLUMNS), "w": anywhere("lw", COLUMNS), "x": anywhere("lx", ROWS, COLUMNS)}
count, go = {"m": np.array(3, np.int64)}, {"g": np.array(True)}
for label, names, outputs, constants, at in [
    ("", "m g s", "y e", count | go, 0),
    ("_elements", "m _ s", "a y", count, 1),
    ("_and_elements", "m _ s", "a b", count, 2),
]:
    nodes = [node("Loop", names, outputs, body=loop_body())] + ([node("Add", "a b")] if at == 2 else [])
    function = lambda s, w, x, at=at: [*loop(s, w, x, 3), sum(loop(s, w, x, 3))][at]
    span = (7, NEWEST) if at < 2 else (14, 18)
    case("Loop" + label, "Loop", given, Form(*span, nodes, constants), function=function)
nodes = [node("Loop", "m g s", "y f", body=loop_body("Less"))]
constants = {"m": np.array(FOREVER), "bound": np.array(2, np.int64)} | go
case("Loop_until", "Loop", given, Form(9, 18, nodes, constants), function=lambda s, w, x: loop(s, w, x, 3)[0])

row = {"s": anywhere("ss", COLUMNS), "w": anywhere("sw", COLUMNS), "x": anywhere("sx", 4, COLUMNS)}
for label, outputs, at in [("", "y e", 0), ("_elements", "l y", 1)]:
    nodes = [node("Scan", "s x", outputs, body=scan_body([COLUMNS]), num_scan_inputs=1)]
    case("Scan" + label, "Scan", row, Form(9, NEWEST, nodes), function=lambda s, w, x, at=at: scan(s, w, x)[at])
    both = {"s": anywhere("bs", ROWS, COLUMNS), "w": row["w"], "x": anywhere("bx", ROWS, 4, COLUMNS)}
    nodes = [node("Scan", "_ s x", outputs, body=scan_body([COLUMNS]), num_scan_inputs=1)]
    each = lambda s, w, x, at=at: torch.stack([scan(s[k], w, x[k])[at] for k in range(ROWS)])
    case(f"Scan{label}_of_batches", "Scan", both, Form(8, 8, nodes), function=each)
nodes = [node("Scan", "s x", "l y", body=scan_body([COLUMNS]), num_scan_inputs=1, scan_input_axes=[-1], scan_input_directions=[1])]
nodes[0][3].update(scan_output_axes=[1], scan_output_directions=[1])
turned = row | {"x": anywhere("tx", COLUMNS, 4)}
case("Scan_axes", "Scan", turned, Form(9, 18, nodes), function=lambda s, w, x: scan(s, w, x, 1, 1, 1, 1)[1])


# Drawn cases.


def value(d, tensors, name):
    return tensors[name] if name in tensors else torch.tensor(d.consts[name]).to(next(iter(tensors.values())).dtype)


def either(d, name, shape):
    return d.floats(name, shape) if d.pick([True, False]) else d.x(name, shape)


@spec("Loop", 7, count=12)
def _(d):
    trips = d.int(1, 3)
    d.x("s", [ROWS, COLUMNS])
    either(d, "w", [COLUMNS])
    either(d, "x", [ROWS, COLUMNS])
    d.const("m", trips)
    names = "m _ s"
    if d.pick([True, False]):
        d.const("g", True, np.bool_)
        names = "m g s"
    at = d.pick([0, 1])
    d.node("Loop", names, ["y e", "l y"][at], body=loop_body())
    d.fn = lambda t: loop(*[value(d, t, name) for name in "swx"], trips)[at]


@spec("Scan", 9, count=12)
def _(d):
    shape = [ROWS, COLUMNS][: d.int(1, 2)]
    axis, out = d.int(0, len(shape)), d.int(0, len(shape))
    directions = d.ints(0, 1, 2)
    d.x("s", shape)
    either(d, "w", shape)
    d.x("x", [*shape[:axis], d.int(1, 4), *shape[axis:]])
    spelled = lambda axis: d.pick([axis, axis - len(shape) - 1]) if d.opset >= 11 else axis
    given = {"scan_input_axes": [spelled(axis)], "scan_output_axes": [spelled(out)]}
    given |= {"scan_input_directions": directions[:1], "scan_output_directions": directions[1:]}
    at = d.pick([0, 1])
    d.node("Scan", "s x", ["y e", "l y"][at], body=scan_body(shape), num_scan_inputs=1, **given)
    d.fn = lambda t: scan(*[value(d, t, name) for name in "swx"], axis, directions[0], out, directions[1])[at]


@spec("Loop", 7, count=1, label="_computed")
def _(d):
    """A number of trips that an input decides is refused."""
    d.x("s", [ROWS, COLUMNS])
    d.floats("w", [COLUMNS])
    d.floats("x", [ROWS, COLUMNS])
    d.const("three", 3, np.float32)
    d.const("none", 0, np.float32)
    d.node("ReduceMax", "s", "most", keepdims=0)
    d.node("Mul", "most none", "zero")
    d.node("Add", "zero three", "count")
    d.node("Cast", "count", "m", to=TensorProto.INT64)
    d.node("Loop", "m _ s", "y e", body=loop_body())
    d.fn = lambda t: loop(*[value(d, t, name) for name in "swx"], 3)[0]


@spec("Loop", 7, count=1, label="_long")
def _(d):
    """More trips than are unrolled."""
    d.x("s", [1])
    d.const("w", [1e-5], np.float32)
    d.const("m", 33_000)
    nodes = [node("Identity", "c", "go"), node("Add", "state w", "next")]
    d.node("Loop", "m _ s", body=body(nodes, {"i": [], "c": [], "state": [1]}, ["go", "next"]))
    d.fn = lambda t: t["s"] + 33_000 * value(d, t, "w")


@spec("Scan", 9, count=1, label="_long")
def _(d):
    d.x("s", [1])
    d.x("v", [1, 1])
    d.const("shape", [70_000, 1])
    d.node("Expand", "v shape", "x")
    nodes = [node("Add", "state part", "next")]
    d.node("Scan", "s x", body=body(nodes, {"state": [1], "part": [1]}, ["next"]), num_scan_inputs=1)
    d.fn = lambda t: t["s"] + 70_000 * t["v"][0]


@spec("Scan", 8, 8, count=1, label="_lengths")
def _(d):
    d.x("s", [ROWS, COLUMNS])
    d.x("x", [ROWS, 2, COLUMNS])
    d.floats("w", [COLUMNS])
    d.const("l", [2, 2])
    d.node("Scan", "l s x", "y e", body=scan_body([COLUMNS]), num_scan_inputs=1)
    d.fn = lambda t: torch.stack([scan(t["s"][k], value(d, t, "w"), t["x"][k])[0] for k in range(ROWS)])
