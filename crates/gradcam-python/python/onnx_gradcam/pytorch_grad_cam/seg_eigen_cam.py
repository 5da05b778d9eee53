"""Seg-Eigen-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM
from .utils.svd_on_activations import get_2d_projection_with_sign_correction


class SegEigenCAM(BaseCAM):
    """The first principal component of the gradient's size times activation, its larger side positive."""

    method = "segeigencam"
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
        return get_2d_projection_with_sign_correction(np.abs(grads) * activations)
