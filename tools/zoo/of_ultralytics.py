"""YOLO classifiers and detectors as ultralytics exports them, without and with `simplify`.

Weights are random from a seed, batch norms have the statistics of random images. The score of a class of a detector is the
logit of its highest anchor.
"""

import contextlib
import copy

import torch
from torch import nn
from ultralytics import YOLO

from zoo import measure, oracle

SIDE = 128
# Model: an early block, the last map that all scores come from.
BLOCKS = {
    "yolov8n-cls": (2, "model.9.conv"),
    "yolo11n-cls": (2, "model.10.conv"),
    "yolov8n": (2, "model.15.cv2"),
    "yolo11n": (2, "model.16.cv2"),
    "yolov8s-cls": (2, "model.9.conv"),
}
# Not yolo12n: torch 2.15's gradient of its AAttn is not the one of finite differences, with which gradcam agrees.
MODELS = [("ultralytics", name) for name in BLOCKS]
EXPORTERS = {"ultralytics": False, "ultralytics simplify": True}


def build(name):
    torch.manual_seed(1)
    wrapped = YOLO(f"{name}.yaml")
    generator = torch.Generator().manual_seed(2)
    for module in wrapped.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.7, 1.3, generator=generator)
            module.bias.data.uniform_(-0.2, 0.4, generator=generator)
            module.momentum = 1.0
    with torch.no_grad():
        wrapped.model.train()(torch.rand(8, 3, SIDE, SIDE, generator=generator))
    wrapped.model.eval()
    return wrapped


def maps(model, layers, x):
    """The scores, the class, and the raw maps of Grad-CAM and HiResCAM at each layer."""
    kept, parts, head, handles = {}, {}, model.model[-1], []

    def hook(module, into, key):
        handles.append(module.register_forward_hook(lambda _module, _input, output: into.__setitem__(key, output)))

    for layer in layers:
        hook(model.get_submodule(layer), kept, layer)
    for place, branch in enumerate(getattr(head, "cv3", [])) if hasattr(head, "cv3") else [(0, head.linear)]:
        hook(branch, parts, place)
    with torch.enable_grad():
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        model(x.to(next(model.parameters()).dtype))
    for handle in handles:
        handle.remove()
    parts = [parts[place] for place in sorted(parts)]
    scores = torch.cat([part.flatten(2) if part.ndim > 2 else part[..., None] for part in parts], 2).amax(2)[0]
    target = int(scores.argmax())
    gradients = torch.autograd.grad(scores[target], [kept[layer] for layer in layers])
    pairs = [
        [(kept[layer] * g.mean((2, 3), keepdim=True)).sum(1)[0], (kept[layer] * g).sum(1)[0]]
        for layer, g in zip(layers, gradients, strict=True)
    ]
    return scores.detach().numpy(), target, [[m.detach().numpy() for m in pair] for pair in pairs]


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 3, SIDE, SIDE, generator=generator)
    noise = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return x, [x * (1 + 1e-6 * one) for one in noise]


def rows(source, name, exporters, gradcam, folder):
    block, last = BLOCKS[name]
    layers = last, f"model.{block}"
    # ultralytics writes its files where it runs.
    with contextlib.chdir(folder):
        wrapped = build(name)
        single, double = copy.deepcopy(wrapped.model), copy.deepcopy(wrapped.model).double()
        still = measure.stillest(draw, lambda x: maps(double, layers, x), lambda x: maps(single, layers, x))
        with torch.no_grad():
            holds, same = oracle.folded(single, still.x), oracle.folded(double, still.x.double())
        of = lambda model, image: maps(model, layers, image)[2]
        pairs = zip(of(same, still.x), still.truth, strict=True)
        sound = all(measure.worst(found, want) <= oracle.FOLDS for found, want in pairs)
        float32 = measure.float32_error(still, oracle.singles(of, single, holds if sound else None, still.x))

        def write(simplify):
            return lambda: wrapped.export(format="onnx", imgsz=SIDE, simplify=simplify, verbose=False)

        written = {exporter: write(simplify) for exporter, simplify in EXPORTERS.items() if exporter in exporters}
        head = {"source": source, "model": name}
        yield from measure.rows(head, written, gradcam, layers, still, float32)
