"""Attention and RotaryEmbedding."""

import numpy as np
import torch

from . import chosen, drawn
from .chosen import Form, anywhere
from .reference import NEWEST, node, operator

case, use = chosen.family("attention")
spec = drawn.family("transformer")


@operator("Attention", since=23)
def attention(q, k, v, mask=None, *, q_num_heads=None, kv_num_heads=None, scale=None, softcap=0.0, **limits):
    """The definition. A query that sees no key gives 0."""
    flat = q.ndim == 3
    split = lambda x, heads: x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) if flat else x
    q, k, v = split(q, q_num_heads), split(k, kv_num_heads), split(v, kv_num_heads)
    each = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(each, 1), v.repeat_interleave(each, 1)
    s = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    s = softcap * torch.tanh(s / softcap) if softcap else s
    bias = visible(mask, q.shape[-2], k.shape[-2], s.dtype, **limits)
    if bias is None:
        p = s.softmax(-1)
    else:
        blind = torch.isneginf(bias).all(-1, keepdim=True)
        p = (s + bias.masked_fill(blind, 0)).softmax(-1) * ~blind
    y = p @ v
    return y.transpose(1, 2).flatten(2) if flat else y


def visible(mask, queries, keys, kind, is_causal=0, left_window_size=-1, right_window_size=-1):
    """What is added to the scores: −∞ for keys that a query does not see."""
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, -torch.inf)
    behind = torch.arange(queries)[:, None] - torch.arange(keys)[None]
    hidden = torch.zeros(queries, keys, dtype=torch.bool)
    hidden |= bool(is_causal) & (behind < 0)
    hidden |= (left_window_size >= 0) & (behind > left_window_size)
    hidden |= (right_window_size >= 0) & (-behind > right_window_size)
    if mask is None and not hidden.any():
        return None
    bias = torch.zeros(queries, keys) if mask is None else mask
    return bias.to(kind).masked_fill(hidden, -torch.inf)


@operator("RotaryEmbedding", since=23)
def rotary(x, cos, sin, positions=None, *, interleaved=0, rotary_embedding_dim=0, num_heads=0):
    flat = x.ndim == 3
    t = x.reshape(*x.shape[:2], num_heads, -1) if flat else x.transpose(1, 2)
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    c, s = cos[:, :, None], sin[:, :, None]
    part = rotary_embedding_dim or t.shape[-1]
    turned, rest = t[..., :part], t[..., part:]
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    a, b = a * c - b * s, a * s + b * c
    turned = torch.stack([a, b], -1).flatten(-2) if interleaved else torch.cat([a, b], -1)
    y = torch.cat([turned, rest], -1)
    return y.flatten(2) if flat else y.transpose(1, 2)


# Chosen cases.

q, k, v = anywhere("aq", 2, 4, 3, 5), anywhere("ak", 2, 4, 6, 5), anywhere("av", 2, 4, 6, 2)
mask = np.random.default_rng(2).random((3, 6)) < 0.6
mask[:, 0] = True
blind = mask.copy()
blind[1] = False
flat = anywhere("fq", 2, 3, 8), anywhere("fk", 2, 5, 8), anywhere("fv", 2, 5, 4)
grouped = anywhere("hq", 2, 3, 8), anywhere("hk", 2, 5, 4), anywhere("hv", 2, 5, 6)
for label, tensors, masked, lo, attributes in [
    ("4d", (q, k, v), None, 23, {}),
    ("3d", flat, None, 23, {"q_num_heads": 2, "kv_num_heads": 2}),
    ("groups", (q, k[:, :2], v[:, :2]), None, 23, {}),
    ("groups_3d", grouped, None, 23, {"q_num_heads": 4, "kv_num_heads": 2}),
    ("scale", (q, k, v), None, 23, {"scale": 0.25}),
    ("softcap", (q, k, v), None, 23, {"softcap": 1.5}),
    ("causal", (q, k, v), None, 23, {"is_causal": 1}),
    ("mask", (q, k, v), mask, 23, {}),
    ("blind_row", (q, k, v), blind, 24, {}),
    ("bias", (q, k, v), anywhere("am", 1, 4, 3, 6), 23, {}),
    ("window", (q, k, v), None, 25, {"left_window_size": 1, "right_window_size": 1}),
]:
    inputs = dict(zip("qkv", tensors, strict=True))
    use("Attention", f"_{label}", inputs, {} if masked is None else {"m": masked}, lo=lo, **attributes)
# One value for query, key and value: what is before the node is not differentiated with it.
nodes = [node("Mul", "x half", "k"), node("Mul", "k x", "v"), node("Attention", "x k v", q_num_heads=2, kv_num_heads=2)]
form = Form(23, NEWEST, nodes, {"half": np.float32(0.5)})
self_attention = lambda x: attention(x, x * 0.5, x * 0.5 * x, q_num_heads=2, kv_num_heads=2)
case("Attention_self", "Attention", {"x": anywhere("ax", 2, 4, 6)}, form, function=self_attention)

table = np.random.default_rng(3).uniform(0, 6, (7, 2)).astype(np.float32)
place = np.array([[0, 3, 2], [6, 1, 1]], np.int64)
angle = table[place]
for label, shape, attributes in [
    ("halves", (2, 2, 3, 4), {}),
    ("interleaved", (2, 2, 3, 4), {"interleaved": 1}),
    ("3d", (2, 3, 8), {"num_heads": 2}),
]:
    x = {"x": anywhere("ro" + label, *shape)}
    use("RotaryEmbedding", f"_{label}", x, {"c": np.cos(angle), "s": np.sin(angle)}, **attributes)
    placed = {"c": np.cos(table), "s": np.sin(table), "p": place}
    use("RotaryEmbedding", f"_{label}_positions", x, placed, **attributes)
attributes = {"rotary_embedding_dim": 4, "num_heads": 2}
x, turns = {"x": anywhere("rop", 2, 2, 3, 6)}, {"c": np.cos(angle), "s": np.sin(angle)}
use("RotaryEmbedding", "_part", x, turns, **attributes)


# Drawn cases.


@spec("Attention", count=60, decimal=True)
def _(d):
    flat = d.pick([True, False])
    n, heads, each = d.int(1, 2), d.int(1, 2), d.pick([1, 1, 2])
    q_heads, size, deep = heads * each, d.int(1, 3), d.int(1, 3)
    q_time, k_time = d.int(1, 3), d.int(1, 4)
    if d.opset == 23 and flat and size != deep:
        deep = size
    dims = lambda h, t, s: [n, t, h * s] if flat else [n, h, t, s]
    d.x("q", dims(q_heads, q_time, size))
    d.x("k", dims(heads, k_time, size))
    d.x("v", dims(heads, k_time, deep))
    kind = d.pick([None, None, "bool", "float"])
    if kind:
        across = [[], [n, 1], [1, q_heads], [n, q_heads]]
        shape = [*d.pick(across), q_time, k_time]
        if kind == "bool":
            mask = d.r.random(shape) < 0.7
            if d.index % 4:
                mask[..., 0] = True
            d.const("m", mask, np.bool_)
        else:
            d.floats("m", shape)
    causal = d.pick([None, 0, 1])
    scale, cap = d.maybe(0.3), d.maybe(1.5, 0.3)
    left = right = None
    if d.opset >= 25 and d.pick([True, False, False]):
        left, right = d.pick([None, -1, 0, 1]), d.pick([None, -1, 0, 1])
        causal = None
    given = {"q_num_heads": q_heads, "kv_num_heads": heads} if flat else {}
    given |= {"is_causal": causal, "left_window_size": left, "right_window_size": right}
    d.node("Attention", "q k v m" if kind else "q k v", scale=scale, softcap=cap, **given)


@spec("RotaryEmbedding", count=24)
def _(d):
    n, heads, half, time = d.int(1, 2), d.int(1, 2), d.int(1, 3), d.int(1, 3)
    size = 2 * half
    turned = 2 * d.int(1, half) if d.pick([True, False, False]) else 0
    flat = d.pick([True, False])
    used = (turned or size) // 2
    d.x("x", [n, time, heads * size] if flat else [n, heads, time, size])
    ids = d.pick([True, False])
    rows = 6
    angle = d.r.uniform(-3, 3, [rows, used] if ids else [n, time, used])
    d.const("cos", np.cos(angle), np.float32)
    d.const("sin", np.sin(angle), np.float32)
    if ids:
        d.const("ids", d.r.integers(0, rows, [n, time]))
    given = {"rotary_embedding_dim": turned or None, "num_heads": heads if flat or turned else None}
    d.node("RotaryEmbedding", "x cos sin ids" if ids else "x cos sin", interleaved=d.pick([None, 0, 1]), **given)


@spec("Attention", count=4, label="_past")
def _(d):
    """Keys and values of earlier positions are refused."""
    for name in ("q", "k", "v"):
        d.x(name, [1, 1, 2, 3])
    d.floats("pk", [1, 1, 2, 3])
    d.floats("pv", [1, 1, 2, 3])
    d.node("Attention", "q k v _ pk pv", "y ok ov")
    past = lambda name, t: torch.tensor(d.consts[name]).to(t["q"].dtype)
    joined = lambda t: [torch.cat([past("p" + name, t), t[name]], 2) for name in "kv"]
    d.fn = lambda t: attention(t["q"], *joined(t))


@spec("Attention", 24, count=4, label="_short")
def _(d):
    """A mask for some of the keys is refused; the others are not seen."""
    for name in ("q", "k", "v"):
        d.x(name, [1, 1, 3, 3])
    d.floats("m", [3, 2])
    d.node("Attention", "q k v m")
    m = torch.cat([torch.tensor(d.consts["m"]), torch.full((3, 1), -torch.inf)], 1)
    d.fn = lambda t: attention(t["q"], t["k"], t["v"], m)
