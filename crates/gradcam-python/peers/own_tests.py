"""A plugin of pytest with which pytorch-grad-cam's own tests run on this package: pytest -p own_tests.

PEERS_WAY says how: `modules` runs pytorch-grad-cam itself on models that the engine computes (`ExportedModule`); `drop_in` puts
`onnx_gradcam.pytorch_grad_cam` in its place, and leaves the models those of torch. The weights of models are random, since the
tests would download them, and so is the photo that is not in the source distribution. Nothing else of the tests is changed.

At the end, the file that PEERS_COUNTS names gets how often models or methods were called, how often the engine ran for them, how
often it ran besides, and how many convolutions torch itself ran outside an export.
"""

import functools
import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision

import onnx_gradcam.torch._export as exporting
import onnx_gradcam.torch._module as modules
import onnx_gradcam.torch._runner as runners
from onnx_gradcam import pytorch_grad_cam as drop_in

WAY = os.environ["PEERS_WAY"]
COUNTS = {"calls": 0, "runs": 0, "besides": 0, "torch": 0, "exports": 0}
STATE = {"exporting": False}
MODELS = {}


def wrap(owner, name, around):
    real = getattr(owner, name)

    @functools.wraps(real)
    def call(*args, **settings):
        return around(real, *args, **settings)

    setattr(owner, name, call)


def counted(key):
    def around(real, *args, **settings):
        result = real(*args, **settings)
        # An explainer that leaves a call to the formulas gives None.
        COUNTS[key] += result is not None
        return result

    return around


def counted_export(real, *args, **settings):
    STATE["exporting"] = True
    COUNTS["exports"] += 1
    try:
        return real(*args, **settings)
    finally:
        STATE["exporting"] = False


def counted_convolution(real, *args, **settings):
    COUNTS["torch"] += not STATE["exporting"]
    return real(*args, **settings)


def counted_run(real, runner, recording, visit):
    COUNTS["runs" if "record" in visit.__name__ else "besides"] += 1
    return real(runner, recording, visit)


def without_download(real, *_args, pretrained=None, **_settings):
    """A model with random weights, the same for all tests that do not change it: each export takes seconds."""
    name = real.__name__
    if pretrained is False or name not in MODELS:
        torch.manual_seed(0)
        model = real(weights=None)
        if pretrained is False:
            return given(model)
        MODELS[name] = model
    return given(MODELS[name])


def given(model):
    return exporting.ExportedModule(model) if WAY == "modules" else model


def on_engine(real, cam, model, *args, **settings):
    return real(cam, model if isinstance(model, modules.HookedModule) else given(model), *args, **settings)


wrap(torch.onnx, "export", counted_export)
for convolution in (torch.nn.Conv2d, torch.nn.Conv3d):
    wrap(convolution, "forward", counted_convolution)
for model in ("resnet18", "vgg11"):
    wrap(torchvision.models, model, without_download)

if WAY == "modules":
    import pytorch_grad_cam

    wrap(runners.Runner, "_run", counted_run)
    wrap(modules.HookedModule, "forward", counted("calls"))
    wrap(pytorch_grad_cam.base_cam.BaseCAM, "__init__", on_engine)
else:
    wrap(drop_in.base_cam.BaseCAM, "forward", counted("calls"))
    wrap(drop_in._engine.EngineMaps, "explain", counted("runs"))
    wrap(drop_in.ActivationsAndGradients, "__call__", counted("runs"))
    wrap(drop_in._models.Networks, "__call__", counted("besides"))
    sys.modules["pytorch_grad_cam"] = drop_in
    for found in pkgutil.walk_packages(drop_in.__path__, "onnx_gradcam.pytorch_grad_cam."):
        sys.modules[found.name.removeprefix("onnx_gradcam.")] = importlib.import_module(found.name)


def pytest_configure():
    photo = Path("examples/both.png")
    if not photo.exists():
        photo.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8))


def pytest_sessionfinish():
    Path(os.environ["PEERS_COUNTS"]).write_text(json.dumps(COUNTS))
