"""Finer-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._tensors import to_floats
from .base_cam import BaseCAM
from .grad_cam import GradCAM
from .utils.model_targets import FinerWeightedTarget

# Their places among the classes, by how near their scores are: the first one is the class itself.
COMPARED = (1, 2, 3)


class FinerCAM:
    """What tells a class from those with the nearest scores, by a base method; with targets, the base method."""

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        base_method: type[BaseCAM] = GradCAM,
        **options: Any,
    ) -> None:
        self.base_cam = base_method(model, target_layers, reshape_transform, **options)
        self.compute_input_gradient, self.uses_gradients = self.base_cam.compute_input_gradient, self.base_cam.uses_gradients

    def forward(
        self,
        input_tensor: Any,
        targets: Sequence[Any] | None = None,
        eigen_smooth: bool = False,
        alpha: float = 1,
        comparison_categories: Sequence[int] | None = None,
        target_idx: int | None = None,
    ) -> np.ndarray:
        """The maps of a batch, [N, H, W] in 0..1.

        Args:
            input_tensor: images that are ready for the network, [N, C, H, W].
            targets: one for each image, explained as the base method does.
            eigen_smooth: the first principal component of the weighted channels.
            alpha: how much of the other classes is taken off.
            comparison_categories: the places of the other classes, by how near their scores are; 1 is the nearest.
            target_idx: the class of all images; without it, the best one of each.
        """
        if targets is None:
            scores = to_floats(self.base_cam.activations_and_grads.networks(to_floats(input_tensor)))
            targets = [finer_target(one, alpha, comparison_categories or COMPARED, target_idx) for one in scores]
        return self.base_cam.forward(input_tensor, targets, eigen_smooth)

    def __call__(self, *args: Any, **settings: Any) -> np.ndarray:
        """As `forward`."""
        return self.forward(*args, **settings)

    @property
    def outputs(self) -> Any:
        """The scores of the last batch."""
        return self.base_cam.outputs

    def __enter__(self) -> FinerCAM:
        return self

    def __exit__(self, *exception: object) -> None:
        self.base_cam.__exit__(*exception)


def finer_target(scores: np.ndarray, alpha: float, compared: Sequence[int], category: int | None) -> FinerWeightedTarget:
    """The target of an image by its scores, [K]."""
    score = scores.max() if category is None else scores[category]
    nearest = np.argsort(np.abs(scores - score))
    return FinerWeightedTarget(int(nearest[0]), [int(nearest[place]) for place in compared if place < len(scores)], alpha)
