"""How scores change when images are changed by their maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnx_gradcam import Network


class PerturbationConfidenceMetric:
    """The change of the target's score when each image is changed by its map.

    Args:
        perturbation: from an image [C, H, W] and its map [H, W], the changed image.
    """

    def __init__(self, perturbation: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.perturbation = perturbation

    def __call__(
        self,
        input_tensor: Any,
        cams: np.ndarray,
        targets: Sequence[Callable[..., Any]],
        model: Any,
        return_visualization: bool = False,
        return_diff: bool = True,
    ) -> Any:
        """The changes, one for each image; the scores themselves without `return_diff`, and the changed images too if asked.

        Args:
            input_tensor: images that are ready for the network, [N, C, H, W].
            cams: their maps, [N, H, W].
            targets: functions of the scores of an image, one for each image.
            model: the path of an ONNX file or its bytes, an `onnx_gradcam.Network`, or a function from images to scores.
        """
        images = np.asarray(input_tensor, np.float32)
        run = scorer(model)
        changed = np.stack([np.float32(self.perturbation(image, cam)) for image, cam in zip(images, cams, strict=True)])
        scores = score(run(changed), targets)
        if return_diff:
            scores = scores - score(run(images), targets)
        return (scores, changed) if return_visualization else scores


def score(outputs: np.ndarray, targets: Sequence[Callable[..., Any]]) -> np.ndarray:
    return np.asarray([target(output) for target, output in zip(targets, outputs, strict=True)], np.float32)


def scorer(model: Any) -> Callable[[np.ndarray], Any]:
    """A function from images to scores."""
    run: Callable[[np.ndarray], Any] = model if callable(model) else Network(model).forward
    return run
