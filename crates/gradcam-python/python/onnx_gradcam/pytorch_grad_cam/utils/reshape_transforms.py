"""From tokens to a grid, under the names of pytorch-grad-cam; and what a transform of a script does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def swinT_reshape_transform(tensor: np.ndarray, height: int = 7, width: int = 7) -> np.ndarray:
    """Tokens [N, T, C] as [N, C, height, width]."""
    images, _, channels = np.shape(tensor)
    return np.reshape(tensor, (images, height, width, channels)).transpose(0, 3, 1, 2)


def vit_reshape_transform(tensor: np.ndarray, height: int = 14, width: int = 14) -> np.ndarray:
    """Tokens [N, 1 + T, C] behind a class token as [N, C, height, width]."""
    return swinT_reshape_transform(np.asarray(tensor)[:, 1:], height, width)


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


def grid_of(transform: Callable[..., Any], shape: Sequence[int]) -> tuple[int, int] | None:
    """The grid into which a transform puts tokens [N, T, C]; None where it only moves the channels of [N, H, W, C].

    The transform is called once, with tokens of two channels that hold their own numbers.
    """
    if len(shape) not in (3, 4):
        message = f"the layer has shape {list(shape)}; reshape_transform is for [N, T, C] and [N, H, W, C]"
        raise ValueError(message)
    count = math.prod(shape[1:-1])
    numbers = np.arange(2 * count, dtype=np.float32).reshape(2, count)
    tokens = np.ascontiguousarray(numbers.T).reshape(1, *shape[1:-1], 2)
    made = np.asarray(transform(tokens.view(Tokens)))
    kept = made[0, 0].size if made.ndim == 4 and made.shape[1] == 2 else 0
    if kept == 0 or not np.array_equal(made.reshape(2, -1), numbers[:, count - kept :]):
        message = (
            "reshape_transform does more than to drop the first tokens and put the others into rows; use pytorch-grad-cam "
            "itself on an onnx_gradcam.torch.OnnxModule"
        )
        raise ValueError(message)
    return None if len(shape) == 4 else (made.shape[2], made.shape[3])
