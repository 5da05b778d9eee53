"""Keras models, exported by Keras itself. It needs Keras, and with its backend TensorFlow also tf2onnx."""

# Types are checked where Keras is not installed.
# mypy: ignore-errors

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from onnx_gradcam import Explainer

__all__ = ["export", "from_keras"]


def export(model: keras.Model, x: Any) -> bytes:
    """The model as an ONNX file, for inference. It is called once with `x`, a batch as it takes it: Keras exports what was called."""
    model(keras.ops.convert_to_tensor(np.asarray(x)[:1]), training=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.export(path, format="onnx", verbose=False)
        return path.read_bytes()


def from_keras(model: keras.Model, x: Any, layers: Sequence[keras.Layer | str] = (), **options: Any) -> Explainer:
    """An explainer of a Keras model, which is exported each time.

    Args:
        model: the model, of any backend. Files of the backend torch hold no names of layers, so `layers` are names of values there.
        x: a batch as the model takes it, [N, H, W, C] of most.
        layers: layers of the model, also of models inside it, or their paths; without any, the default layer.
        options: those of `onnx_gradcam.Explainer`.
    """
    paths = [layer if isinstance(layer, str) else path_of(model, layer) for layer in layers]
    return Explainer(export(model, x), layers=paths, **options)


def path_of(model: keras.Model, layer: keras.Layer) -> str:
    """The path of a layer in the exported file."""
    paths = [path for path, found in named_layers(model) if found is layer]
    if not paths:
        message = f'the layer "{getattr(layer, "name", layer)}" is no layer of the model; give one of model.layers, or its path'
        raise ValueError(message)
    if keras.backend.backend() == "torch":
        message = (
            "Keras's backend torch writes files without the names of layers; leave layers out for the default one, or run the program "
            "with KERAS_BACKEND=tensorflow"
        )
        raise ValueError(message)
    return paths[0]


def named_layers(model: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    """The layers of a model and of the models inside it, with their paths."""
    for layer in model.layers:
        yield layer.name, layer
        if isinstance(layer, keras.Model):
            for path, inner in named_layers(layer):
                yield f"{layer.name}/{path}", inner
