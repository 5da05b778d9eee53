"""Operators of transformers, and those that sample."""

import numpy as np
import torch
import torch.nn.functional as F

from .case import NEWEST, Form, anywhere, case, data, ints, one


def attention(q, k, v, bias=None, q_heads=None, kv_heads=None, scale=None, cap=0.0):
    """The definition, with a row that sees nothing as 0."""
    flat = q.ndim == 3
    split = lambda x, h: x.reshape(x.shape[0], x.shape[1], h, -1).transpose(1, 2) if flat else x
    q, k, v = split(q, q_heads), split(k, kv_heads), split(v, kv_heads)
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    s = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    s = cap * torch.tanh(s / cap) if cap else s
    if bias is not None:
        bias = torch.as_tensor(bias)
        blind = torch.isneginf(bias).all(-1, keepdim=True)
        s = s + bias.masked_fill(blind, 0)
        p = s.softmax(-1) * (~blind)
    else:
        p = s.softmax(-1)
    y = p @ v
    return y.transpose(1, 2).flatten(2) if flat else y


def attention_case(name, q, k, v, mask=None, lo=23, bias=None, q_heads=None, kv_heads=None, **attrs):
    xs = {"q": q, "k": k, "v": v}
    if mask is not None:
        bias = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask.astype(np.float64)
    if "is_causal" in attrs:
        band = np.triu(np.full((q.shape[-2], k.shape[-2]), -np.inf), 1)
        bias = band if bias is None else bias + band
    left, right = attrs.get("left_window_size", -1), attrs.get("right_window_size", -1)
    if left >= 0 or right >= 0:
        d = np.arange(q.shape[-2])[:, None] - np.arange(k.shape[-2])[None]
        bias = np.where((left >= 0) & (d > left) | (right >= 0) & (-d > right), -np.inf, 0)
    fn = lambda q, k, v: attention(q, k, v, bias, q_heads, kv_heads, attrs.get("scale"), attrs.get("softcap", 0.0))
    attrs |= {"q_num_heads": q_heads, "kv_num_heads": kv_heads} if q_heads else {}
    case("attention", name, "Attention", xs, fn, one("Attention", "q k v" + ("" if mask is None else " m"), lo=lo, consts={} if mask is None else {"m": mask}, **attrs))


q, k, v = anywhere("aq", 2, 4, 3, 5), anywhere("ak", 2, 4, 6, 5), anywhere("av", 2, 4, 6, 2)
attention_case("Attention_4d", q, k, v)
attention_case("Attention_3d", anywhere("fq", 2, 3, 8), anywhere("fk", 2, 5, 8), anywhere("fv", 2, 5, 4), q_heads=2, kv_heads=2)
attention_case("Attention_groups", q, k[:, :2], v[:, :2])
attention_case("Attention_groups_3d", anywhere("hq", 2, 3, 8), anywhere("hk", 2, 5, 4), anywhere("hv", 2, 5, 6), q_heads=4, kv_heads=2)
attention_case("Attention_scale", q, k, v, scale=0.25)
attention_case("Attention_softcap", q, k, v, softcap=1.5)
attention_case("Attention_causal", q, k, v, is_causal=1)
mask = np.random.default_rng(2).random((3, 6)) < 0.6
mask[:, 0] = True
attention_case("Attention_mask", q, k, v, mask=mask)
blind = mask.copy()
blind[1] = False
attention_case("Attention_blind_row", q, k, v, mask=blind, lo=24)
attention_case("Attention_bias", q, k, v, mask=anywhere("am", 1, 4, 3, 6))
attention_case("Attention_window", q, k, v, left_window_size=1, right_window_size=1, lo=25)
# One value for query, key and value: what is before the node is not differentiated with it.
ax = anywhere("ax", 2, 4, 6)
case("attention", "Attention_self", "Attention", {"x": ax}, lambda x: attention(x, x * 0.5, x * 0.5 * x, None, 2, 2),
     Form(23, NEWEST, [("Mul", ["x", "half"], ["k"], {}), ("Mul", ["k", "x"], ["v"], {}), ("Attention", ["x", "k", "v"], ["y"], {"q_num_heads": 2, "kv_num_heads": 2})], {"half": np.float32(0.5)}))


def rotary(x, c, s, interleaved, heads=0, part=0):
    flat = x.ndim == 3
    t = x.reshape(*x.shape[:2], heads, -1) if flat else x.transpose(1, 2)
    part = part or t.shape[-1]
    turned, rest = t[..., :part], t[..., part:]
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    c, s = c[:, :, None], s[:, :, None]
    a, b = a * c - b * s, a * s + b * c
    turned = torch.stack([a, b], -1).flatten(-2) if interleaved else torch.cat([a, b], -1)
    y = torch.cat([turned, rest], -1)
    return y.flatten(2) if flat else y.transpose(1, 2)


table = np.random.default_rng(3).uniform(0, 6, (7, 2)).astype(np.float32)
place = np.array([[0, 3, 2], [6, 1, 1]], np.int64)
angle = table[place]
for label, flip, flat in [("halves", 0, False), ("interleaved", 1, False), ("3d", 0, True)]:
    x = anywhere("ro" + label, 2, 3, 8) if flat else anywhere("ro" + label, 2, 2, 3, 4)
    attrs = {"num_heads": 2} if flat else {}
    attrs |= {"interleaved": 1} if flip else {}
    fn = lambda x, f=flip: rotary(x, torch.tensor(np.cos(angle)).double(), torch.tensor(np.sin(angle)).double(), f, 2)
    case("attention", f"RotaryEmbedding_{label}", "RotaryEmbedding", {"x": x}, fn, one("RotaryEmbedding", "x c s", lo=23, consts={"c": np.cos(angle), "s": np.sin(angle)}, **attrs))
    case("attention", f"RotaryEmbedding_{label}_positions", "RotaryEmbedding", {"x": x}, fn, one("RotaryEmbedding", "x c s p", lo=23, consts={"c": np.cos(table), "s": np.sin(table), "p": place}, **attrs))
case("attention", "RotaryEmbedding_part", "RotaryEmbedding", {"x": anywhere("rop", 2, 2, 3, 6)}, lambda x: rotary(x, torch.tensor(np.cos(angle)).double(), torch.tensor(np.sin(angle)).double(), 0, 2, 4), one("RotaryEmbedding", "x c s", lo=23, consts={"c": np.cos(angle), "s": np.sin(angle)}, rotary_embedding_dim=4, num_heads=2))

sx = anywhere("gs", 2, 3, 4, 5)
grid = data("gg", 2, 3, 4, 2, lo=-1.3, hi=1.3, kinks=())
for mode in ("linear", "nearest"):
    for padding in ("zeros", "border"):
        for corners in (0, 1):
            old = {"linear": "bilinear"}.get(mode, mode)
            fn = lambda x, g, m=old, p=padding, c=corners: F.grid_sample(x, g, m, p, bool(c))
            attrs = {"padding_mode": padding, "align_corners": corners}
            case("attention", f"GridSample_{mode}_{padding}_{corners}", "GridSample", {"x": sx, "grid": grid}, fn, one("GridSample", "x grid", lo=16, hi=19, mode=old, **attrs), one("GridSample", "x grid", lo=20, mode=mode, **attrs))
case("attention", "GridSample_defaults", "GridSample", {"x": sx, "grid": grid}, lambda x, g: F.grid_sample(x, g, align_corners=False), one("GridSample", "x grid", lo=16))
vx, vg = anywhere("gv", 1, 2, 3, 4, 3), data("gw", 1, 2, 3, 2, 3, lo=-1.3, hi=1.3, kinks=())
case("attention", "GridSample_3d", "GridSample", {"x": vx, "grid": vg}, lambda x, g: F.grid_sample(x, g, align_corners=False), one("GridSample", "x grid", lo=20))
for corners in (0, 1):
    for label, theta, size in [("2d", anywhere("t2", 2, 2, 3), (2, 3, 4, 5)), ("3d", anywhere("t3", 2, 3, 4), (2, 2, 3, 4, 2))]:
        fn = lambda t, s=size, c=corners: F.affine_grid(t, list(s), align_corners=bool(c))
        case("attention", f"AffineGrid_{label}_{corners}", "AffineGrid", {"theta": theta}, fn, one("AffineGrid", "theta size", lo=20, consts={"size": ints(*size)}, align_corners=corners))
