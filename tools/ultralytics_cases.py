# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "torchvision==0.29.2", "ultralytics==8.4.190", "onnx==1.23.2", "onnxslim==0.1.98", "numpy"]
# ///
"""Writes a small YOLO classifier and a small detector as ultralytics writes them, and their maps: crates/testkit/fixtures/exporters.

python tools/ultralytics_cases.py [FOLDER]

Without and with `simplify`. The score of a class of a detector is the logit of its highest anchor. Maps are by torch's autograd
in float64, on the model before its norms are fused.
"""

import copy
import os
import sys
import tempfile
from pathlib import Path

import onnx
import torch
import yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.modules import Conv

from exported import write_maps

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "crates/testkit/fixtures/exporters").resolve()
SIDE, CLASS = 64, 2
BODY = [
    [-1, 1, "Conv", [8, 3, 2]],
    [-1, 1, "Conv", [8, 3, 2]],
    [-1, 1, "C2f", [8, True]],
    [-1, 1, "Conv", [16, 3, 2]],
    [-1, 1, "C2f", [16, True]],
]
NECK = [[-1, 1, "SPPF", [16, 5]], [-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 2], 1, "Concat", [1]], [-1, 1, "C2f", [8]]]
NECK += [[-1, 1, "Conv", [8, 3, 2]], [[-1, 5], 1, "Concat", [1]], [-1, 1, "C2f", [16]], [[8, 11], 1, "Detect", ["nc"]]]
MODELS = {"yolo_cls": (BODY + [[-1, 1, "Classify", ["nc"]]], 5, "classify"), "yolo_detect": (BODY + NECK, 3, "detect")}


def build(layers, classes, task, folder):
    path = Path(folder) / "small.yaml"
    path.write_text(yaml.safe_dump({"nc": classes, "backbone": layers[:5], "head": layers[5:]}))
    torch.manual_seed(5)
    wrapped = YOLO(str(path), task=task)
    head = wrapped.model.model[-1]
    if task == "detect":
        # Boxes are not explained. Fewer channels for them make the file smaller.
        head.cv2 = nn.ModuleList(nn.Sequential(Conv(c, 16, 3), Conv(16, 16, 3), nn.Conv2d(16, 64, 1)) for c in (8, 16))
    for index, module in enumerate([wrapped.model, *wrapped.model.modules()]):
        if isinstance(module, nn.BatchNorm2d):
            generator = torch.Generator().manual_seed(index)
            for tensor, low, high in (
                (module.weight, 0.6, 1.6),
                (module.bias, -0.3, 0.5),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.4, 1.4),
            ):
                with torch.no_grad():
                    tensor.uniform_(low, high, generator=generator)
    return wrapped


def reference(model, x):
    model = copy.deepcopy(model).double().eval()
    head, kept = model.model[-1], {}

    def keep(path):
        return lambda _module, _input, output: kept.__setitem__(path, output)

    for index, layer in enumerate(model.model[:-1]):
        layer.register_forward_hook(keep(f"model.{index}"))
    if hasattr(head, "cv3"):
        for scale, branch in enumerate(head.cv3):
            branch.register_forward_hook(keep(f"score {scale}"))
    else:
        head.conv.register_forward_hook(keep(f"model.{len(model.model) - 1}.conv"))
        head.linear.register_forward_hook(keep("score 0"))
    with torch.enable_grad():
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        model(x.double())
    scores = torch.cat(
        [
            kept.pop(name).flatten(2) if kept[name].ndim > 2 else kept.pop(name)[..., None]
            for name in sorted(kept)
            if name.startswith("score")
        ],
        2,
    ).amax(2)[0]
    values = list(kept.values())
    # A map that does not reach the highest anchor has no gradient.
    gradients = torch.autograd.grad(scores[CLASS], values, allow_unused=True, retain_graph=True)
    maps = {}
    for path, value, found in zip(kept, values, gradients, strict=True):
        g = torch.zeros_like(value) if found is None else found
        a = value.detach()
        maps[path] = {"gradcam": (g.mean((2, 3), keepdim=True) * a).sum(1)[0], "hirescam": (g * a).sum(1)[0]}
    return scores, maps


FOLDER.mkdir(parents=True, exist_ok=True)
x = torch.randint(0, 33, (1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(7)) / 32
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for name, (layers, classes, task) in MODELS.items():
        wrapped = build(layers, classes, task, folder)
        scores, maps = reference(wrapped.model, x)
        for simplify, file in ((False, name), (True, f"{name}_simplified")):
            written = onnx.load(wrapped.export(format="onnx", imgsz=SIDE, simplify=simplify, verbose=False))
            # Without the day, and the path of this file.
            kept = [entry for entry in written.metadata_props if entry.key not in ("date", "description", "docs")]
            del written.metadata_props[:]
            written.metadata_props.extend(kept)
            onnx.save(written, FOLDER / f"{file}.onnx")
            print(file, len(written.graph.node), scores.tolist(), [path for path, m in maps.items() if not m["gradcam"].any()])
        write_maps(FOLDER / f"{name}.json", x, CLASS, scores.detach(), maps, digits=9)
