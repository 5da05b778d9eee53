"""What passes through layers, forward and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnx_gradcam import HookHandle, Network

from ._models import Networks, paths_of
from ._tensors import is_tensor, like, to_floats, transformed
from .utils.model_targets import gradients, of_best_classes


class ActivationsAndGradients:
    """The activations and gradients of layers, by the hooks of a network.

    Args:
        model: as a CAM takes it.
        target_layers: module paths; of a torch model, its modules.
        reshape_transform: from tokens to a grid.
        detach: true, since the engine gives numbers and not torch's graph.
        to_image: whether `input_gradient` is found too, which goes back through the whole network.
        options: those of `onnx_gradcam.Network`, such as `engine`.
    """

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        detach: bool = True,
        to_image: bool = False,
        **options: Any,
    ) -> None:
        if not detach:
            message = (
                "detach is False, which asks for torch's graph of the gradients; the engine gives numbers. ShapleyCAM, which needs second "
                "derivatives, is computed by the engine"
            )
            raise NotImplementedError(message)
        self.model, self.target_layers, self.reshape_transform = model, list(target_layers), reshape_transform
        self.networks, self._to_image = Networks(model, options), to_image
        self._activations: list[Any] = []
        self._gradients: list[Any] = []
        self._later: tuple[Any, Sequence[Any] | None] | None = None
        self.input_gradient: np.ndarray | None = None
        self._passing = Passing()
        # What replaces the output of a layer, by its place in `target_layers`.
        self.replacements = self._passing.replacements
        self._handles: list[HookHandle] = []
        self._hooked: Network | None = None
        self._images: Any = None

    @property
    def activations(self) -> list[Any]:
        """The activations of the last batch, one for each layer."""
        self._catch_up()
        return self._activations

    @property
    def gradients(self) -> list[Any]:
        """The gradients of the targets of the last batch at the layers."""
        self._catch_up()
        return self._gradients

    def later(self, x: Any, targets: Sequence[Any] | None) -> None:
        """Takes note of a batch that the explainer computed; it is run here when somebody asks for its values."""
        self.clear()
        self._later = (x, targets)

    def _catch_up(self) -> None:
        if self._later is not None:
            x, targets = self._later
            scores = self(x)
            self.backward(gradients(of_best_classes(scores) if targets is None else targets, scores))

    def __call__(self, x: Any) -> Any:
        """The scores of a batch. `activations` has those of the layers then."""
        self.clear()
        network = self._network(x)
        scores = network.forward(to_floats(x))
        self._images = x
        self._activations = [self._shown(self._passing.forward[place]) for place in range(len(self.target_layers))]
        return like(scores, x) if is_tensor(x) else scores

    def backward(self, seed: np.ndarray) -> None:
        """Goes back from a gradient of the scores. `gradients` has those at the layers, `input_gradient` that of the image if asked."""
        if self._hooked is None:
            message = "there is no forward pass to go back from; call it with images first"
            raise ValueError(message)
        found = self._passing
        found.back.clear()
        self._hooked.backward(np.ascontiguousarray(seed, np.float32))
        back = [found.back.get(place, np.zeros_like(found.forward[place])) for place in range(len(self.target_layers))]
        self._gradients, self.input_gradient = [self._shown(gradient) for gradient in back], found.image

    def clear(self) -> None:
        """Forgets the values of the last pass."""
        self._activations, self._gradients, self.input_gradient, self._later = [], [], None, None
        self._passing.clear()

    def release(self) -> None:
        """Removes the hooks, and forgets the values."""
        self.clear()
        for handle in self._handles:
            handle.remove()
        self._handles, self._hooked = [], None

    def _shown(self, array: np.ndarray) -> Any:
        """A value as formulas get it: on a grid, and a tensor where the images are one."""
        grid = array if self.reshape_transform is None else transformed(self.reshape_transform, array)
        return like(grid, self._images) if is_tensor(self._images) else grid

    def _network(self, x: Any) -> Network:
        network = self.networks.of(x)
        if network is not self._hooked:
            self.release()
            self._hooked = network
            for place, path in enumerate(paths_of(self.model, self.target_layers)):
                self._handles += [
                    network.register_forward_hook(path, self._passing.forward_hook(place)),
                    network.register_full_backward_pre_hook(path, self._passing.backward_hook(place)),
                ]
            if self._to_image:
                self._handles.append(network.register_full_backward_hook("", self._passing.image_hook))
        return network


class Passing:
    """What passed through the layers in the last run, by their places. Hooks hold it, and it holds no network, so that both are freed."""

    def __init__(self) -> None:
        self.forward: dict[int, np.ndarray] = {}
        self.back: dict[int, np.ndarray] = {}
        self.image: np.ndarray | None = None
        self.replacements: dict[int, Callable[[np.ndarray], np.ndarray]] = {}

    def clear(self) -> None:
        self.forward.clear()
        self.back.clear()
        self.image = None

    def forward_hook(self, place: int) -> Callable[..., Any]:
        def hook(_path: str, _inputs: Any, output: np.ndarray) -> np.ndarray | None:
            replacement = self.replacements.get(place)
            self.forward[place] = output if replacement is None else replacement(output)
            return None if replacement is None else self.forward[place]

        return hook

    def backward_hook(self, place: int) -> Callable[..., Any]:
        def hook(_path: str, grad_output: tuple[np.ndarray, ...]) -> None:
            self.back[place] = grad_output[0]

        return hook

    def image_hook(self, _path: str, grad_input: tuple[np.ndarray, ...], _grad_output: Any) -> None:
        self.image = grad_input[0]
