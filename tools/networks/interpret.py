"""Runs an ONNX graph with torch operators, so that torch differentiates exactly the file's own numbers."""

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class Network(torch.nn.Module):
    """A graph in one precision. Every value of a run is kept in `values`, so that it can be differentiated."""

    def __init__(self, model, dtype):
        super().__init__()
        self.graph = model.graph
        self.dtype = dtype
        self.constants = {t.name: self.read(t) for t in self.graph.initializer}
        self.taps = {}
        self.device_of = torch.nn.Parameter(torch.zeros(1))  # pytorch-grad-cam looks for a parameter

    def read(self, t):
        value = torch.tensor(numpy_helper.to_array(t).copy())
        return value.to(self.dtype) if value.is_floating_point() else value

    def tap(self, value):
        """A module through which a value passes, for hooks of pytorch-grad-cam."""
        self.taps[value] = torch.nn.Identity()
        return self.taps[value]

    def begin(self, x):
        self.values = dict(self.constants)
        self.values[self.graph.input[0].name] = x.to(self.dtype)

    def step(self, n):
        """Computes one node from `values`."""
        a = {t.name: onnx.helper.get_attribute_value(t) for t in n.attribute}
        i = [self.values[name] if name else None for name in n.input]
        out = getattr(self, n.op_type.lower())(a, *i)
        name = n.output[0]
        self.values[name] = self.taps[name](out) if name in self.taps else out

    def forward(self, x):
        self.begin(x)
        for n in self.graph.node:
            self.step(n)
        return self.values[self.graph.output[0].name]

    def constant(self, a):
        return self.read(a["value"])

    def conv(self, a, x, w, b=None):
        d = x.ndim - 2
        p = a.get("pads", [0] * 2 * d)
        x = F.pad(x, [v for i in reversed(range(d)) for v in (p[i], p[i + d])])
        return CONV[d](x, w, b, a.get("strides", 1), 0, a.get("dilations", 1), a.get("group", 1))

    def maxpool(self, a, x):
        d = x.ndim - 2
        p = a.get("pads", [0] * 2 * d)
        assert p[:d] == p[d:]
        return MAX_POOL[d](x, a["kernel_shape"], a["strides"], p[:d], ceil_mode=bool(a.get("ceil_mode", 0)))

    def averagepool(self, a, x):
        d = x.ndim - 2
        p = a.get("pads", [0] * 2 * d)
        assert p[:d] == p[d:]
        return AVERAGE_POOL[d](x, a["kernel_shape"], a["strides"], p[:d], bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0)))

    def clip(self, a, x, lo=None, hi=None):
        return F.hardtanh(x, float(lo), float(hi))

    def gemm(self, a, x, w, b):
        return x @ (w.T if a.get("transB", 0) else w) + b

    def cast(self, a, x):
        return x.to(self.dtype) if a["to"] == onnx.TensorProto.FLOAT else x.to(torch.int64)

    def div(self, a, x, y):
        return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")

    def batchnormalization(self, a, x, scale, bias, mean, var):
        return F.batch_norm(x, mean, var, scale, bias, eps=a.get("epsilon", 1e-5))

    def layernormalization(self, a, x, scale, bias):
        assert a.get("axis", -1) in (-1, x.ndim - 1)
        return F.layer_norm(x, scale.shape, scale, bias, a.get("epsilon", 1e-5))

    def reducemean(self, a, x, axes=None):
        axes = a["axes"] if axes is None else axes.tolist()
        return x.mean(tuple(axes), keepdim=bool(a.get("keepdims", 1)))

    def reshape(self, a, x, shape):
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())])

    def slice(self, a, x, starts, ends, axes, steps=None):
        steps = [1] * len(starts) if steps is None else steps.tolist()
        for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps, strict=True):
            x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
        return x

    def gather(self, a, x, indices):
        axis = a.get("axis", 0) % x.ndim
        picked = x.index_select(axis, indices.reshape(-1) % x.shape[axis])
        return picked.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])

    def unsqueeze(self, a, x, axes):
        for axis in axes.tolist():
            x = x.unsqueeze(axis)
        return x

    def squeeze(self, a, x, axes):
        return x.squeeze(tuple(axes.tolist()))

    def hardsigmoid(self, a, x):
        assert abs(a.get("alpha", 0.2) - 1 / 6) < 1e-7
        return F.hardsigmoid(x)

    def gelu(self, a, x):
        return F.gelu(x, approximate=a.get("approximate", b"none").decode())

    add = staticmethod(lambda a, x, y: x + y)
    concat = staticmethod(lambda a, *x: torch.cat(x, a["axis"]))
    erf = staticmethod(lambda a, x: torch.erf(x))
    flatten = staticmethod(lambda a, x: x.flatten(a.get("axis", 1)))
    globalaveragepool = staticmethod(lambda a, x: x.mean(tuple(range(2, x.ndim)), keepdim=True))
    hardswish = staticmethod(lambda a, x: F.hardswish(x))
    identity = staticmethod(lambda a, x: x)
    matmul = staticmethod(lambda a, x, y: x @ y)
    mul = staticmethod(lambda a, x, y: x * y)
    relu = staticmethod(lambda a, x: F.relu(x))
    shape = staticmethod(lambda a, x: torch.tensor(x.shape))
    sigmoid = staticmethod(lambda a, x: torch.sigmoid(x))
    softmax = staticmethod(lambda a, x: torch.softmax(x, a.get("axis", -1)))
    transpose = staticmethod(lambda a, x: x.permute(a["perm"]))
