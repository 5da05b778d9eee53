"""ROAD, remove and debias (Rong et al. 2022, arXiv:2202.00449): scores without the pixels that a map calls relevant.

Removed pixels become the weighted means of their eight neighbors, which holds for all of them at once: a linear system, symmetric
and positive definite, solved by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._models import scorer
from .._tensors import like, to_numpy
from .perturbation_confidence import (
    PERCENTILES,
    AveragerAcrossThresholds,
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)

# The weights of neighbors, by their offsets.
NEIGHBORS = {(y, x): 1 / 12 if y and x else 1 / 6 for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x}

# Of the right side, in float64.
TOLERANCE = 1e-10


def spread(image: np.ndarray) -> np.ndarray:
    """The weighted sums over the neighbors of each pixel of [..., H, W]."""
    padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(1, 1), (1, 1)])
    height, width = image.shape[-2:]
    parts = (weight * padded[..., 1 + y : 1 + y + height, 1 + x : 1 + x + width] for (y, x), weight in NEIGHBORS.items())
    return sum(parts, np.zeros_like(image))


class NoisyLinearImputer:
    """Fills removed pixels from their neighbors.

    Args:
        noise: the standard deviation of what is added to the filled pixels.
        seed: of that noise.
    """

    def __init__(self, noise: float = 0.01, seed: int = 0) -> None:
        self.noise, self.seed = noise, seed

    def __call__(self, img: Any, mask: Any) -> Any:
        """An image [C, H, W] with the pixels filled where the mask [H, W] is 0; with 0 where it removes every pixel."""
        image, removed = to_numpy(img).astype(np.float64), to_numpy(mask) == 0
        diagonal = spread(np.ones(removed.shape))

        def system(values: np.ndarray) -> np.ndarray:
            return np.where(removed, diagonal * values - spread(values), 0)

        right = np.where(removed, spread(np.where(removed, 0, image)), 0)
        filled = np.where(removed, conjugate_gradients(system, right, diagonal), image)
        noise = np.random.default_rng(self.seed).normal(size=image.shape) * self.noise
        return like(np.asarray(filled + np.where(removed, noise, 0), np.float32), img)


def conjugate_gradients(system: Any, right: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """The solution of a symmetric, positive definite system for each channel of [C, H, W]."""

    def dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray((one * other).sum(axis=(1, 2), keepdims=True))

    found, rest = np.zeros_like(right), right.copy()
    scaled = rest / diagonal
    step, size = scaled.copy(), dot(rest, scaled)
    enough = TOLERANCE**2 * dot(right, right)
    for _ in range(right[0].size):
        active = dot(rest, rest) > enough
        if not active.any():
            break
        through = system(step)
        length = np.where(active, size / np.where(active, dot(step, through), 1), 0)
        found += length * step
        rest -= length * through
        scaled = rest / diagonal
        larger = dot(rest, scaled)
        step = scaled + np.where(active, larger / np.where(active, size, 1), 0) * step
        size = larger
    return found


class ROADMostRelevantFirst(PerturbationConfidenceMetric):
    """The change of the score without the most relevant pixels: the lower, the better the map."""

    def __init__(self, percentile: float = 80) -> None:
        super().__init__(RemoveMostRelevantFirst(percentile, NoisyLinearImputer()))


class ROADLeastRelevantFirst(PerturbationConfidenceMetric):
    """The change of the score without the least relevant pixels: the higher, the better the map."""

    def __init__(self, percentile: float = 20) -> None:
        super().__init__(RemoveLeastRelevantFirst(percentile, NoisyLinearImputer()))


class ROADMostRelevantFirstAverage(AveragerAcrossThresholds):
    """The mean over percentiles."""

    def __init__(self, percentiles: Sequence[float] = PERCENTILES) -> None:
        super().__init__(ROADMostRelevantFirst, percentiles)


class ROADLeastRelevantFirstAverage(AveragerAcrossThresholds):
    """The mean over percentiles."""

    def __init__(self, percentiles: Sequence[float] = PERCENTILES) -> None:
        super().__init__(ROADLeastRelevantFirst, percentiles)


class ROADCombined:
    """Half of what the least relevant pixels leave above what the most relevant leave: the higher, the better the map."""

    def __init__(self, percentiles: Sequence[float] = PERCENTILES) -> None:
        self.percentiles = percentiles
        self.morf_averager = ROADMostRelevantFirstAverage(percentiles)
        self.lerf_averager = ROADLeastRelevantFirstAverage(percentiles)

    def __call__(self, input_tensor: Any, cams: np.ndarray, targets: Sequence[Callable[..., Any]], model: Any) -> np.ndarray:
        run = scorer(model)
        least, most = (averager(input_tensor, cams, targets, run) for averager in (self.lerf_averager, self.morf_averager))
        return np.asarray(least - most) / 2
