"""Captum, as it is, on modules of the engine against itself on torch."""

import captum.attr
import pytest

from conftest import close

BOUND = 1e-3

LAYERS = ["LayerActivation", "LayerGradCam", "LayerGradientXActivation", "LayerConductance", "LayerIntegratedGradients"]


@pytest.mark.parametrize("method", ["Saliency", "InputXGradient", "IntegratedGradients", "Occlusion"])
def test_attributions_of_the_image(resnet, method):
    settings = {
        "Saliency": {},
        "InputXGradient": {},
        "IntegratedGradients": {"n_steps": 8, "internal_batch_size": 4},
        "Occlusion": {"sliding_window_shapes": (3, 32, 32), "strides": (3, 32, 32)},
    }[method]
    maps = [getattr(captum.attr, method)(model).attribute(resnet.x.clone(), target=3, **settings) for model in (resnet.file, resnet.torch)]
    close(*(found.detach().numpy() for found in maps), BOUND)


@pytest.mark.parametrize("method", LAYERS)
def test_attributions_of_a_layer(resnet, method):
    settings = {"LayerActivation": {}, "LayerConductance": {"target": 3, "n_steps": 4}}.get(method, {"target": 3})
    if method == "LayerIntegratedGradients":
        settings = {"target": 3, "n_steps": 4}
    maps = [
        getattr(captum.attr, method)(model, model.get_submodule("layer3.1")).attribute(resnet.x.clone(), **settings)
        for model in (resnet.file, resnet.torch)
    ]
    close(*(found.detach().numpy() for found in maps), BOUND)


@pytest.mark.parametrize("method", ["GuidedBackprop", "Deconvolution"])
def test_rules_for_relus(chain, method):
    """They look for modules of torch's type, which a file does not have."""
    maps = [getattr(captum.attr, method)(model).attribute(chain.x.clone(), target=3) for model in (chain.view, chain.torch)]
    close(*(found.detach().numpy() for found in maps), BOUND)
