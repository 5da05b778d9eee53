"""The models that the tests compare, in torch and on the engine that PEERS_ENGINE names, or the one that `auto` finds."""

import os
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import timm
import torch
import torchvision

from onnx_gradcam.torch import ExportedModule, OnnxModule, export

warnings.filterwarnings("ignore")

ENGINE = os.environ.get("PEERS_ENGINE", "auto")


class Pair(NamedTuple):
    """A model in torch, the same as a file, and as a view of the torch model; and a batch for it."""

    torch: torch.nn.Module
    file: OnnxModule
    view: ExportedModule
    x: torch.Tensor


def pair(model: torch.nn.Module, x: torch.Tensor) -> Pair:
    file = OnnxModule(export(model, x), engine=ENGINE)
    return Pair(model, file.eval(), ExportedModule(model, engine=ENGINE).eval(), x)


@pytest.fixture(scope="session")
def resnet() -> Pair:
    """A resnet18 whose norms fit the data, and whose relus write no result over what a hook stored."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 96, 96))
    return pair(model.eval(), torch.randn(2, 3, 64, 96))


@pytest.fixture(scope="session")
def chain() -> Pair:
    """Convolutions, each with a relu of its own: resnet's relus are called twice, which a file cannot tell from two layers."""
    torch.manual_seed(2)
    convolutions = [torch.nn.Conv2d(wide, 12, 3, padding=1) for wide in (3, 12, 12)]
    stages = [part for one in convolutions for part in (one, torch.nn.ReLU(), torch.nn.MaxPool2d(2))]
    model = torch.nn.Sequential(*stages, torch.nn.Flatten(), torch.nn.Linear(12 * 4 * 4, 10))
    return pair(model.eval(), torch.randn(2, 3, 32, 32))


@pytest.fixture(scope="session")
def vit() -> Pair:
    """A small vision transformer: a class token and 6 by 6 patches."""
    torch.manual_seed(1)
    model = timm.create_model("vit_tiny_patch16_224", img_size=96, depth=4, num_classes=40)
    # Scores that differ, as those of a trained network: equal weights of all channels of a norm sum to nothing.
    with torch.no_grad():
        model.head.weight *= 3
    return pair(model.eval(), torch.randn(2, 3, 96, 96))


def close(got: np.ndarray, want: np.ndarray, bound: float) -> None:
    """The largest error, of the largest entry."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    error = np.abs(got - want).max() / np.abs(want).max()
    assert error <= bound, f"error {error:.1e}, bound {bound:.0e}"
