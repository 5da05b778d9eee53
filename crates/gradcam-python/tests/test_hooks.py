"""Hooks: torch's names and meanings, over arrays."""

from __future__ import annotations

import gc as collector
import threading
import traceback
import weakref

import numpy as np
import pytest

import onnx_gradcam as gc
from conftest import CAT, ENGINES


@pytest.fixture(params=ENGINES)
def network(request: pytest.FixtureRequest, model: str) -> gc.Network:
    return gc.Network(model, engine=request.param, threads=1)


def seed_of(scores: np.ndarray, index: int = CAT) -> np.ndarray:
    seed = np.zeros_like(scores)
    seed[0, index] = 1
    return seed


def test_grad_cam_by_two_hooks_is_that_of_the_explainer(network: gc.Network, explainer: gc.Explainer, x: np.ndarray) -> None:
    layer = explainer.layers[0]
    activations, gradients = [], []
    network.register_forward_hook(layer, lambda layer, inputs, output: activations.append(output))
    network.register_full_backward_pre_hook(layer, lambda layer, grad_output: gradients.append(grad_output[0]))
    scores = network(x)
    network.backward(seed_of(scores))
    (activation,), (gradient,) = activations, gradients
    weighted = gradient.mean((2, 3), keepdims=True, dtype=np.float64) * activation
    found, wanted = weighted.sum(1)[0], explainer(x, CAT)
    # Both engines sum K products whose weights are means over h * w; gradients differ by as many roundings as a sum over the classes has.
    terms = activation.shape[1] + gradient[0, 0].size + scores.shape[1]
    bound = terms * 2.0**-24 * np.abs(weighted).sum(1)[0]
    assert (np.abs(found - wanted.map) <= bound).all()
    assert np.abs(scores[0] - wanted.scores).max() <= 1e-5 * np.abs(scores).max()


def test_hooks_get_paths_and_arrays_in_the_order_of_the_layers(network: gc.Network, x: np.ndarray) -> None:
    calls = []
    for layer in ("blocks.4", "blocks.2"):
        network.register_forward_pre_hook(layer, lambda layer, inputs: calls.append(("pre", layer, [i.shape for i in inputs])))
        network.register_forward_hook(layer, lambda layer, inputs, output: calls.append(("forward", layer, output.shape)))
        network.register_full_backward_pre_hook(layer, lambda layer, grad_output: calls.append(("backward pre", layer, len(grad_output))))
        network.register_full_backward_hook(
            layer, lambda layer, grad_input, grad_output: calls.append(("backward", layer, grad_input[0].shape))
        )
    network.backward(seed_of(network.forward(x)))
    assert calls == [
        ("pre", "blocks.2", [(1, 24, 56, 56)]),
        ("forward", "blocks.2", (1, 40, 28, 28)),
        ("pre", "blocks.4", [(1, 80, 14, 14)]),
        ("forward", "blocks.4", (1, 112, 14, 14)),
        ("backward pre", "blocks.4", 1),
        ("backward", "blocks.4", (1, 80, 14, 14)),
        ("backward pre", "blocks.2", 1),
        ("backward", "blocks.2", (1, 24, 56, 56)),
    ]


def test_a_returned_array_replaces_the_value(network: gc.Network, x: np.ndarray) -> None:
    plain = network(x)
    with network.register_forward_hook("blocks.4", lambda layer, inputs, output: output):
        assert np.abs(network(x) - plain).max() <= 1e-5 * np.abs(plain).max()
    with network.register_forward_hook("blocks.4", lambda layer, inputs, output: (np.zeros_like(output, dtype=np.float64),)):
        replaced = network(x)
        assert replaced.tobytes() == network(2 * x).tobytes(), "nothing before the layer counts"
    assert np.abs(replaced - plain).max() > 0.1
    seen = []
    network.register_full_backward_pre_hook("blocks.4", lambda layer, grad_output: 2 * grad_output[0])
    network.register_full_backward_pre_hook("blocks.2", lambda layer, grad_output: seen.append(grad_output[0]))
    network.backward(seed_of(network(x)))
    double = seen.pop()
    network.register_full_backward_pre_hook("blocks.4", lambda layer, grad_output: grad_output[0] / 2)
    network.backward(seed_of(network(x)))
    # A factor of 2 is exact.
    assert double.tobytes() == (2 * seen.pop()).tobytes()


def test_the_input_has_a_gradient(model: str, x: np.ndarray) -> None:
    # The default of another engine has other roundings, and with them other kinks.
    network, gradients = gc.Network(model, engine="rten"), []
    network.register_full_backward_hook("", lambda layer, grad_input, grad_output: gradients.append(grad_input[0]))
    network.backward(seed_of(network(x)))
    wanted = gc.Explainer(model, method="saliency", engine="rten")(x, CAT).map
    assert np.abs(gradients[0][0] - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_pass_stays_as_it_is_when_the_network_runs_again(network: gc.Network, x: np.ndarray) -> None:
    gradients = []
    network.register_full_backward_pre_hook("blocks.4", lambda layer, grad_output: gradients.append(grad_output[0].tobytes()))
    first = network.forward_pass(x)
    network.backward(seed_of(first.scores), first)
    assert network(x[..., ::-1]).tobytes() != first.scores.tobytes()
    network.backward(seed_of(first.scores), first)
    network.backward(seed_of(first.scores))
    assert gradients[0] == gradients[1] != gradients[2]


def test_a_removed_hook_is_not_called(network: gc.Network, x: np.ndarray) -> None:
    calls = []
    handle = network.register_forward_hook("blocks.4", lambda *_: (calls.append(1), handle.remove())[0])
    network(x)
    network(x)
    handle.remove()
    assert calls == [1]


def test_the_exception_of_a_hook_is_raised_with_its_traceback(network: gc.Network, x: np.ndarray) -> None:
    class OwnError(Exception):
        pass

    def fail(layer: str, inputs: object, output: object) -> None:
        raise OwnError(layer)

    handle = network.register_forward_hook("blocks.4", fail)
    with pytest.raises(OwnError, match="blocks.4") as caught:
        network(x)
    assert "fail" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    handle.remove()
    assert network(x).shape == (1, 1000)


def test_a_hook_cannot_use_its_network(network: gc.Network, x: np.ndarray) -> None:
    uses = [lambda: network(x), lambda: network.forward_pass(x), lambda: network.register_forward_hook("blocks.2", print)]
    for use in uses:
        handle = network.register_forward_hook("blocks.4", lambda *_, use=use: use())
        with pytest.raises(gc.ReentryError, match="its own network"):
            network(x)
        handle.remove()
    assert network(x).shape == (1, 1000)


def test_threads_wait_for_each_other(network: gc.Network, x: np.ndarray) -> None:
    inside, results = [], []

    def hook(layer: str, inputs: object, output: np.ndarray) -> None:
        inside.append(threading.get_ident())

    network.register_forward_hook("blocks.4", hook)
    threads = [threading.Thread(target=lambda: results.append(network(x).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert sorted(inside) == sorted(thread.ident for thread in threads)


def test_a_hook_of_the_wrong_shape_is_refused(network: gc.Network, x: np.ndarray) -> None:
    network.register_forward_hook("blocks.4", lambda layer, inputs, output: output[:, :1])
    with pytest.raises(gc.InputError, match=r'the forward hook of layer "blocks\.4" returned 1 tensor of shape \[1, 1, 14, 14\]'):
        network(x)


def test_a_hook_that_refers_to_its_network_is_collected(model: str, x: np.ndarray) -> None:
    network = gc.Network(model, engine="rten")

    class State:
        """It refers to the network, which refers to its hook."""

        def __init__(self, network: gc.Network) -> None:
            self.network = network
            self.handle = network.register_forward_hook("blocks.4", self.hook)

        def hook(self, *_: object) -> None:
            pass

    state = State(network)
    network(x)
    found = weakref.ref(network), weakref.ref(state)
    del network, state
    collector.collect()
    assert [one() for one in found] == [None, None]


def test_modules_have_torch_names(network: gc.Network) -> None:
    modules = network.modules()
    assert modules.index("blocks") < modules.index("blocks.4") < modules.index("blocks.4.0")
