"""Convolutions and matrix products."""

import itertools
import string

import torch
import torch.nn.functional as F

from . import chosen, drawn
from .chosen import anywhere, data, one
from .oracle import Again
from .reference import operator, operators

case, use = chosen.family("linear")
spec = drawn.family("linear")

operators(7, MatMul=torch.matmul)
operator("Einsum", since=12)(lambda *xs, equation: torch.einsum(equation, *xs))


@operator("Gemm")
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return y if c is None else y + beta * c


def padding(auto, sizes, kernel, strides, dilations, pads):
    """Pads in front of and behind each axis, as the standard defines them."""
    axes = range(len(kernel))
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        return [(pads[a], pads[a + len(kernel)]) if pads and auto in (None, "NOTSET") else (0, 0) for a in axes]
    out = [-(-n // s) for n, s in zip(sizes, strides, strict=True)]
    reach = [(out[a] - 1) * strides[a] + (kernel[a] - 1) * dilations[a] + 1 for a in axes]
    return [halves(max(reach[a] - sizes[a], 0), auto == "SAME_UPPER") for a in axes]


def halves(total, upper):
    less = total // 2
    return (less, total - less) if upper else (total - less, less)


def flat_pads(pairs):
    """Pads as torch wants them: of the last axis first."""
    return [n for pair in reversed(pairs) for n in pair]


@operator("Conv")
def conv(x, w, b=None, *, auto_pad=None, dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
    axes = x.ndim - 2
    strides, dilations = strides or [1] * axes, dilations or [1] * axes
    pairs = padding(auto_pad, x.shape[2:], w.shape[2:], strides, dilations, pads)
    function = [F.conv1d, F.conv2d, F.conv3d][axes - 1]
    return function(F.pad(x, flat_pads(pairs)), w, b, strides, 0, dilations, group)


@operator("ConvTranspose")
def conv_transpose(x, w, b=None, *, kernel_shape=None, group=1, **attributes):
    """Without pads, to the full reach, then cropped."""
    axes = x.ndim - 2
    strides, dilations, pairs, outs = transposed(x.shape[2:], w.shape[2:], **attributes)
    function = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][axes - 1]
    y = function(x, w, b, strides, groups=group, dilation=dilations)
    missing = [max(before + out - n, 0) for (before, _), out, n in zip(pairs, outs, y.shape[2:], strict=True)]
    if any(missing):
        beyond = flat_pads([(0, m) for m in missing])
        more = F.pad(torch.ones_like(y[:1, :1]), beyond)
        y = F.pad(y, beyond)
        y = y if b is None else y + (1 - more) * b.reshape(1, -1, *[1] * axes)
    for axis, (before, _) in enumerate(pairs):
        y = y.narrow(axis + 2, before, outs[axis])
    return y


def transposed(sizes, kernel, auto_pad=None, dilations=None, output_padding=None, output_shape=None, pads=None, strides=None):
    """Strides, dilations, pads and the sizes of the output."""
    axes = range(len(sizes))
    ones, extra = [1 for _ in axes], output_padding or [0 for _ in axes]
    s, apart = strides or ones, dilations or ones
    reach = [(sizes[a] - 1) * s[a] + (kernel[a] - 1) * apart[a] + 1 + extra[a] for a in axes]
    if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        outs = output_shape or [sizes[a] * s[a] for a in axes]
        pairs = [halves(max(reach[a] - outs[a], 0), auto_pad == "SAME_UPPER") for a in axes]
    else:
        pairs = padding(auto_pad, sizes, kernel, s, apart, pads)
        outs = [reach[a] - sum(pairs[a]) for a in axes]
    return s, apart, pairs, outs


# Chosen cases.


def convolution(label, x, w, bias=None, **attributes):
    """A convolution with every attribute written; without any if none is given."""
    axes = x.ndim - 2
    if attributes:
        written = {"kernel_shape": list(w.shape[2:]), "group": 1, "strides": [1] * axes, "dilations": [1] * axes}
        written |= {} if "auto_pad" in attributes else {"pads": [0] * (2 * axes)}
        attributes = written | attributes
    use("Conv", label, {"x": x}, {"w": w} | ({} if bias is None else {"b": bias}), **attributes)


around = {"pads": [1, 1, 1, 1]}
convolution("_3x3", anywhere("c1", 2, 2, 5, 6), anywhere("w1", 3, 2, 3, 3), anywhere("b1", 3), **around)
convolution("_bare", anywhere("c2", 1, 2, 4, 5), anywhere("w2", 2, 2, 3, 3))
for label, x, w, attributes in [
    ("1x1", (2, 3, 3, 4), (2, 3, 1, 1), {"group": 1}),
    ("1x1_s2", (1, 3, 5, 6), (2, 3, 1, 1), {"strides": [2, 2]}),
    ("1x1_s3_pad", (1, 2, 5, 7), (2, 2, 1, 1), {"strides": [3, 2], "pads": [1, 0, 2, 1]}),
    ("s2_odd", (2, 2, 7, 5), (2, 2, 3, 3), {"strides": [2, 2], **around}),
    ("s2_even", (1, 2, 6, 8), (2, 2, 3, 3), {"strides": [2, 2], **around}),
    ("s3", (1, 1, 8, 10), (2, 1, 3, 2), {"strides": [3, 3]}),
    ("k_less_s", (1, 1, 8, 9), (1, 1, 2, 2), {"strides": [3, 4]}),
    ("7x7_s2", (1, 1, 9, 8), (1, 1, 7, 7), {"strides": [2, 2], "pads": [3, 3, 3, 3]}),
    ("asymmetric", (1, 2, 5, 6), (2, 2, 3, 3), {"pads": [0, 1, 2, 0]}),
    ("asymmetric_s2", (1, 2, 6, 7), (2, 2, 3, 3), {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("pad_beyond_kernel", (1, 1, 3, 4), (1, 1, 2, 2), {"pads": [3, 2, 2, 3]}),
    ("dilated", (1, 2, 7, 8), (2, 2, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    ("dilated_s2", (1, 1, 9, 8), (1, 1, 3, 3), {"dilations": [2, 3], "strides": [2, 2], "pads": [1, 2, 1, 2]}),
    ("groups", (2, 4, 5, 4), (6, 2, 3, 3), {"group": 2, **around}),
    ("groups_s2", (1, 4, 5, 6), (4, 2, 3, 3), {"group": 2, "strides": [2, 2], **around}),
    ("depthwise", (2, 3, 5, 4), (3, 1, 3, 3), {"group": 3, **around}),
    ("depthwise_s2", (1, 3, 6, 5), (3, 1, 3, 3), {"group": 3, "strides": [2, 2], "pads": [0, 1, 1, 0]}),
    ("depthwise_multiplier", (1, 3, 4, 5), (6, 1, 3, 3), {"group": 3, **around}),
    ("5x5_depthwise", (1, 2, 6, 6), (2, 1, 5, 5), {"group": 2, "pads": [2, 2, 2, 2]}),
    ("1x3", (1, 2, 3, 6), (2, 2, 1, 3), {"pads": [0, 1, 0, 1]}),
]:
    number = len(chosen.CHOSEN["linear"]) + 1
    bias = anywhere("b18", 3) if label == "depthwise" else None
    convolution(f"_{label}", anywhere(f"c{number}", *x), anywhere(f"w{number}", *w), bias, **attributes)
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    convolution(f"_{auto}", anywhere(f"c23{auto}", 1, 2, 5, 6), anywhere(f"w23{auto}", 2, 2, 2, 3), auto_pad=auto)
    x, w = anywhere(f"c24{auto}", 1, 2, 7, 6), anywhere(f"w24{auto}", 2, 2, 3, 4)
    convolution(f"_{auto}_s2", x, w, strides=[2, 2], auto_pad=auto)
for number, label, x, w, attributes in [
    (25, "1d", (2, 3, 9), (2, 3, 3), {"strides": [2], "pads": [1, 1]}),
    (26, "1d_dilated", (1, 2, 9), (2, 2, 3), {"dilations": [2], "pads": [2, 1]}),
    (27, "3d", (1, 2, 4, 5, 4), (2, 2, 3, 3, 3), {"pads": [1, 1, 1, 1, 1, 1]}),
    (28, "3d_s2", (1, 1, 5, 4, 5), (2, 1, 3, 3, 3), {"strides": [2, 2, 1], "pads": [1, 1, 0, 1, 1, 0]}),
]:
    convolution(f"_{label}", anywhere(f"c{number}", *x), anywhere(f"w{number}", *w), **attributes)

tx, tw, twice = anywhere("tx", 2, 2, 3, 4), anywhere("tw", 2, 3, 3, 3), {"strides": [2, 2]}
for label, x, w, attributes in [
    ("plain", tx, tw, {}),
    ("bias", tx, tw, twice),
    ("s2", tx, tw, {**twice, **around, "output_padding": [1, 1]}),
    ("2x2_s2", tx, anywhere("tv", 2, 3, 2, 2), twice),
    ("asymmetric", tx, tw, {"strides": [2, 3], "pads": [0, 1, 2, 0]}),
    ("dilated", tx, tw, {"dilations": [2, 3], "pads": [1, 2, 1, 2]}),
    ("dilated_s2", tx, tw, {"dilations": [2, 2], **twice, "output_padding": [1, 0]}),
    ("groups", anywhere("tg", 2, 4, 3, 4), anywhere("th", 4, 3, 3, 3), {"group": 2, **twice, **around}),
    ("depthwise", anywhere("td", 1, 3, 3, 4), anywhere("te", 3, 1, 4, 4), {"group": 3, **twice, **around}),
    ("k_less_s", tx, anywhere("tk", 2, 3, 2, 1), {"strides": [3, 2], "output_padding": [1, 1]}),
    ("output_shape", tx, tw, {**twice, "output_shape": [6, 8]}),
    ("output_shape_odd", tx, tw, {"strides": [3, 3], "output_shape": [8, 10]}),
    ("output_shape_upper", tx, tw, {**twice, "output_shape": [6, 8], "auto_pad": "SAME_UPPER"}),
    ("SAME_UPPER", tx, anywhere("ta", 2, 3, 4, 3), {**twice, "auto_pad": "SAME_UPPER"}),
    ("SAME_LOWER", tx, anywhere("ta", 2, 3, 4, 3), {**twice, "auto_pad": "SAME_LOWER"}),
    ("VALID", tx, anywhere("ta", 2, 3, 4, 3), {**twice, "auto_pad": "VALID"}),
    ("1d", anywhere("t1", 2, 2, 5), anywhere("u1", 2, 3, 3), {"strides": [2], "pads": [1, 0]}),
    ("3d", anywhere("t3", 1, 2, 3, 2, 3), anywhere("u3", 2, 2, 2, 3, 2), {"strides": [2, 1, 2], "pads": [0, 1, 0, 1, 0, 0]}),
]:
    inputs = {"x": x} | ({"b": anywhere("tb", 3)} if label == "bias" else {})
    names = "x w b" if label == "bias" else "x w"
    case(f"ConvTranspose_{label}", "ConvTranspose", inputs, one("ConvTranspose", names, {"w": w}, **attributes))

for ta, tb in itertools.product((0, 1), (0, 1)):
    n = f"Gemm_{ta}{tb}"
    a, b = (4, 2) if ta else (2, 4), (3, 4) if tb else (4, 3)
    inputs = {"a": data(n + "a", *a), "b": data(n + "b", *b), "c": data(n + "c", 3)}
    use("Gemm", f"_{ta}{tb}", inputs, alpha=0.5, beta=2.0, transA=ta, transB=tb)
for label, shape in [("full", (2, 3)), ("column", (2, 1)), ("scalar", ())]:
    use("Gemm", f"_c_{label}", {"a": data("ga" + label, 2, 4), "b": data("gb" + label, 4, 3), "c": data("gc" + label, *shape)})
use("Gemm", "_no_c", {"a": data("g1", 2, 4), "b": data("g2", 3, 4)}, lo=11, transB=1)
for label, a, b in [
    ("2d", (2, 3), (3, 4)),
    ("batched", (2, 2, 3), (2, 3, 2)),
    ("broadcast", (2, 1, 2, 3), (3, 3, 2)),
    ("weights", (2, 4, 3), (3, 2)),
    ("vector_left", (3,), (3, 2)),
    ("vector_right", (2, 3), (3,)),
    ("vectors", (3,), (3,)),
    ("vector_batched", (3,), (2, 3, 2)),
    ("batched_vector", (2, 4, 3), (3,)),
]:
    use("MatMul", f"_{label}", {"a": data("ma" + label, *a), "b": data("mb" + label, *b)})
for label, equation, shapes in [
    ("matmul", "ij,jk->ik", [(2, 3), (3, 4)]),
    ("batch", "bij,bjk->bik", [(2, 2, 3), (2, 3, 4)]),
    ("attention", "bhqd,bhkd->bhqk", [(1, 2, 3, 4), (1, 2, 2, 4)]),
    ("implicit", "ba,bc", [(2, 3), (2, 4)]),
    ("three", "ij,jk,kl->il", [(2, 3), (3, 2), (2, 4)]),
    ("ellipsis", "...ij,...jk->...ik", [(2, 3, 2, 3), (2, 3, 3, 2)]),
    ("ellipsis_broadcast", "...ij,...jk->...ik", [(3, 2, 3), (2, 1, 3, 2)]),
    ("sum", "ij->i", [(2, 3)]),
    ("total", "ij->", [(2, 3)]),
    ("transpose", "ijk->kij", [(2, 3, 4)]),
    ("diagonal", "bii->bi", [(2, 3, 3)]),
    ("trace", "ii->", [(3, 3)]),
    ("inner", "i,i->", [(4,), (4,)]),
    ("outer", "i,j->ij", [(2,), (3,)]),
    ("only_here", "ij,k->k", [(2, 3), (4,)]),
    ("spaces", "i j , j -> i", [(2, 3), (3,)]),
    ("weights", "bchw,oc->bohw", [(2, 3, 2, 2), (4, 3)]),
]:
    inputs = {name: anywhere("es" + label + name, *shape) for name, shape in zip("xwv", shapes, strict=False)}
    use("Einsum", f"_{label}", inputs, equation=equation)
case("Einsum_twice", "Einsum", {"x": anywhere("est", 2, 3)}, one("Einsum", "x x", equation="ij,kj->ik"))


# Drawn cases.


def matrices(d):
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
    else:
        d.floats("b", b)
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


def geometry(d, axes, most_stride=3, most_kernel=3):
    kernel = d.ints(1, most_kernel, axes)
    strides = d.ints(1, most_stride, axes) if d.pick([True, False]) else None
    dilations = d.ints(1, 2, axes) if d.pick([True, False]) else None
    auto = d.pick([None, None, "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
    pads = d.ints(0, 2, 2 * axes) if auto in (None, "NOTSET") and d.pick([True, True, False]) else None
    return kernel, strides, dilations, auto, pads


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
    s, apart = strides or [1] * axes, dilations or [1] * axes
    pairs = padding(auto, sizes, kernel, s, apart, pads)
    if any(sizes[a] + sum(pairs[a]) < (kernel[a] - 1) * apart[a] + 1 for a in range(axes)):
        raise Again
    if auto in ("SAME_UPPER", "SAME_LOWER") and max(apart) > 1:
        raise Again  # The standard is silent; ONNX Runtime refuses.
    given = {"strides": strides, "dilations": dilations, "auto_pad": auto, "pads": pads}
    d.node("Conv", "x w b" if has else "x w", kernel_shape=d.maybe(kernel), **given, group=group if group > 1 else d.maybe(1))


@spec("Conv", count=8, label="_weights")
def _(d):
    """Weights that are differentiated too are refused."""
    d.x("x", [1, 2, 4, 4])
    d.x("w", [2, 2, 2, 2])
    d.node("Conv", "x w")


@spec("ConvTranspose", count=48)
def _(d):
    axes = d.pick([1, 2, 2, 2, 3])
    kernel, strides, dilations, auto, pads = geometry(d, axes, most_kernel=3 if axes < 3 else 2)
    group = d.pick([1, 1, 2])
    deep, out = group * d.int(1, 2), d.int(1, 2)
    sizes = [d.int(1, {1: 6, 2: 3, 3: 2}[axes]) for _ in range(axes)]
    s, apart = strides or [1] * axes, dilations or [1] * axes
    extra = [d.int(0, a - 1) for a in s] if d.pick([True, False]) else None
    full = [(sizes[a] - 1) * s[a] + (kernel[a] - 1) * apart[a] + 1 + (extra[a] if extra else 0) for a in range(axes)]
    shape = None
    if d.pick([True, False, False]) and pads is None:
        shape = [max(1, n - d.int(0, 1)) for n in full]
    given = {"strides": strides, "dilations": dilations, "auto_pad": auto, "pads": pads}
    given |= {"output_padding": extra, "output_shape": shape}
    _, _, _, outs = transposed(sizes, kernel, **given)
    if any(out < 1 or out > n for out, n in zip(outs, full, strict=True)):
        raise Again  # The standard is silent on more than there is.
    d.x("x", [d.int(1, 2), deep, *sizes])
    d.floats("w", [deep, out, *kernel])
    has = d.pick([True, False])
    if has:
        d.x("b", [out * group])
    given |= {"group": group if group > 1 else None}
    d.node("ConvTranspose", "x w b" if has else "x w", kernel_shape=d.maybe(kernel), **given)


@spec("Einsum", count=60)
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
    for k, shape in enumerate(shapes):
        if len(shape) == 0 and d.index % 2:
            raise Again
        d.x(f"x{k}", shape)
    d.node("Einsum", " ".join(d.inputs), equation=equation)
    try:
        d.fn({f"x{k}": torch.zeros(shape) for k, shape in enumerate(shapes)})
    except RuntimeError as error:
        raise Again from error


@spec("ConvTranspose", count=4, label="_weights")
def _(d):
    """Weights that are differentiated too are refused."""
    d.x("x", [1, 2, 2, 2])
    d.x("w", [2, 2, 2, 2])
    d.node("ConvTranspose", "x w")
