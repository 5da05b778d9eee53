"""From tokens to a grid, under the names of pytorch-grad-cam; and what a transform of a script does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._tensors import axes_moved, transformed


def swinT_reshape_transform(tensor: Any, height: int = 7, width: int = 7) -> Any:
    """Tokens [N, T, C] as [N, C, height, width]."""
    images, _, channels = tensor.shape
    return axes_moved(tensor.reshape(images, height, width, channels), 0, 3, 1, 2)


def vit_reshape_transform(tensor: Any, height: int = 14, width: int = 14) -> Any:
    """Tokens [N, 1 + T, C] behind a class token as [N, C, height, width]."""
    return swinT_reshape_transform(tensor[:, 1:], height, width)


def grid_of(transform: Callable[..., Any], shape: Sequence[int]) -> tuple[int, ...] | None:
    """The grid into which a transform puts tokens [N, T, C]; () where it only moves the channels of [N, H, W, C].

    None where it does more than to drop the first tokens and put the others into rows. It is called once, with tokens of two
    channels that hold their own numbers.
    """
    if len(shape) not in (3, 4):
        return None
    count = math.prod(shape[1:-1])
    numbers = np.arange(2 * count, dtype=np.float32).reshape(2, count)
    tokens = np.ascontiguousarray(numbers.T).reshape(1, *shape[1:-1], 2)
    try:
        made = transformed(transform, tokens)
    except Exception:  # Any code may be in a transform, such as for so many channels alone.
        return None
    kept = made[0, 0].size if made.ndim == 4 and made.shape[1] == 2 else 0
    if kept == 0 or not np.array_equal(made.reshape(2, -1), numbers[:, count - kept :]):
        return None
    return () if len(shape) == 4 else made.shape[2:]
