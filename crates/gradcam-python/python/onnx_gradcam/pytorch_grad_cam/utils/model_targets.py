"""Targets, under the names of pytorch-grad-cam.

They can be called with the scores of an image, [classes], or of a batch, as metrics do. A CAM of this package does not call them:
it explains the target that `explained` reads from them.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


class ClassifierOutputTarget:
    """The score of a class."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: np.ndarray) -> np.ndarray:
        return np.asarray(model_output)[..., self.category]


class ClassifierOutputSoftmaxTarget:
    """The probability of a class."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: np.ndarray) -> np.ndarray:
        return softmax(np.asarray(model_output))[..., self.category]


class BinaryClassifierOutputTarget:
    """The only score of a network, or its opposite where the category is not 1."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: np.ndarray) -> np.ndarray:
        return np.asarray(model_output) * (1 if self.category == 1 else -1)


def explained(target: Any) -> int | str:
    """The target as an explainer reads it."""
    if isinstance(target, ClassifierOutputTarget):
        return int(target.category)
    if isinstance(target, ClassifierOutputSoftmaxTarget):
        return f"p:{int(target.category)}"
    if isinstance(target, BinaryClassifierOutputTarget):
        return 0 if target.category == 1 else "neg:0"
    # Those of pytorch-grad-cam itself, where scripts import both.
    known = {one.__name__: one for one in (ClassifierOutputTarget, ClassifierOutputSoftmaxTarget, BinaryClassifierOutputTarget)}
    twin = known.get(type(target).__name__)
    if twin is not None and type(target).__module__.endswith("pytorch_grad_cam.utils.model_targets"):
        return explained(twin(target.category))
    message = (
        f"a target is a {type(target).__name__}; without torch, a CAM explains {', '.join(known)}. For a function of your own: "
        "pytorch-grad-cam itself on an onnx_gradcam.torch.OnnxModule"
    )
    raise TypeError(message)
