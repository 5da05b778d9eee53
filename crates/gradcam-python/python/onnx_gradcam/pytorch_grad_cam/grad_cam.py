"""Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM, positions


class GradCAM(BaseCAM):
    """Channels weighted by the mean of their gradient."""

    method = "gradcam"

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, target_category: Sequence[Any], activations: Any, grads: Any) -> Any:
        return np.mean(grads, axis=positions(grads))
