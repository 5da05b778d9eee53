"""LSTM, GRU and RNN."""

import numpy as np
import torch
from torch.nn import functional as F

from . import chosen, drawn
from .chosen import Form, anywhere
from .reference import NEWEST, node, operator

case, use = chosen.family("recurrent")
spec = drawn.family("recurrent")

# The function of an activation, and the default α and β where it has them.
ACTIVATIONS = {
    "Affine": (lambda x, alpha, beta: alpha * x + beta, 1.0, 0.0),
    "Elu": (lambda x, alpha, _: F.elu(x, alpha), 1.0, None),
    "HardSigmoid": (lambda x, alpha, beta: (alpha * x + beta).clip(0, 1), 0.2, 0.5),
    "LeakyRelu": (lambda x, alpha, _: F.leaky_relu(x, alpha), 0.01, None),
    "Relu": (lambda x, *_: x.relu(), None, None),
    "ScaledTanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), 1.0, 1.0),
    "Sigmoid": (lambda x, *_: x.sigmoid(), None, None),
    "Softplus": (lambda x, *_: F.softplus(x), None, None),
    "Softsign": (lambda x, *_: F.softsign(x), None, None),
    "Tanh": (lambda x, *_: x.tanh(), None, None),
    "ThresholdedRelu": (lambda x, alpha, _: x * (x > alpha), 1.0, None),
}


def activation_functions(names, alphas, betas):
    """Functions without a parameter take none of the lists."""
    alphas, betas = iter(alphas), iter(betas)
    functions = []
    for name in names:
        function, alpha, beta = ACTIVATIONS[name]
        alpha = alpha if alpha is None else next(alphas, alpha)
        beta = beta if beta is None else next(betas, beta)
        functions.append(lambda x, function=function, alpha=alpha, beta=beta: function(x, alpha, beta))
    return functions


def network(defaults, cell):
    """The operator of a cell: (x·Wᵀ + b, h·Rᵀ + b, Rᵀ and b of R, state, functions) → state, where state is [h, …]."""

    def function(x, w, r, b=None, lengths=None, *rest, hidden_size, direction="forward", layout=0, activations=None, clip=0.0,
                 activation_alpha=(), activation_beta=(), **options):  # fmt: skip
        assert lengths is None or (lengths == x.shape[layout]).all()
        x = x.transpose(0, 1) if layout else x
        count, width = w.shape[0], w.shape[1]
        b = torch.zeros(count, 2 * width, dtype=x.dtype) if b is None else b
        *initial, peepholes = [*rest, *[None] * (3 - len(rest))]
        names = activations or defaults * count
        functions = activation_functions(names, activation_alpha, activation_beta)
        functions = [functions[k : k + len(defaults)] for k in range(0, len(functions), len(defaults))]
        bounded = (lambda v: v.clip(-clip, clip)) if clip else (lambda v: v)
        ys, lasts = [], []
        for at in range(count):
            zeros = torch.zeros(x.shape[1], hidden_size, dtype=x.dtype)
            first = [zeros if s is None else (s.transpose(0, 1) if layout else s)[at] for s in initial]
            state, states = first, []
            turned = direction == "reverse" or at == 1
            for step in x.flip(0) if turned else x:
                into = step @ w[at].T + b[at, :width]
                p = None if peepholes is None else peepholes[at].chunk(3)
                state = cell(into, r[at].T, b[at, width:], state, functions[at], bounded, p, **options)
                states.append(state[0])
            ys.append(torch.stack(states[::-1] if turned else states))
            lasts.append(state)
        y, ends = torch.stack(ys, 1), [torch.stack(parts) for parts in zip(*lasts, strict=True)]
        if layout:
            return y.permute(2, 0, 1, 3), *[end.transpose(0, 1) for end in ends]
        return y, *ends

    return function


def lstm_cell(x, r, b, state, functions, bounded, peepholes, input_forget=0):
    (h, c), (f, g, shown) = state, functions
    zi, zo, zf, zc = (x + h @ r + b).chunk(4, -1)
    pi, po, pf = peepholes or (0, 0, 0)
    i = f(bounded(zi + pi * c))
    forget = 1 - i if input_forget else f(bounded(zf + pf * c))
    c = forget * c + i * g(bounded(zc))
    return [f(bounded(zo + po * c)) * shown(c), c]


def gru_cell(x, r, b, state, functions, bounded, _, linear_before_reset=0):
    h, (f, g) = state[0], functions
    (xz, xr, xn), (rz, rr, rn), (bz, br, bn) = x.chunk(3, -1), r.chunk(3, -1), b.chunk(3, -1)
    z, reset = f(bounded(xz + h @ rz + bz)), f(bounded(xr + h @ rr + br))
    n = reset * (h @ rn + bn) if linear_before_reset else (reset * h) @ rn + bn
    return [(1 - z) * g(bounded(xn + n)) + z * h, *state[1:]]


def rnn_cell(x, r, b, state, functions, bounded, _):
    return [functions[0](bounded(x + state[0] @ r + b)), *state[1:]]


lstm = network(["Sigmoid", "Tanh", "Tanh"], lstm_cell)
gru = network(["Sigmoid", "Tanh"], gru_cell)
rnn = network(["Tanh"], rnn_cell)
NETWORKS = {"LSTM": (lstm, 4), "GRU": (gru, 3), "RNN": (rnn, 1)}
for name, (function, _) in NETWORKS.items():
    operator(name)(function)


def by_module(op, inputs):
    """The output Y of torch's own module, with the gates in ONNX's order."""
    order = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}[op]
    count, _, size = inputs["r"].shape
    module = getattr(torch.nn, op)(inputs["x"].shape[2], size, bidirectional=count == 2).double()
    gates = lambda v: torch.cat([v.chunk(len(order))[k] for k in order])

    def function(x, w, r, b):
        weights = {}
        for at in range(w.shape[0]):
            end = "_l0_reverse" if at else "_l0"
            first, second = b[at].chunk(2)
            parts = zip(["weight_ih", "weight_hh", "bias_ih", "bias_hh"], [w[at], r[at], first, second], strict=True)
            weights |= {name + end: gates(part) for name, part in parts}
        y = torch.func.functional_call(module, weights, (x,))[0]
        return y.reshape(*y.shape[:2], -1, size).transpose(1, 2)

    return function


# Chosen cases.

STEPS, BATCH, SIZE, HIDDEN = 3, 2, 3, 2
# The inputs in the order of the operators; l are the lengths.
INPUTS = "xwrblhcp"
BOTH = {"direction": "bidirectional"}
MIXED = {
    "LSTM": ["HardSigmoid", "Relu", "ScaledTanh", "Sigmoid", "LeakyRelu", "Affine"],
    "GRU": ["HardSigmoid", "LeakyRelu", "Sigmoid", "Softsign"],
    "RNN": ["ScaledTanh", "Elu"],
}


def inputs_of(op, label, more="", direction="forward", layout=0, **_):
    """x, W, R, B and the named others, of all directions."""
    count, gates = 2 if direction == "bidirectional" else 1, NETWORKS[op][1]
    state = [BATCH, count, HIDDEN] if layout else [count, BATCH, HIDDEN]
    shapes = {"x": [BATCH, STEPS, SIZE] if layout else [STEPS, BATCH, SIZE], "w": [count, gates * HIDDEN, SIZE]}
    shapes |= {"r": [count, gates * HIDDEN, HIDDEN], "b": [count, 2 * gates * HIDDEN]}
    shapes |= {"h": state, "c": state, "p": [count, 3 * HIDDEN]}
    return {name: anywhere(op + label + name, *shapes[name]) * np.float32(0.5) for name in "xwrb" + more}


def add(op, label, more="", outputs="y", **attributes):
    """Two cases: the gradient of everything, and that of the input where all else is constant."""
    given = inputs_of(op, label, more, **attributes)
    used = INPUTS[: 1 + max(INPUTS.index(name) for name in given)]
    text = " ".join(name if name in given else "_" for name in used)
    # The plain use is tried at all opsets; clips are spelled in two ways, the rest does not depend on the opset.
    span = {"": (7, NEWEST), "_clip": (7, 14)}.get(label, (14, 18))
    torch_has = (label in ("", "_both") and op != "GRU") or label == "_linear"
    check = by_module(op, given) if torch_has else None
    spell = lambda text: [node(op, text, outputs, hidden_size=HIDDEN, **attributes)]
    case(op + label, op, given, Form(*span, spell(text)), check=check)
    # The first axis of x is a batch; t has the time there.
    first = "x" if "layout" in attributes else "t"
    constants = {name: value for name, value in given.items() if name != "x"}
    case(f"{op}{label}_input", op, {first: given["x"]}, Form(*span, spell(text.replace("x", first)), constants))


for op in NETWORKS:
    add(op, "")
    add(op, "_reverse", direction="reverse")
    add(op, "_both", **BOTH)
    add(op, "_last", "h", "_ y", **BOTH)
    add(op, "_clip", clip=0.3)
    add(op, "_activations", activations=MIXED[op], activation_alpha=[0.3, 0.7, 0.2, 0.6], activation_beta=[0.4, 0.5, 0.8], **BOTH)
    add(op, "_batch_first", layout=1, **BOTH)
    add(op, "_batch_first_last", outputs="_ y", layout=1, **BOTH)
    # Both outputs and the lengths.
    given = inputs_of(op, "_all", "h")
    constants = {name: given.pop(name) for name in "wrb"} | {"l": np.full(BATCH, STEPS, np.int32)}
    nodes = [node(op, "x w r b l h", "a s", hidden_size=HIDDEN), node("Add", "a s")]
    case(op + "_outputs", op, given, Form(14, 18, nodes, constants))
    plain = inputs_of(op, "_plain")
    use(op, "_no_bias", {"t": plain["x"]}, {"w": plain["w"], "r": plain["r"]}, hidden_size=HIDDEN, lo=14, hi=18)
add("LSTM", "_cell", "hc", "_ _ y", **BOTH)
add("LSTM", "_peepholes", "hcp", **BOTH)
add("LSTM", "_peepholes_clip", "hcp", clip=0.4)
add("LSTM", "_coupled", "hc", input_forget=1)
add("GRU", "_linear", linear_before_reset=1)
add("GRU", "_linear_both", "h", linear_before_reset=1, **BOTH)
given = inputs_of("LSTM", "_three", "hc")
nodes = [node("LSTM", "x w r b _ h c", "a s e", hidden_size=HIDDEN), node("Add", "a s", "t"), node("Mul", "t e")]
case("LSTM_three_outputs", "LSTM", given, Form(14, 18, nodes))


# Drawn cases.


def draw(d, op, most):
    """Any use of the operator; `most` are the inputs behind the initial state."""
    gates = NETWORKS[op][1]
    steps, n, size, hidden = d.int(1, 4), d.int(1, 2), d.int(1, 3), d.int(1, 3)
    direction = d.pick([None, "forward", "reverse", "bidirectional", "bidirectional"])
    count = 2 if direction == "bidirectional" else 1
    layout = d.pick([None, 0, 1]) if d.opset >= 14 else None
    shapes = {"w": [count, gates * hidden, size], "r": [count, gates * hidden, hidden], "b": [count, 2 * gates * hidden]}
    state = [n, count, hidden] if layout else [count, n, hidden]
    shapes |= {"h": state, "c": state, "p": [count, 3 * hidden]}
    d.x("x", [n, steps, size] if layout else [steps, n, size])
    constant = d.pick([True, False])
    names = ["x"]
    for name in ["w", "r", "b", "l", "h", *most]:
        if name not in "wr" and d.pick([True, False]):
            names.append("_")
        elif name == "l":
            names.append(d.const("l", np.full(n, steps), np.int32))
        else:
            names.append(d.floats(name, shapes[name], -0.9, 0.9) if constant else d.x(name, shapes[name], 0.9))
    while names[-1] == "_":
        names.pop()
    default = {"LSTM": 3, "GRU": 2, "RNN": 1}[op]
    given = {}
    if d.pick([True, False]):
        given["activations"] = [d.pick(sorted(ACTIVATIONS)) for _ in range(default * count)]
        given["activation_alpha"] = d.maybe([float(v) for v in d.r.uniform(0.1, 0.9, default * count)])
        given["activation_beta"] = d.maybe([float(v) for v in d.r.uniform(0.1, 0.9, default * count)])
    given |= {"clip": d.maybe(0.5, 0.3), "direction": direction, "layout": layout, "hidden_size": hidden}
    if op == "GRU":
        given["linear_before_reset"] = d.pick([None, 0, 1, 1])
    if op == "LSTM":
        given["input_forget"] = d.maybe(1, 0.2)
    outputs = ["y", "y", "_ y"] + (["_ _ y"] if op == "LSTM" else [])
    d.node(op, " ".join(names), d.pick(outputs), **given)


@spec("LSTM", count=16)
def _(d):
    draw(d, "LSTM", ["c", "p"])


@spec("GRU", count=12)
def _(d):
    draw(d, "GRU", [])


@spec("RNN", count=12)
def _(d):
    draw(d, "RNN", [])


def refused(op):
    """Uses that are refused: sequences that are not of full length, and more steps than unroll."""
    function, gates = NETWORKS[op]

    @spec(op, count=1, label="_lengths")
    def _(d):
        d.x("x", [3, 2, 2])
        d.floats("w", [1, gates * 2, 2])
        d.floats("r", [1, gates * 2, 2])
        d.const("l", [2, 3], np.int32)
        d.node(op, "x w r _ l", hidden_size=2)
        part = lambda t, at, steps: function(t["x"][:steps, at : at + 1], *weights(d, t), hidden_size=2)[0]
        d.fn = lambda t: torch.cat([F.pad(part(t, 0, 2), (0, 0, 0, 0, 0, 0, 0, 1)), part(t, 1, 3)], 2)

    @spec(op, 8, count=1, label="_long")
    def _(d):
        d.x("x", [1, 1, 1])
        d.const("s", [22_000, 1, 1])
        d.floats("w", [1, gates, 1])
        d.floats("r", [1, gates, 1])
        d.node("Expand", "x s", "e")
        d.node(op, "e w r", "_ y", hidden_size=1)


def weights(d, t):
    return [torch.tensor(d.consts[name]).to(t["x"].dtype) for name in "wr"]


for op in NETWORKS:
    refused(op)
