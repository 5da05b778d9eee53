"""pytorch-grad-cam, as it is, on modules of the engine against itself on torch: every class, five kinds of target."""

import functools

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputReST,
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
)

BOUND = 1e-4
# It divides by sums of activations, which may be near 0.
LOOSE = {"XGradCAM": 1e-3}

TARGETS = {
    "best": None,
    "class": [ClassifierOutputTarget(3), ClassifierOutputTarget(7)],
    "softmax": [ClassifierOutputSoftmaxTarget(3)] * 2,
    "rest": [ClassifierOutputReST(3)] * 2,
    "function": [lambda scores: (scores[3] - scores[5]) ** 2] * 2,
}

METHODS = [
    "AblationCAM",
    "EigenCAM",
    "EigenGradCAM",
    "FEM",
    "FinerCAM",
    "FullGrad",
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
    "XGradCAM",
]


def explain(model, method, layers, x, targets, reshape=None, **settings):
    layers = [model.get_submodule(layer) for layer in layers]
    np.random.seed(0)
    cam = getattr(peer, method)(model=model, target_layers=layers, reshape_transform=reshape)
    return cam(input_tensor=x, targets=targets, **settings)


def compare(pair, method, targets, bound, **settings):
    # FullGrad looks for modules of torch's types, which a file does not have.
    ours = pair.view if method == "FullGrad" else pair.file
    want = explain(pair.torch, method, x=pair.x, targets=targets, **settings)
    got = explain(ours, method, x=pair.x, targets=targets, **settings)
    assert want.max() > 0.5, "a map that shows something"
    error = np.abs(got - want).max()
    print(f"{method}: {error:.1e}")
    assert error <= bound


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_convolutional_network(resnet, method, targets):
    # Two methods run the network for every channel of every image.
    # XGradCAM divides by sums of activations, so they are of one sign.
    single = {"AblationCAM": ["layer1.1.conv2"], "ScoreCAM": ["layer1.1.conv2"], "XGradCAM": ["layer2.1"]}
    layers = single.get(method, ["layer2.1", "layer3.1.conv2"])
    compare(resnet, method, TARGETS[targets], LOOSE.get(method, BOUND), layers=layers)


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("AblationCAM", "FullGrad")])
def test_maps_of_a_transformer(vit, method, targets):
    tokens = functools.partial(peer.utils.reshape_transforms.vit_reshape_transform, height=6, width=6)
    compare(vit, method, TARGETS[targets], LOOSE.get(method, BOUND), layers=["blocks.3.norm1"], reshape=tokens)


def test_ablation_of_a_transformer(vit):
    tokens = functools.partial(peer.utils.reshape_transforms.vit_reshape_transform, height=6, width=6)
    maps = []
    for model in (vit.torch, vit.file):
        layer = model.get_submodule("blocks.3.norm1")
        cam = peer.AblationCAM(model, [layer], tokens, ablation_layer=peer.AblationLayerVit())
        maps.append(cam(input_tensor=vit.x, targets=TARGETS["class"]))
        assert model.get_submodule("blocks.3.norm1") is layer
    assert np.abs(maps[1] - maps[0]).max() <= BOUND


@pytest.mark.parametrize("smooth", ["aug_smooth", "eigen_smooth"])
@pytest.mark.parametrize("method", ["GradCAM", "LayerCAM", "HiResCAM"])
def test_smoothed_maps(resnet, method, smooth):
    settings = {"layers": ["layer3.1.conv2"], smooth: True}
    compare(resnet, method, TARGETS["class"], 1e-3 if smooth == "aug_smooth" else BOUND, **settings)


def test_guided_backpropagation(chain):
    images = [peer.GuidedBackpropReLUModel(model)(chain.x[:1].clone(), 3) for model in (chain.view, chain.torch)]
    assert np.abs(images[0] - images[1]).max() <= BOUND * np.abs(images[1]).max()


def test_second_derivatives_are_refused(resnet):
    with pytest.raises(NotImplementedError, match="shapleycam"):
        explain(resnet.file, "ShapleyCAM", ["layer3.1"], resnet.x, TARGETS["class"])


def test_metrics(resnet):
    maps = explain(resnet.torch, "GradCAM", ["layer3.1"], resnet.x, TARGETS["class"])
    for metric in (
        peer.metrics.cam_mult_image.CamMultImageConfidenceChange(),
        peer.metrics.road.ROADMostRelevantFirst(percentile=75),
    ):
        changes = []
        for model in (resnet.torch, resnet.file):
            torch.manual_seed(0)
            changes.append(metric(resnet.x, maps, TARGETS["class"], model))
        assert np.abs(changes[1] - changes[0]).max() <= BOUND


def test_deep_feature_factorization(resnet):
    maps = []
    for model in (resnet.torch, resnet.file):
        factorization = peer.DeepFeatureFactorization(model, model.get_submodule("layer3"), computation_on_concepts=None)
        np.random.seed(0)
        maps.append(np.asarray(factorization(resnet.x[:1], 4)[1]))
    assert np.abs(maps[1] - maps[0]).max() <= 1e-3
