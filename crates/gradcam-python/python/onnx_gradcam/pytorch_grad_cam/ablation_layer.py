"""What AblationCAM puts in the place of a layer's output."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._tensors import to_numpy
from .utils.svd_on_activations import get_2d_projection

# Far below all others, where 0 does not mean that a channel is off.
ABLATION_VALUE = 1e7

# Of the largest projection: where the activation shows an object.
THRESHOLD = 0.01


class AblationLayer:
    """The output of a layer [N, K, H, W], once for each channel that is switched off.

    `indices` are the channels of the next images. A channel becomes 0 where that is the least activation, else a value far below
    all of them.
    """

    def __init__(self) -> None:
        self.indices = np.zeros(0, np.int32)
        self.activations = np.zeros(0, np.float32)

    def objectiveness_mask_from_svd(self, activations: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
        """Where the first principal component of [K, H, W] is far from 0, [H, W]."""
        size = np.abs(get_2d_projection(activations[None])[0])
        size = size - size.min()
        return np.asarray(size / size.max() > threshold)

    def activations_to_be_ablated(self, activations: np.ndarray, ratio_channels_to_ablate: float = 1.0) -> np.ndarray:
        """The channels of [K, H, W] that are worth a run: all, or the share that is most inside objects and the one that is least."""
        channels = np.arange(len(activations), dtype=np.int32)
        if ratio_channels_to_ablate < 1:
            inside = self.objectiveness_mask_from_svd(activations)
            size = np.abs(activations)
            size = size - size.min(axis=(1, 2), keepdims=True)
            order = np.argsort((size * inside).sum(axis=(1, 2)) / size.sum(axis=(1, 2))).astype(np.int32)
            count = int(len(order) * ratio_channels_to_ablate)
            channels = np.concatenate([order[::-1][:count], order[:count]])
        self.indices = channels
        return channels

    def set_next_batch(self, input_batch_index: int, activations: Any, num_channels_to_ablate: int) -> None:
        """Takes the output of an image as many times as channels are switched off."""
        one = to_numpy(activations)[input_batch_index]
        self.activations = np.repeat(one[None], num_channels_to_ablate, axis=0)

    def __call__(self, x: Any) -> np.ndarray:
        """The output with a channel less in each image."""
        return self.without_channels(1)

    def without_channels(self, axis: int) -> np.ndarray:
        output = self.activations.copy()
        least = output.min()
        off = 0 if least == 0 else least - ABLATION_VALUE
        channels = np.moveaxis(output, axis, 1)
        for image, channel in enumerate(self.indices[: len(output)]):
            channels[image, channel] = off
        return output


class AblationLayerVit(AblationLayer):
    """As `AblationLayer`, of tokens [N, T, K]."""

    def __call__(self, x: Any) -> np.ndarray:
        return self.without_channels(-1)
