"""Grad-CAM++."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM, positions

# It is of the size of squared gradients, so it shapes the result.
EPSILON = 1e-6


class GradCAMPlusPlus(BaseCAM):
    """Channels weighted by their positive gradients, with powers of the gradient."""

    method = "gradcam++"

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, target_category: Sequence[Any], activations: Any, grads: Any) -> Any:
        axes = positions(grads)
        sums = np.sum(activations, axis=axes, keepdims=True)
        powers = grads**2 / (2 * grads**2 + sums * grads**3 + EPSILON)
        return np.sum(np.maximum(grads, 0) * np.where(grads != 0, powers, 0), axis=axes)
