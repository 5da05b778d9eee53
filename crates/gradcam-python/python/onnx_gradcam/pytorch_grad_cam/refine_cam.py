"""Refine-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base_cam import BaseCAM
from .grad_cam_plusplus import GradCAMPlusPlus
from .utils.image import scale_cam_image


class RefineCAM:
    """The product of the maps of layers by a base method; `options` are those of the base method."""

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        base_method: type[BaseCAM] = GradCAMPlusPlus,
        **options: Any,
    ) -> None:
        self.base_cam_per_layer = [base_method(model, [layer], reshape_transform, **options) for layer in target_layers]

    def forward(self, input_tensor: Any, targets: Sequence[Any] | None = None, eigen_smooth: bool = False) -> np.ndarray:
        """The maps of a batch, [N, H, W] in 0..1, as a base method has its arguments."""
        # Each map is in 0..1 already.
        return scale_cam_image(np.prod([cam.forward(input_tensor, targets, eigen_smooth) for cam in self.base_cam_per_layer], axis=0))

    def __call__(self, *args: Any, **settings: Any) -> np.ndarray:
        """As `forward`."""
        return self.forward(*args, **settings)

    def __enter__(self) -> RefineCAM:
        return self

    def __exit__(self, *exception: object) -> None:
        for cam in self.base_cam_per_layer:
            cam.__exit__(*exception)
