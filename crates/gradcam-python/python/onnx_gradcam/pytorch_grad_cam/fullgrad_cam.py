"""FullGrad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._models import is_module
from ._tensors import to_floats, to_numpy
from .base_cam import BaseCAM
from .utils.find_layers import find_layer_predicate_recursive
from .utils.image import scale_accross_batch_and_channels, scale_cam_image
from .utils.svd_on_activations import get_2d_projection

# By how much smaller `eigen_smooth` computes.
SMALLER = 8


class FullGrad(BaseCAM):
    """The gradients of the image and of all biases. It has no layers.

    The explainer reads the biases of the file. What it does not have, other targets and `eigen_smooth`, is computed of the modules of
    a torch model.
    """

    method = "fullgrad"
    takes_layers = False
    explainer_smooths = False

    def __init__(
        self, model: Any, target_layers: Sequence[Any] = (), reshape_transform: Callable[..., Any] | None = None, **options: Any
    ) -> None:
        del target_layers
        biased = find_layer_predicate_recursive(model, has_bias) if is_module(model) else []
        super().__init__(model, biased, reshape_transform, compute_input_gradient=True, **options)
        self.bias_data = [bias_of(layer) for layer in biased]

    def compute_cam_per_layer(self, input_tensor: Any, targets: Sequence[Any], eigen_smooth: bool) -> list[np.ndarray]:
        found, size = self.activations_and_grads, self.get_target_width_height(input_tensor)
        if not self.bias_data or found.input_gradient is None:
            message = (
                "FullGrad of a file is for ClassifierOutputTarget, ClassifierOutputSoftmaxTarget and BinaryClassifierOutputTarget, without "
                "eigen_smooth, since only the explainer reads its biases; for others, give the torch model"
            )
            raise NotImplementedError(message)
        maps = [scale_accross_batch_and_channels(np.abs(found.input_gradient * to_floats(input_tensor)), size)]
        for bias, grads in zip(self.bias_data, found.gradients, strict=True):
            of_channels = scale_accross_batch_and_channels(np.abs(bias[:, None, None] * to_numpy(grads)), size)
            maps.append(of_channels.sum(axis=1, keepdims=True))
        together = np.concatenate(maps, axis=1)
        if not eigen_smooth:
            return [together.sum(axis=1, keepdims=True)]
        small = scale_accross_batch_and_channels(together, [length // SMALLER for length in size])
        return [scale_accross_batch_and_channels(get_2d_projection(small)[:, None], size)]

    def aggregate_multi_layers(self, cam_per_target_layer: Sequence[np.ndarray]) -> np.ndarray:
        return scale_cam_image(cam_per_target_layer[0].sum(axis=1))


def has_bias(layer: Any) -> bool:
    """Whether a module is one whose bias counts."""
    return type(layer).__name__ in ("Conv2d", "BatchNorm2d") and layer.bias is not None


def bias_of(layer: Any) -> np.ndarray:
    """The bias of a module, [K]; of a norm, what it adds to its scaled input."""
    bias = to_numpy(layer.bias)
    if type(layer).__name__ != "BatchNorm2d":
        return bias
    mean, variance = to_numpy(layer.running_mean), to_numpy(layer.running_var)
    return np.asarray(bias - mean * to_numpy(layer.weight) / np.sqrt(variance + layer.eps))
