"""Score-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._resize import resized
from ._tensors import softmax, to_floats
from .base_cam import BaseCAM
from .utils.model_targets import value

EPSILON = 1e-8


class ScoreCAM(BaseCAM):
    """Channels weighted by the scores of images that they mask."""

    method = "scorecam"

    def __init__(
        self, model: Any, target_layers: Sequence[Any], reshape_transform: Callable[..., Any] | None = None, **options: Any
    ) -> None:
        super().__init__(model, target_layers, reshape_transform, uses_gradients=False, **options)

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, targets: Sequence[Any], activations: Any, grads: Any) -> Any:
        images = to_floats(input_tensor)
        network = self.activations_and_grads.networks
        masks = resized(activations, images.shape[:1:-1], corners=True)
        axes = tuple(range(2, masks.ndim))
        low, high = masks.min(axis=axes, keepdims=True), masks.max(axis=axes, keepdims=True)
        masks = (masks - low) / (high - low + EPSILON)
        scores = []
        for image, image_masks, target in zip(images, masks, targets, strict=True):
            for start in range(0, len(image_masks), self.batch_size):
                masked = image * image_masks[start : start + self.batch_size, None]
                scores += [value(target, output) for output in network(masked)]
        return softmax(np.asarray(scores, np.float32).reshape(activations.shape[:2]))
