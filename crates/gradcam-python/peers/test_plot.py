"""Explanations drawn by matplotlib, which grad-cam brings."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest

import onnx_gradcam as gc

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402 - the backend comes first.

PHOTO = Path(__file__).parents[2] / "gradcam-cli" / "assets" / "cat_beside_coffee.png"


@pytest.fixture(scope="module")
def explanation() -> gc.Explanation:
    return gc.Explainer(layers=["blocks.4", "blocks.5"])(PHOTO, "Egyptian cat")


def test_it_is_drawn_into_given_axes(explanation: gc.Explanation, tmp_path: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2)
    assert explanation.plot(left) is left
    assert explanation.plot(right, layer="blocks.5", kind="fade", colormap="viridis") is right
    assert np.array_equal(left.images[0].get_array(), explanation.overlay())
    assert np.array_equal(right.images[0].get_array(), explanation.overlay(layer=1, kind="fade", colormap="viridis"))
    assert left.get_title() == str(explanation.class_score) == "Egyptian cat: 49.4%"
    assert not left.axison
    figure.savefig(tmp_path / "figure.png")
    pyplot.close(figure)


def test_without_axes_it_is_drawn_into_the_current_ones(explanation: gc.Explanation) -> None:
    figure, axes = pyplot.subplots()
    assert explanation.plot() is axes
    assert len(axes.images) == 1
    pyplot.close(figure)
