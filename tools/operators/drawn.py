"""Drawn cases: uses of an operator whose shapes, attributes, optional inputs and opsets come from a seed."""

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from splitmix import uniform

from .model import build, run
from .oracle import Again, by_differences, by_torch, distance
from .reference import NEWEST, OLDEST, OPERATORS, Run, evaluate, node

# The draws of each family, in the order of its file.
DRAWN: dict[str, list["Spec"]] = {}
# The opset of the first case of each operator.
TOGETHER = 27
BOUND = 1e-5


@dataclass(frozen=True)
class Spec:
    """`draw` fills a `Draw`; `count` cases are made of it. With `standard` ONNX's evaluator is the oracle, not torch."""

    op: str
    label: str
    lo: int
    hi: int
    count: int
    standard: bool
    decimal: bool
    draw: Callable


def family(name):
    """A decorator that adds a function to the draws of a family."""

    def spec(op, lo=None, hi=NEWEST, count=12, label="", standard=False, decimal=False):
        def register(draw):
            first = lo or (OPERATORS[op].since if op in OPERATORS else OLDEST)
            DRAWN.setdefault(name, []).append(Spec(op, label, first, hi, count, standard, decimal, draw))
            return draw

        return register

    return spec


class Draw:
    """A drawn case: nodes, inputs and constants. `fn` computes it with torch; where it is None, ONNX's evaluator does."""

    def __init__(self, random, opset, index, spec):
        self.r, self.opset, self.index = random, opset, index
        self.nodes, self.inputs, self.consts = [], {}, {}
        self.decimal, self.declared = spec.decimal, None
        self.fn = None if spec.standard else self.reference

    def reference(self, tensors):
        kind = next(iter(tensors.values())).dtype
        return evaluate(self.nodes, self.consts | tensors, Run(self.opset, kind, self.decimal))

    def model(self, wide=False):
        shapes = {name: shape for name, (shape, *_) in self.inputs.items()}
        return build(self.nodes, shapes, self.declared, self.consts, self.opset, "g", wide)

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

    def node(self, op, inputs="x", outputs="y", **attributes):
        self.nodes.append(node(op, inputs, outputs, **attributes))

    def where(self, name, value, kind=None):
        """A list of indices: an initializer, or one that depends on an input and is known only in a run."""
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
    """The numbers of the inputs, which crates/testkit/src/operators.rs makes too."""
    made = {}
    for name, (shape, scale, offset, step) in inputs.items():
        u = uniform(seed, name, int(np.prod(shape)))
        if step:
            u = np.floor(u * np.float32(step)) / np.float32(step)
        made[name] = (u * np.float32(scale) + np.float32(offset)).astype(np.float32).reshape(shape)
    return made


def judge(draw, seed, notes):
    """Output, gradients and bound of a case: torch where there is a function, checked by ONNX's reference
    evaluator where that can run the model; else the evaluator and central differences."""
    xs = values(seed, draw.inputs)
    if draw.fn is None and any(x.size == 0 for x in xs.values()):
        raise Again("empty")
    wide = {k: v.astype(np.float64) for k, v in xs.items()}
    model = draw.model()
    standard, standard_error = None, None
    try:
        evaluator = ReferenceEvaluator(draw.model(wide=True))
        by_standard = lambda feeds: np.asarray(evaluator.run(["y"], feeds)[0])
        standard = by_standard(wide)
    except Exception as error:
        standard_error = f"{type(error).__name__}: {str(error)[:90]}"
    runtime = None
    try:
        runtime = run(model, xs)
    except Exception as error:
        notes.append(f"ONNX Runtime does not run: {str(error)[:140]}")
    bound = BOUND
    if draw.fn is not None:
        with torch.no_grad():
            size = tuple(draw.fn({k: torch.tensor(v) for k, v in wide.items()}).shape)
        cotangent = uniform(seed, "seed", int(np.prod(size))).reshape(size)
        y, grads = by_torch(draw.fn, wide, cotangent, np.float64)
        _, rough = by_torch(draw.fn, xs, cotangent, np.float32)
        conditioned = 3 * max((distance(rough[k], grads[k]) for k in grads), default=0)
        if conditioned > 3e-5:
            raise Again("float32 cannot tell")
        if conditioned > bound:
            notes.append(f"float32 is {conditioned / 3:.1e} from float64")
            bound = conditioned
        if standard is not None and not (off := distance(standard, y)) < 1e-6:
            notes.append(f"the evaluator and torch differ by {off:.1e}, shapes {np.shape(standard)} {y.shape}")
    else:
        assert standard is not None, f"no oracle: {standard_error}"
        y = standard
        if y.size == 0:
            raise Again("empty")
        cotangent = uniform(seed, "seed", int(y.size)).reshape(y.shape)
        grads = by_differences(by_standard, wide, cotangent)
    if runtime is not None and not (off := distance(runtime, y)) < 2e-4:
        shapes = f"shapes {runtime.shape} {y.shape}"
        notes.append(f"WRONG FORWARD? ONNX Runtime and the oracle differ by {off:.1e}, {shapes}")
    if not all(np.isfinite(v).all() for v in [y, *grads.values()]):
        raise Again("not finite")
    return model, y, grads, bound


def text(draw):
    parts = [f"{op}({','.join(inputs)}) {attributes}" for op, inputs, _, attributes in draw.nodes]
    shown = lambda array: list(np.shape(array)) if np.size(array) > 8 else np.asarray(array).tolist()
    sizes = {k: v[0] for k, v in draw.inputs.items()} | {k: shown(v) for k, v in draw.consts.items()}
    return f"opset {draw.opset} {'; '.join(parts)} {sizes}"


def make(spec, log):
    """The cases of a spec: JSON rows and their numbers."""
    rows, numbers = [], []
    name = spec.op + spec.label
    for index in range(spec.count):
        for attempt in range(60):
            seed = zlib.crc32(f"{name}/{index}/{attempt}".encode())
            random = np.random.default_rng(seed)
            together = min(max(TOGETHER, spec.lo), spec.hi)
            opset = together if index == 0 else int(random.integers(spec.lo, spec.hi + 1))
            draw = Draw(random, opset, index, spec)
            notes = []
            try:
                spec.draw(draw)
                model, y, grads, bound = judge(draw, seed, notes)
            except Again:
                continue
            except Exception as error:
                log(f"{name}_{index}: {type(error).__name__}: {str(error)[:300]}\n    {text(draw)}")
                break
            for note in notes:
                log(f"{name}_{index}: {note}\n    {text(draw)}")
            rows.append(
                {
                    "op": spec.op,
                    "name": f"{name}_{index}",
                    "seed": seed,
                    "opset": draw.opset,
                    "bound": float(f"{bound:.1e}"),
                    "inputs": [[k, *v] for k, v in draw.inputs.items()],
                    "shape": list(y.shape),
                    "model": base64.b64encode(model.SerializeToString()).decode(),
                }
            )
            numbers += [np.asarray(v, np.float32).ravel() for v in [y, *grads.values()]]
            break
        else:
            log(f"{name}_{index}: nothing legal was drawn")
    return rows, numbers
