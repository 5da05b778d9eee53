"""KPCA-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .base_cam import BaseCAM
from .utils.svd_on_activations import get_2d_projection_kernel


class KPCA_CAM(BaseCAM):
    """The first component of a kernel principal component analysis.

    Args:
        kernel: `sigmoid`, `linear`, `rbf`, `poly` or `cosine`.
        gamma: the kernel's factor; without it, 1 over the number of channels.
    """

    method = "kpcacam"
    sums_channels = False

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        kernel: str = "sigmoid",
        gamma: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, target_layers, reshape_transform, uses_gradients=False, **options)
        self.kernel, self.gamma = kernel, gamma
        if (kernel, gamma) != ("sigmoid", None):
            # The engine has the default alone.
            self._engine = None

    def get_cam_image(
        self,
        input_tensor: Any,
        target_layer: Any,
        target_category: Sequence[Any],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Any:
        return get_2d_projection_kernel(activations, self.kernel, self.gamma)
