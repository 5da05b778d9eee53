"""Convolutions and matrix products."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from .case import anywhere, case, data, one


def conv_case(name, x, w, bias=None, strides=None, pads=None, dilations=None, group=1, auto_pad=None, bare=False):
    d = x.ndim - 2
    k = w.shape[2:]
    s = strides or [1] * d
    dl = dilations or [1] * d
    p = list(pads or [0] * (2 * d))
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        total = [max((-(-x.shape[i + 2] // s[i]) - 1) * s[i] + (k[i] - 1) * dl[i] + 1 - x.shape[i + 2], 0) for i in range(d)]
        small = [t // 2 for t in total]
        p = small + [t - h for t, h in zip(total, small)]
        if auto_pad == "SAME_LOWER":
            p = p[d:] + p[:d]
    fn = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[d]
    wt = torch.tensor(w.astype(np.float64))
    bt = None if bias is None else torch.tensor(bias.astype(np.float64))
    torch_pads = [v for i in reversed(range(d)) for v in (p[i], p[i + d])]
    attrs = {} if bare else {"kernel_shape": list(k), "group": group}
    if strides or not bare:
        attrs["strides"] = s
    if dilations or not bare:
        attrs["dilations"] = dl
    if auto_pad:
        attrs["auto_pad"] = auto_pad
    elif pads or not bare:
        attrs["pads"] = p
    consts = {"w": w} | ({} if bias is None else {"b": bias})
    case("linear", name, "Conv", {"x": x}, lambda t: fn(F.pad(t, torch_pads), wt, bt, s, 0, dl, group), one("Conv", "x w" + ("" if bias is None else " b"), consts=consts, **attrs))


conv_case("Conv_3x3", anywhere("c1", 2, 2, 5, 6), anywhere("w1", 3, 2, 3, 3), anywhere("b1", 3), pads=[1, 1, 1, 1])
conv_case("Conv_bare", anywhere("c2", 1, 2, 4, 5), anywhere("w2", 2, 2, 3, 3), bare=True)
conv_case("Conv_1x1", anywhere("c3", 2, 3, 3, 4), anywhere("w3", 2, 3, 1, 1))
conv_case("Conv_1x1_s2", anywhere("c4", 1, 3, 5, 6), anywhere("w4", 2, 3, 1, 1), strides=[2, 2])
conv_case("Conv_1x1_s3_pad", anywhere("c5", 1, 2, 5, 7), anywhere("w5", 2, 2, 1, 1), strides=[3, 2], pads=[1, 0, 2, 1])
conv_case("Conv_s2_odd", anywhere("c6", 2, 2, 7, 5), anywhere("w6", 2, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
conv_case("Conv_s2_even", anywhere("c7", 1, 2, 6, 8), anywhere("w7", 2, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
conv_case("Conv_s3", anywhere("c8", 1, 1, 8, 10), anywhere("w8", 2, 1, 3, 2), strides=[3, 3])
conv_case("Conv_k_less_s", anywhere("c9", 1, 1, 8, 9), anywhere("w9", 1, 1, 2, 2), strides=[3, 4])
conv_case("Conv_7x7_s2", anywhere("c10", 1, 1, 9, 8), anywhere("w10", 1, 1, 7, 7), strides=[2, 2], pads=[3, 3, 3, 3])
conv_case("Conv_asymmetric", anywhere("c11", 1, 2, 5, 6), anywhere("w11", 2, 2, 3, 3), pads=[0, 1, 2, 0])
conv_case("Conv_asymmetric_s2", anywhere("c12", 1, 2, 6, 7), anywhere("w12", 2, 2, 3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
conv_case("Conv_pad_beyond_kernel", anywhere("c13", 1, 1, 3, 4), anywhere("w13", 1, 1, 2, 2), pads=[3, 2, 2, 3])
conv_case("Conv_dilated", anywhere("c14", 1, 2, 7, 8), anywhere("w14", 2, 2, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2])
conv_case("Conv_dilated_s2", anywhere("c15", 1, 1, 9, 8), anywhere("w15", 1, 1, 3, 3), dilations=[2, 3], strides=[2, 2], pads=[1, 2, 1, 2])
conv_case("Conv_groups", anywhere("c16", 2, 4, 5, 4), anywhere("w16", 6, 2, 3, 3), group=2, pads=[1, 1, 1, 1])
conv_case("Conv_groups_s2", anywhere("c17", 1, 4, 5, 6), anywhere("w17", 4, 2, 3, 3), group=2, strides=[2, 2], pads=[1, 1, 1, 1])
conv_case("Conv_depthwise", anywhere("c18", 2, 3, 5, 4), anywhere("w18", 3, 1, 3, 3), anywhere("b18", 3), group=3, pads=[1, 1, 1, 1])
conv_case("Conv_depthwise_s2", anywhere("c19", 1, 3, 6, 5), anywhere("w19", 3, 1, 3, 3), group=3, strides=[2, 2], pads=[0, 1, 1, 0])
conv_case("Conv_depthwise_multiplier", anywhere("c20", 1, 3, 4, 5), anywhere("w20", 6, 1, 3, 3), group=3, pads=[1, 1, 1, 1])
conv_case("Conv_5x5_depthwise", anywhere("c21", 1, 2, 6, 6), anywhere("w21", 2, 1, 5, 5), group=2, pads=[2, 2, 2, 2])
conv_case("Conv_1x3", anywhere("c22", 1, 2, 3, 6), anywhere("w22", 2, 2, 1, 3), pads=[0, 1, 0, 1])
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    conv_case(f"Conv_{auto}", anywhere(f"c23{auto}", 1, 2, 5, 6), anywhere(f"w23{auto}", 2, 2, 2, 3), auto_pad=auto)
    conv_case(f"Conv_{auto}_s2", anywhere(f"c24{auto}", 1, 2, 7, 6), anywhere(f"w24{auto}", 2, 2, 3, 4), strides=[2, 2], auto_pad=auto)
conv_case("Conv_1d", anywhere("c25", 2, 3, 9), anywhere("w25", 2, 3, 3), strides=[2], pads=[1, 1])
conv_case("Conv_1d_dilated", anywhere("c26", 1, 2, 9), anywhere("w26", 2, 2, 3), dilations=[2], pads=[2, 1])
conv_case("Conv_3d", anywhere("c27", 1, 2, 4, 5, 4), anywhere("w27", 2, 2, 3, 3, 3), pads=[1, 1, 1, 1, 1, 1])
conv_case("Conv_3d_s2", anywhere("c28", 1, 1, 5, 4, 5), anywhere("w28", 2, 1, 3, 3, 3), strides=[2, 2, 1], pads=[1, 1, 0, 1, 1, 0])


def transposed_case(name, x, w, bias=None, strides=None, pads=None, extra=None, dilations=None, group=1, shape=None, auto_pad=None):
    """Computed without pads, to the full reach, then cropped."""
    d = x.ndim - 2
    s, dl, op = strides or [1] * d, dilations or [1] * d, extra or [0] * d
    reach = [(x.shape[i + 2] - 1) * s[i] + (w.shape[i + 2] - 1) * dl[i] + 1 + op[i] for i in range(d)]
    p = list(pads or [0] * (2 * d))
    if shape or (auto_pad or "").startswith("SAME"):
        outs = shape or [x.shape[i + 2] * s[i] for i in range(d)]
        total = [max(r - o, 0) for r, o in zip(reach, outs)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        p = small + large if auto_pad == "SAME_UPPER" else large + small
    else:
        outs = [r - p[i] - p[i + d] for i, r in enumerate(reach)]
    wt = torch.tensor(w.astype(np.float64))
    plain = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[d]

    def fn(t, b=None):
        y = plain(t, wt, b, s, groups=group, dilation=dl)
        missing = [max(p[i] + outs[i] - y.shape[i + 2], 0) for i in range(d)]
        if any(missing):
            more = F.pad(torch.ones_like(y[:1, :1]), [v for m in reversed(missing) for v in (0, m)])
            y = F.pad(y, [v for m in reversed(missing) for v in (0, m)])
            y = y if b is None else y + (1 - more) * b.reshape(1, -1, *[1] * d)
        for i in range(d):
            y = y.narrow(i + 2, p[i], outs[i])
        return y

    attrs = {"strides": strides} if strides else {}
    attrs |= {"pads": pads} if pads else {}
    attrs |= {"output_padding": extra} if extra else {}
    attrs |= {"dilations": dilations} if dilations else {}
    attrs |= {"group": group} if group > 1 else {}
    attrs |= {"output_shape": shape} if shape else {}
    attrs |= {"auto_pad": auto_pad} if auto_pad else {}
    inputs = {"x": x} | ({} if bias is None else {"b": bias})
    case("linear", name, "ConvTranspose", inputs, fn, one("ConvTranspose", "x w" + ("" if bias is None else " b"), consts={"w": w}, **attrs))


tx, tw = anywhere("tx", 2, 2, 3, 4), anywhere("tw", 2, 3, 3, 3)
transposed_case("ConvTranspose_plain", tx, tw)
transposed_case("ConvTranspose_bias", tx, tw, bias=anywhere("tb", 3), strides=[2, 2])
transposed_case("ConvTranspose_s2", tx, tw, strides=[2, 2], pads=[1, 1, 1, 1], extra=[1, 1])
transposed_case("ConvTranspose_2x2_s2", tx, anywhere("tv", 2, 3, 2, 2), strides=[2, 2])
transposed_case("ConvTranspose_asymmetric", tx, tw, strides=[2, 3], pads=[0, 1, 2, 0])
transposed_case("ConvTranspose_dilated", tx, tw, dilations=[2, 3], pads=[1, 2, 1, 2])
transposed_case("ConvTranspose_dilated_s2", tx, tw, dilations=[2, 2], strides=[2, 2], extra=[1, 0])
transposed_case("ConvTranspose_groups", anywhere("tg", 2, 4, 3, 4), anywhere("th", 4, 3, 3, 3), group=2, strides=[2, 2], pads=[1, 1, 1, 1])
transposed_case("ConvTranspose_depthwise", anywhere("td", 1, 3, 3, 4), anywhere("te", 3, 1, 4, 4), group=3, strides=[2, 2], pads=[1, 1, 1, 1])
transposed_case("ConvTranspose_k_less_s", tx, anywhere("tk", 2, 3, 2, 1), strides=[3, 2], extra=[1, 1])
transposed_case("ConvTranspose_output_shape", tx, tw, strides=[2, 2], shape=[6, 8])
transposed_case("ConvTranspose_output_shape_odd", tx, tw, strides=[3, 3], shape=[8, 10])
transposed_case("ConvTranspose_output_shape_upper", tx, tw, strides=[2, 2], shape=[6, 8], auto_pad="SAME_UPPER")
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    transposed_case(f"ConvTranspose_{auto}", tx, anywhere("ta", 2, 3, 4, 3), strides=[2, 2], auto_pad=auto)
transposed_case("ConvTranspose_1d", anywhere("t1", 2, 2, 5), anywhere("u1", 2, 3, 3), strides=[2], pads=[1, 0])
transposed_case("ConvTranspose_3d", anywhere("t3", 1, 2, 3, 2, 3), anywhere("u3", 2, 2, 2, 3, 2), strides=[2, 1, 2], pads=[0, 1, 0, 1, 0, 0])
for ta, tb in itertools.product((0, 1), (0, 1)):
    n = f"Gemm_{ta}{tb}"
    case("linear", n, "Gemm", {"a": data(n + "a", *((4, 2) if ta else (2, 4))), "b": data(n + "b", *((3, 4) if tb else (4, 3))), "c": data(n + "c", 3)},
         lambda a, b, c, ta=ta, tb=tb: 0.5 * ((a.T if ta else a) @ (b.T if tb else b)) + 2 * c, one("Gemm", "a b c", alpha=0.5, beta=2.0, transA=ta, transB=tb))
for label, shape in [("full", (2, 3)), ("column", (2, 1)), ("scalar", ())]:
    case("linear", f"Gemm_c_{label}", "Gemm", {"a": data("ga" + label, 2, 4), "b": data("gb" + label, 4, 3), "c": data("gc" + label, *shape)}, lambda a, b, c: a @ b + c, one("Gemm", "a b c"))
case("linear", "Gemm_no_c", "Gemm", {"a": data("g1", 2, 4), "b": data("g2", 3, 4)}, lambda a, b: a @ b.T, one("Gemm", "a b", lo=11, transB=1))
for label, sa, sb in [("2d", (2, 3), (3, 4)), ("batched", (2, 2, 3), (2, 3, 2)), ("broadcast", (2, 1, 2, 3), (3, 3, 2)), ("weights", (2, 4, 3), (3, 2)),
                      ("vector_left", (3,), (3, 2)), ("vector_right", (2, 3), (3,)), ("vectors", (3,), (3,)), ("vector_batched", (3,), (2, 3, 2)), ("batched_vector", (2, 4, 3), (3,))]:
    case("linear", f"MatMul_{label}", "MatMul", {"a": data("ma" + label, *sa), "b": data("mb" + label, *sb)}, torch.matmul, one("MatMul", "a b"))
for label, equation, shapes in [
    ("matmul", "ij,jk->ik", [(2, 3), (3, 4)]), ("batch", "bij,bjk->bik", [(2, 2, 3), (2, 3, 4)]), ("attention", "bhqd,bhkd->bhqk", [(1, 2, 3, 4), (1, 2, 2, 4)]), ("implicit", "ba,bc", [(2, 3), (2, 4)]),
    ("three", "ij,jk,kl->il", [(2, 3), (3, 2), (2, 4)]), ("ellipsis", "...ij,...jk->...ik", [(2, 3, 2, 3), (2, 3, 3, 2)]), ("ellipsis_broadcast", "...ij,...jk->...ik", [(3, 2, 3), (2, 1, 3, 2)]),
    ("sum", "ij->i", [(2, 3)]), ("total", "ij->", [(2, 3)]), ("transpose", "ijk->kij", [(2, 3, 4)]), ("diagonal", "bii->bi", [(2, 3, 3)]), ("trace", "ii->", [(3, 3)]), ("inner", "i,i->", [(4,), (4,)]),
    ("outer", "i,j->ij", [(2,), (3,)]), ("only_here", "ij,k->k", [(2, 3), (4,)]), ("spaces", "i j , j -> i", [(2, 3), (3,)]), ("weights", "bchw,oc->bohw", [(2, 3, 2, 2), (4, 3)]),
]:
    inputs = {name: anywhere("es" + label + name, *shape) for name, shape in zip("xwv", shapes)}
    case("linear", f"Einsum_{label}", "Einsum", inputs, lambda *t, e=equation: torch.einsum(e, *t), one("Einsum", " ".join(inputs), lo=12, equation=equation))
case("linear", "Einsum_twice", "Einsum", {"x": anywhere("est", 2, 3)}, lambda x: torch.einsum("ij,kj->ik", x, x), one("Einsum", "x x", lo=12, equation="ij,kj->ik"))
