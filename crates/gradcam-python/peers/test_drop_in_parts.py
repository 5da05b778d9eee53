"""The parts of onnx_gradcam.pytorch_grad_cam against those of pytorch-grad-cam: targets, images, metrics, windows and concepts."""

import numpy as np
import pytest
import pytorch_grad_cam as peer
import scipy.ndimage
import torch
from pytorch_grad_cam.metrics import arcc as peer_arcc
from pytorch_grad_cam.utils import svd_on_activations as peer_svd

import onnx_gradcam.pytorch_grad_cam as ours
from conftest import ENGINE, close
from onnx_gradcam.pytorch_grad_cam._resize import resized_volume
from onnx_gradcam.pytorch_grad_cam.metrics import arcc
from onnx_gradcam.pytorch_grad_cam.utils import image, model_targets
from onnx_gradcam.torch import export

BOUND = 1e-4


def classes(library):
    return [library.utils.model_targets.ClassifierOutputTarget(category) for category in (3, 7)]


@pytest.fixture(scope="module")
def maps(resnet) -> np.ndarray:
    return peer.GradCAM(resnet.torch, [resnet.torch.layer3[1]])(resnet.x, classes(peer))


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
    prepared = image.preprocess_image(pixels)
    assert isinstance(prepared, torch.Tensor), "torch is imported here"
    assert (prepared - there.preprocess_image(pixels)).abs().max() <= 1e-6
    assert np.array_equal(image.deprocess_image(photo), there.deprocess_image(photo))
    maps = generator.normal(size=(2, 7, 9)).astype(np.float32)
    for size in (None, (64, 32), (5, 4)):
        assert np.abs(image.scale_cam_image(maps, size) - there.scale_cam_image(maps, size)).max() <= 1e-5
    with pytest.raises(ValueError, match="colormap"):
        image.show_cam_on_image(photo, mask, colormap=4)


def test_volumes():
    volume = np.random.default_rng(0).random((4, 5, 7)).astype(np.float32)
    for size in ((14, 9, 3), (7, 5, 4), (3, 2, 8)):
        want = scipy.ndimage.zoom(volume, [new / old for new, old in zip(size[::-1], volume.shape, strict=True)])
        assert np.abs(resized_volume(volume, size) - want).max() <= 1e-5


def test_pictures_of_concepts():
    generator = np.random.default_rng(0)
    photo, maps = generator.random((40, 30, 3), np.float32), generator.random((3, 40, 30), np.float32)
    colors = [(1.0, 0.5, 0.0), (0.2, 0.9, 0.9), (0.0, 0.0, 1.0)]
    got = image.show_factorization_on_image(photo, maps, colors, 0.3)
    want = peer.utils.image.show_factorization_on_image(photo, maps.copy(), colors, 0.3)
    # The peer's colors go through bytes of hue and value.
    assert np.abs(got.astype(int) - want).max() <= 4
    assert image.show_factorization_on_image(photo, maps, colors, concept_labels=["a", "b", "c"]).shape == (40, 60, 3)
    scores, labels = generator.random((3, 5)), dict(enumerate(["a,b,c,d", "e", "f", "g", "h"]))
    assert image.create_labels_legend(scores, labels) == peer.utils.image.create_labels_legend(scores, labels)


PLAIN = [
    ("ClassifierOutputTarget", (2,)),
    ("ClassifierOutputSoftmaxTarget", (2,)),
    ("ClassifierOutputReST", (2,)),
    ("BinaryClassifierOutputTarget", (0,)),
    ("SoftmaxOutputTarget", ()),
    ("RawScoresOutputTarget", ()),
    ("FinerWeightedTarget", (2, [0, 3], 0.7)),
]


@pytest.mark.parametrize(("name", "settings"), PLAIN, ids=[name for name, _ in PLAIN])
def test_targets_are_functions_of_scores(name, settings):
    scores = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    want, got = (getattr(library, name)(*settings) for library in (peer.utils.model_targets, model_targets))
    for given in (scores, scores[0]):
        expected = want(torch.from_numpy(given))
        assert np.abs(got(given) - expected.numpy()).max() <= 1e-6
        found = got(torch.from_numpy(given))
        assert isinstance(found, torch.Tensor)
        assert (found - expected).abs().max() <= 1e-6


def test_boxes():
    boxes = np.float32([[0, 0, 10, 10], [5, 5, 20, 18], [1, 0, 11, 9]])
    found = {"boxes": boxes, "labels": np.array([1, 2, 1]), "scores": np.float32([0.9, 0.4, 0.7])}
    tensors = {name: torch.from_numpy(array) for name, array in found.items()}
    wanted = [np.float32([0, 0, 11, 10]), np.float32([6, 6, 20, 20]), np.float32([5, 5, 20, 18])]
    for threshold in (0.5, 0.85):
        settings = ([1, 2, 3], wanted, threshold)
        want = peer.utils.model_targets.FasterRCNNBoxScoreTarget(*settings)(tensors)
        target = model_targets.FasterRCNNBoxScoreTarget(*settings)
        assert np.abs(target(found) - want.numpy()).max() <= 1e-6
        assert (target(tensors) - want).abs().max() <= 1e-6


def test_masks():
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Conv2d(8, 4, 1)
    ).eval()
    x = torch.randn(2, 3, 24, 32)
    masks = [np.float32(np.random.default_rng(seed).random((12, 16)) > 0.6) for seed in (0, 1)]
    for method in ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "LayerCAM", "SegEigenCAM", "ScoreCAM"):
        found = []
        for library, given in ((ours, export(model, x)), (peer, model)):
            target = library.utils.model_targets.SemanticSegmentationTarget
            layer = "2" if library is ours else model[2]
            found.append(getattr(library, method)(given, [layer])(x, [target(2, mask) for mask in masks]))
        assert found[1].max() > 0.5
        assert np.abs(found[0] - found[1]).max() <= (1e-3 if method == "XGradCAM" else BOUND), method


@pytest.mark.parametrize("name", ["get_2d_projection", "get_2d_projection_kernel", "get_2d_projection_with_sign_correction"])
def test_projections(name):
    maps = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float32)
    maps[0, 1, 2, 3] = np.nan
    got, want = getattr(ours.utils.svd_on_activations, name)(maps), getattr(peer_svd, name)(maps)
    if name == "get_2d_projection":
        want *= np.sign((got * want).sum(axis=(1, 2), keepdims=True))
    close(got, want, 1e-5)


def test_metrics(resnet, maps):
    file, x = export(resnet.torch, resnet.x), resnet.x
    for name in ("CamMultImageConfidenceChange", "DropInConfidence", "IncreaseInConfidence"):
        want = getattr(peer.metrics.cam_mult_image, name)()(x, maps, classes(peer), resnet.torch)
        for images, model in ((x.numpy(), file), (x, file), (x, resnet.torch), (x, resnet.file)):
            got = getattr(ours.metrics.cam_mult_image, name)()(images, maps, classes(ours), model)
            assert np.abs(got - want).max() <= 1e-5
    # Without noise, which has generators of its own.
    here, there = ours.metrics.road.NoisyLinearImputer(noise=0), peer.metrics.road.NoisyLinearImputer(noise=0)
    for percentile in (20, 75, "auto"):
        for order in ("RemoveMostRelevantFirst", "RemoveLeastRelevantFirst"):
            got, want = (
                getattr(library.metrics.road, order)(percentile, imputer)(x[0], torch.from_numpy(maps[0]))
                for library, imputer in ((ours, here), (peer, there))
            )
            close(got, want, 1e-6)
    combined = ours.metrics.road.ROADCombined(percentiles=[20, 80])(x.numpy(), maps, classes(ours), file)
    want = peer.metrics.road.ROADCombined(percentiles=[20, 80])(x, maps, classes(peer), resnet.torch)
    # The noise, 0.01 of images that spread by 1, moves scores.
    assert np.abs(combined - want).max() <= 0.05 * np.abs(resnet.torch(x).detach().numpy()).max()


def test_arcc(resnet, maps):
    file, x = export(resnet.torch, resnet.x), resnet.x
    assert np.abs(arcc.Complexity()(maps) - peer_arcc.Complexity()(maps)).max() <= 1e-6
    layer = resnet.torch.layer3[1]
    want = peer_arcc.Coherency()(x, maps, classes(peer), resnet.torch, peer.GradCAM(resnet.torch, [layer]))
    got = arcc.Coherency()(x, maps, classes(ours), file, ours.GradCAM(file, ["layer3.1"]))
    assert np.abs(got - want).max() <= BOUND
    scores = arcc.ARCC(ours.GradCAM(file, ["layer3.1"]), [50])(x, maps, classes(ours), file)
    road = (2 * ours.metrics.road.ROADCombined([50])(x, maps, classes(ours), file)).clip(0, 1)
    parts = np.stack([got, 1 - arcc.Complexity()(maps), road]) + 1e-8
    assert np.abs(scores - 3 / (1 / parts).sum(axis=0)).max() <= 1e-5


SESS = [{}, {"pool": "max"}, {"theta": 0.4, "smooth": False}, {"pre_filter_ratio": 0.5, "window_size": 48, "scales": [48, 80]}]


@pytest.mark.parametrize("settings", SESS, ids=str)
def test_windows(resnet, settings, monkeypatch):
    settings = {"num_scales": 2} | settings
    # Windows have a size of their own, for which a torch model is exported.
    cam = ours.SESS(resnet.torch, [resnet.torch.layer3], engine=ENGINE, **settings)
    got = cam(resnet.x, classes(ours))

    def collected(_cam, image, window_size, step_size):
        """The windows of this package, since some maps move by more than the bound when pixels do by 1e-5."""
        patches, coordinates = collect(_cam, image, window_size, step_size)
        windows = cam._windows(image.numpy())
        assert [(window.x, window.y, window.width, window.height) for window in windows] == coordinates
        assert max(np.abs(window.pixels - patch.numpy()).max() for window, patch in zip(windows, patches, strict=True)) <= BOUND
        return [torch.from_numpy(window.pixels) for window in windows], coordinates

    collect = peer.SESS.collect_patches
    monkeypatch.setattr(peer.SESS, "collect_patches", collected)
    want = peer.SESS(resnet.torch, [resnet.torch.layer3], **settings)(resnet.x, classes(peer))
    assert np.abs(got - want).max() <= BOUND


def test_concepts(resnet):
    want = peer.DeepFeatureFactorization(resnet.torch, resnet.torch.layer3, computation_on_concepts=resnet.torch.layer4[0].conv1)
    head = torch.nn.Linear(256, 10)
    want.computation_on_concepts = head
    got = ours.DeepFeatureFactorization(export(resnet.torch, resnet.x), "layer3", computation_on_concepts=head, engine=ENGINE)
    for found, expected in zip(got(resnet.x, 4), want(resnet.x, 4), strict=True):
        assert np.abs(np.asarray(found) - np.asarray(expected)).max() <= 1e-3
