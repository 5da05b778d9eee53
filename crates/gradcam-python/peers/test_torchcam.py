"""TorchCAM, as it is, on modules of the engine against itself on torch."""

import pytest
import torchcam.methods

from conftest import close

METHODS = ["GradCAM", "GradCAMpp", "LayerCAM", "XGradCAM", "CAM"]


@pytest.mark.parametrize("method", METHODS)
def test_maps(resnet, method):
    layers = {"CAM": ["layer4"]}.get(method, ["layer2", "layer3"])
    maps = []
    # CAM reads the weights of the last layer, which a file's module does not have.
    for model in (resnet.torch, resnet.view if method == "CAM" else resnet.file):
        settings = {"fc_layer": "fc"} if method == "CAM" else {}
        with getattr(torchcam.methods, method)(model, layers, input_shape=(3, 64, 96), **settings) as cam:
            maps.append(cam([3, 9], model(resnet.x)))
    for want, got in zip(*maps, strict=True):
        close(got.detach().numpy(), want.detach().numpy(), 1e-5)
