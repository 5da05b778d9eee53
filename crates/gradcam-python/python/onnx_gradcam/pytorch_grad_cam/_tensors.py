"""Arrays of NumPy and tensors of torch. A tensor is given where tensors came in; torch is never imported for it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def torch() -> Any:
    """The module torch where the program has imported it, else None."""
    return sys.modules.get("torch")


def is_tensor(value: Any) -> bool:
    return torch() is not None and isinstance(value, torch().Tensor)


def to_numpy(value: Any) -> np.ndarray:
    """The numbers of an array or a tensor, which leaves torch's graph."""
    return np.asarray(value.detach().cpu().numpy() if is_tensor(value) else value)


def to_floats(value: Any) -> np.ndarray:
    """The numbers as a network takes them."""
    return np.ascontiguousarray(to_numpy(value), np.float32)


def like(value: Any, example: Any) -> Any:
    """Numbers of the type, the precision and the device of an example: a tensor if that is one."""
    if is_tensor(example):
        return torch().as_tensor(value, dtype=example.dtype, device=example.device)
    return np.asarray(value, np.asarray(example).dtype)


def softmax(scores: Any) -> Any:
    """The probabilities of scores, [..., K]."""
    if is_tensor(scores):
        return scores.softmax(-1)
    raised = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def axes_moved(value: Any, *axes: int) -> Any:
    """The value with its axes in another order."""
    return value.permute(*axes) if is_tensor(value) else np.transpose(value, axes)


class Tokens(np.ndarray):
    """An array with the methods of a tensor that transforms use."""

    def size(self, axis: int | None = None) -> tuple[int, ...] | int:  # type: ignore[override]
        return self.shape if axis is None else self.shape[axis]

    def transpose(self, *axes: int) -> np.ndarray:  # type: ignore[override]
        return self.swapaxes(*axes) if self.ndim != 2 and len(axes) == 2 else super().transpose(*axes)

    def permute(self, *axes: int) -> np.ndarray:
        return super().transpose(*axes)

    def contiguous(self) -> np.ndarray:
        return self


def transformed(transform: Any, array: np.ndarray) -> np.ndarray:
    """What a transform of a script makes of an array: it gets a tensor where torch is there, else `Tokens`."""
    given = array.view(Tokens) if torch() is None else torch().from_numpy(np.ascontiguousarray(array))
    return np.ascontiguousarray(to_numpy(transform(given)))
