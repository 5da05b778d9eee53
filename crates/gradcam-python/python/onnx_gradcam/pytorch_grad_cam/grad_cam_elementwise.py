"""Element-wise Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM, over_channels


class GradCAMElementWise(BaseCAM):
    """The sum over channels of gradient times activation, where it is positive."""

    method = "gradcam-elementwise"

    def get_cam_image(
        self,
        input_tensor: Any,
        target_layer: Any,
        target_category: Sequence[Any],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Any:
        return over_channels(np.maximum(grads * activations, 0), eigen_smooth)
