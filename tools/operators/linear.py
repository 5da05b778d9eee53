"""Convolutions and matrix products."""

import string

import numpy as np
import torch
import torch.nn.functional as F

from .draw import Again, spec


def matrices(d, limit=60):
    k, n, m = d.int(1, 4), d.int(1, 4), d.int(1, 4)
    batch = d.shape(0, 2, 6) if d.pick([True, False]) else []
    a, b = d.part(batch) + [m, k], d.part(batch) + [k, n]
    if d.pick([True, False, False]):
        a = [k]
    if d.pick([True, False, False]):
        b = [k]
    return a, b


@spec("MatMul", count=24)
def _(d):
    a, b = matrices(d)
    d.x("a", a)
    if d.pick([True, True, False]):
        d.x("b", b)
        d.fn = lambda t: t["a"] @ t["b"]
    else:
        d.floats("b", b)
        d.fn = lambda t: t["a"] @ torch.tensor(d.consts["b"]).to(t["a"].dtype)
    d.node("MatMul", "a b")


@spec("Gemm", count=24)
def _(d):
    m, k, n = d.ints(1, 5, 3)
    flip_a, flip_b = d.pick([None, 0, 1]), d.pick([None, 0, 1])
    alpha, beta = d.maybe(d.pick([0.5, -1.5])), d.maybe(d.pick([0.25, 2.0]))
    d.x("a", [k, m] if flip_a else [m, k])
    d.x("b", [n, k] if flip_b else [k, n])
    has = d.opset < 11 or d.pick([True, True, False])
    if has:
        d.x("c", d.part([m, n]))
    d.node("Gemm", "a b c" if has else "a b", transA=flip_a, transB=flip_b, alpha=alpha, beta=beta)
    turn = lambda x, flip: x.T if flip else x
    d.fn = lambda t: (1.0 if alpha is None else alpha) * turn(t["a"], flip_a) @ turn(t["b"], flip_b) + ((1.0 if beta is None else beta) * t["c"] if has else 0)


def padding(auto, sizes, kernel, strides, dilations, pads):
    """Pads in front of and behind each axis, as the standard works them out."""
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        axes = len(kernel)
        return [(pads[a], pads[a + axes]) if auto in (None, "NOTSET") else (0, 0) for a in range(axes)]
    made = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        less = total // 2
        made.append((less, total - less) if auto == "SAME_UPPER" else (total - less, less))
    return made


def geometry(d, axes, most_stride=3, most_kernel=3):
    kernel = d.ints(1, most_kernel, axes)
    strides = d.ints(1, most_stride, axes) if d.pick([True, False]) else None
    dilations = d.ints(1, 2, axes) if d.pick([True, False]) else None
    auto = d.pick([None, None, "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
    pads = d.ints(0, 2, 2 * axes) if auto in (None, "NOTSET") and d.pick([True, True, False]) else None
    return kernel, strides, dilations, auto, pads


def flat_pads(made):
    return [n for pair in reversed(made) for n in pair]


def convolve(x, w, bias, strides, made, dilations, group):
    return [F.conv1d, F.conv2d, F.conv3d][w.ndim - 3](F.pad(x, flat_pads(made)), w, bias, strides, 0, dilations, group)


@spec("Conv", count=48)
def _(d):
    axes = d.pick([1, 2, 2, 2, 3])
    kernel, strides, dilations, auto, pads = geometry(d, axes, most_kernel=3 if axes < 3 else 2)
    group = d.pick([1, 1, 2, 3])
    deep, out = group * d.int(1, 2), group * d.int(1, 2)
    sizes = [d.int(2, {1: 9, 2: 5, 3: 3}[axes]) for _ in range(axes)]
    d.x("x", [d.int(1, 2), deep, *sizes])
    d.floats("w", [out, deep // group, *kernel])
    has = d.pick([True, False])
    if has:
        d.x("b", [out])
    s, l, p = strides or [1] * axes, dilations or [1] * axes, pads or [0] * (2 * axes)
    made = padding(auto, sizes, kernel, s, l, p)
    if any(n + sum(q) < (k - 1) * e + 1 for n, q, k, e in zip(sizes, made, kernel, l)):
        raise Again
    if auto in ("SAME_UPPER", "SAME_LOWER") and dilations and max(dilations) > 1:
        raise Again  # The standard is silent; ONNX Runtime refuses.
    d.node("Conv", "x w b" if has else "x w", kernel_shape=d.maybe(kernel), strides=strides, dilations=dilations, auto_pad=auto, pads=pads, group=group if group > 1 else d.maybe(1))
    w = d.consts["w"]
    d.fn = lambda t: convolve(t["x"], torch.tensor(w).to(t["x"].dtype), t.get("b"), s, made, l, group)


@spec("Conv", count=8, label="_weights")
def _(d):
    """Weights that are differentiated too are refused."""
    d.x("x", [1, 2, 4, 4])
    d.x("w", [2, 2, 2, 2])
    d.node("Conv", "x w")
    d.fn = lambda t: F.conv2d(t["x"], t["w"])


@spec("ConvTranspose", count=48)
def _(d):
    axes = d.pick([1, 2, 2, 2, 3])
    kernel, strides, dilations, auto, pads = geometry(d, axes, most_kernel=3 if axes < 3 else 2)
    group = d.pick([1, 1, 2])
    deep, out = group * d.int(1, 2), d.int(1, 2)
    sizes = [d.int(1, {1: 6, 2: 3, 3: 2}[axes]) for _ in range(axes)]
    s, l, p = strides or [1] * axes, dilations or [1] * axes, pads or [0] * (2 * axes)
    extra = [d.int(0, a - 1) for a in s] if d.pick([True, False]) else None
    e = extra or [0] * axes
    full = [(n - 1) * a + (k - 1) * b + 1 + c for n, k, a, b, c in zip(sizes, kernel, s, l, e)]
    wanted = None
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * a for n, a in zip(sizes, s)]
        shape = None
    shape = None
    if d.pick([True, False, False]) and pads is None:
        shape = wanted = [max(1, n - d.int(0, 1)) for n in full]
    made = []
    for a in range(axes):
        if wanted is None:
            made.append((p[a], p[a + axes]) if auto in (None, "NOTSET") else (0, 0))
        else:
            total = full[a] - wanted[a]
            if total < 0:
                raise Again  # The standard is silent on more than there is.
            less = total // 2
            made.append((less, total - less) if auto == "SAME_UPPER" else (total - less, less))
    if any(n - sum(q) < 1 for n, q in zip(full, made)):
        raise Again
    d.x("x", [d.int(1, 2), deep, *sizes])
    d.floats("w", [deep, out, *kernel])
    has = d.pick([True, False])
    if has:
        d.x("b", [out * group])
    d.node("ConvTranspose", "x w b" if has else "x w", kernel_shape=d.maybe(kernel), strides=strides, dilations=dilations, auto_pad=auto, pads=pads, output_padding=extra, output_shape=shape, group=group if group > 1 else None)
    w = d.consts["w"]

    def fn(t):
        y = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][axes - 1](t["x"], torch.tensor(w).to(t["x"].dtype), None, s, 0, 0, group, l)
        y = F.pad(y, flat_pads([(0, n) for n in e]))
        for axis, (before, after) in enumerate(made):
            y = y.narrow(axis + 2, before, y.shape[axis + 2] - before - after)
        return y if not has else y + t["b"].reshape([1, -1] + [1] * axes)

    d.fn = fn


@spec("Einsum", 12, count=60)
def _(d):
    """Equations of one to three operands with shared, summed and repeated letters, with and without `...`."""
    letters = string.ascii_letters[: d.int(1, 4)]
    size = {c: d.pick([1, 2, 3]) for c in letters}
    count, dots = d.int(1, 3), d.pick([False, False, True])
    lead = d.shape(1, 2, 4, (1, 2)) if dots else []
    terms, shapes = [], []
    for _ in range(count):
        term = "".join(d.pick(letters) for _ in range(d.int(0 if count > 1 else 1, 3)))
        shape = [size[c] for c in term]
        if dots and d.pick([True, True, False]):
            at = d.int(0, len(term))
            shape = shape[:at] + d.part(lead) + shape[at:]
            term = term[:at] + "..." + term[at:]
        terms.append(term)
        shapes.append(shape)
    used = sorted({c for term in terms for c in term if c != "."})
    equation = ",".join(terms)
    if d.pick([True, True, True, False]):
        kept = [c for c in d.r.permutation(used) if d.pick([True, True, False])] if used else []
        right = "".join(kept)
        if any("..." in term for term in terms):
            at = d.int(0, len(right))
            right = right[:at] + "..." + right[at:]
        equation += d.pick(["->", " -> "]) + right
    names = []
    for k, shape in enumerate(shapes):
        if len(shape) == 0 and d.index % 2:
            raise Again
        names.append(d.x(f"x{k}", shape))
    d.node("Einsum", " ".join(names), equation=equation)
    d.fn = lambda t: torch.einsum(equation, *t.values())
    try:
        d.fn({n: torch.zeros(s) for n, s in zip(names, shapes)})
    except RuntimeError:
        raise Again


@spec("ConvTranspose", count=4, label="_weights")
def _(d):
    """Weights that are differentiated too are refused."""
    d.x("x", [1, 2, 2, 2])
    d.x("w", [2, 2, 2, 2])
    d.node("ConvTranspose", "x w")
    d.fn = lambda t: F.conv_transpose2d(t["x"], t["w"])
