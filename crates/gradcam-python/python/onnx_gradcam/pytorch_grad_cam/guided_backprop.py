"""Guided backpropagation."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_gradcam import Explainer

from ._models import file_of
from ._tensors import to_floats


class GuidedBackpropReLUModel:
    """The gradient of a class down to the image, through relus that pass positive gradients alone."""

    def __init__(self, model: Any, device: Any = None, **options: Any) -> None:
        del device
        self.model, self._options = model, options

    def __call__(self, input_img: Any, target_category: int | None = None) -> np.ndarray:
        """The gradient of the first image of a batch, [H, W, C]; without a category, of its best class."""
        explainer = Explainer(file_of(self.model, input_img), method="guided-backprop", **self._options)
        target = None if target_category is None else int(target_category)
        return np.asarray(explainer(to_floats(input_img)[:1], target=target).map).transpose(1, 2, 0)
