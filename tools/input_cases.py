# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript", "numpy"]
# ///
"""Writes small networks that take more than one float photo: crates/testkit/fixtures/inputs.

python tools/input_cases.py [FOLDER]

Several inputs of all types, images of integers and of half precision, a fixed batch, weights of half precision, functions and an
`If` that shapes decide. Each file is as torch's exporter writes it, or that file rewritten by onnx. The reference is torch in
float64: raw Grad-CAM maps at each layer for a class of each image. `bound` is what the maps must agree to, of the largest entry:
1e-4, or three times what torch itself is off in the type that the network computes in. The generator prints how far
torch's float32 is off.
"""

import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from splitmix import uniform

warnings.filterwarnings("ignore")
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "crates/testkit/fixtures/inputs")
SEED = 7
BOUND = 1e-4


def conv(n, m, stride=1):
    return nn.Sequential(nn.Conv2d(n, m, 3, stride=stride, padding=1), nn.ReLU())


class Trunk(nn.Module):
    """Three stages; the last is the default layer."""

    def __init__(self, channels=3):
        super().__init__()
        self.early, self.middle, self.late = conv(channels, 6), conv(6, 8, 2), conv(8, 8)

    def forward(self, x):
        return self.late(self.middle(self.early(x)))


class TwoBranches(nn.Module):
    """An image, and a vector that joins behind the pooling."""

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.side = nn.Sequential(nn.Linear(5, 8), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 4))

    def forward(self, image, features):
        return self.head(torch.cat([self.trunk(image).mean((2, 3)), self.side(features)], 1))


class TwoPictures(nn.Module):
    """Two images, only one of which can be a photo; each has a layer that the other does not reach."""

    def __init__(self):
        super().__init__()
        self.trunk, self.flow = Trunk(), conv(2, 6, 2)
        self.head = nn.Sequential(nn.Linear(14, 12), nn.Tanh(), nn.Linear(12, 4))

    def forward(self, flow, image):
        return self.head(torch.cat([self.trunk(image).mean((2, 3)), self.flow(flow).mean((2, 3))], 1))


class AllTypes(nn.Module):
    """The vector acts on the image between the stages, so that the default layer depends on both."""

    def __init__(self):
        super().__init__()
        self.early, self.middle, self.late, self.head = conv(3, 6), conv(6, 8, 2), conv(8, 8), nn.Linear(8, 4)
        self.of_double, self.of_half, self.of_kind, self.of_small = nn.Linear(2, 6), nn.Linear(3, 6), nn.Embedding(5, 6), nn.Linear(2, 6)

    def forward(self, image, double, half, kind, small, mask, flag):
        dtype = self.head.weight.dtype
        gate = self.of_double(double.to(dtype)) + self.of_half(half.to(dtype)) + self.of_kind(kind) + self.of_small(small.to(dtype))
        x = self.early(image) * torch.sigmoid(gate)[:, :, None, None]
        x = self.late(self.middle(x * mask.to(dtype)))
        pooled = x.mean((2, 3))
        return self.head(torch.where(flag, pooled, torch.tanh(pooled)))


class Photo(nn.Module):
    """Begins with a cast of the photo."""

    def __init__(self):
        super().__init__()
        self.trunk, self.head = Trunk(), nn.Linear(8, 4)

    def forward(self, image):
        x = image.to(self.head.weight.dtype) * 0.015625 - 1
        return self.head(self.trunk(x).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1, self.bn, self.conv2 = nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.Conv2d(n, n, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv2(self.relu(self.bn(self.conv1(x)))) + x)


class Residual(nn.Module):
    """A small residual network, without a cast."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.late, self.head = Block(8), conv(8, 16, 2), nn.Linear(16, 4)

    def forward(self, image):
        x = self.pool(torch.relu(self.bn(self.stem(image))))
        return self.head(self.late(self.layer1(x)).mean((2, 3)))


class Squeezing(nn.Module):
    """A squeeze, around which torch's older exporter writes an If where it does not know the shape."""

    def __init__(self):
        super().__init__()
        self.trunk, self.pool, self.head = Trunk(), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 4)

    def forward(self, image):
        return self.head(self.pool(self.trunk(image)).squeeze(3).squeeze(2))


class Strip(nn.Module):
    """One axis: a recording of two leads."""

    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(nn.Conv1d(2, 6, 5, stride=2, padding=2), nn.ReLU())
        self.late, self.head = nn.Sequential(nn.Conv1d(6, 8, 3, stride=2, padding=1), nn.ReLU()), nn.Linear(8, 4)

    def forward(self, image):
        return self.head(torch.tanh(self.late(self.early(image)).mean(2)))


class Volume(nn.Module):
    """Three axes: a scan of one channel."""

    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.ReLU())
        self.late, self.head = nn.Sequential(nn.Conv3d(6, 8, 3, stride=2, padding=1), nn.ReLU()), nn.Linear(8, 4)

    def forward(self, image):
        return self.head(torch.tanh(self.late(self.early(image)).mean((2, 3, 4))))


def weighed(network):
    """Weights from the seed; the scale is that of torch's own initialization, and biases are small."""
    with torch.no_grad():
        for name, t in [*network.named_parameters(), *network.named_buffers()]:
            if not t.is_floating_point():
                continue
            numbers = torch.tensor(uniform(SEED, name, t.numel())).reshape(t.shape)
            if t.ndim > 1:
                t.copy_(numbers * (3 / t[0].numel()) ** 0.5)
            elif name.endswith(("running_var", "bn.weight")):
                t.copy_(1 + numbers / 4)
            else:
                t.copy_(numbers / 8)
    return network.eval()


def floats(name, *shape):
    return torch.tensor(uniform(SEED, name, int(np.prod(shape)))).reshape(shape)


def whole(name, low, high, *shape):
    return torch.tensor(np.floor((uniform(SEED, name, int(np.prod(shape))).astype(np.float64) + 1) / 2 * (high - low) + low)).reshape(shape)


def maps(network, inputs, classes, layers, dtype):
    """Raw Grad-CAM maps of each layer, and the scores."""
    network = network.to(dtype)
    kept, hooks = {}, []
    for name, module in network.named_modules():
        if name in layers:
            hooks.append(module.register_forward_hook(lambda _, __, out, name=name: kept.__setitem__(name, out)))
    with torch.enable_grad():
        given = {k: v.to(dtype) if v.dtype == torch.float32 or k == "image" and v.is_floating_point() else v for k, v in inputs.items()}
        scores = network(**given)
        values = [kept[name] for name in layers]
        grads = torch.autograd.grad(scores[torch.arange(len(classes)), torch.tensor(classes)].sum(), values)
    for hook in hooks:
        hook.remove()
    found = {}
    for name, a, g in zip(layers, values, grads, strict=True):
        found[name] = (g.mean(tuple(range(2, g.ndim)), keepdim=True) * a).sum(1).detach().double()
    return found, scores.detach().double()


def off(got, want):
    return max(float((got[k] - want[k]).abs().max() / want[k].abs().max()) for k in want)


def exported(network, inputs, batch="batch", axes=None, opset=17, dynamo=False, **more):
    """The file that torch's exporter writes; the batch stays open where it has a name."""
    names = {"input_names": list(inputs), "output_names": ["scores"]}
    if dynamo:
        shapes = {k: ({0: torch.export.Dim(batch)} if batch else None) for k in inputs}
        program = torch.onnx.export(
            network, (), kwargs=inputs, dynamo=True, verbose=False, opset_version=opset, dynamic_shapes=shapes, **names, **more
        )
        model = program.model_proto
        for node in [*model.graph.node, *(n for f in model.functions for n in f.node)]:  # The stack trace has the path of this file.
            kept = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
        return model
    if batch and not axes:
        axes = {name: {0: batch} for name in [*inputs, "scores"]}
    buffer = io.BytesIO()
    torch.onnx.export(network, tuple(inputs.values()), buffer, dynamo=False, opset_version=opset, dynamic_axes=axes, **names, **more)
    return onnx.load_from_string(buffer.getvalue())


def tensor(t):
    dtype = str(t.dtype).removeprefix("torch.")
    return {"dtype": dtype, "shape": list(t.shape), "data": [float(f"{float(v):.9g}") for v in t.flatten()]}


CASES = {}


def case(name, network, inputs, layers, classes=(1, 3), computes=torch.float32, rewrite=None, at_once=None, agrees=True, **how):
    """One file. `computes` is the type of the weights, `at_once` the batch that the file fixes; `rewrite` changes what torch exported."""
    network, classes = weighed(network).to(computes), list(classes)
    given = {k: v.to(computes) if v.dtype == torch.float32 else v for k, v in inputs.items()}
    if at_once:
        how["batch"] = None
    model = exported(network, {k: v[:at_once] for k, v in given.items()} if at_once else given, **how)
    if rewrite:
        model = rewrite(model)
    want, scores = maps(network, inputs, classes, layers, torch.float64)
    single, _ = maps(network, inputs, classes, layers, torch.float32)
    own = off(maps(network, inputs, classes, layers, computes)[0], want) if computes != torch.float32 else 0.0
    contrast = min(float((m.amax() - m.amin()) / m.abs().max()) for m in want.values())
    ops = sorted({n.op_type for n in model.graph.node if n.op_type in ("If", "Cast")} | {f.name for f in model.functions})
    print(f"{name}: float32 is off by {off(single, want):.1e}, {computes} by {own:.1e}; contrast {contrast:.2f}; {ops}", flush=True)
    assert contrast >= 0.15 and off(single, want) <= 1e-5, name
    onnx.checker.check_model(model)
    if agrees:
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        types = {i.name: i.type for i in session.get_inputs()}
        half = lambda k, v: v.half() if types[k] == "tensor(float16)" else v
        step = at_once or len(classes)
        chunk = lambda at: {k: half(k, v[at : at + step] if len(v) == len(classes) else v).numpy() for k, v in inputs.items()}
        got = np.concatenate([session.run(None, chunk(at))[0] for at in range(0, len(classes), step)])
        assert np.abs(got - scores.numpy()).max() <= max(1e-4, 3 * own) * np.abs(scores.numpy()).max(), name
    onnx.save(model, FOLDER / f"{name}.onnx")
    CASES[name] = {
        "inputs": {k: tensor(v) for k, v in inputs.items()},
        "classes": classes,
        "scores": tensor(scores),
        "bound": max(BOUND, 3 * own),
        "layers": {k: tensor(v) for k, v in want.items()},
    }


def io_of_float32(model):
    """Casts at inputs and outputs, as written by converters that keep their types."""
    graph = model.graph
    for value, at in [(graph.input[0], 0), (graph.output[0], len(graph.node) + 1)]:
        inner, elem = f"{value.name}.half", value.type.tensor_type.elem_type
        for node in graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == value.name:
                        names[index] = inner
        ends = (value.name, inner, elem) if at == 0 else (inner, value.name, TensorProto.FLOAT)
        graph.node.insert(at, helper.make_node("Cast", [ends[0]], [ends[1]], f"cast.{value.name}", to=ends[2]))
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return model


def conditional_squeeze(model):
    """Each squeeze as torch's older exporter writes it where it does not know the size: If(Equal(size, 1), Squeeze, Identity)."""
    graph = model.graph
    nodes = []
    for node in graph.node:
        if node.op_type != "Squeeze":
            nodes.append(node)
            continue
        (x, axes), y = node.input, node.output[0]
        elem = TensorProto.FLOAT
        then = helper.make_graph(
            [helper.make_node("Squeeze", [x, axes], [f"{y}.then"], f"{node.name}.then")],
            "then",
            [],
            [helper.make_tensor_value_info(f"{y}.then", elem, None)],
        )
        other = helper.make_graph(
            [helper.make_node("Identity", [x], [f"{y}.else"], f"{node.name}.else")],
            "else",
            [],
            [helper.make_tensor_value_info(f"{y}.else", elem, None)],
        )
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), f"{y}.one"))
        nodes += [
            helper.make_node("Shape", [x], [f"{y}.shape"]),
            helper.make_node("Gather", [f"{y}.shape", axes], [f"{y}.size"]),
            helper.make_node("Equal", [f"{y}.size", f"{y}.one"], [f"{y}.is_one"]),
            helper.make_node("If", [f"{y}.is_one"], [y], node.name, then_branch=then, else_branch=other),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return model


def functions(model):
    """Each Relu is a call of a local function, which calls another."""
    inner = onnx.parser.parse_function("""<domain: "test.functions", opset_import: ["" : 17]>
        Largest (x, y) => (z) { z = Max(x, y) }""")
    outer = onnx.parser.parse_function("""<domain: "test.functions", opset_import: ["" : 17, "test.functions" : 1]>
        Rectify (x) => (y) { zero = Constant<value = float {0}>()
            cast = CastLike(zero, x)
            y = test.functions.Largest(x, cast) }""")
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type, node.domain = "Rectify", "test.functions"
    model.functions.extend([inner, outer])
    model.opset_import.append(helper.make_opsetid("test.functions", 1))
    del model.graph.value_info[:]
    return model


TRUNK = ["trunk.late", "trunk.early"]
IMAGE = (2, 3, 12, 18)


def several_inputs():
    image = floats("image", *IMAGE)
    case("two_branches", TwoBranches(), {"image": image, "features": floats("features", 2, 5)}, TRUNK)
    case("two_pictures", TwoPictures(), {"flow": floats("flow", 2, 2, 8, 8), "image": image}, [*TRUNK, "flow"])
    small = {
        "double": floats("double", 2, 2).double(),
        "half": floats("half", 2, 3).half(),
        "kind": whole("kind", 0, 5, 2).long(),
        "small": whole("small", -3, 4, 2, 2).int(),
        "mask": whole("mask", 0, 3, 1, 1, 12, 18).byte(),
        "flag": torch.tensor([[True], [False]]),
    }
    open_axes = {k: {0: "batch"} for k in ["image", "double", "half", "kind", "small", "flag", "scores"]}
    case("all_types", AllTypes(), {"image": image} | small, ["late", "early"], axes=open_axes)


def photos():
    """Images of other types than float32, and batches that are fixed."""
    for name, low, high, batch in [("uint8", 0, 256, 4), ("int8", -128, 128, 1), ("int32", 0, 256, None), ("int64", 0, 256, None)]:
        images = 4 if batch == 4 else 2
        photo = whole("image", low, high, images, *IMAGE[1:]).to(getattr(torch, name))
        case(f"photo_{name}", Photo(), {"image": photo}, TRUNK, [1, 3, 0, 2][:images], at_once=batch)
    photo = whole("image", 0, 256, *IMAGE)
    case("photo_float16", Photo(), {"image": photo.half()}, TRUNK)
    case("photo_float64", Photo(), {"image": photo.double()}, TRUNK)


def precisions():
    image, layers = floats("image", 2, 3, 24, 32), ["late", "layer1"]
    case("half", Residual(), {"image": image.half()}, layers, computes=torch.float16)
    case("half_inside", Residual(), {"image": image.half().float()}, layers, computes=torch.float16, rewrite=io_of_float32)
    case("bfloat16", Residual(), {"image": image.bfloat16()}, layers, computes=torch.bfloat16, agrees=False, dynamo=True, opset=18)


def graphs():
    image = {"image": floats("image", *IMAGE)}
    case("if_of_shapes", Squeezing(), image, TRUNK, rewrite=conditional_squeeze)
    case("functions", Squeezing(), image, TRUNK, rewrite=functions)


def other_axes():
    case("strip", Strip(), {"image": floats("image", 2, 2, 64)}, ["late", "early"])
    case("volume", Volume(), {"image": floats("image", 2, 1, 6, 8, 10)}, ["late", "early"])


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    several_inputs()
    photos()
    precisions()
    graphs()
    other_axes()
    (FOLDER / "inputs.json").write_text(json.dumps(CASES, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
