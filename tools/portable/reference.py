"""What `gradcam explain` says of three images: the maps, heatmaps and classes that an exported model has to give.

It says it with ONNX Runtime, and with rten for rten.
"""

import json
import tempfile
from pathlib import Path

import numpy as np


def write(gradcam, folder: Path, options: list[str], shape: list[int]):
    """Writes the images, what is said of them, and the scores of the model."""
    import onnxruntime

    x = np.random.default_rng(7).standard_normal(shape, dtype=np.float32)
    np.save(folder / "x.npy", x)
    session = onnxruntime.InferenceSession(folder / "plain.onnx", providers=["CPUExecutionProvider"])
    np.save(folder / "scores.npy", session.run(None, {session.get_inputs()[0].name: x})[0])
    for engine in ("onnxruntime", "rten"):
        with tempfile.TemporaryDirectory() as made:
            command = ["explain", folder / "x.npy", "--model", folder / "plain.onnx", "--engine", engine, *options]
            printed = gradcam(*command, "--format", "npy", "--json", "--output", f"{made}/")
            lines = [json.loads(line) for line in printed.splitlines()]
            load = lambda line, end: np.load(next(file for file in line["files"] if file.endswith(end)))
            for image, line in enumerate(lines):
                np.save(folder / f"{engine}.map.{image}.npy", load(line, ".raw.npy"))
                np.save(folder / f"{engine}.heatmap.{image}.npy", load(line, ".heatmap.npy"))
        classes = [line["class"]["index"] for line in lines]
        (folder / f"{engine}.classes.json").write_text(json.dumps(classes))


def compare(folder: Path, said_by: str, made: dict, images: int):
    """The largest differences from what was said: of maps as a share of the largest entry, of heatmaps, and of classes."""
    worst = {"map": 0.0, "heatmap": 0.0, "classes": 0}
    classes = json.loads((folder / f"{said_by}.classes.json").read_text())
    for image in range(images):
        raw, heatmap = (np.load(folder / f"{said_by}.{name}.{image}.npy") for name in ("map", "heatmap"))
        got = np.asarray(made["gradcam.map"])[image]
        # The map of a coarse scale of a detector is repeated to the finest grid.
        for axis in range(raw.ndim):
            raw = raw.repeat(got.shape[axis] // raw.shape[axis], axis)
        worst["map"] = max(worst["map"], float(np.abs(got - raw).max() / np.abs(raw).max()))
        worst["heatmap"] = max(worst["heatmap"], float(np.abs(np.asarray(made["gradcam.heatmap"])[image] - heatmap).max()))
        worst["classes"] += int(np.asarray(made["gradcam.class"]).reshape(-1)[image] != classes[image])
    return worst
