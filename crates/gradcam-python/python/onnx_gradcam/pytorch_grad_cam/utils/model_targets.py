"""Targets, under the names of pytorch-grad-cam.

They are functions of the scores of an image, [classes], or of a batch, as arrays or tensors. A CAM explains some by the explainer
(`explained`). It differentiates others by their own `gradient`; a function that has none, by torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._tensors import is_tensor, like, softmax, to_numpy, torch


class ClassifierOutputTarget:
    """The score of a class."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: Any) -> Any:
        return model_output[..., self.category]

    def gradient(self, scores: np.ndarray) -> np.ndarray:
        """The derivative by the scores of an image, of their shape."""
        return one_hot(scores, self.category)


class ClassifierOutputSoftmaxTarget:
    """The probability of a class."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: Any) -> Any:
        return softmax(model_output)[..., self.category]

    def gradient(self, scores: np.ndarray) -> np.ndarray:
        """The derivative by the scores of an image, of their shape: p_c (1 - p) for the class, -p_c p for the others."""
        probabilities = softmax(scores)
        return np.asarray(probabilities[self.category] * (one_hot(scores, self.category) - probabilities))


class ClassifierOutputReST:
    """The score of a class plus the logarithm of its probability (https://arxiv.org/abs/2501.06261)."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: Any) -> Any:
        probability = softmax(model_output)[..., self.category]
        return model_output[..., self.category] + (probability.log() if is_tensor(probability) else np.log(probability))

    def gradient(self, scores: np.ndarray) -> np.ndarray:
        """The derivative by the scores of an image, of their shape."""
        return np.asarray(2 * one_hot(scores, self.category) - softmax(scores))


class BinaryClassifierOutputTarget:
    """The only score of a network, or its opposite where the category is not 1."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: Any) -> Any:
        return model_output * (1 if self.category == 1 else -1)

    def gradient(self, scores: np.ndarray) -> np.ndarray:
        """The derivative by the scores of an image, of their shape."""
        return np.full_like(scores, 1 if self.category == 1 else -1)


class SoftmaxOutputTarget:
    """All probabilities, for metrics."""

    def __call__(self, model_output: Any) -> Any:
        return softmax(model_output)


class RawScoresOutputTarget:
    """The scores as they are: of a network with one, or for metrics."""

    def __call__(self, model_output: Any) -> Any:
        return model_output

    def gradient(self, scores: np.ndarray) -> np.ndarray:
        """The derivative by the only score."""
        return np.ones_like(scores)


class SemanticSegmentationTarget:
    """The sum of the scores of a class over the pixels of a mask.

    Args:
        category: the class.
        mask: the weight of each pixel, [H, W], at the size of the scores.
    """

    def __init__(self, category: int, mask: Any) -> None:
        self.category, self.mask = category, to_numpy(mask)

    def __call__(self, model_output: Any) -> Any:
        return (model_output[self.category] * like(self.mask, model_output)).sum()

    def gradient(self, scores: np.ndarray) -> np.ndarray:
        """The derivative by the scores of an image, [K, H, W]."""
        found = np.zeros_like(scores)
        found[self.category] = self.mask
        return found


class FasterRCNNBoxScoreTarget:
    """How well the boxes that a detector finds are those of a list: the sum of overlap and score of the best match of each.

    Args:
        labels: the class of each box.
        bounding_boxes: boxes as [x1, y1, x2, y2].
        iou_threshold: a match overlaps more than this.
    """

    def __init__(self, labels: Sequence[int], bounding_boxes: Sequence[Any], iou_threshold: float = 0.5) -> None:
        self.labels, self.bounding_boxes, self.iou_threshold = labels, bounding_boxes, iou_threshold

    def __call__(self, model_outputs: Any) -> Any:
        """The score, [1]: of a mapping with `boxes` [B, 4], `labels` [B] and `scores` [B]."""
        boxes = model_outputs["boxes"]
        score = like([0.0], boxes)
        for box, label in zip(self.bounding_boxes, self.labels, strict=True):
            if len(boxes) == 0:
                break
            overlaps = overlap(like(to_numpy(box), boxes), boxes)
            best = int(overlaps.argmax())
            if overlaps[best] > self.iou_threshold and model_outputs["labels"][best] == label:
                score = score + overlaps[best] + model_outputs["scores"][best]
        return score


class FinerWeightedTarget:
    """The score of a class less those of others, weighted by the probabilities of these.

    Args:
        main_category: the class.
        comparison_categories: the others.
        alpha: how much of the others is taken off.
    """

    def __init__(self, main_category: int, comparison_categories: Sequence[int], alpha: float) -> None:
        self.main_category, self.comparison_categories, self.alpha = main_category, comparison_categories, alpha

    def __call__(self, model_output: Any) -> Any:
        weights = softmax(model_output)[..., self.comparison_categories]
        return (weights * self._differences(model_output)).sum(-1) / (weights.sum(-1) + EPSILON)

    def _differences(self, scores: Any) -> Any:
        return scores[..., self.main_category, None] - self.alpha * scores[..., self.comparison_categories]

    def gradient(self, scores: np.ndarray) -> np.ndarray:
        """The derivative by the scores of an image, of their shape: through the scores and through the probabilities."""
        others, probabilities = list(self.comparison_categories), softmax(scores)
        weights, total = probabilities[others], probabilities[others].sum() + EPSILON
        apart = weights * (self._differences(scores) - self(scores))
        found = weights.sum() * one_hot(scores, self.main_category) - apart.sum() * probabilities
        found[others] += apart - self.alpha * weights
        return np.asarray(found / total)


# Beside a sum of probabilities, which is not 0.
EPSILON = 1e-9


def one_hot(scores: np.ndarray, category: int) -> np.ndarray:
    """1 for a class and 0 for others."""
    found = np.zeros_like(scores)
    found[category] = 1
    return found


def overlap(box: Any, boxes: Any) -> Any:
    """The intersection of a box [4] and each of others [B, 4], over their union."""
    low, high = boxes[:, :2].clip(min=box[:2]), boxes[:, 2:].clip(max=box[2:])
    common = (high - low).clip(min=0).prod(-1)
    return common / ((boxes[:, 2:] - boxes[:, :2]).prod(-1) + (box[2:] - box[:2]).prod(-1) - common)


def explained(target: Any) -> int | str | None:
    """The target as an explainer reads it; None if it is one that explainers do not have."""
    if type(target) is ClassifierOutputTarget:
        return int(target.category)
    if type(target) is ClassifierOutputSoftmaxTarget:
        return f"p:{int(target.category)}"
    if type(target) is BinaryClassifierOutputTarget:
        return 0 if target.category == 1 else "neg:0"
    return None


def of_best_classes(scores: Any) -> list[ClassifierOutputTarget]:
    """The class with the largest score of each image, [N, K]."""
    return [ClassifierOutputTarget(int(category)) for category in np.argmax(to_numpy(scores), axis=-1)]


def value(target: Any, scores: Any) -> float:
    """The number that a target is, of the scores of an image; a function may want them as a tensor."""
    given = torch().from_numpy(scores) if torch() is not None and not hasattr(target, "gradient") and not is_tensor(scores) else scores
    return float(single(target, target(given)))


def gradients(targets: Sequence[Any], scores: Any) -> np.ndarray:
    """The derivative of each target by the scores of its image, [N, ...]."""
    return np.stack([gradient(target, np.array(to_numpy(one))) for target, one in zip(targets, scores, strict=True)])


def gradient(target: Any, scores: np.ndarray) -> np.ndarray:
    """The derivative of a target by the scores of an image, of their shape."""
    if hasattr(target, "gradient"):
        single(target, target(scores))
        return np.asarray(target.gradient(scores), np.float32)
    if torch() is None:
        message = (
            f"a target is a {type(target).__name__}, whose derivative is found by torch, which the program has not imported; without "
            "torch, give the target a method gradient(scores), or a target of onnx_gradcam.pytorch_grad_cam.utils.model_targets"
        )
        raise TypeError(message)
    leaf = torch().from_numpy(scores).requires_grad_()
    with torch().enable_grad():
        found = single(target, target(leaf))
        if not is_tensor(found) or not found.requires_grad:
            message = f"a target, {type(target).__name__}, gives {found!r}, which does not depend on the scores by operations of torch"
            raise TypeError(message)
        found.backward()
    return to_numpy(leaf.grad)


def single(target: Any, found: Any) -> Any:
    """The only number of what a target gives."""
    count = int(np.prod(found.shape)) if hasattr(found, "shape") else 1
    if count != 1:
        message = f"a target, {type(target).__name__}, gives {count} numbers of one image; it must give one, such as the score of a class"
        raise ValueError(message)
    return found.reshape(()) if hasattr(found, "reshape") else found
