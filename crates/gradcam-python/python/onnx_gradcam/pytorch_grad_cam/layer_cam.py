"""LayerCAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM, over_channels


class LayerCAM(BaseCAM):
    """Activations weighted by the positive gradient at each position."""

    method = "layercam"

    def get_cam_image(
        self,
        input_tensor: Any,
        target_layer: Any,
        target_category: Sequence[Any],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Any:
        return over_channels(np.maximum(grads, 0) * activations, eigen_smooth)
