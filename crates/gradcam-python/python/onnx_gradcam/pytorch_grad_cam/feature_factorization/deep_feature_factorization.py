"""Deep feature factorization: the concepts that an activation is a sum of, and where each of them is. It needs scikit-learn."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .._tensors import is_tensor, softmax, to_numpy, torch
from ..activations_and_gradients import ActivationsAndGradients
from ..utils.image import create_labels_legend, scale_cam_image, show_factorization_on_image


def dff(activations: np.ndarray, n_components: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The concepts of activations [N, K, h, w], as vectors of channels [K, components], and their maps [N, components, h, w]."""
    try:
        decomposition = importlib.import_module("sklearn.decomposition")
    except ImportError as error:
        message = "deep feature factorization needs scikit-learn: pip install scikit-learn; without it: gradcam concepts"
        raise ImportError(message) from error
    images, channels, height, width = activations.shape
    rows = np.where(np.isnan(activations), 0, activations).transpose(1, 0, 2, 3).reshape(channels, -1)
    least = rows.min(axis=1, keepdims=True)
    model = decomposition.NMF(n_components=n_components, init="random", random_state=0)
    concepts = model.fit_transform(rows - least) + least
    return concepts, model.components_.reshape(n_components, images, height, width).swapaxes(0, 1)


class DeepFeatureFactorization:
    """The concepts of a layer.

    Args:
        model: as a CAM takes it.
        target_layer: a module path; of a torch model, one of its modules.
        reshape_transform: from tokens to a grid.
        computation_on_concepts: what is computed of the concepts [components, K], such as the scores of the last layer. It gets a
            tensor where the program has imported torch.
        options: those of `onnx_gradcam.Network`, such as `engine`.
    """

    def __init__(
        self,
        model: Any,
        target_layer: Any,
        reshape_transform: Callable[..., Any] | None = None,
        computation_on_concepts: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        self.model, self.computation_on_concepts = model, computation_on_concepts
        self.activations_and_grads = ActivationsAndGradients(model, [target_layer], reshape_transform, **options)

    def __call__(self, input_tensor: Any, n_components: int = 16) -> tuple[Any, ...]:
        """The concepts [K, components], the maps of each image [components, H, W] in 0..1, and what was computed of the concepts."""
        self.activations_and_grads(input_tensor)
        concepts, maps = dff(to_numpy(self.activations_and_grads.activations[0]), n_components)
        height, width = input_tensor.shape[-2:]
        explanations = [scale_cam_image(of_image, (width, height)) for of_image in maps]
        if self.computation_on_concepts is None:
            return concepts, explanations
        rows = np.ascontiguousarray(concepts.T, np.float32)
        return concepts, explanations, to_numpy(self.computation_on_concepts(rows if torch() is None else torch().from_numpy(rows)))

    def __enter__(self) -> DeepFeatureFactorization:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.activations_and_grads.release()


def run_dff_on_image(
    model: Any,
    target_layer: Any,
    classifier: Callable[..., Any],
    img_pil: Any,
    img_tensor: Any,
    reshape_transform: Callable[..., Any] | None = None,
    n_components: int = 5,
    top_k: int = 2,
) -> np.ndarray:
    """A photo beside its concepts and their best classes, whose labels are `model.config.id2label`. It needs matplotlib."""
    batch = img_tensor[None] if is_tensor(img_tensor) else np.asarray(img_tensor)[None]
    factorization = DeepFeatureFactorization(model, target_layer, reshape_transform, classifier)
    _, explanations, scores = factorization(batch, n_components)
    labels = create_labels_legend(softmax(scores), model.config.id2label, top_k)
    photo = np.asarray(img_pil)
    return np.hstack((photo, show_factorization_on_image(photo / 255, explanations[0], image_weight=0.3, concept_labels=labels)))
