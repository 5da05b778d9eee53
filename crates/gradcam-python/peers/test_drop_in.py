"""onnx_gradcam.pytorch_grad_cam on a file against pytorch-grad-cam on the torch model."""

import functools

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch

import onnx_gradcam.pytorch_grad_cam as ours
from conftest import ENGINE, close
from onnx_gradcam.pytorch_grad_cam.utils import image, model_targets, reshape_transforms
from onnx_gradcam.torch import export

BOUND = 1e-4
# It divides by sums of activations, which may be near 0.
LOOSE = {"XGradCAM": 1e-3}

METHODS = [
    "AblationCAM",
    "EigenCAM",
    "EigenGradCAM",
    "FEM",
    "FinerCAM",
    "GradCAM",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "HiResCAM",
    "KPCA_CAM",
    "LayerCAM",
    "RefineCAM",
    "ScoreCAM",
    "SegEigenCAM",
    "ShapleyCAM",
    "XGradCAM",
]

# The sign of a component is arbitrary there.
SIGNED = {"EigenCAM": "eigen_cam", "EigenGradCAM": "eigen_grad_cam"}

TARGETS = {
    "best": None,
    "class": ("ClassifierOutputTarget", [3, 7]),
    "softmax": ("ClassifierOutputSoftmaxTarget", [3, 3]),
}


def targets(library, name):
    if TARGETS[name] is None:
        return None
    kind, classes = TARGETS[name]
    return [getattr(library.utils.model_targets, kind)(category) for category in classes]


def genuine(pair, method, layers, name, reshape=None, **settings):
    cam = getattr(peer, method)(pair.torch, [pair.torch.get_submodule(layer) for layer in layers], reshape)
    # Its scores depend on the size of the batches.
    cam.batch_size = 1 if method == "AblationCAM" else 16
    return cam(pair.x, targets(peer, name), **settings), cam


def compare(pair, method, layers, name, monkeypatch, bound, reshape=(None, None), **settings):
    cam = getattr(ours, method)(model=export(pair.torch, pair.x), target_layers=layers, reshape_transform=reshape[0], engine=ENGINE)
    got = cam(input_tensor=pair.x.numpy(), targets=targets(ours, name), **settings)
    want, there = genuine(pair, method, layers, name, reshape[1], **settings)
    assert got.shape == want.shape
    assert got.dtype == want.dtype == np.float32
    if method not in ("FinerCAM", "RefineCAM") and not settings.get("aug_smooth"):
        close(cam.outputs, there.outputs.detach().numpy(), 1e-5)
    errors = np.abs(got - want).max(axis=(1, 2))
    if method in SIGNED or settings.get("eigen_smooth"):
        module = getattr(peer, SIGNED.get(method, "base_cam"))
        project = module.get_2d_projection
        monkeypatch.setattr(module, "get_2d_projection", lambda activation: -project(activation))
        other, _ = genuine(pair, method, layers, name, reshape[1], **settings)
        errors = np.minimum(errors, np.abs(got - other).max(axis=(1, 2)))
    assert errors.max() <= bound, f"errors {errors}"


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("method", METHODS)
def test_maps(resnet, method, name, monkeypatch):
    # Two methods run the network for every channel of every image; signs are chosen for each layer.
    single = {"AblationCAM": ["layer1.1"], "ScoreCAM": ["layer1.1.conv2"], "XGradCAM": ["layer2.1"], "ShapleyCAM": ["layer3.1"]}
    layers = ["layer3.1.conv2"] if method in SIGNED else single.get(method, ["layer2.1", "layer3.1.conv2"])
    compare(resnet, method, layers, name, monkeypatch, LOOSE.get(method, BOUND))


@pytest.mark.parametrize("method", ["GradCAM", "HiResCAM", "LayerCAM", "EigenCAM"])
def test_maps_of_tokens(vit, method, monkeypatch):
    here = functools.partial(reshape_transforms.vit_reshape_transform, height=6, width=6)
    there = functools.partial(peer.utils.reshape_transforms.vit_reshape_transform, height=6, width=6)
    for transform in (here, there):
        compare(vit, method, ["blocks.3.norm1"], "class", monkeypatch, BOUND, reshape=(transform, there))


@pytest.mark.parametrize("smooth", ["aug_smooth", "eigen_smooth"])
def test_smoothed_maps(resnet, smooth, monkeypatch):
    compare(resnet, "GradCAM", ["layer3.1.conv2"], "class", monkeypatch, 1e-3 if smooth == "aug_smooth" else BOUND, **{smooth: True})


def test_full_gradients(chain):
    got = ours.FullGrad(export(chain.torch, chain.x), [], engine=ENGINE)(chain.x.numpy(), targets(ours, "class"))
    want = peer.FullGrad(chain.torch, [])(chain.x, targets(peer, "class"))
    assert np.abs(got - want).max() <= BOUND


def test_guided_backpropagation(chain):
    got = ours.GuidedBackpropReLUModel(export(chain.torch, chain.x), engine=ENGINE)(chain.x.numpy(), 3)
    close(got, peer.GuidedBackpropReLUModel(chain.torch)(chain.x[:1].clone(), 3), BOUND)


def test_modules_of_torch_are_layers(resnet):
    with ours.GradCAM(resnet.torch, [resnet.torch.layer3], engine=ENGINE) as cam:
        got = cam(resnet.x, targets(peer, "class"))
    assert np.abs(got - genuine(resnet, "GradCAM", ["layer3"], "class")[0]).max() <= BOUND


def test_images():
    generator = np.random.default_rng(0)
    photo, mask = generator.random((40, 30, 3), np.float32), generator.random((40, 30), np.float32)
    there = peer.utils.image
    for settings in ({}, {"use_rgb": True}, {"image_weight": 0.25}):
        assert np.array_equal(image.show_cam_on_image(photo, mask, **settings), there.show_cam_on_image(photo, mask, **settings))
    levels = np.repeat(np.float32(np.arange(256) / 255)[None], 2, 0)
    black = np.zeros((2, 256, 3), np.float32)
    assert np.array_equal(image.show_cam_on_image(black, levels), there.show_cam_on_image(black, levels))
    pixels = np.uint8(photo * 255)
    assert np.abs(image.preprocess_image(pixels) - there.preprocess_image(pixels).numpy()).max() <= 1e-6
    assert np.array_equal(image.deprocess_image(photo), there.deprocess_image(photo))
    maps = generator.normal(size=(2, 7, 9)).astype(np.float32)
    for size in (None, (64, 32), (5, 4)):
        assert np.abs(image.scale_cam_image(maps, size) - there.scale_cam_image(maps, size)).max() <= 1e-5


def test_targets_are_functions_of_scores():
    scores = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    for name, argument in (("ClassifierOutputTarget", 2), ("ClassifierOutputSoftmaxTarget", 2), ("BinaryClassifierOutputTarget", 0)):
        want = getattr(peer.utils.model_targets, name)(argument)
        got = getattr(model_targets, name)(argument)
        for given in (scores, scores[0]):
            assert np.abs(got(given) - want(torch.from_numpy(given)).numpy()).max() <= 1e-6


def test_metrics(resnet):
    maps, _ = genuine(resnet, "GradCAM", ["layer3.1"], "class")
    file, x = export(resnet.torch, resnet.x), resnet.x
    for name in ("CamMultImageConfidenceChange", "DropInConfidence", "IncreaseInConfidence"):
        want = getattr(peer.metrics.cam_mult_image, name)()(x, maps, targets(peer, "class"), resnet.torch)
        got = getattr(ours.metrics.cam_mult_image, name)()(x.numpy(), maps, targets(ours, "class"), file)
        assert np.abs(got - want).max() <= 1e-5
    # Without noise, which has generators of its own.
    for percentile in (20, 75):
        mask = np.float32(maps[0] < np.percentile(maps[0], percentile))
        got = ours.metrics.road.NoisyLinearImputer(noise=0)(x[0].numpy(), mask)
        want = peer.metrics.road.NoisyLinearImputer(noise=0)(x[0], torch.from_numpy(mask)).numpy()
        close(got, want, 1e-6)
    combined = ours.metrics.road.ROADCombined(percentiles=[20, 80])(x.numpy(), maps, targets(ours, "class"), file)
    want = peer.metrics.road.ROADCombined(percentiles=[20, 80])(x, maps, targets(peer, "class"), resnet.torch)
    # The noise, 0.01 of images that spread by 1, moves scores.
    assert np.abs(combined - want).max() <= 0.05 * np.abs(resnet.torch(x).detach().numpy()).max()


def test_what_cannot_be_says_why(resnet):
    file, x = export(resnet.torch, resnet.x), resnet.x.numpy()
    with pytest.raises(ValueError, match="layer9"):
        ours.GradCAM(file, ["layer9"])
    with pytest.raises(TypeError, match="OnnxModule"):
        ours.GradCAM(file, ["layer3"])(x, [lambda scores: scores.sum()] * 2)
    with pytest.raises(ValueError, match="k is 3"):
        ours.FEM(file, ["layer3"], k=3)
    with pytest.raises(ValueError, match="colormap"):
        image.show_cam_on_image(x[0].transpose(1, 2, 0), x[0, 0], colormap=4)
