# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "onnxscript"]
# ///
"""Writes one small network as each exporter of torch writes it: crates/testkit/fixtures/exporters.

python tools/exporter_cases.py [FOLDER]

The network has what makes layer names hard: batch norms that exporters fold into convolutions, an activation
module that is called twice, a dropout that leaves no node, an activation made of two operators.
"""

import sys
from pathlib import Path

import onnx
import torch
from torch import nn

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
x = torch.randn(1, 3, 8, 8)
FOLDER.mkdir(parents=True, exist_ok=True)
for name, options in {"torch_script": {"dynamo": False, "opset_version": 17}, "torch_export": {"dynamo": True, "opset_version": 18, "external_data": False}}.items():
    path = FOLDER / f"{name}.onnx"
    torch.onnx.export(network, (x,), path, input_names=["input"], output_names=["scores"], **options)
    model = onnx.load(path)
    for node in model.graph.node:  # holds the path of this file
        kept = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)
