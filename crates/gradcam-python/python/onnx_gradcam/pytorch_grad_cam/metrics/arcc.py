"""ARCC: how simple, coherent and faithful maps are, as one number (https://arxiv.org/abs/2104.10252)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._tensors import like, to_numpy
from .road import ROADCombined

# Beside a number that is divided by.
EPSILON = 1e-8


def batch_pearson_coherency(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """The correlation of each map with another one, -1..1, [N]."""
    one, other = (maps.reshape(len(maps), -1) - maps.reshape(len(maps), -1).mean(axis=1, keepdims=True) for maps in (A, B))
    count = one.shape[1] - 1
    deviation, of_other = (np.sqrt((part**2).sum(axis=1) / count) for part in (one, other))
    return np.asarray((one * other).sum(axis=1) / count / (deviation * of_other + EPSILON))


class Complexity:
    """The mean of each map, [N]: 0 where it is empty, 1 where it is full."""

    def __call__(self, grayscale_cams: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(grayscale_cams).reshape(len(grayscale_cams), -1).mean(axis=1))


class Coherency:
    """The correlation of each map with that of the image times the map, in 0..1, [N]."""

    def __call__(
        self, input_tensor: Any, grayscale_cams: np.ndarray, targets: Sequence[Callable[..., Any]], model: Any, base_method: Any
    ) -> np.ndarray:
        masked = input_tensor * like(to_numpy(grayscale_cams)[:, None], input_tensor)
        return (batch_pearson_coherency(base_method(input_tensor=masked, targets=targets), to_numpy(grayscale_cams)) + 1) / 2


class ARCC:
    """The harmonic mean of coherency, simplicity and ROAD, [N] in 0..1.

    Args:
        base_method: the CAM that made the maps.
        road_percentiles: those of ROAD.
    """

    def __init__(self, base_method: Any, road_percentiles: Sequence[float] = (20, 40, 60, 80)) -> None:
        self.complexity, self.coherency, self.road = Complexity(), Coherency(), ROADCombined(percentiles=road_percentiles)
        self.base_method = base_method

    def __call__(self, input_tensor: Any, grayscale_cams: np.ndarray, targets: Sequence[Callable[..., Any]], model: Any) -> np.ndarray:
        simple = 1 - self.complexity(grayscale_cams)
        coherent = self.coherency(input_tensor, grayscale_cams, targets, model, self.base_method)
        faithful = (2 * self.road(input_tensor, grayscale_cams, targets, model)).clip(0, 1)
        return np.asarray(3 / sum(1 / (part + EPSILON) for part in (coherent, simple, faithful)))
