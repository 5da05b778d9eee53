"""Values, maps and boxes of targets in float64, and whether a network decides them clearly enough to be a fixture."""

import copy

import onnx
import onnxruntime
import torch

from zoo.oracle import SoundNorms

CONDITION = 1e-5  # how far torch's float32 may be from its float64
STILL = 3e-5  # how far maps may move where the input moves by NUDGE: no decision is near
NUDGE = 2e-6


def apart(got, want):
    largest = float(want.abs().max())
    return float((got.double() - want.double()).abs().max()) / (largest or 1.0)


class Run:
    """One forward pass: the head, and the activation of the layer as [N, C, places…]."""

    def __init__(self, network, x, case):
        seen, values = [], {}
        handles = [network.get_submodule(case.layer).register_forward_hook(lambda _m, _i, out: seen.append(first(out)))]
        x = x.clone().requires_grad_()
        with SoundNorms():
            self.head = case.head(network, x) if case.head else network.head(x)
        for handle in handles:
            handle.remove()
        self.values, self.activation, self.view = values, seen[-1], case.view

    def row(self, asked):
        """A target's row, with raw maps."""
        asked = {key: value for key, value in asked.items() if key != "mask"} | (
            {"mask": pixels(asked["mask"], self.head.z)} if "mask" in asked else {}
        )
        target = asked.pop("target", None)
        arguments = {"vector": asked.pop("similar_to")} if "similar_to" in asked else {"text": target, **asked}
        if "output" in arguments:
            arguments = {"text": arguments["output"]}
        with SoundNorms():
            row = self.head.row(**arguments)
        (g,) = torch.autograd.grad(row.values.sum(), self.activation, retain_graph=True, allow_unused=True)
        g = torch.zeros_like(self.activation) if g is None else g
        a, g = self.view(self.activation.detach()), self.view(g)
        weights = g.mean(tuple(range(2, g.ndim)), keepdim=True)
        return row, {"gradcam": (weights * a).sum(1), "hirescam": (g * a).sum(1)}


def first(output):
    while not torch.is_tensor(output):
        output = output[0] if isinstance(output, (tuple, list)) else next(iter(output.values()))
    return output


def pixels(rectangles, z):
    """A mask of the size of the output, 1 in some rectangles x, y, width, height."""
    mask = torch.zeros(z.shape[-2:], dtype=torch.bool)
    for x, y, w, h in rectangles:
        mask[y : y + h, x : x + w] = True
    return mask


def rows(network, x, case):
    run = Run(network, x, case)
    return run, [run.row(asked) for asked in case.targets]


def decided(row):
    return row.classes, row.anchors


def referenced(network, x, case):
    """The run and rows in float64, and what is wrong with this network as a fixture."""
    double = network.double() if hasattr(network, "wrapped") else copy.deepcopy(network).double()
    run, truth = rows(double, x.double(), case)
    faults = []
    generator = torch.Generator().manual_seed(1)
    noise = [torch.rand(x.shape, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(3)]
    others = [("float32", rows(network, x, case)[1], CONDITION)]
    others += [("nudged", rows(double, x.double() * (1 + NUDGE * one), case)[1], STILL) for one in noise]
    worst = 0.0
    for what, found, bound in others:
        for asked, (row, maps), (other, theirs) in zip(case.targets, truth, found, strict=True):
            if decided(row) != decided(other):
                faults.append(f"{asked}: {what} decides {decided(other)}, not {decided(row)}")
                continue
            off = max(apart(theirs[m], maps[m]) for m in maps)
            worst = max(worst, off) if what == "float32" else worst
            if off > bound:
                faults.append(f"{asked}: {what} is {off:.1e} off")
    for asked, (_, maps) in zip(case.targets, truth, strict=True):
        largest = [float(m.abs().max()) for m in maps.values()]
        if min(largest) < 1e-6:
            faults.append(f"{asked}: an empty map {largest}")
    return run, truth, faults, worst


def check_file(path, network, x, case, activation):
    """The name of the layer's value in the file; outputs and layer must have torch's numbers in ONNX Runtime."""
    model = onnx.load(path)
    outputs = [output.name for output in model.graph.output]
    inner = [name for node in model.graph.node for name in node.output if name and name not in outputs]
    typed = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    inner = [name for name in inner if name in typed and typed[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found = dict(zip(outputs + inner, session.run(outputs + inner, {name: x.numpy()}), strict=True))
    with torch.no_grad():
        wanted = network(x)
    wanted = list(wanted.values()) if isinstance(wanted, dict) else [wanted] if torch.is_tensor(wanted) else list(wanted)
    for key, want in zip(outputs, wanted, strict=True):
        off = apart(torch.from_numpy(found[key]), want)
        assert off <= 1e-4, f"{case.name}: ONNX Runtime's {key} is {off:.1e} off"
    values = [
        key
        for key in outputs + inner
        if found[key].shape == tuple(activation.shape) and apart(torch.from_numpy(found[key]), activation.detach()) <= 1e-4
    ]
    assert values, f"{case.name}: no value of the file is {case.layer} {list(activation.shape)}"
    return outputs, values[0]
