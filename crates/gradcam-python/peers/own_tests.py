"""A plugin of pytest with which pytorch-grad-cam's own tests run on this package: pytest -p own_tests.

The weights of models are random, since the tests would download them, and so is the photo that is not in the source
distribution. Nothing else of the tests is changed. Every model is computed by the engine: what the tests build by a function of
torchvision is an `ExportedModule`, and so is what they hand to a CAM. At the end, the file that PEERS_COUNTS names gets how
often models were called, how often the engine ran, and how many convolutions torch itself ran outside an export.
"""

import functools
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytorch_grad_cam
import torch
import torchvision

import onnx_gradcam.torch._export as exporting
import onnx_gradcam.torch._module as modules
import onnx_gradcam.torch._runner as runners

COUNTS = {"calls": 0, "runs": 0, "repeated": 0, "torch": 0, "exports": 0}
STATE = {"exporting": False}


def counted_export(real, *args, **settings):
    STATE["exporting"] = True
    COUNTS["exports"] += 1
    try:
        return real(*args, **settings)
    finally:
        STATE["exporting"] = False


def counted_run(real, runner, recording, visit):
    COUNTS["runs"] += 1
    COUNTS["repeated"] += "record" not in visit.__name__
    return real(runner, recording, visit)


def counted_call(real, module, x):
    COUNTS["calls"] += 1
    return real(module, x)


def counted_convolution(real, *args, **settings):
    COUNTS["torch"] += not STATE["exporting"]
    return real(*args, **settings)


def wrap(owner, name, around):
    real = getattr(owner, name)

    @functools.wraps(real)
    def call(*args, **settings):
        return around(real, *args, **settings)

    setattr(owner, name, call)


wrap(torch.onnx, "export", counted_export)
wrap(runners.Runner, "_run", counted_run)
wrap(modules.HookedModule, "forward", counted_call)
for convolution in (torch.nn.Conv2d, torch.nn.Conv3d):
    wrap(convolution, "forward", counted_convolution)

MODELS = {}


def without_download(real, *_args, pretrained=None, **_settings):
    """A model with random weights, the same for all tests that do not change it: each export takes seconds."""
    name = real.__name__
    if pretrained is False or name not in MODELS:
        torch.manual_seed(0)
        model = real(weights=None)
        if pretrained is False:
            return exporting.ExportedModule(model)
        MODELS[name] = model
    return exporting.ExportedModule(MODELS[name])


for model in ("resnet18", "vgg11"):
    wrap(torchvision.models, model, without_download)


def on_engine(real, cam, model, *args, **settings):
    if not isinstance(model, modules.HookedModule):
        model = exporting.ExportedModule(model)
    return real(cam, model, *args, **settings)


wrap(pytorch_grad_cam.base_cam.BaseCAM, "__init__", on_engine)


def pytest_configure():
    photo = Path("examples/both.png")
    if not photo.exists():
        photo.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8))


def pytest_sessionfinish():
    Path(os.environ["PEERS_COUNTS"]).write_text(json.dumps(COUNTS))
