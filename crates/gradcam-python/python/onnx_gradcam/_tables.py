"""Lists: the methods, and the layers of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import _native

if TYPE_CHECKING:
    from ._typing import Model


class Method(NamedTuple):
    """A method."""

    id: str
    """The name that ``Explainer`` takes."""
    name: str
    """The name in papers."""
    formula: str
    """The raw map: A the activation, g its gradient, w the channel weights."""
    use_for: str
    """What it is good for, and what to mind."""
    paper: str
    """Where it was published."""
    takes_layer: bool
    """Whether it explains layers, and not the network's input."""
    inferences: float | None
    """The time of an explanation over that of a plain inference, where it was measured."""


class Layer(NamedTuple):
    """A layer of a model."""

    path: str
    """The module path such as ``layer4.2``, or the value's name where the file carries no paths."""
    kind: str
    """The operator or operators that it is made of."""
    value: str
    """The value that leaves it."""
    shape: tuple[int, ...]
    """The value's shape, ``(N, K, ...)``; empty where it is not known."""
    stride: int
    """How many input pixels one position stands for; 0 where there is no space."""
    candidate: bool
    """Whether a map can be made here."""
    default: bool
    """Whether this is the layer that is explained by default."""


def methods() -> list[Method]:
    """All methods."""
    return [Method(*row) for row in _native.methods()]


def layers(model: Model | None = None) -> list[Layer]:
    """The layers of a model: a path, the bytes of a file, or an ``onnx.ModelProto``; without one, the built-in model."""
    return [Layer(*row) for row in _native.layers(model)]
