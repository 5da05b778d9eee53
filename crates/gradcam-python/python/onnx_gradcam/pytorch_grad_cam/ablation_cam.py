"""Ablation-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._tensors import to_floats
from .ablation_layer import AblationLayer, AblationLayerVit
from .base_cam import BaseCAM
from .utils.model_targets import value

# Which axis holds channels is known to the explainer, so to it these mean the same.
PLAIN = (AblationLayer, AblationLayerVit)


class AblationCAM(BaseCAM):
    """Channels weighted by how much the score falls without them.

    Args:
        ablation_layer: what switches channels off; without one, that of the layer's shape.
        batch_size: the channels of a run, where the maps are made here.
        ratio_channels_to_ablate: the share of channels that are switched off.
    """

    method = "ablationcam"

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        ablation_layer: Any = None,
        batch_size: int = 32,
        ratio_channels_to_ablate: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(model, target_layers, reshape_transform, uses_gradients=False, **options)
        self.batch_size = batch_size
        self.ablation_layer, self.ratio_channels_to_ablate = ablation_layer, ratio_channels_to_ablate
        own = ablation_layer is not None and type(ablation_layer) not in PLAIN
        if own or ratio_channels_to_ablate != 1:
            # The engine has the defaults alone.
            self._engine = None

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, targets: Sequence[Any], activations: Any, grads: Any) -> Any:
        images, found = to_floats(input_tensor), self.activations_and_grads
        place = self.target_layers.index(target_layer)
        outputs: list[np.ndarray] = []

        def keep(output: np.ndarray) -> np.ndarray:
            outputs.append(output)
            return output

        found.replacements[place] = keep
        try:
            scores = [value(target, output) for target, output in zip(targets, found.networks(images), strict=True)]
            # With a transform the layer gives tokens, whose last axis holds channels.
            layer = self.ablation_layer or (AblationLayer if self.reshape_transform is None else AblationLayerVit)()
            found.replacements[place] = layer
            weights = [
                self._without_channels(layer, images, image, targets[image], outputs[0], activations[image], scores[image])
                for image in range(len(images))
            ]
        finally:
            found.replacements.clear()
        whole = np.asarray(scores, np.float32)[:, None]
        return (whole - np.stack(weights)) / whole

    def _without_channels(
        self, layer: Any, images: np.ndarray, image: int, target: Any, output: np.ndarray, activation: np.ndarray, score: float
    ) -> np.ndarray:
        """The scores of an image without each channel; the score of the whole for channels that stay, [K]."""
        channels = layer.activations_to_be_ablated(activation, self.ratio_channels_to_ablate)
        found = np.full(len(activation), score, np.float32)
        for start in range(0, len(channels), self.batch_size):
            of_run = channels[start : start + self.batch_size]
            layer.set_next_batch(input_batch_index=image, activations=output, num_channels_to_ablate=len(of_run))
            repeated = np.repeat(images[image : image + 1], len(of_run), axis=0)
            scores = self.activations_and_grads.networks(repeated)
            found[of_run] = [value(target, one) for one in scores]
            layer.indices = layer.indices[len(of_run) :]
        return found
