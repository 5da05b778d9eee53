"""Maps by the package's own explainers, under the arguments of a CAM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnx_gradcam import Explainer, Explanation, LayerError, layers

from ._models import file_of, is_module, paths_of
from ._tensors import to_floats
from .utils.model_targets import explained
from .utils.reshape_transforms import grid_of


class EngineMaps:
    """The explainers of a method for a model and its layers: one for each size of images and each setting.

    Args:
        method: the id of the method.
        model: as a CAM takes it.
        target_layers: as a CAM takes them; none where the method explains the image.
        reshape_transform: from tokens to a grid.
        options: those of the explainer.
    """

    def __init__(
        self,
        method: str,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None,
        options: dict[str, Any],
    ) -> None:
        self._settings = {"method": method} | options
        if len(target_layers) > 1:
            self._settings["fuse"] = "mean"
        self._model, self._layers, self._transform = model, target_layers, reshape_transform
        self._explainers: dict[tuple[Any, ...], tuple[Any, Explainer | None]] = {}
        # A wrong name is told here, not at the first image. A torch model is exported when the size of images is known.
        if not is_module(model):
            self._explainer(None, aug_smooth=False, eigen_smooth=False)

    def explain(self, images: Any, targets: Sequence[Any] | None, *, aug_smooth: bool, eigen_smooth: bool) -> list[Explanation] | None:
        """The explanations of a batch; None where a target or the transform is one that explainers do not have."""
        read = None if targets is None else [explained(target) for target in targets]
        if read is not None and None in read:
            return None
        explainer = self._explainer(images, aug_smooth=aug_smooth, eigen_smooth=eigen_smooth)
        if explainer is None:
            return None
        images = to_floats(images)
        if targets is None or read is None or len({type(target) for target in targets}) == 1:
            return explainer.batch(images, targets=read)
        # The targets of a run are of one kind.
        each = zip(images, read, strict=True)
        return [explanation for image, target in each for explanation in explainer.batch(image[None], targets=[target])]

    def _explainer(self, images: Any, *, aug_smooth: bool, eigen_smooth: bool) -> Explainer | None:
        model = file_of(self._model, images)
        # The file is held, so that no other one gets its identity.
        key = (id(model), aug_smooth, eigen_smooth)
        if key not in self._explainers:
            self._explainers[key] = (model, self._opened(model, {"aug_smooth": aug_smooth, "eigen_smooth": eigen_smooth}))
        return self._explainers[key][1]

    def _opened(self, model: Any, smooth: dict[str, Any]) -> Explainer | None:
        settings = self._settings | smooth
        paths = paths_of(self._model, self._layers)
        if self._transform is not None:
            grids = {grid_of(self._transform, shape) for shape in shapes(model, paths)}
            grid = grids.pop() if len(grids) == 1 else None
            if grid is None:
                return None
            settings |= {"grid": grid} if grid else {}
        try:
            return Explainer(model, layers=paths, **settings)
        except LayerError:
            # The map of a single position is empty, which explainers refuse.
            if any(math.prod(shape[2:]) == 1 for shape in shapes(model, paths)):
                return None
            raise


def shapes(model: Any, paths: Sequence[str]) -> list[tuple[int, ...]]:
    """The shapes of layers, where they are known, [N, K, ...]."""
    return [layer.shape for layer in layers(model) if layer.path in paths]


def heatmaps(explanations: Sequence[Explanation]) -> np.ndarray:
    """The maps, [N, H, W] in 0..1."""
    return np.asarray([one.heatmap() for one in explanations], np.float32)


def scores(explanations: Sequence[Explanation]) -> np.ndarray:
    """The scores, [N, K]."""
    return np.stack([np.asarray(one.scores) for one in explanations])
