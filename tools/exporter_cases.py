# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "onnxscript", "onnxruntime==1.32.0", "onnxsim==0.8.1"]
# ///
"""Writes one small network as each exporter of torch writes it: crates/testkit/fixtures/exporters.

python tools/exporter_cases.py [FOLDER]

Of the older exporter's file also what onnxsim and ONNX Runtime (level extended) make of it, and raw maps of its layers by
torch's autograd in float64.

The network has what makes layer names hard: batch norms that exporters fold into convolutions, an activation
module that is called twice, a dropout that leaves no node, an activation made of two operators.
"""

import copy
import sys
from pathlib import Path

import onnx
import torch
from torch import nn

from exported import optimize, simplify, write_maps

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "crates/testkit/fixtures/exporters")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.act = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.SiLU()
        self.layer1 = nn.Sequential(Block(), Block())
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.layer1(self.act(self.bn1(self.conv1(x))))
        return self.fc(self.drop(x).mean((2, 3)))


torch.manual_seed(1)
network = Network().eval()
for module in network.modules():
    if isinstance(module, nn.BatchNorm2d):
        for tensor, low, high in (
            (module.weight, 0.5, 1.5),
            (module.bias, -0.3, 0.5),
            (module.running_mean, -0.3, 0.3),
            (module.running_var, 0.3, 1.3),
        ):
            nn.init.uniform_(tensor, low, high)
x = torch.randn(1, 3, 8, 8)
FOLDER.mkdir(parents=True, exist_ok=True)
for name, options in {
    "torch_script": {"dynamo": False, "opset_version": 17},
    "torch_export": {"dynamo": True, "opset_version": 18, "external_data": False},
}.items():
    path = FOLDER / f"{name}.onnx"
    torch.onnx.export(network, (x,), path, input_names=["input"], output_names=["scores"], **options)
    model = onnx.load(path)
    for node in model.graph.node:  # The stack trace has the path of this file.
        kept = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)

script = FOLDER / "torch_script.onnx"
simplify(script, FOLDER / "torch_onnxsim.onnx")
optimize(script, FOLDER / "torch_extended.onnx")

LAYERS, CLASS = ["conv1", "bn1", "act", "layer1.0", "layer1.0.conv1", "layer1.0.bn1", "layer1.1.conv2", "layer1.1.bn2", "layer1.1"], 3
double, kept = copy.deepcopy(network).double(), {}
for path in LAYERS:
    double.get_submodule(path).register_forward_hook(lambda _module, _input, output, path=path: kept.__setitem__(path, output))
scores = double(x.double())[0]
gradients = torch.autograd.grad(scores[CLASS], [kept[path] for path in LAYERS])
grad_cam = lambda a, g: {"gradcam": (a * g.mean((2, 3), keepdim=True)).sum(1)[0].detach(), "hirescam": (a * g).sum(1)[0].detach()}
maps = {path: grad_cam(kept[path], g) for path, g in zip(LAYERS, gradients, strict=True)}
write_maps(FOLDER / "torch.json", x, CLASS, scores.detach(), maps)
