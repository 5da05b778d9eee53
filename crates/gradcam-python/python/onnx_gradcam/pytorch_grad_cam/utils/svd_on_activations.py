"""The first principal component of activations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# By name, of rows [S, K] and a factor, [S, S]; as scikit-learn has them.
KERNELS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "linear": lambda rows, _: rows @ rows.T,
    "sigmoid": lambda rows, gamma: np.tanh(gamma * rows @ rows.T + 1),
    "poly": lambda rows, gamma: (gamma * rows @ rows.T + 1) ** 3,
    "rbf": lambda rows, gamma: np.exp(-gamma * distances(rows)),
    "cosine": lambda rows, _: cosines(rows),
}


def get_2d_projection(activation_batch: np.ndarray) -> np.ndarray:
    """The projection of the positions of [N, K, ...] on their first principal component, [N, ...].

    Its sign is arbitrary; the side with the larger absolute value is positive here.
    """
    return get_2d_projection_with_sign_correction(activation_batch)


def get_2d_projection_with_sign_correction(activation_batch: np.ndarray) -> np.ndarray:
    """As `get_2d_projection`."""
    return np.asarray([first_component(one).reshape(one.shape[1:]) for one in activation_batch], np.float32)


def get_2d_projection_kernel(activation_batch: np.ndarray, kernel: str = "sigmoid", gamma: float | None = None) -> np.ndarray:
    """The first component of a kernel principal component analysis of the positions of [N, K, ...], [N, ...]."""
    if kernel not in KERNELS:
        message = f"kernel is {kernel!r}; give one of {', '.join(KERNELS)}"
        raise ValueError(message)
    found = []
    for one in activation_batch:
        rows = centered(one).astype(np.float64)
        similar = KERNELS[kernel](rows, 1 / rows.shape[1] if gamma is None else gamma)
        means = similar.mean(axis=0)
        sizes, vectors = np.linalg.eigh(similar - means - means[:, None] + means.mean())
        component = vectors[:, -1] * np.sqrt(max(sizes[-1], 0))
        found.append(positive(component).reshape(one.shape[1:]))
    return np.asarray(found, np.float32)


def first_component(activation: np.ndarray) -> np.ndarray:
    """The projection of the positions of [K, ...] on their first principal component, [S]."""
    rows = centered(activation)
    _, _, axes = np.linalg.svd(rows, full_matrices=False)
    return positive(rows @ axes[0])


def centered(activation: np.ndarray) -> np.ndarray:
    """The positions of [K, ...] as rows, without the mean of each channel, [S, K]. What is no number is 0."""
    rows = np.where(np.isnan(activation), 0, activation).reshape(len(activation), -1).T
    return np.asarray(rows - rows.mean(axis=0))


def positive(values: np.ndarray) -> np.ndarray:
    """The values, or their opposites where the largest of all is negative."""
    return -values if abs(values.min()) > abs(values.max()) else values


def distances(rows: np.ndarray) -> np.ndarray:
    """The squares of the distances between rows."""
    squares = (rows**2).sum(axis=1)
    return np.asarray(np.maximum(squares + squares[:, None] - 2 * rows @ rows.T, 0))


def cosines(rows: np.ndarray) -> np.ndarray:
    """The cosines of the angles between rows."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(length == 0, 1, length)
    return np.asarray(rows @ rows.T)
