"""Weights by chance, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM


class RandomCAM(BaseCAM):
    """Channels weighted by NumPy's global generator, between -1 and 1."""

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, target_category: Sequence[Any], activations: Any, grads: Any) -> Any:
        return np.random.uniform(-1, 1, size=activations.shape[:2])
