"""Memory: what is explained and dropped is given back."""

from __future__ import annotations

import ctypes
import gc as collector
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import onnx_gradcam as gc
from conftest import ENGINES, FIXTURES

SMALL = FIXTURES / "heads" / "softmax.onnx"
X = np.zeros((1, 3, 32, 32), np.float32)

C_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None

pytestmark = pytest.mark.skipif(not hasattr(C_LIBRARY, "malloc_trim"), reason="memory is read and given back as with Linux's glibc")


def megabytes() -> float:
    """The memory of this process that is in use, without what it shares with others: pages of 4096 bytes."""
    collector.collect()
    # What is free goes back to the system; else what was free before hides what is kept.
    C_LIBRARY.malloc_trim(0)
    resident, shared = Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3]
    return (int(resident) - int(shared)) * 4096 / 1e6


def grown(work: Callable[[], object], times: int, warm: int) -> float:
    """The megabytes that some work leaves behind, once what is made at the first times is there."""
    for _ in range(warm):
        work()
    before = megabytes()
    for _ in range(times):
        work()
    return megabytes() - before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_thousand_explanations_leave_nothing(engine: str) -> None:
    explainer = gc.Explainer(SMALL, engine=engine, threads=1)
    assert grown(lambda: explainer(X).heatmap(), 1000, 100) <= 10


@pytest.mark.parametrize("engine", ENGINES)
def test_a_hundred_explainers_leave_nothing(engine: str) -> None:
    assert grown(lambda: gc.Explainer(SMALL, engine=engine, threads=1)(X), 100, 20) <= 10


@pytest.mark.parametrize("engine", ENGINES)
def test_a_thousand_passes_with_hooks_leave_nothing(engine: str) -> None:
    network = gc.Network(SMALL, engine=engine, threads=1)
    layer = gc.Explainer(SMALL, engine="rten").layers[0]
    seen = []
    network.register_forward_hook(layer, lambda layer, inputs, output: seen.append(output.shape))
    network.register_full_backward_pre_hook(layer, lambda layer, grad_output: grad_output[0] * 2)
    seed = np.ones_like(network(X))

    def once() -> None:
        network(X)
        network.backward(seed)

    assert grown(once, 1000, 100) <= 5
    assert len(seen) == 1101


@pytest.mark.parametrize("bytes_each", [1 << 10, 1 << 20])
def test_the_measure_sees_what_is_kept(bytes_each: int) -> None:
    kept, before = [], [np.ones(bytes_each, np.uint8) for _ in range(40 << 20 >> bytes_each.bit_length())]
    before.clear()
    times = (20 << 20) // bytes_each
    assert 20 <= grown(lambda: kept.append(np.ones(bytes_each, np.uint8)), times, 2) <= 30
