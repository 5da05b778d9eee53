"""The base of all methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._engine import EngineMaps, heatmaps, scores
from ._models import NETWORK_OPTIONS, is_module
from ._tensors import is_tensor, like, to_floats, to_numpy, torch
from .activations_and_gradients import ActivationsAndGradients
from .utils.image import scale_cam_image
from .utils.model_targets import gradients, of_best_classes
from .utils.svd_on_activations import get_2d_projection

# The images of `aug_smooth`: flipped or not, and times these.
FACTORS = (0.9, 1.0, 1.1)

FORMULAS = ("get_cam_weights", "get_cam_image", "compute_cam_per_layer", "aggregate_multi_layers")


class BaseCAM:
    """A method with its layers.

    The package's explainer makes the maps where it has the method and all targets. Else they are made here, of activations and
    gradients: for a target that is a function, for a transform that does more than to make a grid of tokens, and for a class of
    your own, which overrides `get_cam_weights` or `get_cam_image`.

    Args:
        model: the path of an ONNX file, its bytes or an onnx.ModelProto; or a torch model, which is exported.
        target_layers: module paths; of a torch model, its modules.
        reshape_transform: from tokens to a grid, where the layer gives tokens.
        compute_input_gradient: whether formulas find the gradient of the image in `activations_and_grads.input_gradient`.
        uses_gradients: whether the formulas use gradients.
        tta_transforms: what `aug_smooth` does, as ttach has it; else it flips and scales.
        detach: true, since the engine gives numbers and not torch's graph.
        options: those of the explainer, such as `engine` and `threads`.
    """

    # The id of the method of the explainer; a class that has none is computed here.
    method: str | None = None
    takes_layers = True
    # Whether the map is a sum over channels, which `eigen_smooth` puts their first principal component in the place of.
    sums_channels = True
    # Whether the explainer has the method with `eigen_smooth`.
    explainer_smooths = True
    device = "cpu"

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        compute_input_gradient: bool = False,
        uses_gradients: bool = True,
        tta_transforms: Any = None,
        detach: bool = True,
        **options: Any,
    ) -> None:
        if is_module(model):
            model.eval()
        self.model = model
        self.target_layers = list(target_layers)
        self.reshape_transform = reshape_transform
        self.compute_input_gradient, self.uses_gradients = compute_input_gradient, uses_gradients
        self.tta_transforms = tta_transforms
        self.outputs: Any = None
        self._unused_by_formulas = sorted(set(options).difference(NETWORK_OPTIONS))
        # The images of a pass, where a formula runs the network; the engine chooses its batches by the memory limit.
        self.batch_size = 16
        self.activations_and_grads = ActivationsAndGradients(
            model, self.target_layers, reshape_transform, detach, to_image=compute_input_gradient, **options
        )
        method, layers = engine_method(type(self)), self.target_layers if self.takes_layers else []
        self._engine = None if method is None else EngineMaps(method, model, layers, reshape_transform, options)

    def __call__(
        self,
        input_tensor: Any,
        targets: Sequence[Any] | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> np.ndarray:
        """The maps of a batch, [N, H, W] in 0..1.

        Args:
            input_tensor: images that are ready for the network, [N, C, H, W].
            targets: one for each image; without them, the best class of each.
            aug_smooth: the mean over flipped and scaled images.
            eigen_smooth: the first principal component of the weighted channels.
        """
        if not aug_smooth:
            return self.forward(input_tensor, targets, eigen_smooth)
        explained = None if self.tta_transforms is not None else self._explained(input_tensor, targets, eigen_smooth, aug_smooth=True)
        return self.forward_augmentation_smoothing(input_tensor, targets, eigen_smooth) if explained is None else explained

    def forward(self, input_tensor: Any, targets: Sequence[Any] | None, eigen_smooth: bool = False) -> np.ndarray:
        """As a call."""
        explained = self._explained(input_tensor, targets, eigen_smooth)
        if explained is not None:
            return explained
        if self._unused_by_formulas:
            message = (
                f"the options {', '.join(self._unused_by_formulas)} are the explainer's, and it does not make these maps: it has not this "
                "class, a target or the reshape_transform; leave them out"
            )
            raise ValueError(message)
        self.outputs = self.activations_and_grads(input_tensor)
        if targets is None:
            targets = of_best_classes(self.outputs)
        if self.uses_gradients:
            self.activations_and_grads.backward(gradients(targets, self.outputs))
        return self.aggregate_multi_layers(self.compute_cam_per_layer(input_tensor, targets, eigen_smooth))

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, targets: Sequence[Any], activations: Any, grads: Any) -> Any:
        """The weight of each channel, [N, K], from activations and gradients [N, K, ...]: what most methods are."""
        message = f"{type(self).__name__} has no get_cam_weights; a method defines it, or get_cam_image"
        raise NotImplementedError(message)

    def get_cam_image(
        self, input_tensor: Any, target_layer: Any, targets: Sequence[Any], activations: Any, grads: Any, eigen_smooth: bool = False
    ) -> Any:
        """The raw map, [N, ...], from activations and gradients [N, K, ...]."""
        weights = to_numpy(self.get_cam_weights(input_tensor, target_layer, targets, activations, grads))
        activations = to_numpy(activations)
        weighted = weights.reshape(weights.shape + (1,) * (activations.ndim - 2)) * activations
        return over_channels(weighted, eigen_smooth)

    def get_target_width_height(self, input_tensor: Any) -> tuple[int, ...]:
        """The size of the maps: width and height; depth before them for volumes."""
        return tuple(reversed(input_tensor.shape[2:]))

    def compute_cam_per_layer(self, input_tensor: Any, targets: Sequence[Any], eigen_smooth: bool) -> list[np.ndarray]:
        """The map of each layer, [N, 1, H, W] in 0..1."""
        found = self.activations_and_grads
        activations = [to_numpy(one) for one in found.activations]
        grads: Sequence[Any] = [to_numpy(one) for one in found.gradients] or [None] * len(activations)
        maps = []
        for layer, activation, grad in zip(self.target_layers, activations, grads, strict=True):
            cam = self.get_cam_image(input_tensor, layer, targets, activation, grad, eigen_smooth)
            scaled = scale_cam_image(np.maximum(to_numpy(cam), 0), self.get_target_width_height(input_tensor))
            maps.append(scaled[:, None])
        return maps

    def aggregate_multi_layers(self, cam_per_target_layer: Sequence[np.ndarray]) -> np.ndarray:
        """The mean over layers, in 0..1."""
        return scale_cam_image(np.maximum(np.concatenate(cam_per_target_layer, axis=1), 0).mean(axis=1))

    def forward_augmentation_smoothing(self, input_tensor: Any, targets: Sequence[Any] | None, eigen_smooth: bool = False) -> np.ndarray:
        """The mean of the maps of flipped and scaled images, or of what `tta_transforms` makes."""
        maps = []
        for transform in self.tta_transforms or ():
            cam = self.forward(transform.augment_image(input_tensor), targets, eigen_smooth)
            maps.append(transform.deaugment_mask(torch().from_numpy(cam[:, None])).numpy()[:, 0])
        if self.tta_transforms is None:
            images = to_floats(input_tensor)
            for flip in (1, -1):
                for factor in FACTORS:
                    changed = np.ascontiguousarray(images[..., ::flip]) * np.float32(factor)
                    given = like(changed, input_tensor) if is_tensor(input_tensor) else changed
                    maps.append(self.forward(given, targets, eigen_smooth)[..., ::flip])
        return np.asarray(np.mean(maps, axis=0), np.float32)

    def _explained(self, images: Any, targets: Sequence[Any] | None, eigen_smooth: bool, *, aug_smooth: bool = False) -> np.ndarray | None:
        """The maps by the explainer; None where the formulas make them."""
        if targets is not None and len(targets) != len(images):
            message = f"the number of targets is {len(targets)}, that of the images {len(images)}; give one target for each image"
            raise ValueError(message)
        if self._engine is None or (eigen_smooth and not self.explainer_smooths):
            return None
        explanations = self._engine.explain(images, targets, aug_smooth=aug_smooth, eigen_smooth=eigen_smooth and self.sums_channels)
        if explanations is None:
            return None
        self.activations_and_grads.later(images, targets)
        self.outputs = scores(explanations)
        if is_tensor(images):
            self.outputs = like(self.outputs, images)
        return heatmaps(explanations)

    def __enter__(self) -> BaseCAM:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.activations_and_grads.release()


def engine_method(kind: type) -> str | None:
    """The explainer's method of a class: that of the first class that has one, unless a formula is overridden before it."""
    for one in kind.__mro__:
        if one.__dict__.get("method") is not None:
            return str(one.__dict__["method"])
        if any(name in one.__dict__ for name in FORMULAS):
            return None
    return None


def over_channels(weighted: np.ndarray, eigen_smooth: bool) -> np.ndarray:
    """The sum over the channels of [N, K, ...], or their first principal component."""
    return get_2d_projection(weighted) if eigen_smooth else np.asarray(weighted.sum(axis=1))


def positions(value: np.ndarray) -> tuple[int, ...]:
    """The axes of [N, K, ...] behind the channels."""
    if value.ndim < 3:
        message = f"the value has shape {list(value.shape)}; a method of channels takes [N, K, ...] with positions behind"
        raise ValueError(message)
    return tuple(range(2, value.ndim))
