"""FullGrad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM


class FullGrad(BaseCAM):
    """The gradients of the image and of all biases, by the explainer alone. It has no layers."""

    method = "fullgrad"
    takes_layers = False

    def __init__(
        self, model: Any, target_layers: Sequence[Any] = (), reshape_transform: Callable[..., Any] | None = None, **options: Any
    ) -> None:
        super().__init__(model, target_layers, reshape_transform, **options)

    def compute_cam_per_layer(self, input_tensor: Any, target_category: Sequence[Any], eigen_smooth: bool) -> list[np.ndarray]:
        message = (
            "FullGrad reads the biases of the file, which the explainer does for ClassifierOutputTarget, ClassifierOutputSoftmaxTarget and "
            "BinaryClassifierOutputTarget; for others: pytorch-grad-cam on an onnx_gradcam.torch.ExportedModule"
        )
        raise NotImplementedError(message)
