"""The steps that compare a model whose default layer is known, the same for each framework.

`maps(model, layers, x)` of a framework gives the scores, the class, and the raw maps of Grad-CAM and HiResCAM at each layer.
Errors are the largest difference over the largest number.
"""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from zoo.program import ENGINES

SEEDS, STILL = 6, 1e-4


@dataclass(frozen=True)
class Still:
    """The image on which rounding changes the maps least, and what the framework says of it in float64."""

    moved: float
    x: np.ndarray
    scores: np.ndarray
    target: int
    truth: list


def relative(got, want):
    if np.shape(got) != np.shape(want):
        return f"shape {list(np.shape(got))}, not {list(np.shape(want))}"
    return float(f"{np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max():.2e}")


def worst(got, want):
    errors = [relative(g, w) for g, w in zip(got, want, strict=True)]
    return next((error for error in errors if isinstance(error, str)), None) or max(errors)


def stillest(draw, double, single):
    """`draw(seed)` is an image and images as near as rounding; `double` and `single` are the maps in float64 and float32."""
    best = None
    for seed in range(SEEDS):
        x, near = draw(seed)
        (scores, target, truth), (_, _, rough) = double(x), single(x)
        others = [rough, *(double(image)[2] for image in near)]
        moved = max(worst(other, want) for maps in others for other, want in zip(maps, truth, strict=True))
        if best is None or moved < best.moved:
            best = Still(moved, x, scores, target, truth)
        if moved < STILL:
            break
    return best


def float32_error(still, runs):
    """The error of the farthest of float32's answers, at each layer."""
    return [max(worst(run[place], want) for run in runs) for place, want in enumerate(still.truth)]


def rows(head, exports, gradcam, layers, still, float32, remark=lambda path, tree: ""):
    """A row for each exporter: `exports` are name → what writes the file, `layers` the default and the early one."""
    for exporter, write in exports.items():
        row = head | {"exporter": exporter, "export_error": None, "nodes": None, "opset": None}
        row |= {"default_layer": None, "early_layer": layers[1], "engines": {}}
        row |= {"framework_f32": dict(zip(("default", "early"), float32, strict=True))}
        row["notes"] = f"rounding moves the maps by {still.moved:.1e}"
        try:
            path = write()
            file = onnx.load(path)
            row |= {"nodes": len(file.graph.node), "opset": file.opset_import[0].version}
            onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:
            row["export_error"] = short(error)
            yield row
            continue
        try:
            tree = gradcam.layers(path)
            row["default_layer"] = tree["default"]
            row["notes"] += remark(path, tree)
            if tree["default"] != layers[0]:
                row["notes"] += f"; the default layer should be {layers[0]}"
        except Exception as error:
            row["notes"] += "; " + short(error)
        row["engines"] = {engine: explained(gradcam, path, layers, still, engine) for engine in ENGINES}
        yield row


def explained(gradcam, path, layers, still, engine):
    found = {"error": None, "forward": None, "default": None, "early": None}
    try:
        for which, layer, want in zip(("default", "early"), layers, still.truth, strict=True):
            raw, top, _, _ = gradcam.explain(path, still.x, layer, still.target, engine)
            found["forward"] = relative([top[index] for index in sorted(top)], still.scores)
            found[which] = worst(raw, want)
    except Exception as error:
        found["error"] = short(error)
    return found


def short(error):
    return " ".join(str(error).split())[:300]
