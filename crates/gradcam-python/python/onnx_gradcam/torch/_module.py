"""A network as a torch.nn.Module, whose submodules take torch's hooks."""

# Types are checked where torch is not installed.
# mypy: ignore-errors

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.hooks import BackwardHook

from onnx_gradcam import Network

from ._graph import Port, Run, contiguous
from ._runner import IMAGE, SCORES, Arrays, Place, Runner, Sites

Tensors = tuple[torch.Tensor, ...]


class Layer(torch.nn.Module):
    """A module of an ONNX file. It takes hooks; only the module of the whole file can be called."""

    def __getitem__(self, index: int | str) -> torch.nn.Module:
        """The part with this name; of a number that no part is named after, the part at this place."""
        parts = self._modules
        if str(index) in parts:
            return parts[str(index)]
        if isinstance(index, int) and -len(parts) <= index < len(parts):
            return list(parts.values())[index]
        message = f"no part {index!r}; there are: {', '.join(parts) or 'none'}"
        raise (IndexError if isinstance(index, int) else KeyError)(message)

    def __len__(self) -> int:
        return len(self._modules)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[torch.nn.Module]:
        return iter(self._modules.values())

    def forward(self, *_inputs: Any) -> torch.Tensor:
        message = "a layer of an ONNX file is computed with the whole file; call the OnnxModule"
        raise NotImplementedError(message)


class HookedModule(Layer):
    """What `OnnxModule` and `ExportedModule` share: a forward pass with the hooks of torch."""

    def __init__(self) -> None:
        super().__init__()
        # The modules that the network computes, by path; one in another's place is called itself.
        self._originals: dict[str, torch.nn.Module] = {}

    def _runner(self, x: torch.Tensor) -> Runner:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The scores of a batch, computed by the engine, as a part of torch's graph."""
        check(x)
        x = x.float()
        runner = self._runner(x)
        differentiated = torch.is_grad_enabled() and (x.requires_grad or any(parameter.requires_grad for parameter in self.parameters()))
        layers = {path: module for path, module in self._here() if is_hooked(module, self._originals[path])}
        sites = self._sites(layers, x, differentiated=differentiated)
        run = Run(runner)
        token = torch.zeros((), dtype=torch.float64, requires_grad=differentiated)
        calls = Calls(run, Port(IMAGE, (x,), token), layers, self._originals)
        scores, run.recording = runner.forward(contiguous(x), sites, calls.visit)
        run.scores_shape = scores.shape
        return calls.port.step(run, SCORES, (scores,)).tensors[0]

    def _here(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """The modules at the paths of the network, as they are now; not those within a module in another's place."""
        todo: list[tuple[str, torch.nn.Module]] = [("", self)]
        while todo:
            path, module = todo.pop()
            for name, part in module._modules.items():
                at = f"{path}.{name}" if path else name
                if part is None or at not in self._originals:
                    continue
                yield at, part
                if part is self._originals[at]:
                    todo.append((at, part))

    def _sites(self, layers: dict[str, torch.nn.Module], x: torch.Tensor, *, differentiated: bool) -> Sites:
        forward = set()
        for path, module in layers.items():
            replaced = module is not self._originals[path]
            if replaced or module._forward_pre_hooks or has_backward_hooks(module):
                forward.add(Place(path, "inputs"))
            if replaced or module._forward_hooks or has_backward_hooks(module):
                forward.add(Place(path, "output"))
        backward = set(forward) if differentiated else set()
        if differentiated and x.requires_grad:
            backward.add(IMAGE)
        return Sites(frozenset(forward), frozenset(backward))


class OnnxModule(HookedModule):
    """An ONNX file as a torch.nn.Module, computed by this package's engines.

    Its submodules have the module paths of the file (`model.layer4[-1]`, `model.get_submodule("blocks.4")`), and take
    torch's hooks, forward and backward. Its output has a gradient with respect to the image and to every hooked output, so
    pytorch-grad-cam, TorchCAM and Captum work on it as they are. The weights are no parameters: it is not for training.

    Args:
        model: a path, the bytes of a file, or an onnx.ModelProto.
        options: those of `onnx_gradcam.Network`, such as `engine` and `threads`.
    """

    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__()
        self.file = model
        network = Network(model, **options)
        self._own = Runner(network)
        # Libraries ask the parameters for the device, and whether anything needs a gradient.
        self._anchor = torch.nn.Parameter(torch.zeros(0))
        for path in network.modules():
            at: torch.nn.Module = self
            walked: list[str] = []
            for part in path.split("."):
                walked.append(part)
                if part not in at._modules:
                    at._modules[part] = Layer()
                    self._originals[".".join(walked)] = at._modules[part]
                at = at._modules[part]

    def _runner(self, _x: torch.Tensor) -> Runner:
        return self._own

    @property
    def forwards(self) -> int:
        """How often the engine ran the network, passes that backward repeated included."""
        return self._own.forwards


class Calls:
    """Calls the hooks of torch at the places of a pass."""

    def __init__(self, run: Run, port: Port, layers: dict[str, torch.nn.Module], originals: dict[str, torch.nn.Module]) -> None:
        self.run, self.port, self.layers, self.originals = run, port, layers, originals
        self.inputs: dict[str, Tensors] = {}
        self.backward: dict[str, BackwardHook] = {}

    def visit(self, place: Place, values: Arrays, inputs: Arrays) -> Arrays | None:
        """What torch's code makes of the values at a place; None where it leaves them."""
        self.port = port = self.port.step(self.run, place, values)
        made = port.tensors
        module = self.layers[place.path]
        if place.side == "inputs":
            port.tensors = self.before(module, place.path, made)
        else:
            port.tensors = (self.behind(module, place.path, made[0], inputs),)
        return changed(made, port.tensors, place)

    def before(self, module: torch.nn.Module, path: str, inputs: Tensors) -> Tensors:
        for number, hook in list(module._forward_pre_hooks.items()):
            if number in module._forward_pre_hooks_with_kwargs:
                answer = hook(module, inputs, {})
                answer = None if answer is None else answer[0]
            else:
                answer = hook(module, inputs)
            if answer is not None:
                inputs = answer if isinstance(answer, tuple) else (answer,)
        if has_backward_hooks(module):
            hooks = list(module._backward_hooks.values())
            self.backward[path] = BackwardHook(module, hooks, list(module._backward_pre_hooks.values()))
            inputs = self.backward[path].setup_input_hook(inputs)
        self.inputs[path] = inputs
        return inputs

    def behind(self, module: torch.nn.Module, path: str, output: torch.Tensor, inputs: Arrays) -> torch.Tensor:
        taken = self.inputs.get(path)
        if taken is None:
            taken = tuple(map(torch.from_numpy, inputs))
        if module is not self.originals[path]:
            return module(*taken)
        for number, hook in list(module._forward_hooks.items()):
            answer = hook(module, taken, {}, output) if number in module._forward_hooks_with_kwargs else hook(module, taken, output)
            output = output if answer is None else answer
        if path in self.backward:
            output = self.backward[path].setup_output_hook(output)
        return output


def check(x: Any) -> None:
    """Refuses what an engine on the processor does not take."""
    if not isinstance(x, torch.Tensor):
        message = f"the input is {type(x).__name__}; give a torch.Tensor, such as torch.from_numpy(x)"
        raise TypeError(message)
    if x.device.type != "cpu":
        message = f"the input is on {x.device}; the engines take tensors of the processor: x.cpu()"
        raise ValueError(message)
    if not x.is_floating_point():
        message = f"the input is {x.dtype}; a network takes floats: x.float()"
        raise TypeError(message)


def is_hooked(module: torch.nn.Module, original: torch.nn.Module) -> bool:
    hooks = module._forward_hooks or module._forward_pre_hooks or has_backward_hooks(module)
    return bool(hooks) or module is not original


def has_backward_hooks(module: torch.nn.Module) -> bool:
    return bool(module._backward_hooks or module._backward_pre_hooks)


def changed(made: Tensors, left: Tensors, place: Place) -> Arrays | None:
    """The arrays of what hooks left at a place, if it is not what the network made there."""
    if len(made) == len(left) and all(one is other for one, other in zip(made, left, strict=True)):
        # A hook may have written into the tensors.
        return tuple(map(contiguous, made)) if any(tensor._version for tensor in made) else None
    if not all(isinstance(tensor, torch.Tensor) for tensor in left):
        kinds = ", ".join(type(tensor).__name__ for tensor in left)
        message = f'a hook or module in the place of layer "{place.path}" gave {kinds}; it must give tensors'
        raise TypeError(message)
    return tuple(np.array(contiguous(tensor)) for tensor in left)
