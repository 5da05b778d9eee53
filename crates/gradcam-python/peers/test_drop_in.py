"""onnx_gradcam.pytorch_grad_cam on a file against pytorch-grad-cam on the torch model: every class, five kinds of target."""

import functools

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch

import onnx_gradcam.pytorch_grad_cam as ours
from conftest import ENGINE, close
from onnx_gradcam.pytorch_grad_cam.utils import reshape_transforms
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
    "RandomCAM",
    "RefineCAM",
    "ScoreCAM",
    "SegEigenCAM",
    "ShapleyCAM",
    "XGradCAM",
]

# The sign of a component is arbitrary there. They are of one layer here, since signs are chosen for each.
SIGNED = ("EigenCAM", "EigenGradCAM")
PROJECTING = ("base_cam", "eigen_cam", "eigen_grad_cam", "fullgrad_cam", "grad_cam_elementwise", "hirescam", "layer_cam")

TARGETS = {
    "best": None,
    "class": ("ClassifierOutputTarget", [3, 7]),
    "softmax": ("ClassifierOutputSoftmaxTarget", [3, 3]),
    "rest": ("ClassifierOutputReST", [3, 7]),
    "function": lambda scores: (scores[3] - scores[5]) ** 2,
}


def targets(library, name):
    found = TARGETS[name]
    if found is None:
        return None
    if callable(found):
        return [found, found]
    kind, classes = found
    return [getattr(library.utils.model_targets, kind)(category) for category in classes]


def genuine(pair, method, layers, name, reshape=None, **settings):
    cam = getattr(peer, method)(pair.torch, [pair.torch.get_submodule(layer) for layer in layers], reshape)
    # Its scores depend on the size of the batches.
    cam.batch_size = 1 if method == "AblationCAM" else 16
    np.random.seed(0)
    return cam(pair.x, targets(peer, name), **settings), cam


def turn_signs(monkeypatch):
    """Turns the signs of the peer's components."""
    project = peer.utils.svd_on_activations.get_2d_projection
    for module in PROJECTING:
        monkeypatch.setattr(getattr(peer, module), "get_2d_projection", lambda maps: -project(maps))


def compare(pair, method, layers, name, monkeypatch, bound, reshape=(None, None), **settings):
    cam = getattr(ours, method)(model=export(pair.torch, pair.x), target_layers=layers, reshape_transform=reshape[0], engine=ENGINE)
    np.random.seed(0)
    got = cam(input_tensor=pair.x.numpy(), targets=targets(ours, name), **settings)
    want, there = genuine(pair, method, layers, name, reshape[1], **settings)
    assert got.shape == want.shape
    assert got.dtype == want.dtype == np.float32
    if method not in ("FinerCAM", "RefineCAM") and not settings.get("aug_smooth"):
        close(cam.outputs, there.outputs.detach().numpy(), 1e-5)
    errors = np.abs(got - want).max(axis=(1, 2))
    if method in SIGNED or settings.get("eigen_smooth"):
        turn_signs(monkeypatch)
        other, _ = genuine(pair, method, layers, name, reshape[1], **settings)
        errors = np.minimum(errors, np.abs(got - other).max(axis=(1, 2)))
    assert errors.max() <= bound, f"errors {errors}"


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("method", METHODS)
def test_maps(resnet, method, name, monkeypatch):
    # Two methods run the network for every channel of every image; signs are chosen for each layer.
    single = {"AblationCAM": ["layer1.1"], "ScoreCAM": ["layer1.1.conv2"], "XGradCAM": ["layer2.1"], "ShapleyCAM": ["layer3.1"]}
    layers = ["layer3.1.conv2"] if method in SIGNED else single.get(method, ["layer2.1", "layer3.1.conv2"])
    if method == "ShapleyCAM" and name in ("rest", "function"):
        with pytest.raises(NotImplementedError, match="second derivatives"):
            compare(resnet, method, layers, name, monkeypatch, BOUND)
        return
    compare(resnet, method, layers, name, monkeypatch, LOOSE.get(method, BOUND))


# The peer's ShapleyCAM fails on a transformer: it detaches views in place.
OF_TOKENS = [method for method in METHODS if method not in ("AblationCAM", "ShapleyCAM")]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("method", OF_TOKENS)
def test_maps_of_tokens(vit, method, name, monkeypatch):
    here = functools.partial(reshape_transforms.vit_reshape_transform, height=6, width=6)
    there = functools.partial(peer.utils.reshape_transforms.vit_reshape_transform, height=6, width=6)
    compare(vit, method, ["blocks.3.norm1"], name, monkeypatch, LOOSE.get(method, BOUND), reshape=(here, there))


def test_transforms_of_the_peer(vit, monkeypatch):
    there = functools.partial(peer.utils.reshape_transforms.vit_reshape_transform, height=6, width=6)
    compare(vit, "GradCAM", ["blocks.3.norm1"], "class", monkeypatch, BOUND, reshape=(there, there))


def test_a_transform_that_is_no_grid(vit, monkeypatch):
    def mirrored(tensor):
        return there(tensor).flip(-1)

    there = functools.partial(peer.utils.reshape_transforms.vit_reshape_transform, height=6, width=6)
    compare(vit, "GradCAM", ["blocks.3.norm1"], "class", monkeypatch, BOUND, reshape=(mirrored, mirrored))


@pytest.mark.parametrize("name", ["class", "function"])
def test_ablation_of_tokens(vit, name):
    here = functools.partial(reshape_transforms.vit_reshape_transform, height=6, width=6)
    there = functools.partial(peer.utils.reshape_transforms.vit_reshape_transform, height=6, width=6)
    layers = ["blocks.3.norm1"]
    got = ours.AblationCAM(export(vit.torch, vit.x), layers, here, ours.AblationLayerVit(), engine=ENGINE)(vit.x, targets(ours, name))
    cam = peer.AblationCAM(vit.torch, [vit.torch.get_submodule(layers[0])], there, peer.AblationLayerVit(), batch_size=1)
    assert np.abs(got - cam(vit.x, targets(peer, name))).max() <= BOUND


@pytest.mark.parametrize("smooth", ["aug_smooth", "eigen_smooth"])
@pytest.mark.parametrize("name", ["class", "function"])
@pytest.mark.parametrize("method", ["GradCAM", "LayerCAM", "HiResCAM"])
def test_smoothed_maps(resnet, method, name, smooth, monkeypatch):
    compare(resnet, method, ["layer3.1.conv2"], name, monkeypatch, 1e-3 if smooth == "aug_smooth" else BOUND, **{smooth: True})


@pytest.mark.parametrize("name", TARGETS)
def test_full_gradients(chain, name):
    # The biases of a file are read by the explainer, which has not all targets.
    model = export(chain.torch, chain.x) if name in ("best", "class", "softmax") else chain.torch
    got = ours.FullGrad(model, [], engine=ENGINE)(chain.x, targets(ours, name))
    want = peer.FullGrad(chain.torch, [])(chain.x, targets(peer, name))
    assert np.abs(got - want).max() <= BOUND


def test_smoothed_full_gradients(chain, monkeypatch):
    got = ours.FullGrad(chain.torch, [], engine=ENGINE)(chain.x, targets(ours, "class"), eigen_smooth=True)
    errors = []
    for _ in range(2):
        want = peer.FullGrad(chain.torch, [])(chain.x, targets(peer, "class"), eigen_smooth=True)
        errors.append(np.abs(got - want).max(axis=(1, 2)))
        turn_signs(monkeypatch)
    assert np.min(errors, axis=0).max() <= BOUND


def test_guided_backpropagation(chain):
    got = ours.GuidedBackpropReLUModel(export(chain.torch, chain.x), engine=ENGINE)(chain.x.numpy(), 3)
    close(got, peer.GuidedBackpropReLUModel(chain.torch)(chain.x[:1].clone(), 3), BOUND)


@pytest.mark.parametrize("kind", ["torch", "view", "file"])
@pytest.mark.parametrize("name", ["class", "function"])
def test_modules_are_models_and_layers(resnet, kind, name):
    model = getattr(resnet, kind)
    with ours.GradCAM(model, [model.layer3], engine=ENGINE) as cam:
        got = cam(resnet.x, targets(peer, name))
        assert isinstance(cam.outputs, torch.Tensor)
    assert np.abs(got - genuine(resnet, "GradCAM", ["layer3"], name)[0]).max() <= BOUND


def test_settings_of_methods(resnet):
    file, x, layer = export(resnet.torch, resnet.x), resnet.x, resnet.torch.layer3
    for method, settings in (
        ("FEM", {"k": 1}),
        ("KPCA_CAM", {"kernel": "linear"}),
        ("KPCA_CAM", {"kernel": "rbf", "gamma": 0.1}),
        ("KPCA_CAM", {"kernel": "poly"}),
        ("KPCA_CAM", {"kernel": "cosine"}),
    ):
        got = getattr(ours, method)(file, ["layer3"], engine=ENGINE, **settings)(x)
        assert np.abs(got - getattr(peer, method)(resnet.torch, [layer], **settings)(x, None)).max() <= BOUND, settings
    for settings in ({"alpha": 0.6}, {"comparison_categories": [1, 4]}, {"target_idx": 7, "eigen_smooth": False}):
        got = ours.FinerCAM(file, ["layer3"], base_method=ours.LayerCAM, engine=ENGINE)(x, **settings)
        want = peer.FinerCAM(resnet.torch, [layer], base_method=peer.LayerCAM)(x, **settings)
        assert np.abs(got - want).max() <= BOUND, settings
    got = ours.RefineCAM(file, ["layer2", "layer3"], base_method=ours.HiResCAM, engine=ENGINE)(x)
    want = peer.RefineCAM(resnet.torch, [resnet.torch.layer2, layer], base_method=peer.HiResCAM)(x)
    assert np.abs(got - want).max() <= BOUND


def test_a_share_of_channels(resnet):
    layer, settings = resnet.torch.layer1, {"ratio_channels_to_ablate": 0.2, "batch_size": 1}
    got = ours.AblationCAM(export(resnet.torch, resnet.x), ["layer1"], engine=ENGINE, **settings)(resnet.x)
    assert np.abs(got - peer.AblationCAM(resnet.torch, [layer], **settings)(resnet.x, None)).max() <= BOUND


def test_activations_and_gradients(resnet):
    layers, found = ["layer2", "layer3.1"], []
    for library, model in ((ours, export(resnet.torch, resnet.x)), (peer, resnet.torch)):
        of_library = layers if library is ours else [model.get_submodule(layer) for layer in layers]
        # A class of one's own, so that the formulas are used.
        own = type("Own", (library.GradCAM,), {"get_cam_weights": library.GradCAM.get_cam_weights})
        cam = own(model, of_library)
        cam(resnet.x, targets(library, "class"))
        found.append([*cam.activations_and_grads.activations, *cam.activations_and_grads.gradients])
    for got, want in zip(*found, strict=True):
        assert type(got) is type(want)
        close(got, want, 1e-5)


def test_other_augmentations(resnet):
    import ttach

    transforms = ttach.Compose([ttach.HorizontalFlip(), ttach.Multiply([0.8, 1])])
    cams = (ours.GradCAM(export(resnet.torch, resnet.x), ["layer3"]), peer.GradCAM(resnet.torch, [resnet.torch.layer3]))
    maps = []
    for cam in cams:
        cam.tta_transforms = transforms
        maps.append(cam(resnet.x, None, aug_smooth=True))
    assert np.abs(maps[0] - maps[1]).max() <= 1e-3
