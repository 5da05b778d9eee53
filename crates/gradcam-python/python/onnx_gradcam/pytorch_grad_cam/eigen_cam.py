"""Eigen-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .base_cam import BaseCAM
from .utils.svd_on_activations import get_2d_projection


class EigenCAM(BaseCAM):
    """The first principal component of the activation."""

    method = "eigencam"
    sums_channels = False

    def __init__(
        self, model: Any, target_layers: Sequence[Any], reshape_transform: Callable[..., Any] | None = None, **options: Any
    ) -> None:
        super().__init__(model, target_layers, reshape_transform, uses_gradients=False, **options)

    def get_cam_image(
        self,
        input_tensor: Any,
        target_layer: Any,
        target_category: Sequence[Any],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Any:
        return get_2d_projection(activations)
