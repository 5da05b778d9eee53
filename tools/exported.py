"""What the fixtures of exporters share: files as simplifiers and optimizers leave them, and the maps beside them."""

import json

import numpy as np
import onnx


def simplify(source, target):
    """Writes what onnxsim makes of a file."""
    import onnxsim

    onnx.save(onnxsim.simplify(onnx.load(source))[0], target)


def optimize(source, target):
    """Writes what ONNX Runtime (level extended) makes of a file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def write_maps(path, x, k, scores, maps, digits=12):
    """Writes an input, a class, the scores, and raw maps: layer → method → map."""

    def tensor(array):
        array = np.asarray(array, np.float64)
        return {"shape": list(array.shape), "data": [float(f"{number:.{digits}g}") for number in array.flatten()]}

    by_layer = {layer: {method: tensor(m) for method, m in pair.items()} for layer, pair in maps.items()}
    text = {"input": tensor(x), "class": k, "scores": tensor(scores), "maps": by_layer}
    path.write_text(json.dumps(text, separators=(",", ":")) + "\n")
