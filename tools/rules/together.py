"""Operators together: what the driver does."""

import numpy as np
import torch
import torch.nn.functional as F

from .case import NEWEST, Form, anywhere, case, data, distinct, ints
from .norm import s64, stats

w3 = anywhere("tw", 3, 3, 3, 3)
w64 = torch.tensor(w3.astype(np.float64))
case("together", "residual_block", "Conv", {"x": anywhere("t1", 2, 3, 4, 5)}, lambda x: F.relu(F.batch_norm(F.conv2d(x, w64, padding=1), s64["m"], s64["v"], s64["s"], s64["b"], eps=float(np.float32(1e-5))) + x),
     Form(9, NEWEST, [("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]}), ("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], {}), ("Add", ["n", "x"], ["r"], {}), ("Relu", ["r"], ["y"], {})], {"w": w3} | stats))
case("together", "squeeze_excite", "Mul", {"x": anywhere("t2", 2, 3, 4, 4)}, lambda x: x * torch.sigmoid(F.conv2d(x.mean((2, 3), keepdim=True), w64[:, :, :1, :1])),
     Form(7, NEWEST, [("GlobalAveragePool", ["x"], ["p"], {}), ("Conv", ["p", "w"], ["c"], {}), ("Sigmoid", ["c"], ["g"], {}), ("Mul", ["x", "g"], ["y"], {})], {"w": w3[:, :, :1, :1]}))
case("together", "used_three_times", "Add", {"x": anywhere("t3", 2, 3)}, lambda x: torch.tanh(x) * x + torch.sigmoid(x),
     Form(7, NEWEST, [("Tanh", ["x"], ["a"], {}), ("Sigmoid", ["x"], ["b"], {}), ("Mul", ["a", "x"], ["c"], {}), ("Add", ["c", "b"], ["y"], {})]))
case("together", "dead_branch", "Relu", {"x": anywhere("t4", 2, 3)}, lambda x: torch.tanh(x), Form(7, NEWEST, [("Sigmoid", ["x"], ["dead"], {}), ("Tanh", ["x"], ["y"], {})]))
wg = anywhere("wg", 4, 3 * 2 * 2)
case("together", "pool_flatten_gemm", "Gemm", {"x": distinct("t5", 2, 3, 4, 4)}, lambda x: F.max_pool2d(x, 2).flatten(1) @ torch.tensor(wg.astype(np.float64)).T,
     Form(11, NEWEST, [("MaxPool", ["x"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Flatten", ["p"], ["f"], {}), ("Gemm", ["f", "w"], ["y"], {"transB": 1})], {"w": wg}))
case("together", "batch_dependent_shape", "Reshape", {"x": anywhere("t6", 2, 3, 2, 2)}, lambda x: x.reshape(2, -1) * 2,
     Form(13, NEWEST, [("Shape", ["x"], ["s"], {}), ("Gather", ["s", "zero"], ["n"], {}), ("Unsqueeze", ["n", "zero1"], ["n1"], {}), ("Concat", ["n1", "rest"], ["t"], {"axis": 0}), ("Reshape", ["x", "t"], ["r"], {}), ("Add", ["r", "r"], ["y"], {})],
          {"zero": np.array(0, np.int64), "zero1": ints(0), "rest": ints(-1)}))
# The mean leaves [N, 3] of [N, 3, 4, 3]: the width, not the channels.
case("together", "mean_over_channels_leaves_a_width_as_large", "ReduceMean", {"x": anywhere("t7", 2, 3, 4, 3)}, lambda x: x.mean((1, 2)),
     Form(7, 17, [("ReduceMean", ["x"], ["y"], {"axes": [1, 2], "keepdims": 0})]),
     Form(18, NEWEST, [("ReduceMean", ["x", "a"], ["y"], {"keepdims": 0})], {"a": ints(1, 2)}))
flat12 = {k: np.concatenate([v, v * 2, v * 3, v * 4]) for k, v in stats.items()}
f64 = {k: torch.tensor(v.astype(np.float64)) for k, v in flat12.items()}
case("together", "flatten_batch_norm", "BatchNormalization", {"x": anywhere("t8", 2, 3, 2, 2)}, lambda x: F.batch_norm(x.flatten(1), f64["m"], f64["v"], f64["s"], f64["b"], eps=float(np.float32(1e-5))),
     Form(9, NEWEST, [("Flatten", ["x"], ["f"], {}), ("BatchNormalization", ["f", "s", "b", "m", "v"], ["y"], {})], flat12))
for label, group in [("", 1), ("_groups", 2)]:
    wp = anywhere("tp" + label, 6, 4 // group, 1, 1)
    fn = lambda x, w=torch.tensor(wp.astype(np.float64)), g=group: F.conv2d(x, w, groups=g).mean(1, keepdim=True)
    nodes = [("Conv", ["x", "w"], ["c"], {"group": group})]
    case("together", "pointwise_conv_channel_mean" + label, "Conv", {"x": anywhere("t9" + label, 2, 4, 3, 3)}, fn,
         Form(7, 17, nodes + [("ReduceMean", ["c"], ["y"], {"axes": [1]})], {"w": wp}),
         Form(18, NEWEST, nodes + [("ReduceMean", ["c", "a"], ["y"], {})], {"w": wp, "a": ints(1)}))
lw, lb = data("lw", 4, lo=0.5, hi=1.5), data("lb", 4)
head = lambda axes, ins: [("ReduceMean", ["x"] + ins, ["m"], axes), ("Sub", ["x", "m"], ["d"], {}), ("Pow", ["d", "two"], ["q"], {}), ("ReduceMean", ["q"] + ins, ["v"], axes)]
tail = [("Add", ["v", "eps"], ["e"], {}), ("Sqrt", ["e"], ["s"], {}), ("Div", ["d", "s"], ["n"], {}), ("Mul", ["n", "w"], ["k"], {}), ("Add", ["k", "b"], ["y"], {})]
consts = {"two": np.float32(2), "eps": np.float32(1e-5), "w": lw, "b": lb}
case("together", "layer_norm_of_old_exporters", "Pow", {"x": anywhere("lnx", 2, 3, 4)}, lambda x: F.layer_norm(x, (4,), torch.tensor(lw.astype(np.float64)), torch.tensor(lb.astype(np.float64)), float(np.float32(1e-5))),
     Form(7, 17, head({"axes": [-1]}, []) + tail, consts), Form(18, NEWEST, head({}, ["a"]) + tail, consts | {"a": ints(-1)}))
root = [("Div", ["x", "root"], ["r"], {}), ("Erf", ["r"], ["e"], {}), ("Add", ["e", "one"], ["p"], {}), ("Mul", ["x", "p"], ["h"], {}), ("Mul", ["h", "half"], ["y"], {})]
case("together", "gelu_of_old_exporters", "Erf", {"x": anywhere("glx", 2, 3, 4)}, F.gelu,
     Form(9, NEWEST, root, {"root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}))
