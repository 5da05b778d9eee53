from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, final

from typing_extensions import disjoint_base

from ._typing import Array, ClassRow, Floats, Image, Model, Pixels, Reply, Target

__version__: str

__all__ = ["Explainer", "Explanation", "ForwardPass", "HookHandle", "Network", "__version__", "command_line", "layers", "methods"]

def methods() -> list[tuple[str, str, str, str, str, bool, float | None]]: ...
def command_line(args: Sequence[str], command: Sequence[str]) -> int: ...
def layers(model: Model) -> list[tuple[str, str, str, tuple[int, ...], int, bool, bool]]: ...

@final
class Explainer:
    def __new__(cls, model: Model, settings: Mapping[str, Any]) -> Explainer: ...
    def explain(self, image: Image, targets: Sequence[Target], inputs: Mapping[str, Array]) -> list[Explanation]: ...
    def batch(
        self, images: Array | Sequence[Image], targets: Sequence[Target] | None, inputs: Mapping[str, Array]
    ) -> list[Explanation]: ...
    def check_target(self, target: Target) -> None: ...
    def layers(self) -> list[tuple[str, str]]: ...
    def labels(self) -> list[str] | None: ...
    def classes(self) -> int: ...
    def engine(self) -> str: ...
    def method(self) -> str: ...
    def head(self) -> str: ...
    def input(self) -> tuple[str, list[int | None]]: ...
    def prepare(self, image: Image) -> Floats: ...

@final
class Explanation:
    def maps(self) -> list[Floats]: ...
    def weights(self) -> list[Floats]: ...
    def layers(self) -> list[str]: ...
    def heatmap(self, layer: int | str) -> Floats: ...
    def overlay(self, photo: Image | None, layer: int | str, style: Mapping[str, Any]) -> Pixels: ...
    def to_png(self) -> bytes | None: ...
    def class_score(self) -> ClassRow: ...
    def against(self) -> ClassRow | None: ...
    def top(self, count: int) -> list[ClassRow]: ...
    def warnings(self) -> list[tuple[str, str, str]]: ...
    def scores(self) -> Floats: ...
    def probabilities(self) -> Floats: ...
    def target(self) -> str: ...
    def value(self) -> float: ...
    def text(self) -> str | None: ...
    def method(self) -> str: ...
    def engine(self) -> str: ...
    def input_size(self) -> list[int]: ...
    def to_json(self, top: int) -> str: ...

@final
class HookHandle:
    """Removes a hook. Dropping it does nothing: a hook stays until it is removed or its network is dropped."""

    def remove(self) -> None:
        """Removes the hook: it is not called again. May be called from hooks, and more than once."""

    def __enter__(self) -> HookHandle: ...
    def __exit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class ForwardPass:
    """A forward pass of a network, from which backward passes start. It holds its values until it is dropped."""

    @property
    def scores(self) -> Floats:
        """The scores: the first output of the model."""

@disjoint_base
class Network:
    """A network that is run by hand: forward, backward, and hooks that see and replace what passes through its layers.

    Names and meanings are torch's; a hook gets the layer's path in place of the module, and NumPy arrays in place of tensors. A hook
    may return None, or what replaces the values that it got, of the same shapes; everything after it is computed from that. The code
    of a hook is not differentiated.

    Only one thread runs a network at once; others wait. A hook that runs its own network, or registers hooks, gets a ``ReentryError``.
    """

    def __new__(
        cls,
        model: Model,
        *,
        engine: str = "auto",
        provider: str | None = None,
        threads: int | None = None,
        max_memory: int | None = None,
    ) -> Network: ...
    def modules(self) -> list[str]:
        """The paths of the modules, outer modules before their parts, as torch's ``named_modules``."""

    def register_forward_pre_hook(self, layer: str, hook: Callable[[str, tuple[Floats, ...]], Reply]) -> HookHandle:
        """Calls ``hook(layer, inputs)`` before the layer runs. What it returns, as many arrays, replaces the inputs for it."""

    def register_forward_hook(self, layer: str, hook: Callable[[str, tuple[Floats, ...], Floats], Reply]) -> HookHandle:
        """Calls ``hook(layer, inputs, output)`` when the layer has run. What it returns replaces the output."""

    def register_full_backward_pre_hook(self, layer: str, hook: Callable[[str, tuple[Floats, ...]], Reply]) -> HookHandle:
        """Calls ``hook(layer, grad_output)`` when the gradient of the layer's output is complete. What it returns replaces it."""

    def register_full_backward_hook(self, layer: str, hook: Callable[[str, tuple[Floats, ...], tuple[Floats, ...]], Reply]) -> HookHandle:
        """Calls ``hook(layer, grad_input, grad_output)`` when the gradients of the layer's inputs are complete. What it returns, as many
        arrays, replaces them.
        """

    def forward(self, x: Array) -> Floats:
        """Runs the network on a batch that is ready for it, ``[N, C, H, W]``, and gives its first output as it is."""

    def __call__(self, x: Array) -> Floats:
        """As ``forward``."""

    def forward_pass(self, x: Array) -> ForwardPass:
        """Runs the network as ``forward`` does, and gives a pass that stays as it is when the network runs again."""

    def backward(self, seed: Array, forward_pass: ForwardPass | None = None) -> None:
        """Propagates a gradient of the scores back, from the values of a forward pass, or of the last one of ``forward``, and calls the
        backward hooks. ``seed`` has the shape of the scores. May be called several times for each pass.
        """
