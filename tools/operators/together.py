"""Operators together: what the driver does. They have no drawn cases."""

import numpy as np
import torch

from . import chosen
from .chosen import Form, anywhere, data, distinct, ints
from .norm import stats
from .reference import NEWEST, node

case, _ = chosen.family("together")


def together(name, op, x, nodes, constants=None, lo=7, function=None):
    case(name, op, {"x": x}, Form(lo, NEWEST, nodes, constants), function=function)


w3 = anywhere("tw", 3, 3, 3, 3)
nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("BatchNormalization", "c s b m v", "n")]
nodes += [node("Add", "n x", "r"), node("Relu", "r")]
together("residual_block", "Conv", anywhere("t1", 2, 3, 4, 5), nodes, {"w": w3} | stats, 9)
nodes = [node("GlobalAveragePool", "x", "p"), node("Conv", "p w", "c"), node("Sigmoid", "c", "g"), node("Mul", "x g")]
together("squeeze_excite", "Mul", anywhere("t2", 2, 3, 4, 4), nodes, {"w": w3[:, :, :1, :1]})
nodes = [node("Tanh", "x", "a"), node("Sigmoid", "x", "b"), node("Mul", "a x", "c"), node("Add", "c b")]
together("used_three_times", "Add", anywhere("t3", 2, 3), nodes)
together("dead_branch", "Relu", anywhere("t4", 2, 3), [node("Sigmoid", "x", "dead"), node("Tanh")])
nodes = [node("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", "p", "f")]
nodes += [node("Gemm", "f w", transB=1)]
together("pool_flatten_gemm", "Gemm", distinct("t5", 2, 3, 4, 4), nodes, {"w": anywhere("wg", 4, 3 * 2 * 2)}, 11)
nodes = [node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n zero1", "n1")]
nodes += [node("Concat", "n1 rest", "t", axis=0), node("Reshape", "x t", "r"), node("Add", "r r")]
numbers = {"zero": np.array(0, np.int64), "zero1": ints(0), "rest": ints(-1)}
together("batch_dependent_shape", "Reshape", anywhere("t6", 2, 3, 2, 2), nodes, numbers, 13)
# The mean leaves [N, 3] of [N, 3, 4, 3]: the width, not the channels.
old = Form(7, 17, [node("ReduceMean", axes=[1, 2], keepdims=0)])
new = Form(18, NEWEST, [node("ReduceMean", "x a", keepdims=0)], {"a": ints(1, 2)})
case("mean_over_channels_leaves_a_width_as_large", "ReduceMean", {"x": anywhere("t7", 2, 3, 4, 3)}, old, new)
flat = {name: np.concatenate([v, v * 2, v * 3, v * 4]) for name, v in stats.items()}
nodes = [node("Flatten", "x", "f"), node("BatchNormalization", "f s b m v")]
together("flatten_batch_norm", "BatchNormalization", anywhere("t8", 2, 3, 2, 2), nodes, flat, 9)
for label, group in [("", 1), ("_groups", 2)]:
    weights = {"w": anywhere("tp" + label, 6, 4 // group, 1, 1)}
    conv = node("Conv", "x w", "c", group=group)
    old = Form(7, 17, [conv, node("ReduceMean", "c", axes=[1])], weights)
    new = Form(18, NEWEST, [conv, node("ReduceMean", "c a")], weights | {"a": ints(1)})
    case("pointwise_conv_channel_mean" + label, "Conv", {"x": anywhere("t9" + label, 2, 4, 3, 3)}, old, new)

weight, bias = data("lw", 4, lo=0.5, hi=1.5), data("lb", 4)
mean = lambda value, output, axes: node("ReduceMean", value if axes else f"{value} a", output, axes=axes)
middle = [node("Sub", "x m", "d"), node("Pow", "d two", "q")]
tail = [node("Add", "v eps", "e"), node("Sqrt", "e", "s"), node("Div", "d s", "n"), node("Mul", "n w", "k"), node("Add", "k b")]
spelled = lambda axes: [mean("x", "m", axes), *middle, mean("q", "v", axes), *tail]
constants = {"two": np.float32(2), "eps": np.float32(1e-5), "w": weight, "b": bias}
old, new = Form(7, 17, spelled([-1]), constants), Form(18, NEWEST, spelled(None), constants | {"a": ints(-1)})
double = lambda array: torch.tensor(array.astype(np.float64))
norm = lambda x: torch.nn.functional.layer_norm(x, (4,), double(weight), double(bias), float(np.float32(1e-5)))
case("layer_norm_of_old_exporters", "Pow", {"x": anywhere("lnx", 2, 3, 4)}, old, new, function=norm)
nodes = [node("Div", "x root", "r"), node("Erf", "r", "e"), node("Add", "e one", "p"), node("Mul", "x p", "h"), node("Mul", "h half")]
constants = {"root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
gelu = torch.nn.functional.gelu
together("gelu_of_old_exporters", "Erf", anywhere("glx", 2, 3, 4), nodes, constants, 9, gelu)
