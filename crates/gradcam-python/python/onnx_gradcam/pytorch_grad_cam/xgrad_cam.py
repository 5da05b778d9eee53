"""XGrad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM, positions

EPSILON = 1e-7


class XGradCAM(BaseCAM):
    """Channels weighted by their gradient at the positions of their activation."""

    method = "xgradcam"

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, target_category: Sequence[Any], activations: Any, grads: Any) -> Any:
        axes = positions(activations)
        return np.sum(grads * activations / (np.sum(activations, axis=axes, keepdims=True) + EPSILON), axis=axes)
