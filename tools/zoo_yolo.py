# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "torchvision==0.29.2", "ultralytics==8.4.190", "onnx==1.23.2", "onnxslim==0.1.98", "onnxruntime==1.32.0", "numpy"]
# ///
"""Compares gradcam with float64 torch on YOLO classifiers and detectors: one JSON object a line, as tools/zoo_keras.py.

python tools/zoo_yolo.py [--only NAME…] [--gradcam PROGRAM] > ROWS.jsonl

Each model is exported without and with `simplify`. Weights are random from a seed, batch norms have the statistics of random
images. The score of a class of a detector is the logit of its highest anchor.
"""

import argparse
import copy
import glob
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

ROWS, sys.stdout = sys.stdout, sys.stderr  # ultralytics prints
from ultralytics import YOLO

from zoo import oracle

SIDE, SEEDS, STILL = 128, 6, 1e-4
# Model: an early block, the last map that all scores come from.
MODELS = {
    "yolov8n-cls": (2, "model.9.conv"),
    "yolo11n-cls": (2, "model.10.conv"),
    "yolov8n": (2, "model.15.cv2"),
    "yolo11n": (2, "model.16.cv2"),
    "yolov8s-cls": (2, "model.9.conv"),
}  # Not yolo12n: torch 2.15's gradient of its AAttn is not the one of finite differences, with which gradcam agrees.


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
    pairs = [[(kept[layer] * g.mean((2, 3), keepdim=True)).sum(1)[0], (kept[layer] * g).sum(1)[0]] for layer, g in zip(layers, gradients)]
    return scores.detach().numpy(), target, [[m.detach().numpy() for m in pair] for pair in pairs]


def relative(got, want):
    if np.shape(got) != np.shape(want):
        return f"shape {list(np.shape(got))}, not {list(np.shape(want))}"
    return float(f"{np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max():.2e}")


def worst(got, want):
    errors = [relative(g, w) for g, w in zip(got, want)]
    return next((error for error in errors if isinstance(error, str)), None) or max(errors)


def gradcam(program, *arguments):
    library = glob.glob(f"{Path(onnxruntime.__file__).parent}/capi/libonnxruntime.so.*")[0]
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env={**os.environ, "ORT_DYLIB_PATH": library})
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split()))
    return done.stdout


def explained(program, model, image, layer, target, engine):
    with tempfile.TemporaryDirectory() as folder:
        printed = gradcam(program, "explain", image, "-m", model, "--layer", layer, "--target", target, "--engine", engine, "--top", 100000, "--method", "gradcam", "--method", "hirescam", "--format", "npy", "--json", "-o", f"{folder}/")
        lines = [json.loads(line) for line in printed.splitlines()]
        raw = [np.load(next(file for file in line["files"] if file.endswith(".raw.npy"))) for line in lines]
    top = {entry["index"]: entry["score"] for entry in lines[0]["top"]}
    return [top[index] for index in sorted(top)], raw


def measure(name, program, folder):
    block, last = MODELS[name]
    early = f"model.{block}"
    wrapped = build(name)
    single, double = copy.deepcopy(wrapped.model), copy.deepcopy(wrapped.model).double()
    best = None
    for seed in range(SEEDS):
        # The image on which rounding changes the maps least: that of float32, and of images as near as rounding.
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(1, 3, SIDE, SIDE, generator=generator)
        (scores, target, truth), (_, _, theirs) = maps(double, [last, early], x), maps(single, [last, early], x)
        own = [worst(t, w) for t, w in zip(theirs, truth)]
        near = [maps(double, [last, early], x * (1 + 1e-6 * torch.randn(x.shape, generator=generator, dtype=torch.float64))) for _ in range(2)]
        moved = max(own + [worst(n, w) for _, _, pairs in near for n, w in zip(pairs, truth)])
        if best is None or moved < best[0]:
            best = moved, own, x, scores, target, truth
        if moved < STILL:
            break
    moved, own, x, scores, target, truth = best
    with torch.no_grad():
        holds, same = oracle.folded(single, x), oracle.folded(double, x.double())
    of = lambda model, image: maps(model, [last, early], image)[2]
    sound = all(worst(found, want) <= oracle.FOLDS for found, want in zip(of(same, x), truth))
    singles = oracle.singles(of, single, holds if sound else None, x)
    own = [max(worst(run[place], truth[place]) for run in singles) for place in range(2)]
    np.save(folder / "image.npy", x.numpy())
    for exporter, simplify in (("ultralytics", False), ("ultralytics simplify", True)):
        row = {"source": "ultralytics", "model": name, "exporter": exporter, "export_error": None, "nodes": None, "opset": None, "default_layer": None, "early_layer": early}
        row |= {"engines": {}, "framework_f32": dict(zip(("default", "early"), own)), "notes": f"rounding moves the maps by {moved:.1e}"}
        try:
            path = wrapped.export(format="onnx", imgsz=SIDE, simplify=simplify, verbose=False)
            file = onnx.load(path)
            row |= {"nodes": len(file.graph.node), "opset": file.opset_import[0].version}
            onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:
            row["export_error"] = " ".join(str(error).split())[:300]
            yield row
            continue
        try:
            tree = json.loads(gradcam(program, "layers", path, "--json"))
            row["default_layer"] = tree["default"]
            if tree["default"] != last:
                row["notes"] += f"; the default layer should be {last}"
        except Exception as error:
            row["notes"] += "; " + " ".join(str(error).split())[:300]
        for engine in ("onnxruntime", "rten"):
            found = {"error": None, "forward": None, "default": None, "early": None}
            try:
                for place, layer in enumerate((last, early)):
                    logits, raw = explained(program, path, folder / "image.npy", layer, target, engine)
                    found["forward"] = relative(logits, scores)
                    found[("default", "early")[place]] = worst(raw, truth[place])
            except Exception as error:
                found["error"] = " ".join(str(error).split())[:300]
            row["engines"][engine] = found
        yield row


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    parser.add_argument("--gradcam", default="target/release/gradcam")
    options = parser.parse_args()
    program = str(Path(options.gradcam).resolve())
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for row in measure(name, program, Path(folder)):
                print(json.dumps(row), file=ROWS, flush=True)
            os.chdir("/")
