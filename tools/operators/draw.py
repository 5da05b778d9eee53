"""What the families of drawn cases share: a registry of operators, drawing of shapes, and the oracles of a case."""

import base64
import zlib

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from splitmix import uniform

OLDEST, NEWEST, TOGETHER = 7, 28, 27
SPECS = []
BOUND = 1e-5
ort.set_default_logger_severity(4)


def spec(op, lo=OLDEST, hi=NEWEST, count=12, label=""):
    """Registers a function that draws a use of `op` into a `Draw`; `count` cases are made of it."""

    def register(fn):
        SPECS.append((op, label, lo, hi, count, fn))
        return fn

    return register


class Again(Exception):
    """What was drawn is no legal use of the operator, or has no derivative; draw again."""


class Draw:
    """A drawn case: nodes, inputs, constants and, where torch says what it computes, a function of the inputs."""

    def __init__(self, random, opset, index=0):
        self.r, self.opset, self.index = random, opset, index
        self.nodes, self.inputs, self.consts, self.fn = [], {}, {}, None
        self.declared = None

    def x(self, name, shape, scale=2.0, offset=0.0, step=0):
        """A float input: offset + scale·u, with u in −1…1 in steps of 1/step where that is not 0."""
        self.inputs[name] = ([int(n) for n in shape], float(scale), float(offset), int(step))
        return name

    def positive(self, name, shape):
        return self.x(name, shape, 0.75, 1.25)

    def const(self, name, value, kind=np.int64):
        value = np.asarray(value)
        self.consts[name] = value.astype(kind) if kind else value
        return name

    def floats(self, name, shape, lo=-2.0, hi=2.0):
        return self.const(name, self.r.uniform(lo, hi, shape), np.float32)

    def node(self, op, ins, outs="y", **attrs):
        """Inputs and outputs are names between blanks, '_' leaves one out; attributes of None are left out."""
        names = lambda text: ["" if name == "_" else name for name in text.split()]
        self.nodes.append((op, names(ins), names(outs), {k: v for k, v in attrs.items() if v is not None}))

    def where(self, name, value, kind=None):
        """A list of indices: an initializer, or one that nobody knows before the run."""
        kind = kind or self.pick([np.int64, np.int32])
        if self.pick([True, True, False]):
            return self.const(name, value, kind)
        self.const(name + "_f", value, np.float32)
        first = next(iter(self.inputs))
        self.const(name + "_0", 0, np.float32)
        self.node("ReduceMax", first, name + "_m", keepdims=0)
        self.node("Mul", f"{name}_m {name}_0", name + "_n")
        self.node("Add", f"{name}_f {name}_n", name + "_s")
        self.node("Cast", name + "_s", name, to=TensorProto.INT64 if kind is np.int64 else TensorProto.INT32)
        return name

    # Random choices.
    def pick(self, options):
        return options[int(self.r.integers(len(options)))]

    def int(self, lo, hi):
        """An integer in lo…hi."""
        return int(self.r.integers(lo, hi + 1))

    def ints(self, lo, hi, count):
        return [self.int(lo, hi) for _ in range(count)]

    def maybe(self, value, share=0.5):
        return value if self.r.random() < share else None

    def shape(self, lo=1, hi=4, most=48, sizes=(1, 2, 3, 4, 5)):
        while True:
            dims = [self.pick(sizes) for _ in range(self.int(lo, hi))]
            if np.prod(dims) <= most:
                return dims

    def part(self, dims):
        """A shape that broadcasts to `dims`."""
        drop = self.int(0, len(dims)) if self.pick([True, False]) else 0
        return [self.pick([n, n, 1]) for n in dims][drop:]

    def axes(self, rank, least=1):
        """Some different axes, negative or not."""
        axes = self.r.permutation(rank)[: self.int(min(least, rank), rank)]
        return [int(axis) - rank if self.pick([True, False]) else int(axis) for axis in axes]

    def axis(self, rank):
        return self.int(-rank, rank - 1) if self.opset >= 11 else self.int(0, rank - 1)


def values(seed, inputs):
    """The numbers of the inputs: the same as crates/testkit/src/operators.rs makes them."""
    made = {}
    for name, (shape, scale, offset, step) in inputs.items():
        u = uniform(seed, name, int(np.prod(shape)))
        if step:
            u = np.floor(u * np.float32(step)) / np.float32(step)
        made[name] = (u * np.float32(scale) + np.float32(offset)).astype(np.float32).reshape(shape)
    return made


def model(draw, wide=False):
    kind, plain = (TensorProto.DOUBLE, np.float64) if wide else (TensorProto.FLOAT, np.float32)
    nodes = []
    for op, ins, outs, attrs in draw.nodes:
        attrs = {k: TensorProto.DOUBLE if wide and k in ("to", "dtype") and v == TensorProto.FLOAT else v for k, v in attrs.items()}
        nodes.append(helper.make_node(op, ins, outs, **attrs))
    consts = [numpy_helper.from_array(v.astype(plain) if v.dtype == np.float32 else v, k) for k, v in draw.consts.items()]
    info = lambda name, shape: helper.make_tensor_value_info(name, kind, shape)
    graph = helper.make_graph(nodes, "g", [info(k, v[0]) for k, v in draw.inputs.items()], [info("y", draw.declared)], consts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", draw.opset)], ir_version=8)


def differences(run, xs, seed):
    """The gradient of ⟨seed, y⟩ by central differences; an error where two steps disagree, as at a kink."""
    grads = {}
    for name, x in xs.items():
        found = []
        for h in (1e-5, 3e-6):
            grad = np.zeros(x.shape)
            for at in np.ndindex(*x.shape):
                sides = []
                for sign in (1, -1):
                    moved = x.copy()
                    moved[at] += sign * h
                    sides.append(run(xs | {name: moved}))
                if sides[0].shape != seed.shape or sides[1].shape != seed.shape:
                    raise Again("its shape depends on its numbers")
                grad[at] = ((sides[0] - sides[1]) * seed).sum() / (2 * h)
            found.append(grad)
        scale = max(np.abs(found[0]).max(initial=0), 1e-3)
        if not np.abs(found[0] - found[1]).max(initial=0) < 2e-6 * scale:
            raise Again("its derivative jumps")
        grads[name] = found[0]
    return grads


def by_torch(draw, xs, seed, kind):
    tensors = {k: torch.tensor(v.astype(kind), requires_grad=True) for k, v in xs.items()}
    y = draw.fn(tensors)
    cotangent = None if seed is None else torch.tensor(seed.astype(kind))
    cotangent = torch.ones_like(y) if cotangent is None else cotangent
    assert cotangent.shape == y.shape, f"{tuple(y.shape)} and {tuple(cotangent.shape)}"
    grads = torch.autograd.grad(y, list(tensors.values()), cotangent, allow_unused=True)
    grads = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors.values(), grads)]
    return y.detach().numpy(), dict(zip(tensors, (g.numpy() for g in grads)))


def far(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return np.inf
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0, np.abs(a - b))
    return difference.max(initial=0) / max(np.abs(b).max(initial=0), 1e-30)


def judge(draw, seed, notes):
    """Forward value, gradients and bound of a case: torch where there is a function, checked by ONNX's reference
    evaluator where that can run the model; else the evaluator and central differences."""
    xs = values(seed, draw.inputs)
    if any(x.size == 0 for x in xs.values()) and draw.fn is None:
        raise Again("empty")
    wide = {k: v.astype(np.float64) for k, v in xs.items()}
    narrow = model(draw)
    standard = None
    try:
        evaluator = ReferenceEvaluator(model(draw, wide=True))
        run = lambda feeds: np.asarray(evaluator.run(["y"], feeds)[0])
        standard = run(wide)
    except Exception as error:
        standard_error = f"{type(error).__name__}: {str(error)[:90]}"
    runtime = None
    try:
        session = ort.InferenceSession(narrow.SerializeToString(), providers=["CPUExecutionProvider"])
        runtime = session.run(["y"], xs)[0]
    except Exception as error:
        notes.append(f"ORT does not run: {str(error)[:140]}")
    bound = BOUND
    if draw.fn is not None:
        with torch.no_grad():
            size = draw.fn({k: torch.tensor(v) for k, v in wide.items()}).shape
        cotangent = uniform(seed, "seed", int(np.prod(size))).reshape(tuple(size))
        y, grads = by_torch(draw, wide, cotangent, np.float64)
        _, rough = by_torch(draw, xs, cotangent, np.float32)
        conditioned = 3 * max((far(rough[k], grads[k]) for k in grads), default=0)
        if conditioned > 3e-5:
            raise Again("float32 cannot tell")
        if conditioned > bound:
            notes.append(f"float32 is {conditioned / 3:.1e} from float64")
            bound = conditioned
        if standard is not None and not far(standard, y) < 1e-6:
            notes.append(f"the evaluator and torch differ by {far(standard, y):.1e}, shapes {np.shape(standard)} {y.shape}")
    else:
        if standard is None:
            raise AssertionError(f"no oracle: {standard_error}")
        y = standard
        if y.size == 0:
            raise Again("empty")
        cotangent = uniform(seed, "seed", int(y.size)).reshape(y.shape)
        grads = differences(run, wide, cotangent)
    if runtime is not None and not far(runtime, y) < 2e-4:
        notes.append(f"WRONG FORWARD? ORT and the oracle differ by {far(runtime, y):.1e}, shapes {runtime.shape} {y.shape}")
    if not all(np.isfinite(v).all() for v in [y, *grads.values()]):
        raise Again("not finite")
    return narrow, y, grads, bound


def text(draw):
    parts = []
    for op, ins, outs, attrs in draw.nodes:
        parts.append(f"{op}({','.join(ins)}) {attrs}")
    sizes = {k: v[0] for k, v in draw.inputs.items()} | {k: list(np.shape(v)) if np.size(v) > 8 else np.asarray(v).tolist() for k, v in draw.consts.items()}
    return f"opset {draw.opset} {'; '.join(parts)} {sizes}"


def make(op, label, lo, hi, count, fn, log):
    """`count` cases of an operator: JSON rows and their numbers."""
    rows, numbers = [], []
    name = op + label
    for index in range(count):
        for attempt in range(60):
            seed = zlib.crc32(f"{name}/{index}/{attempt}".encode())
            random = np.random.default_rng(seed)
            opset = min(max(TOGETHER, lo), hi) if index == 0 else int(random.integers(lo, hi + 1))
            draw = Draw(random, opset, index)
            notes = []
            try:
                fn(draw)
                narrow, y, grads, bound = judge(draw, seed, notes)
            except Again:
                continue
            except Exception as error:
                log(f"{name}_{index}: {type(error).__name__}: {str(error)[:300]}\n    {text(draw)}")
                break
            for note in notes:
                log(f"{name}_{index}: {note}\n    {text(draw)}")
            inputs = [[k, *v] for k, v in draw.inputs.items()]
            rows.append({"op": op, "name": f"{name}_{index}", "seed": seed, "opset": draw.opset, "bound": float(f"{bound:.1e}"), "inputs": inputs, "shape": list(y.shape), "model": base64.b64encode(narrow.SerializeToString()).decode()})
            numbers += [np.asarray(v, np.float32).ravel() for v in [y, *grads.values()]]
            break
        else:
            log(f"{name}_{index}: nothing legal was drawn")
    return rows, numbers
