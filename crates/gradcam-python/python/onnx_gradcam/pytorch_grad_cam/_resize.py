"""Images at other sizes: a matrix for each axis, from its old positions to its new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def linear(old: int, new: int, *, antialias: bool = False, corners: bool = False) -> np.ndarray:
    """Linear weights, [new, old].

    Between the centers of pixels, or with the outer ones on each other (`corners`). With `antialias`, what becomes smaller is a
    mean over as much as a new pixel covers.
    """
    centers = (np.arange(new) + 0.5) * old / new - 0.5
    at = np.arange(new) * ((old - 1) / max(new - 1, 1)) if corners else centers.clip(0, old - 1)
    reach = 1.0
    if antialias and new < old:
        at, reach = centers, old / new
    weights = np.maximum(1 - np.abs(at[:, None] - np.arange(old)) / reach, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def spline(old: int, new: int) -> np.ndarray:
    """Weights of a cubic spline through the old positions, the outer ones on each other and mirrored behind, [new, old]."""
    if old == 1:
        return np.ones((new, 1))

    def mirrored(at: np.ndarray) -> np.ndarray:
        """The values of the spline at positions, by its coefficients, [positions, old]."""
        found = np.zeros((len(at), old))
        first = np.floor(at).astype(int)
        for step in (-1, 0, 1, 2):
            distance = np.abs(at - (first + step))
            weight = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6)
            place = np.abs(first + step) % (2 * old - 2)
            np.add.at(found, (np.arange(len(at)), np.minimum(place, 2 * old - 2 - place)), weight)
        return found

    through = mirrored(np.arange(old, dtype=float))
    return np.asarray(mirrored(np.arange(new) * ((old - 1) / max(new - 1, 1))) @ np.linalg.inv(through))


def applied(image: np.ndarray, size: Sequence[int], matrix: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """An image whose last axes have other sizes; `size` begins with the last axis, as (width, height)."""
    for axis, length in enumerate(size, start=1):
        if image.shape[-axis] != length:
            weights = matrix(image.shape[-axis], length).astype(np.float32)
            image = np.moveaxis(np.moveaxis(image, -axis, -1) @ weights.T, -1, -axis)
    return image


def resized(image: np.ndarray, size: Sequence[int], *, antialias: bool = False, corners: bool = False) -> np.ndarray:
    """An image [..., H, W] at (width, height), bilinear."""
    return applied(image, size, lambda old, new: linear(old, new, antialias=antialias, corners=corners))


def resized_volume(volume: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A volume [D, H, W] at (width, height, depth), by cubic splines."""
    return applied(volume, size, spline)


def blurred(image: np.ndarray, count: int, sigma: float) -> np.ndarray:
    """An image [H, W] blurred by a Gaussian over an odd number of pixels, mirrored at its borders."""
    offsets = np.arange(count) - count // 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))

    def matrix(length: int) -> np.ndarray:
        found = np.zeros((length, length), np.float32)
        for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
            place = np.abs(np.arange(length) + offset) % max(2 * length - 2, 1)
            np.add.at(found, (np.arange(length), np.minimum(place, 2 * length - 2 - place)), weight)
        return found

    height, width = image.shape
    return np.asarray(matrix(height) @ image @ matrix(width).T)
