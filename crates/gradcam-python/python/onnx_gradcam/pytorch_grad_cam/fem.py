"""Feature explanation method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM, positions


class FEM(BaseCAM):
    """Channels weighted by the share of rare, large activations.

    Args:
        k: how many standard deviations above the mean of its channel an activation is rare.
    """

    method = "fem"
    sums_channels = False

    def __init__(
        self, model: Any, target_layers: Sequence[Any], reshape_transform: Callable[..., Any] | None = None, k: float = 2, **options: Any
    ) -> None:
        super().__init__(model, target_layers, reshape_transform, uses_gradients=False, **options)
        self.k = k
        if k != 2:
            # The engine has the default alone.
            self._engine = None

    def get_cam_image(
        self,
        input_tensor: Any,
        target_layer: Any,
        target_category: Sequence[Any],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Any:
        axes = positions(activations)
        rare = np.mean(activations, axis=axes, keepdims=True) + self.k * np.std(activations, axis=axes, keepdims=True)
        return np.sum(np.mean(activations > rare, axis=axes, keepdims=True) * activations, axis=1)
