"""Pools. The reference is the definition with slices; it must agree with torch where torch has the geometry."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from . import chosen, drawn
from .chosen import anywhere, data, distinct, rng
from .linear import flat_pads, geometry, padding
from .oracle import Again
from .reference import operator, operators

case, use = chosen.family("pool")
spec = drawn.family("pool")


class Window:
    """Where the windows of a pool lie: strides, dilations, the pads of each axis and the sizes of the output."""

    def __init__(self, sizes, kernel_shape, strides=None, dilations=None, pads=None, auto_pad=None, ceil_mode=0):
        axes = range(len(kernel_shape))
        self.kernel, self.sizes = kernel_shape, sizes
        self.strides, self.dilations = strides or [1 for _ in axes], dilations or [1 for _ in axes]
        self.pads = padding(auto_pad, sizes, kernel_shape, self.strides, self.dilations, pads)
        self.outs = [self.out(a, ceil_mode) for a in axes]

    def out(self, a, ceil):
        before, after = self.pads[a]
        room, stride = self.sizes[a] + before + after - (self.kernel[a] - 1) * self.dilations[a] - 1, self.strides[a]
        out = (-(-room // stride) if ceil else room // stride) + 1
        return out - 1 if ceil and (out - 1) * stride >= self.sizes[a] + before else out

    def taps(self, x, fill, pads=None):
        """[N, C, out…, taps] of the padded input, taps in row order."""
        pads = self.pads if pads is None else pads
        axes = range(len(self.kernel))
        need = [(self.outs[a] - 1) * self.strides[a] + (self.kernel[a] - 1) * self.dilations[a] + 1 for a in axes]
        ends = [max(need[a] - x.shape[a + 2] - pads[a][0], 0) for a in axes]
        padded = F.pad(x, flat_pads([(pads[a][0], ends[a]) for a in axes]), value=fill)
        taps = []
        for tap in itertools.product(*[range(n) for n in self.kernel]):
            view = padded
            for a in axes:
                view = view.narrow(a + 2, tap[a] * self.dilations[a], (self.outs[a] - 1) * self.strides[a] + 1)
                view = view[(slice(None),) * (a + 2) + (slice(None, None, self.strides[a]),)]
            taps.append(view)
        return torch.stack(taps, -1)

    def counts(self, padding=False):
        """How many elements each window has, those of the padding too if they count."""
        ones = torch.ones(self.sizes, dtype=torch.float64)[None, None]
        if padding:
            return self.taps(F.pad(ones, flat_pads(self.pads), value=1.0), 0.0, [(0, 0)] * len(self.kernel)).sum(-1)
        return self.taps(ones, 0.0).sum(-1)


def first_max(taps):
    """The maximum over the last axis and which it is: the first of equal ones, as torch's max_pool."""
    hit = taps.detach() == taps.detach().max(-1, keepdim=True).values
    first = hit & (hit.cumsum(-1) == 1)
    return (taps * first).masked_fill(~first, 0).sum(-1), first


@operator("MaxPool")
def max_pool(x, *, storage_order=0, **window):
    """With the indices of row order."""
    window = Window(x.shape[2:], **window)
    y, first = first_max(window.taps(x, -torch.inf).nan_to_num(neginf=-1e30))
    places = torch.arange(x.numel()).reshape(x.shape)
    return y, (window.taps(places, 0) * first).sum(-1)


@operator("AveragePool")
def average_pool(x, *, count_include_pad=0, **window):
    window = Window(x.shape[2:], **window)
    return window.taps(x, 0.0).sum(-1) / window.counts(count_include_pad).to(x.dtype)


@operator("LpPool")
def lp_pool(x, *, p=2, **window):
    return (Window(x.shape[2:], **window).taps(x, 0.0).abs() ** p).sum(-1) ** (1 / p)


@operator("MaxUnpool")
def max_unpool(x, indices, shape=None, *, kernel_shape, strides):
    sizes = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], strides, kernel_shape, strict=True)]
    shape = [*x.shape[:2], *sizes] if shape is None else shape.tolist()
    return torch.zeros(int(np.prod(shape)), dtype=x.dtype).scatter(0, indices.flatten(), x.flatten()).reshape(shape)


@operator("GlobalLpPool")
def global_lp_pool(x, *, p=2):
    return (x.abs() ** p).sum(tuple(range(2, x.ndim)), keepdim=True) ** (1 / p)


operators(
    7,
    GlobalAveragePool=lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    GlobalMaxPool=lambda x: first_max(x.flatten(2))[0].reshape(x.shape[:2] + (1,) * (x.ndim - 2)),
)

# Chosen cases.


def torch_pool(op, kernel, include, **arguments):
    axes = len(kernel) - 1
    if op == "MaxPool":
        return lambda x: [F.max_pool1d, F.max_pool2d, F.max_pool3d][axes](x, kernel, **arguments)
    average = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][axes]
    return lambda x: average(x, kernel, count_include_pad=bool(include), **arguments)


def pool(op, label, x, kernel, strides=None, pads=None, torch_args=None, include=None, **attributes):
    """With `torch_args` torch's own pool is the oracle."""
    function = torch_pool(op, kernel, include, **torch_args) if torch_args else None
    attributes |= {"kernel_shape": kernel, "strides": strides, "pads": pads, "count_include_pad": include or None}
    dilated, ceiled = {"MaxPool": (10, 10), "AveragePool": (19, 10), "LpPool": (18, 18)}[op]
    lo = dilated if "dilations" in attributes else ceiled if "ceil_mode" in attributes else None
    use(op, label, x, function=function, lo=lo, **attributes)


around = [1, 1, 1, 1]
for label, x, kernel, strides, pads, attributes, torch_args in [
    ("2x2", distinct("p1", 2, 2, 4, 6), [2, 2], [2, 2], None, {}, {"stride": 2}),
    ("k3s2p1", distinct("p2", 1, 2, 7, 6), [3, 3], [2, 2], around, {}, {"stride": 2, "padding": 1}),
    ("k3s1p1", distinct("p3", 1, 2, 4, 5), [3, 3], [1, 1], around, {}, {"stride": 1, "padding": 1}),
    ("k5s1p2", distinct("p4", 1, 1, 6, 6), [5, 5], [1, 1], [2, 2, 2, 2], {}, {"stride": 1, "padding": 2}),
    ("ceil", distinct("p5", 1, 2, 6, 7), [3, 3], [2, 2], None, {"ceil_mode": 1}, {"stride": 2}),
    ("ceil_p1", distinct("p6", 1, 1, 6, 5), [2, 3], [2, 2], around, {"ceil_mode": 1}, {"stride": 2, "padding": [1, 1]}),
    ("ceil_no_further", distinct("pz", 1, 1, 4, 4), [3, 3], [3, 3], around, {"ceil_mode": 1}, {"stride": 3, "padding": 1}),
    ("remainder", distinct("p7", 1, 1, 7, 8), [2, 3], [2, 3], None, {}, {"stride": [2, 3]}),
    ("k_less_s", distinct("p8", 1, 1, 8, 7), [2, 1], [3, 2], None, {}, {"stride": [3, 2]}),
    ("asymmetric", distinct("p9", 1, 1, 5, 6), [3, 3], [2, 2], [0, 1, 2, 0], {}, None),
    ("no_strides", distinct("p10", 1, 1, 4, 5), [2, 3], None, None, {}, None),
    ("dilated", distinct("p11", 1, 1, 7, 8), [2, 3], [1, 2], around, {"dilations": [3, 2]}, None),
    ("SAME_UPPER", distinct("p12SAME_UPPER", 1, 1, 5, 6), [2, 3], [2, 2], None, {"auto_pad": "SAME_UPPER"}, None),
    ("SAME_LOWER", distinct("p12SAME_LOWER", 1, 1, 5, 6), [2, 3], [2, 2], None, {"auto_pad": "SAME_LOWER"}, None),
    ("VALID", distinct("p12VALID", 1, 1, 5, 6), [2, 3], [2, 2], None, {"auto_pad": "VALID"}, None),
    ("1d", distinct("p13", 2, 2, 9), [3], [2], [1, 1], {}, {"stride": 2, "padding": 1}),
    ("3d", distinct("p14", 1, 1, 4, 5, 4), [2, 3, 2], [2, 2, 2], [0, 1, 0, 0, 1, 0], {}, {"stride": 2, "padding": [0, 1, 0]}),
]:
    ceil = {"ceil_mode": True} if "ceil_mode" in attributes else {}
    pool("MaxPool", f"_{label}", x, kernel, strides, pads, torch_args and torch_args | ceil, **attributes)
ties = rng("ties").integers(0, 3, (2, 2, 6, 7)).astype(np.float32)
pool("MaxPool", "_ties_2x2", ties, [2, 2], [2, 2], None, {"stride": 2})
pool("MaxPool", "_ties_k3s2p1", ties, [3, 3], [2, 2], around, {"stride": 2, "padding": 1})
pool("MaxPool", "_ties_k3s1", np.zeros((1, 1, 4, 4), np.float32), [3, 3], [1, 1], None, {"stride": 1})

for include in (0, 1):
    i = f"_include{include}"
    for number, label, shape, kernel, strides, pads, attributes, torch_args in [
        (1, "2x2", (2, 2, 4, 6), [2, 2], [2, 2], None, {}, {"stride": 2}),
        (2, "k3s2p1", (1, 2, 7, 6), [3, 3], [2, 2], around, {}, {"stride": 2, "padding": 1}),
        (3, "k3s1p1", (1, 1, 4, 5), [3, 3], [1, 1], around, {}, {"stride": 1, "padding": 1}),
        (4, "ceil", (1, 1, 6, 7), [3, 3], [2, 2], [1, 0, 1, 0], {"ceil_mode": 1}, {"stride": 2, "padding": [1, 0], "ceil_mode": True}),
        (5, "asymmetric", (1, 1, 5, 6), [3, 2], [2, 1], [0, 1, 2, 0], {}, None),
        (6, "SAME_UPPER", (1, 1, 5, 6), [2, 3], [2, 2], None, {"auto_pad": "SAME_UPPER"}, None),
        (7, "SAME_LOWER", (1, 1, 5, 6), [2, 3], [2, 2], None, {"auto_pad": "SAME_LOWER"}, None),
        (13, "dilated", (1, 1, 7, 8), [2, 3], [2, 1], around, {"dilations": [2, 2]}, None),
    ]:
        x = anywhere(f"a{number}{i}", *shape)
        pool("AveragePool", f"_{label}{i}", x, kernel, strides, pads, torch_args, include, **attributes)
for label, x, kernel, strides, pads, torch_args in [
    ("whole", anywhere("a8", 2, 3, 3, 4), [3, 4], None, None, {"stride": 1}),
    ("one_axis", anywhere("a9", 2, 3, 3, 4), [3, 2], [1, 2], None, {"stride": [1, 2]}),
    ("1d", anywhere("a10", 2, 2, 9), [3], [2], [1, 1], {"stride": 2, "padding": 1}),
    ("3d", anywhere("a11", 1, 1, 4, 5, 4), [2, 3, 2], [2, 2, 2], [0, 1, 0, 0, 1, 0], {"stride": 2, "padding": [0, 1, 0]}),
    ("remainder", anywhere("a12", 1, 1, 7, 8), [2, 3], [3, 3], None, {"stride": 3}),
]:
    pool("AveragePool", f"_{label}", x, kernel, strides, pads, torch_args)
for d, shape in [("1d", (2, 3, 5)), ("2d", (2, 3, 4, 3)), ("3d", (1, 2, 2, 3, 2))]:
    use("GlobalAveragePool", f"_{d}", anywhere("ga" + d, *shape))
    use("GlobalMaxPool", f"_{d}", distinct("gm" + d, *shape))
use("GlobalMaxPool", "_ties", ties, function=lambda x: F.adaptive_max_pool2d(x, 1))

for p in (1, 2, 3, 4):
    pool("LpPool", f"_p{p}", data(f"lp{p}", 2, 2, 5, 6), [2, 3], [2, 1], p=None if p == 2 else p)
    use("GlobalLpPool", f"_p{p}", data(f"gl{p}", 2, 3, 3, 4), p=p)
pool("LpPool", "_padded", data("lq", 1, 2, 6, 5), [3, 3], [2, 2], [1, 1, 0, 1])
pool("LpPool", "_dilated", data("lr", 1, 2, 7, 8), [2, 3], [2, 1], [1, 0, 1, 0], dilations=[2, 2])
pool("LpPool", "_ceil", data("lc", 1, 2, 6, 7), [3, 2], [2, 2], p=3, ceil_mode=1)
pool("LpPool", "_SAME_UPPER", data("lu", 1, 1, 5, 6), [2, 3], [2, 2], auto_pad="SAME_UPPER")
pool("LpPool", "_1d", data("l1", 2, 2, 7), [3], [2])
zeros = data("lz", 1, 1, 4, 4)
zeros[..., :2, :2] = 0
quarters = [(slice(i, i + 2), slice(j, j + 2)) for i in (0, 2) for j in (0, 2)]
norms = lambda x: torch.stack([torch.linalg.vector_norm(x[..., i, j], dim=(2, 3)) for i, j in quarters], -1)
twice = {"kernel_shape": [2, 2], "strides": [2, 2]}
use("LpPool", "_zeros", zeros, function=lambda x: norms(x).reshape(1, 1, 2, 2), **twice)
ux = distinct("mu", 2, 2, 3, 4)
base = np.arange(4).reshape(2, 2, 1, 1) * 48
corner = lambda name, step: rng(name).integers(0, 2, (2, 2, 3, 4)) * step
inside = (np.arange(3) * 2).reshape(3, 1) * 8 + (np.arange(4) * 2) + corner("mi", 8) + corner("mj", 1)
use("MaxUnpool", "", {"x": ux}, {"i": (base + inside).astype(np.int64)}, lo=9, **twice)
use("MaxPool", "_indices_unused", distinct("mx", 1, 2, 4, 6), lo=8, outputs="y i", function=lambda x: F.max_pool2d(x, 2), **twice)


# Drawn cases.


def draw_pool(op, count):
    @spec(op, count=count)
    def _(d):
        axes = d.pick([1, 2, 2, 2, 3])
        kernel, strides, dilations, auto, pads = geometry(d, axes, most_kernel=3 if axes < 3 else 2)
        dilates, ceils = {"MaxPool": (10, 10), "AveragePool": (19, 10), "LpPool": (18, 18)}[op]
        if d.opset < dilates:
            dilations = None
        ceil = d.pick([None, 0, 1]) if d.opset >= ceils else None
        sizes = [d.int(2, {1: 9, 2: 5, 3: 3}[axes]) for _ in range(axes)]
        p, dilated = pads or [0] * (2 * axes), max(dilations or [1]) > 1
        if any(p[a] >= kernel[a] or p[a + axes] >= kernel[a] for a in range(axes)):
            raise Again
        if auto in ("SAME_UPPER", "SAME_LOWER", "VALID") and (ceil or dilated):
            raise Again
        include = d.pick([None, 0, 1]) if op == "AveragePool" else None
        order = d.pick([None, 0, 1]) if op == "MaxPool" and d.opset >= 8 else None
        power = d.pick([None, 1, 2, 3, 4]) if op == "LpPool" else None
        d.x("x", [d.int(1, 2), d.int(1, 2), *sizes])
        given = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "auto_pad": auto, "pads": pads}
        given |= {"ceil_mode": ceil}
        window = Window(sizes, **given)
        if min(window.outs) < 1 or not (window.counts() > 0).all():
            raise Again
        d.node(op, **given, count_include_pad=include, storage_order=order, p=power)


draw_pool("MaxPool", 48)
draw_pool("AveragePool", 48)
draw_pool("LpPool", 36)


@spec("MaxPool", 8, count=6, label="_ties")
def _(d):
    d.x("x", [1, 2, 5, 4], 2, 0, 1)
    kernel, strides = d.ints(2, 3, 2), d.ints(1, 2, 2)
    d.node("MaxPool", kernel_shape=kernel, strides=strides)


@spec("MaxPool", 8, count=6, label="_indices")
def _(d):
    """The second output, which has no derivative, is used too."""
    d.x("x", [1, 2, 4, 5])
    kernel, strides = d.ints(2, 3, 2), d.ints(1, 2, 2)
    d.node("MaxPool", "x", "m i", kernel_shape=kernel, strides=strides)
    d.node("Cast", "i", "f", to=1)
    d.node("Mul", "m f")


@spec("MaxUnpool", 9)
def _(d):
    d.x("x", [d.int(1, 2), 1, 4, 6])
    d.node("MaxPool", "x", "m i", **twice)
    d.node("MaxUnpool", "m i", **twice)


def draw_global(op):
    @spec(op)
    def _(d):
        dims = [d.int(1, 3), d.int(1, 3), *d.shape(1, 3, 8)]
        power = d.pick([None, 1, 2, 3]) if op == "GlobalLpPool" else None
        d.x("x", dims)
        d.node(op, p=power)


for op in ("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"):
    draw_global(op)


@spec("MaxUnpool", 9, count=3, label="_shape")
def _(d):
    """The shape of the output as an input is refused."""
    d.x("x", [1, 1, 2, 2])
    d.const("i", [[[[0, 3], [8, 11]]]])
    d.const("shape", [1, 1, 4, 4])
    d.node("MaxUnpool", "x i shape", **twice)
