"""The runs of a network that torch asks for: forward with torch's hooks in between, and backward from any of its values."""

# Types are checked where torch is not installed.
# mypy: ignore-errors

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from onnx_gradcam import Network

Arrays = tuple[np.ndarray, ...]


class Place(NamedTuple):
    """Where torch sees values of the network: the inputs of a layer or its output. The empty path is the network."""

    path: str
    side: Literal["inputs", "output"]


IMAGE = Place("", "inputs")
SCORES = Place("", "output")


class Sites(NamedTuple):
    """The places where values are seen, and those where gradients are."""

    forward: frozenset[Place]
    backward: frozenset[Place]


# Called with a place, the values there and, at an output, the inputs of its layer; gives what replaces the values.
Visit = Callable[[Place, Arrays, Arrays], Arrays | None]


class Runner:
    """A network, and the hooks through which it is driven.

    A network holds the values of one forward pass. A backward pass of an earlier one runs that one again, with what
    replaced its values then, so that torch's graphs stay valid as long as torch holds them.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.forwards = 0
        self._sites = Sites(frozenset(), frozenset())
        self._handles: list = []
        self._visit: Visit | None = None
        self._given: dict[Place, Arrays] = {}
        self._found: dict[Place, Arrays] = {}
        self._held: Recording | None = None

    def forward(self, x: np.ndarray, sites: Sites, visit: Visit) -> tuple[np.ndarray, Recording]:
        """Runs the network, and calls `visit` at each place; gives the scores, and what a backward pass needs."""
        recording = Recording(x, sites, {})

        def record(place: Place, values: Arrays, inputs: Arrays) -> Arrays | None:
            replaced = visit(place, values, inputs)
            if replaced is not None:
                recording.replaced[place] = replaced
            return replaced

        return self._run(recording, record), recording

    def backward(self, recording: Recording, given: dict[Place, Arrays]) -> dict[Place, Arrays]:
        """The gradients at all places, from the gradient of the scores, and with the gradients of `given` at theirs."""
        seed = given[SCORES][0]
        if self._held is not recording:
            self._run(recording, lambda place, _values, _inputs: recording.replaced.get(place))
        self._given, self._found = given, {}
        try:
            self.network.backward(seed)
            return self._found
        finally:
            self._given, self._found = {}, {}

    def _run(self, recording: Recording, visit: Visit) -> np.ndarray:
        self._register(recording.sites)
        self._held, self._visit = None, visit
        try:
            scores = self.network.forward(recording.x)
        finally:
            self._visit = None
        self._held = recording
        self.forwards += 1
        return scores

    def _register(self, sites: Sites) -> None:
        if sites == self._sites:
            return
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._sites = Sites(frozenset(), frozenset())
        network = self.network
        at_inputs = (network.register_forward_pre_hook, weak(self._before))
        at_output = (network.register_forward_hook, weak(self._behind))
        for place in sites.forward:
            register, hook = at_inputs if place.side == "inputs" else at_output
            self._handles.append(register(place.path, hook))
        at_inputs = (network.register_full_backward_hook, weak(self._back_before))
        at_output = (network.register_full_backward_pre_hook, weak(self._back_behind))
        for place in sites.backward:
            register, hook = at_inputs if place.side == "inputs" else at_output
            self._handles.append(register(place.path, hook))
        self._sites = sites

    def _before(self, path: str, inputs: Arrays) -> Arrays | None:
        return self._visit(Place(path, "inputs"), inputs, ()) if self._visit else None

    def _behind(self, path: str, inputs: Arrays, output: np.ndarray) -> np.ndarray | None:
        replaced = self._visit(Place(path, "output"), (output,), inputs) if self._visit else None
        return None if replaced is None else replaced[0]

    def _back_behind(self, path: str, grad_output: Arrays) -> Arrays | None:
        return self._back(Place(path, "output"), grad_output)

    def _back_before(self, path: str, grad_input: Arrays, _grad_output: Arrays) -> Arrays | None:
        return self._back(Place(path, "inputs"), grad_input)

    def _back(self, place: Place, gradients: Arrays) -> Arrays | None:
        given = self._given.get(place)
        self._found[place] = gradients if given is None else given
        return given


def weak(method: Callable) -> Callable:
    """A hook that does not hold the object of its method, so that the network, which holds hooks, is freed with the object."""
    held = weakref.WeakMethod(method)

    def hook(*values: object) -> object:
        return held()(*values)

    return hook


class Recording(NamedTuple):
    """What a forward pass was given: enough to run it again."""

    x: np.ndarray
    sites: Sites
    replaced: dict[Place, Arrays]
