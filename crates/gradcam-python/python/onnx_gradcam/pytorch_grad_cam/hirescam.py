"""HiResCAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base_cam import BaseCAM, over_channels


class HiResCAM(BaseCAM):
    """The sum over channels of gradient times activation."""

    method = "hirescam"

    def get_cam_image(
        self,
        input_tensor: Any,
        target_layer: Any,
        target_category: Sequence[Any],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Any:
        return over_channels(grads * activations, eigen_smooth)
