"""Models of torch: exported once, then computed by the engines."""

# Types are checked where torch is not installed.
# mypy: ignore-errors

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from onnx_gradcam import Explainer, Network

from ._module import HookedModule, OnnxModule, check
from ._runner import Runner

# The file of each model for each size of input, as long as its weights are those that were exported.
_FILES: weakref.WeakKeyDictionary[torch.nn.Module, dict[tuple, bytes]] = weakref.WeakKeyDictionary()

# The most sizes of input that a model is kept for.
KEPT = 8


def state(model: torch.nn.Module) -> tuple:
    """What an exported file depends on: the modules, and the memory and version of each parameter and buffer."""
    modules = tuple((name, type(module)) for name, module in model.named_modules())
    tensors = (*model.parameters(), *model.buffers())
    return modules, tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)


def export(model: torch.nn.Module, x: torch.Tensor) -> bytes:
    """The model as an ONNX file for any number of images of the size of `x`; cached until a weight changes."""
    check(x)
    now = state(model)
    key = (tuple(x.shape[1:]), now)
    files = _FILES.setdefault(model, {})
    for old in [old for old in files if old[1] != now]:
        del files[old]
    if key in files:
        return files[key]
    image = x[:1].detach().float()
    with torch.no_grad(), in_eval_mode(model), without_hooks(model):
        # An example of two images: torch.export takes a size of one for a constant.
        program = torch.onnx.export(
            model,
            (torch.cat([image, image]),),
            dynamo=True,
            # The optimizer would merge modules, whose names are then lost.
            optimize=False,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("images")},),
            verbose=False,
        )
    if len(files) >= KEPT:
        del files[next(iter(files))]
    files[key] = program.model_proto.SerializeToString()
    return files[key]


def file_of_module(model: torch.nn.Module, x: torch.Tensor) -> Any:
    """The file that computes a module for images of the size of `x`: that of an `OnnxModule`, or an export."""
    if isinstance(model, OnnxModule):
        return model.file
    return export(model._model if isinstance(model, ExportedModule) else model, x)


def from_torch(model: torch.nn.Module, x: torch.Tensor, layers: Sequence[torch.nn.Module | str] = (), **options: Any) -> Explainer:
    """An explainer of a torch model, which is exported once for images of the size of `x`.

    Args:
        model: the model; it is run in evaluation mode.
        x: a batch as the model takes it.
        layers: modules of the model, or their paths; without any, the default layer.
        options: those of `onnx_gradcam.Explainer`.
    """
    names = {module: name for name, module in model.named_modules()}
    paths = []
    for layer in layers:
        path = layer if isinstance(layer, str) else names.get(layer)
        if path is None:
            message = f"{type(layer).__name__} is no module of the model; give one of model.named_modules(), or its name"
            raise ValueError(message)
        paths.append(path)
    return Explainer(export(model, x), layers=paths, **options)


class ExportedModule(HookedModule):
    """A torch model, computed by this package's engines instead of torch.

    Its submodules are the model's own, so hooks go where they went before. The model is exported at the first input of a
    size and after its weights changed. It is the same model for what reads its modules' types and weights, as FullGrad does.

    Args:
        model: the model; it is run in evaluation mode.
        options: those of `onnx_gradcam.Network`, such as `engine` and `threads`.
    """

    def __init__(self, model: torch.nn.Module, **options: Any) -> None:
        super().__init__()
        self.__dict__["_model"] = model
        self.__dict__["_options"] = options
        self.__dict__["_runners"] = {}
        self._adopt()

    def _adopt(self) -> None:
        self._modules.update(self._model._modules)
        self._originals = {path: module for path, module in self._model.named_modules() if path}

    def __setattr__(self, name: str, value: Any) -> None:
        """A module that is assigned is a part of the model from then on, which is exported again."""
        if isinstance(value, torch.nn.Module):
            setattr(self._model, name, value)
            self._adopt()
        else:
            super().__setattr__(name, value)

    def _runner(self, x: torch.Tensor) -> Runner:
        with self._restored():
            file = export(self._model, x)
        for old in [old for old in self._runners if old not in _FILES[self._model].values()]:
            del self._runners[old]
        if file not in self._runners:
            self._runners[file] = Runner(Network(file, **self._options))
        return self._runners[file]

    @contextlib.contextmanager
    def _restored(self) -> Iterator[None]:
        """The model without the modules that stand in the place of its own."""
        swapped = []
        for path, module in list(self._here()):
            if module is self._originals[path]:
                continue
            outer, _, name = path.rpartition(".")
            at = self._originals[outer] if outer else self._model
            swapped.append((at, name, at._modules[name]))
            at._modules[name] = self._originals[path]
        try:
            yield
        finally:
            for at, name, module in swapped:
                at._modules[name] = module


@contextlib.contextmanager
def in_eval_mode(model: torch.nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextlib.contextmanager
def without_hooks(model: torch.nn.Module) -> Iterator[None]:
    """The model without its hooks, which an export would trace."""
    held = [(module, name, getattr(module, name)) for module in model.modules() for name in HOOKS]
    for module, name, hooks in held:
        setattr(module, name, type(hooks)())
    try:
        yield
    finally:
        for module, name, hooks in held:
            setattr(module, name, hooks)
