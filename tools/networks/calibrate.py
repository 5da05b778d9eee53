"""Weights from a seed for an exported network, calibrated as training would: layer by layer on the reference's own input.

A tensor of weights is scale · uniform(seed, name), with a scale that gives the layer's output the deviation 1 (less in front
of a sum). Vectors are kept in the file as they are: biases set the mean of each channel, batch norms hold the statistics that
they see. Without that a deep random network is nearly constant over space, and its maps are flat.

A mask that flips between float32 and float64 spoils an early map by 1e-3 and more. So each bias in front of a kink
is moved, channel by channel, to the middle of the widest gap nearby between the numbers that meet the kink.
"""

import numpy as np
import torch
from onnx import TensorProto, numpy_helper

from splitmix import uniform

from .interpret import Network

REACH = 0.3  # how far a bias may be moved
BRANCH = 0.3  # the deviation of what is added to a residual stream; with 1, rounding errors grow from block to block
MEAN = 0.5  # of each channel: most of it passes a relu; with 0, where half of it does, rounding errors grow faster
SPREAD = 0.3  # how far scales and biases lie around their means


def kinks(network, node):
    """Where the operator's derivative jumps."""
    a = {t.name: t for t in node.attribute}
    match node.op_type:
        case "Relu":
            return [0.0]
        case "Clip":
            return [float(network.values[name]) for name in node.input[1:]]
        case "HardSwish":
            return [-3.0, 3.0]
        case "HardSigmoid":
            alpha, beta = a["alpha"].f, a["beta"].f if "beta" in a else 0.5
            return [-beta / alpha, (1 - beta) / alpha]
    return []


def channels(t):
    """[C, everything else]."""
    return t.transpose(0, 1).flatten(1) if t.ndim > 1 else t[None]


def widest_gap(numbers, kinks):
    """The shift of each row that keeps its numbers as far from the kinks as possible."""
    rows = numbers.sort(1).values.contiguous()
    shifts = torch.linspace(-REACH, REACH, 401, dtype=rows.dtype)
    margin = torch.full((rows.shape[0], len(shifts)), torch.inf, dtype=rows.dtype)
    for kink in kinks:
        wanted = (kink - shifts).expand(rows.shape[0], -1).contiguous()
        at = torch.searchsorted(rows, wanted)
        for side in (at - 1, at):
            inside = (side >= 0) & (side < rows.shape[1])
            near = rows.gather(1, side.clamp(0, rows.shape[1] - 1))
            margin = torch.minimum(margin, torch.where(inside, (near - wanted).abs(), torch.inf))
    # The smallest shift whose margin is wide enough.
    score = margin.clamp(max=0.02) - 1e-6 * shifts.abs()
    return shifts[score.argmax(1)]


class Calibration:
    """One pass over the graph that fills in the initializers."""

    def __init__(self, model, x, seed):
        self.seed, self.scales = seed, {}
        self.tensors = {t.name: t for t in model.graph.initializer}
        self.network = Network(model, torch.float64)
        self.producer = {name: n for n in model.graph.node for name in n.output}
        self.readers = {}
        for n in model.graph.node:
            for name in n.input:
                self.readers.setdefault(name, []).append(n)
        self.network.begin(x)
        for n in model.graph.node:
            self.fill(n)
            self.network.step(n)

    def put(self, name, values):
        t = self.tensors[name]
        values = np.asarray(values, np.float32).reshape(tuple(t.dims))
        t.CopyFrom(numpy_helper.from_array(values, name))
        self.network.values[name] = torch.tensor(values.astype(np.float64))

    def random(self, name, center, spread):
        self.put(name, center + spread * uniform(self.seed, name, int(np.prod(self.tensors[name].dims))))

    def is_float(self, name):
        return name in self.tensors and self.tensors[name].data_type == TensorProto.FLOAT and bool(self.tensors[name].dims)

    def fill(self, n):
        match n.op_type:
            case "Conv" | "Gemm" | "MatMul" if self.is_float(n.input[1]):
                self.linear(n)
            case "BatchNormalization":
                seen = channels(self.network.values[n.input[0]])
                self.random(n.input[1], 1, SPREAD)
                self.random(n.input[2], MEAN, SPREAD)
                self.put(n.input[3], seen.mean(1))
                self.put(n.input[4], seen.var(1, correction=0))
            case "LayerNormalization":
                self.random(n.input[1], 1, SPREAD)
                self.random(n.input[2], 0, SPREAD)
            case "Add" | "Mul":
                for name in n.input:
                    if self.is_float(name):
                        self.random(name, 0 if n.op_type == "Add" else 0.5, SPREAD)
            case _ if found := kinks(self.network, n):
                self.clear(n.input[0], found)

    def linear(self, n):
        weight, bias = n.input[1], n.input[2] if len(n.input) > 2 else None
        raw = uniform(self.seed, weight, int(np.prod(self.tensors[weight].dims)))
        self.put(weight, raw)
        if bias:
            self.put(bias, np.zeros(self.tensors[bias].dims))
        self.network.step(n)
        out = self.network.values[n.output[0]]
        out = channels(out) if n.op_type != "MatMul" else out.flatten(0, -2).T
        # A channel without space has three numbers, too few for a mean.
        mean = out.mean(1) if out.shape[1] > 3 else torch.zeros(out.shape[0])
        joins = any(r.op_type == "Add" and not any(map(self.is_float, r.input)) for r in self.readers.get(n.output[0], []))
        gain, center = (BRANCH, 0) if joins else (1, MEAN)
        scale = float(np.float32(gain / (out - mean[:, None]).square().mean().sqrt()))
        self.scales[weight] = scale
        self.put(weight, raw * np.float32(scale))
        if bias:
            self.put(bias, center + gain * SPREAD * uniform(self.seed, bias, len(mean)) - mean.numpy() * scale)

    def clear(self, value, found):
        """Moves the bias that `value` comes from away from the kinks."""
        chain, node = [value], self.producer[value]
        while node.op_type == "Add":
            inputs = [name for name in node.input if self.producer[name].op_type in ("Conv", "Add") and len(self.readers[name]) == 1]
            chain.append(inputs[-1])
            node = self.producer[chain[-1]]
        assert all(len(self.readers[name]) == 1 for name in chain), f"{value} is read elsewhere"
        bias = node.input[2]
        before = self.network.values[bias]
        self.put(bias, before + widest_gap(channels(self.network.values[value]), found))
        moved = self.network.values[bias] - before
        for name in chain:
            at = self.network.values[name]
            self.network.values[name] = at + moved.reshape([1, -1] + [1] * (at.ndim - 2))
