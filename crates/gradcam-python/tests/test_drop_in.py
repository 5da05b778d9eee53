"""onnx_gradcam.pytorch_grad_cam without torch: the formulas against the explainer, targets, and classes that extend others."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import onnx_gradcam.pytorch_grad_cam as cams
from conftest import ASSETS, CAT, ESPRESSO, python
from onnx_gradcam.pytorch_grad_cam.utils import model_targets as targets
from onnx_gradcam.pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget

NETWORK = str(ASSETS / "efficientnet_lite0.onnx")
LAYER = "blocks.3"
BOUND = 1e-4

# It runs the network for each channel.
BY_CHANNEL = {"AblationCAM", "ScoreCAM"}
BY_FORMULA = [
    "AblationCAM",
    "EigenCAM",
    "EigenGradCAM",
    "FEM",
    "GradCAM",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "HiResCAM",
    "KPCA_CAM",
    "LayerCAM",
    "ScoreCAM",
    "SegEigenCAM",
    "XGradCAM",
]


@pytest.fixture(scope="module", name="x")
def photo_and_its_mirror(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, x[..., ::-1]])


def cam_of(method: type[cams.BaseCAM], layers: Sequence[str] = (LAYER,), **settings: Any) -> cams.BaseCAM:
    return method(NETWORK, layers, engine="rten", **settings)


def own(method: type[cams.BaseCAM]) -> type[cams.BaseCAM]:
    """The method as a class that the explainer does not know."""
    return type("Own", (method,), {"get_cam_image": method.get_cam_image})


def is_hooked(cam: cams.BaseCAM) -> bool:
    """Whether the maps were made here, of what hooks give."""
    return cam.activations_and_grads._hooked is not None


@pytest.mark.parametrize("name", BY_FORMULA)
def test_formulas_are_those_of_the_explainer(name: str, x: np.ndarray) -> None:
    method = getattr(cams, name)
    layer = "blocks.0" if name in BY_CHANNEL else LAYER
    mixed = [ClassifierOutputTarget(CAT), ClassifierOutputSoftmaxTarget(ESPRESSO)]
    for given in [mixed] if name in BY_CHANNEL else [None, mixed]:
        cam, formula = cam_of(method, [layer]), cam_of(own(method), [layer])
        want, got = cam(x, given), formula(x, given)
        assert not is_hooked(cam)
        assert is_hooked(formula)
        assert want.max() > 0.5
        assert got.dtype == want.dtype == np.float32
        assert np.abs(got - want).max() <= BOUND
        assert np.abs(np.subtract(cam.outputs, formula.outputs)).max() <= 1e-5


@pytest.mark.parametrize("smooth", ["aug_smooth", "eigen_smooth"])
def test_smoothed_formulas_are_those_of_the_explainer(smooth: str, x: np.ndarray) -> None:
    want, got = (cam_of(method)(x, **{smooth: True}) for method in (cams.GradCAM, own(cams.GradCAM)))
    assert np.abs(got - want).max() <= 1e-3


def test_a_class_of_your_own_gets_activations_and_gradients(x: np.ndarray) -> None:
    class Signed(cams.GradCAM):
        def get_cam_weights(
            self, input_tensor: Any, target_layer: Any, target_category: Sequence[Any], activations: Any, grads: Any
        ) -> np.ndarray:
            assert target_layer == LAYER
            assert activations.shape == grads.shape
            return np.sign(super().get_cam_weights(input_tensor, target_layer, target_category, activations, grads))

    cam = cam_of(Signed)
    got = cam(x, [ClassifierOutputTarget(CAT)] * 2)
    found = cam.activations_and_grads
    weights = np.sign(found.gradients[0].mean(axis=(2, 3)))
    raw = np.maximum((weights[:, :, None, None] * found.activations[0]).sum(axis=1), 0)
    want = cams.utils.image.scale_cam_image(cams.utils.image.scale_cam_image(raw, (224, 224)))
    assert np.abs(got - want).max() <= 1e-6
    assert np.abs(got - cam_of(cams.GradCAM)(x, [ClassifierOutputTarget(CAT)] * 2)).max() > 0.05


def test_a_class_that_changes_no_formula_is_the_explainers(x: np.ndarray) -> None:
    class Named(cams.GradCAM):
        pass

    cam = cam_of(Named)
    assert np.array_equal(cam(x), cam_of(cams.GradCAM)(x))
    assert not is_hooked(cam)


def test_values_of_layers_are_there_when_asked_for(x: np.ndarray) -> None:
    given = [ClassifierOutputSoftmaxTarget(CAT), ClassifierOutputTarget(ESPRESSO)]
    cam, formula = cam_of(cams.GradCAM), cam_of(own(cams.GradCAM))
    for each in (cam, formula):
        each(x, given)
    for name in ("activations", "gradients"):
        (got,), (want,) = (getattr(each.activations_and_grads, name) for each in (cam, formula))
        assert np.array_equal(got, want)
    cam(x)
    assert not np.array_equal(cam.activations_and_grads.gradients[0], want), "those of the last call"


DERIVED = [
    ClassifierOutputTarget(2),
    ClassifierOutputSoftmaxTarget(2),
    targets.ClassifierOutputReST(2),
    targets.FinerWeightedTarget(2, [0, 4], 0.7),
]


@pytest.mark.parametrize("target", DERIVED, ids=lambda target: type(target).__name__)
def test_gradients_of_targets(target: Any) -> None:
    scores = np.random.default_rng(1).normal(size=5)
    step = 1e-6
    want = [(target(scores + step * at) - target(scores - step * at)) / (2 * step) for at in np.eye(5)]
    assert np.abs(target.gradient(scores) - want).max() <= 1e-8


def test_gradients_of_other_targets() -> None:
    scores, mask = np.zeros((3, 2, 2), np.float32), np.float32([[0, 1], [0.5, 0]])
    gradient = targets.SemanticSegmentationTarget(1, mask).gradient(scores)
    assert np.array_equal(gradient, [np.zeros((2, 2)), mask, np.zeros((2, 2))])
    assert np.array_equal(targets.BinaryClassifierOutputTarget(0).gradient(scores[0, 0, :1]), [-1])
    assert np.array_equal(targets.RawScoresOutputTarget().gradient(scores[0, 0, :1]), [1])


def test_a_target_of_your_own_gives_its_gradient(x: np.ndarray) -> None:
    class Both:
        def __call__(self, scores: Any) -> Any:
            return scores[CAT] + scores[ESPRESSO]

        def gradient(self, scores: np.ndarray) -> np.ndarray:
            return np.float32(np.isin(np.arange(len(scores)), (CAT, ESPRESSO)))

    cam = cam_of(cams.GradCAM)
    cam(x, [Both(), Both()])
    both = cam.activations_and_grads.gradients[0]
    parts = []
    for category in (CAT, ESPRESSO):
        alone = cam_of(own(cams.GradCAM))
        alone(x, [ClassifierOutputTarget(category)] * 2)
        parts.append(alone.activations_and_grads.gradients[0])
    assert np.abs(both - sum(parts)).max() <= 1e-6 * np.abs(both).max()


def test_mistakes_are_told(x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="layer9"):
        cam_of(cams.GradCAM, ["layer9"])
    for alone in (ClassifierOutputTarget(3), targets.ClassifierOutputReST(3)):
        with pytest.raises(ValueError, match="number of targets is 1, that of the images 2"):
            cam_of(cams.GradCAM)(x, [alone])
    with pytest.raises(ValueError, match="gives 1000 numbers"):
        cam_of(cams.GradCAM)(x, [targets.RawScoresOutputTarget()] * 2)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        cam_of(cams.ShapleyCAM)(x, [targets.ClassifierOutputReST(3)] * 2)
    with pytest.raises(NotImplementedError, match="only the explainer reads its biases"):
        cam_of(cams.FullGrad)(x, [targets.ClassifierOutputReST(3)] * 2)
    with pytest.raises(NotImplementedError, match="get_cam_weights"):
        cam_of(cams.BaseCAM)(x)
    with pytest.raises(ValueError, match="the options seed are the explainer's"):
        cam_of(cams.RandomCAM, seed=1)(x)
    with pytest.raises(ValueError, match="kernel is 'cube'; give one of"):
        cam_of(cams.KPCA_CAM, kernel="cube")(x)


def test_a_function_needs_torch() -> None:
    code = f"""
import numpy as np
from onnx_gradcam.pytorch_grad_cam import GradCAM
cam = GradCAM({NETWORK!r}, [{LAYER!r}], engine="rten")
try:
    cam(np.zeros((1, 3, 224, 224), np.float32), [lambda scores: scores[3] ** 2])
except TypeError as error:
    print(error)
"""
    assert "without torch, give the target a method gradient(scores)" in python(code)


def test_a_network_is_freed_with_its_cam(x: np.ndarray) -> None:
    cam = cam_of(own(cams.GradCAM))
    cam(x[:1])
    network = weakref.ref(cam.activations_and_grads.networks.of(x))
    gc.disable()
    try:
        del cam
        assert network() is None
    finally:
        gc.enable()
