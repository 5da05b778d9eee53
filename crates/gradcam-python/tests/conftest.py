"""What the tests share: the model that comes with the command line, and its photos."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onnx_gradcam as gc

ASSETS = Path(__file__).parents[2] / "gradcam-cli" / "assets"
FIXTURES = Path(__file__).parents[2] / "testkit" / "fixtures"
ENGINES = ["rten", "onnxruntime"]
CAT, ESPRESSO = 285, 967

# A program that is started in the background ignores interrupts, and so do those that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def model() -> str:
    return str(ASSETS / "efficientnet_lite0.onnx")


@pytest.fixture(scope="session")
def photo() -> str:
    return str(ASSETS / "cat_beside_coffee.png")


@pytest.fixture(scope="session", params=ENGINES)
def explainer(request: pytest.FixtureRequest, model: str) -> gc.Explainer:
    return gc.Explainer(model, engine=request.param, threads=1)


@pytest.fixture(scope="session")
def x(model: str, photo: str) -> np.ndarray:
    """The photo as the network takes it, [1, 3, 224, 224]."""
    return gc.Explainer(model, engine="rten").prepare(photo)


def python(code: str, *args: str) -> str:
    """What a program prints in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
