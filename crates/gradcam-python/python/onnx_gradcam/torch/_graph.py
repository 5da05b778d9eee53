"""A pass of the network as a part of torch's graph.

Every place that torch sees is a `Step`. It takes the tensors of the place before it, which may have gone through the code of
hooks, and gives those of its own, which the network computed. Its backward is told the gradients that torch found for its
tensors, and gives those that the network finds for the tensors before it. A token runs through all steps: its gradient
carries the number of the sweep, so that the steps of one backward pass of torch know each other, even where a hook cut the
tensors off.
"""

# Types are checked where torch is not installed.
# mypy: ignore-errors

from __future__ import annotations

import itertools

import numpy as np
import torch

from ._runner import SCORES, Arrays, Place, Recording, Runner

SECOND_DERIVATIVE = (
    "the gradients of an OnnxModule have no derivatives of their own. For ShapleyCAM, use "
    'onnx_gradcam.Explainer(model, method="shapleycam"); for others, the model in torch'
)


class Sweep:
    """A backward pass of torch over the steps of one forward pass."""

    def __init__(self, runner: Runner, recording: Recording, seed: tuple[int, ...], number: int) -> None:
        self.runner, self.recording, self.number = runner, recording, number
        # What torch gave at each place so far; the scores' is the seed.
        self.given: dict[Place, Arrays] = {SCORES: (np.zeros(seed, np.float32),)}
        self.found: dict[Place, Arrays] | None = None

    def give(self, place: Place, gradients: tuple[torch.Tensor | None, ...], shapes: list[torch.Size]) -> None:
        """Takes the gradients that torch found at a place; zeros where it found none."""
        given = tuple(
            np.zeros(shape, np.float32) if gradient is None else contiguous(gradient)
            for gradient, shape in zip(gradients, shapes, strict=True)
        )
        found = self.found.get(place) if self.found is not None else None
        if found is None and self.found is not None:
            if any(gradient.any() for gradient in given):
                message = f'the scores do not depend on the {place.side} of layer "{place.path}", so the network gives no gradients for it'
                raise NotImplementedError(message)
            return
        if found is not None and all(map(same, found, given)):
            return
        # Nothing was changed on the way unless a hook did so; then the network goes back once more, from there.
        self.given[place] = given
        self.found = None

    def find(self, place: Place, count: int) -> tuple[torch.Tensor | None, ...]:
        """The gradients of the tensors at a place."""
        if self.found is None:
            self.found = self.runner.backward(self.recording, self.given)
        found = self.found.get(place)
        if found is None:
            return (None,) * count
        return tuple(torch.from_numpy(gradient.copy()) for gradient in found)


class Run:
    """A forward pass that torch holds, and its sweeps."""

    runner: Runner
    recording: Recording
    scores_shape: tuple[int, ...]

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._numbers = itertools.count(1)
        self._sweep: Sweep | None = None

    def sweep(self, token: torch.Tensor | None) -> Sweep:
        """The sweep of a step; a new one where no later step belongs to it."""
        if token is None:
            self._sweep = Sweep(self.runner, self.recording, self.scores_shape, next(self._numbers))
        elif self._sweep is None or self._sweep.number != int(token):
            message = "two backward passes of one forward pass run at the same time; run one after the other"
            raise RuntimeError(message)
        return self._sweep


class Port:
    """The newest place of a pass: where it is, its tensors as hooks left them, and the token."""

    def __init__(self, place: Place, tensors: tuple[torch.Tensor, ...], token: torch.Tensor) -> None:
        self.place, self.tensors, self.token = place, tensors, token

    def step(self, run: Run, place: Place, made: Arrays) -> Port:
        """The next place, with the tensors that the network made there."""
        made = tuple(map(torch.from_numpy, made))
        token, *tensors = Step.apply(run, place, self.place, made, self.token, *self.tensors)
        return Port(place, tuple(tensors), token)


class Step(torch.autograd.Function):
    """From the tensors of one place to those of the next."""

    @staticmethod
    def forward(ctx, run, place, before, made, token, *tensors):
        ctx.set_materialize_grads(False)
        ctx.run, ctx.place, ctx.before = run, place, before
        ctx.shapes = [tensor.shape for tensor in made]
        ctx.save_for_backward(*tensors)
        return token.new_zeros(()), *made

    @staticmethod
    def backward(ctx, token, *gradients):
        sweep = ctx.run.sweep(token)
        sweep.give(ctx.place, gradients, ctx.shapes)
        token = torch.tensor(float(sweep.number), dtype=torch.float64)
        wanted = ctx.needs_input_grad[5:]
        found = sweep.find(ctx.before, len(wanted)) if any(wanted) else (None,) * len(wanted)
        if torch.is_grad_enabled():
            known = [gradient for gradient in gradients if gradient is not None]
            held = [*ctx.saved_tensors, *known]
            found = tuple(gradient if gradient is None else Once.apply(gradient, *held) for gradient in found)
        return None, None, None, None, token, *found


class Once(torch.autograd.Function):
    """A gradient that is asked for a derivative of its own."""

    @staticmethod
    def forward(_ctx, gradient, *_held):
        return gradient.clone()

    @staticmethod
    def backward(_ctx, _gradient):
        raise NotImplementedError(SECOND_DERIVATIVE)


def contiguous(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's numbers as the network takes them."""
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
