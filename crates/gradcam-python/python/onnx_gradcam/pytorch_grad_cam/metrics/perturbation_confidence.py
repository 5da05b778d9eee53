"""How scores change when images are changed by their maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._models import scorer
from .._tensors import is_tensor, like, to_floats, to_numpy, torch

PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)


class PerturbationConfidenceMetric:
    """The change of the target's score when each image is changed by its map.

    Args:
        perturbation: from an image [C, H, W] and its map [H, W], the changed image; of tensors where the images are one.
    """

    def __init__(self, perturbation: Callable[[Any, Any], Any]) -> None:
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
            model: the path of an ONNX file or its bytes, a torch model, an `onnx_gradcam.Network`, or a function from images to
                scores.
        """
        images, run = (input_tensor if is_tensor(input_tensor) else to_floats(input_tensor)), scorer(model)
        pairs = zip(images, to_numpy(cams), strict=True)
        each = [to_floats(self.perturbation(image, like(cam, image))) for image, cam in pairs]
        changed = like(np.stack(each), images)
        scores = score(run(changed), targets)
        if return_diff:
            scores = scores - score(run(images), targets)
        return (scores, changed) if return_visualization else scores


def score(outputs: Any, targets: Sequence[Callable[..., Any]]) -> np.ndarray:
    return np.asarray([to_numpy(target(output)) for target, output in zip(targets, outputs, strict=True)], np.float32)


class RemoveMostRelevantFirst:
    """Removes the pixels whose map is high.

    Args:
        percentile: of the map, from which on pixels are removed; `auto` removes those that Otsu's threshold does not part from the
            others.
        imputer: from an image and a mask that is 0 where pixels are removed, the image with these filled.
    """

    def __init__(self, percentile: float | str, imputer: Callable[[Any, Any], Any]) -> None:
        self.percentile, self.imputer = percentile, imputer

    def __call__(self, input_tensor: Any, mask: Any) -> Any:
        given = to_numpy(mask)
        if self.percentile == "auto":
            levels = (given * 255).astype(np.uint8)
            kept = np.where(levels > otsu(levels), 255, 0)
        else:
            kept = given < np.percentile(given, float(self.percentile))
        kept = np.asarray(kept, np.float32)
        return self.imputer(input_tensor, torch().from_numpy(kept) if is_tensor(mask) else kept)


class RemoveLeastRelevantFirst(RemoveMostRelevantFirst):
    """Removes the pixels whose map is low."""

    def __call__(self, input_tensor: Any, mask: Any) -> Any:
        return super().__call__(input_tensor, 1 - mask)


class AveragerAcrossThresholds:
    """The mean of a metric over percentiles."""

    def __init__(self, imputer: Callable[[float], PerturbationConfidenceMetric], percentiles: Sequence[float] = PERCENTILES) -> None:
        self.imputer, self.percentiles = imputer, percentiles

    def __call__(self, input_tensor: Any, cams: np.ndarray, targets: Sequence[Callable[..., Any]], model: Any) -> np.ndarray:
        run = scorer(model)
        each = [self.imputer(percentile)(input_tensor, cams, targets, run) for percentile in self.percentiles]
        return np.asarray(np.mean(each, axis=0))


def otsu(levels: np.ndarray) -> int:
    """The level of bytes that parts them into two classes with means as far apart as can be; the first of equal ones."""
    counts = np.bincount(levels.reshape(-1), minlength=256) / levels.size
    below, sums = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    parts = below * (1 - below)
    between = np.divide((sums[-1] * below - sums) ** 2, parts, out=np.zeros(256), where=parts > 1e-12)
    return int(between.argmax())
