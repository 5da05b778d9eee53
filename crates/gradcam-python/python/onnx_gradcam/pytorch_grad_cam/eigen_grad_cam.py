"""Eigen-Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base_cam import BaseCAM
from .utils.svd_on_activations import get_2d_projection


class EigenGradCAM(BaseCAM):
    """The first principal component of gradient times activation."""

    method = "eigengradcam"
    sums_channels = False

    def get_cam_image(
        self,
        input_tensor: Any,
        target_layer: Any,
        target_category: Sequence[Any],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Any:
        return get_2d_projection(grads * activations)
