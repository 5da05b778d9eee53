"""Attention and RotaryEmbedding."""

import numpy as np
import torch

from .draw import Again, spec


@spec("Attention", 23, count=60)
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
    ins = "q k v"
    kind = d.pick([None, None, "bool", "float"])
    bias = None
    if kind:
        shape = d.pick([[q_time, k_time], [n, 1, q_time, k_time], [1, q_heads, q_time, k_time], [n, q_heads, q_time, k_time]])
        if kind == "bool":
            mask = d.r.random(shape) < 0.7
            if d.index % 4:
                mask[..., 0] = True
            d.const("m", mask, np.bool_)
            bias = np.where(mask, 0, -np.inf)
        else:
            d.floats("m", shape)
            bias = d.consts["m"].astype(np.float64)
        ins += " m"
    causal = d.pick([None, 0, 1])
    scale, cap = d.maybe(0.3), d.maybe(1.5, 0.3)
    left = right = None
    if d.opset >= 25 and d.pick([True, False, False]):
        left, right = d.pick([None, -1, 0, 1]), d.pick([None, -1, 0, 1])
        causal = None
    d.node("Attention", ins, is_causal=causal, scale=scale, softcap=cap, left_window_size=left, right_window_size=right, q_num_heads=q_heads if flat else None, kv_num_heads=heads if flat else None)

    def fn(t):
        q, k, v = t["q"], t["k"], t["v"]
        if flat:
            q, k, v = (x.reshape(n, x.shape[1], h, -1).transpose(1, 2) for x, h in ((q, q_heads), (k, heads), (v, heads)))
        k, v = k.repeat_interleave(each, 1), v.repeat_interleave(each, 1)
        s = q @ k.transpose(-1, -2) * (size**-0.5 if scale is None else scale)
        if cap:
            s = cap * torch.tanh(s / cap)
        b = torch.zeros(s.shape, dtype=s.dtype)
        if bias is not None:
            b = b + torch.tensor(bias).to(s.dtype)
        far = torch.arange(q_time)[:, None] - torch.arange(k_time)[None]
        never = torch.zeros(far.shape, dtype=torch.bool)
        if causal:
            never = never | (far < 0)
        if left is not None and left >= 0:
            never = never | (far > left)
        if right is not None and right >= 0:
            never = never | (-far > right)
        b = b.masked_fill(never, -torch.inf)
        blind = torch.isneginf(b).all(-1, keepdim=True)
        p = (s + b.masked_fill(blind, 0)).softmax(-1) * ~blind
        y = p @ v
        return y.transpose(1, 2).flatten(2) if flat else y

    d.fn = fn


@spec("RotaryEmbedding", 23, count=24)
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
    ins = "x cos sin"
    if ids:
        d.const("ids", d.r.integers(0, rows, [n, time]))
        ins += " ids"
    inter = d.pick([None, 0, 1])
    d.node("RotaryEmbedding", ins, interleaved=inter, rotary_embedding_dim=turned or None, num_heads=heads if flat or turned else None)
    c, s = d.consts["cos"], d.consts["sin"]
    if ids:
        c, s = c[d.consts["ids"]], s[d.consts["ids"]]

    def fn(t):
        x = t["x"]
        x = x.reshape(n, time, heads, size) if flat else x.transpose(1, 2)
        r, rest = x[..., : 2 * used], x[..., 2 * used :]
        a, b = (r[..., 0::2], r[..., 1::2]) if inter else (r[..., :used], r[..., used:])
        cc, ss = (torch.tensor(v).to(x.dtype).unsqueeze(2) for v in (c, s))
        p, q = a * cc - b * ss, a * ss + b * cc
        r = torch.stack([p, q], -1).flatten(-2) if inter else torch.cat([p, q], -1)
        y = torch.cat([r, rest], -1)
        return y.reshape(n, time, heads * size) if flat else y.transpose(1, 2)

    d.fn = fn


@spec("Attention", 23, count=4, label="_past")
def _(d):
    """Keys and values of earlier positions are refused."""
    for name in ("q", "k", "v"):
        d.x(name, [1, 1, 2, 3])
    d.floats("pk", [1, 1, 2, 3])
    d.floats("pv", [1, 1, 2, 3])
    d.node("Attention", "q k v _ pk pv", "y ok ov")

    def fn(t):
        k, v = (torch.cat([torch.tensor(d.consts[p]).to(t["q"].dtype), t[n]], 2) for p, n in (("pk", "k"), ("pv", "v")))
        return (t["q"] @ k.transpose(-1, -2) * 3**-0.5).softmax(-1) @ v

    d.fn = fn


@spec("Attention", 24, count=4, label="_short")
def _(d):
    """A mask for some of the keys is refused; the others are not seen."""
    for name in ("q", "k", "v"):
        d.x(name, [1, 1, 3, 3])
    d.floats("m", [3, 2])
    d.node("Attention", "q k v m")

    def fn(t):
        m = torch.cat([torch.tensor(d.consts["m"]), torch.full((3, 1), -torch.inf)], 1).to(t["q"].dtype)
        return (t["q"] @ t["k"].transpose(-1, -2) * 3**-0.5 + m).softmax(-1) @ t["v"]

    d.fn = fn
