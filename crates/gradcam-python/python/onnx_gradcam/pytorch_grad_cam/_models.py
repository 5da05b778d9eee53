"""Models as users give them: files, modules of torch, and layers of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onnx_gradcam import Network

from ._tensors import is_tensor, like, to_floats, torch

# What a network takes of the options of an explainer.
NETWORK_OPTIONS = ("engine", "provider", "threads", "max_memory")


def is_module(model: Any) -> bool:
    """Whether a model is a module of torch, which is not imported for the question."""
    return torch() is not None and isinstance(model, torch().nn.Module)


def file_of(model: Any, images: Any) -> Any:
    """The model as an explainer takes it. A module of torch is exported for images of this size, and cached until a weight changes."""
    if not is_module(model):
        return model
    from onnx_gradcam.torch._export import file_of_module

    return file_of_module(model, torch().as_tensor(images))


def paths_of(model: Any, layers: Sequence[Any]) -> list[str]:
    """The module paths of layers: as they are, or of a module its place in the model."""
    names = {module: name for name, module in model.named_modules()} if is_module(model) else {}
    paths = []
    for layer in layers:
        path = layer if isinstance(layer, str | int) else names.get(layer)
        if path is None:
            message = (
                f"the layer {type(layer).__name__} is no module of the model; give a module path such as 'layer4', or, of a torch "
                "model, one of model.modules()"
            )
            raise ValueError(message)
        paths.append(str(path))
    return paths


class Networks:
    """The network of a model; of a module of torch, a new one for each size of images."""

    def __init__(self, model: Any, options: dict[str, Any]) -> None:
        self.model = model
        self._options = {name: value for name, value in options.items() if name in NETWORK_OPTIONS}
        self._file: Any = None
        self._network: Network | None = None

    def of(self, images: Any) -> Network:
        """The network for images of this size."""
        file = file_of(self.model, images)
        if self._network is None or file is not self._file:
            self._file, self._network = file, Network(file, **self._options)
        return self._network

    def __call__(self, images: Any) -> Any:
        """The scores of a batch, as a tensor if the batch is one."""
        scores = self.of(images).forward(to_floats(images))
        return like(scores, images) if is_tensor(images) else scores


def scorer(model: Any) -> Callable[[Any], Any]:
    """A function from images to scores: of a file, a module of torch, which the engine computes, or a function."""
    if callable(model) and not is_module(model):
        return model  # type: ignore[no-any-return]
    return Networks(model, {})
