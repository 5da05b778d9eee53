"""Scores of images that are multiplied by their maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from .perturbation_confidence import PerturbationConfidenceMetric


def multiply_tensor_with_cam(input_tensor: Any, cam: Any) -> Any:
    """An image [C, H, W] times its map [H, W]."""
    return input_tensor * cam


class CamMultImageConfidenceChange(PerturbationConfidenceMetric):
    """The change of the score."""

    def __init__(self) -> None:
        super().__init__(multiply_tensor_with_cam)


class DropInConfidence(CamMultImageConfidenceChange):
    """How far the score falls; 0 where it rises."""

    def __call__(self, *args: Any, **settings: Any) -> np.ndarray:
        return np.asarray(np.maximum(-super().__call__(*args, **settings), 0))


class IncreaseInConfidence(CamMultImageConfidenceChange):
    """1 where the score rises, else 0."""

    def __call__(self, *args: Any, **settings: Any) -> np.ndarray:
        return np.asarray(super().__call__(*args, **settings) > 0, np.float32)
