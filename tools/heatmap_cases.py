# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "grad-cam==1.5.7", "torchcam==0.5.0", "captum==0.9.0", "numpy"]
# ///
"""Writes heatmaps of other libraries: crates/testkit/fixtures/heatmaps.

python tools/heatmap_cases.py [FOLDER]

`cnn.onnx` is a small network with a linear layer behind its flattened features, so that gradients differ from place to place, and
`cases.json` has its two images, a class of each, and what the libraries make of them at the layers `early` and `late`, run in
float64: pytorch-grad-cam with aug_smooth, with eigen_smooth, with several target_layers and as RefineCAM; TorchCAM alone, with
fuse_cams and as RefineCAM; Captum's LayerGradCam with interpolate, its Saliency, IntegratedGradients and
GuidedBackprop. TorchCAM's Smooth Grad-CAM++ gets the random numbers that the project draws from the seed 0, for each image the
same. The projection of eigen_smooth has no sign of its own; it gets the one with which the entry of the largest magnitude is positive.

A heatmap counts only if the library's float32 is within 1e-5 of it, over its largest entry (`condition`). Of each two cases of
one shape the heatmaps differ by 1e-2 somewhere.
"""

import copy
import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytorch_grad_cam as pgc
import torch
import torchcam.methods as tc
from captum.attr import GuidedBackprop, IntegratedGradients, LayerAttribution, LayerGradCam, Saliency
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from networks.reference import error, tensor
from splitmix import uniform
from wyrand import Wyrand

warnings.filterwarnings("ignore")
FIXTURES = Path(__file__).parent.parent / "crates/testkit/fixtures"
SEED = 1
INPUT = (2, 3, 10, 14)
CLASSES = [1, 3]
CONDITION = 1e-5
DISTINCT = 1e-2
# The least gap between the magnitudes of the largest and the least entry of a projection: at 0, rounding decides the sign.
SIDES = 1e-2
METHODS = {"gradcam": pgc.GradCAM, "hirescam": pgc.HiResCAM, "layercam": pgc.LayerCAM, "gradcam++": pgc.GradCAMPlusPlus}
OF_TORCHCAM = {
    "gradcam": tc.GradCAM,
    "smoothgradcam++": tc.SmoothGradCAMpp,
    "xgradcam": tc.XGradCAM,
    "layercam": tc.LayerCAM,
    "scorecam": tc.ScoreCAM,
}
OF_SCORES = {"ablationcam": pgc.AblationCAM, "scorecam": pgc.ScoreCAM}
BOTH = ["early", "late"]


class Cnn(nn.Module):
    """Two layers of different sizes, and a classifier that knows places."""

    def __init__(self):
        super().__init__()
        self.conv1, self.early = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.ReLU()
        self.conv2, self.late = nn.Conv2d(8, 12, 3, padding=1, stride=2), nn.ReLU()
        self.classifier = nn.Linear(12 * 3 * 4, 5)

    def forward(self, x):
        x = self.early(self.conv1(x))
        x = self.late(self.conv2(x))
        return self.classifier(x.flatten(1))


def cnn():
    net = Cnn()
    for name, parameter in net.named_parameters():
        scale = 0.1 if parameter.ndim == 1 else (6 / parameter[0].numel()) ** 0.5
        parameter.data = torch.tensor(uniform(SEED, name, parameter.numel()) * np.float32(scale)).reshape(parameter.shape)
    return net.eval()


def with_sign(method):
    """The method, whose projections have the sign with which the entry of the largest magnitude is positive."""

    class Signed(method):
        def get_cam_image(self, *args, **kwargs):
            maps = super().get_cam_image(*args, **kwargs)
            if not (kwargs.get("eigen_smooth") or args[-1] is True):
                return maps
            for m in maps:
                high, low = m.max(), -m.min()
                assert abs(high - low) >= SIDES * max(high, low), "rounding would decide the sign"
            return np.stack([m if m.max() > -m.min() else -m for m in maps])

    return Signed


def of_pytorch_grad_cam(net, x, method, layers, **smooth):
    targets = [ClassifierOutputTarget(k) for k in CLASSES]
    with with_sign((METHODS | OF_SCORES)[method])(net, [getattr(net, layer) for layer in layers]) as extractor:
        # In a batch of channels, the least activation would include the channels replaced before.
        extractor.batch_size = 1
        return torch.tensor(extractor(x, targets, **smooth))


def refined(net, x, method, layers):
    targets = [ClassifierOutputTarget(k) for k in CLASSES]
    extractor = pgc.RefineCAM(net, [getattr(net, layer) for layer in layers], base_method=METHODS[method])
    return torch.tensor(extractor(x, targets))


class Noise:
    """The noise of Smooth Grad-CAM++, as the project draws it for an image: what it adds to x, rounded as the network's input is."""

    def __init__(self, x, deviation):
        self.x, self.deviation, self.random = x, np.float32(deviation), Wyrand(0)

    def sample(self, size):
        x = self.x.float().numpy()
        noise = self.random.normal(x[0].size).reshape(x[0].shape)
        return torch.tensor(x + self.deviation * noise).to(self.x.dtype) - self.x


def of_torchcam(net, x, method, layers, product=False):
    extractor = tc.RefineCAM(net, layers, base_method=OF_TORCHCAM[method]) if product else OF_TORCHCAM[method](net, layers)
    if method == "smoothgradcam++":
        base = extractor.base_cam if product else extractor
        base._distrib = Noise(x, base.std)
    with extractor:
        maps = extractor(CLASSES, net(x.clone().requires_grad_()))
        return maps[0] if product else extractor.fuse_cams(maps)


def of_captum(net, x, method, layers):
    x = x.clone().requires_grad_()
    match method:
        case "saliency":
            return Saliency(net).attribute(x, CLASSES)
        case "integrated-gradients":
            return IntegratedGradients(net).attribute(x, target=CLASSES)
        case "guided-backprop":
            return GuidedBackprop(net).attribute(x, CLASSES)
    attribution = LayerGradCam(net, getattr(net, layers[0])).attribute(x, CLASSES)
    return LayerAttribution.interpolate(attribution, x.shape[2:])[:, 0]


def cases():
    """For each case its settings, and what the library computes of a network and images."""
    ours = "pytorch-grad-cam"
    for method in METHODS:
        for smooth in [{"aug_smooth": True}, {"eigen_smooth": True}]:
            for layer in BOTH:
                yield (
                    {"profile": ours, "method": method, "layers": [layer]} | smooth,
                    lambda net, x, m=method, at=layer, s=smooth: of_pytorch_grad_cam(net, x, m, [at], **s),
                )
    for method in OF_SCORES:
        yield (
            {"profile": ours, "method": method, "layers": ["late"], "eigen_smooth": True},
            lambda net, x, m=method: of_pytorch_grad_cam(net, x, m, ["late"], eigen_smooth=True),
        )
    for method in ["gradcam", "layercam"]:
        yield (
            {"profile": ours, "method": method, "layers": BOTH, "fusion": "mean"},
            lambda net, x, m=method: of_pytorch_grad_cam(net, x, m, BOTH),
        )
    every = {"aug_smooth": True, "eigen_smooth": True}
    yield (
        {"profile": ours, "method": "layercam", "layers": BOTH, "fusion": "mean"} | every,
        lambda net, x: of_pytorch_grad_cam(net, x, "layercam", BOTH, **every),
    )
    for method in ["gradcam", "gradcam++"]:
        yield (
            {"profile": ours, "method": method, "layers": BOTH, "fusion": "product"},
            lambda net, x, m=method: refined(net, x, m, BOTH),
        )
    for method in OF_TORCHCAM:
        for layer in BOTH:
            yield (
                {"profile": "torchcam", "method": method, "layers": [layer]},
                lambda net, x, m=method, at=layer: of_torchcam(net, x, m, [at]),
            )
        for fusion in ["max", "product"]:
            yield (
                {"profile": "torchcam", "method": method, "layers": BOTH, "fusion": fusion},
                lambda net, x, m=method, f=fusion: of_torchcam(net, x, m, BOTH, f == "product"),
            )
    of_input = [(method, []) for method in ["saliency", "integrated-gradients", "guided-backprop"]]
    for method, layers in [("gradcam", ["early"]), ("gradcam", ["late"]), *of_input]:
        yield (
            {"profile": "captum", "method": method, "layers": layers},
            lambda net, x, m=method, at=layers: of_captum(net, x, m, at),
        )


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    net = cnn()
    exact = copy.deepcopy(net).double()
    x = torch.tensor(uniform(SEED, "input", int(np.prod(INPUT))).reshape(INPUT))
    file = io.BytesIO()
    dynamic = {"input": {0: "batch"}, "scores": {0: "batch"}}
    options = {"input_names": ["input"], "output_names": ["scores"], "dynamic_axes": dynamic}
    torch.onnx.export(net, x, file, dynamo=False, opset_version=17, **options)
    model = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(model)
    (folder / "cnn.onnx").write_bytes(file.getvalue())
    rows, names = [], []
    for settings, compute in cases():
        name = " ".join(str(v) if v is not True else k for k, v in settings.items())
        want = compute(exact, x.double()).detach()
        off = error(compute(net, x).detach(), want)
        print(f"{name}: condition {off:.1e}")
        assert off <= CONDITION
        rows.append(settings | {"heatmaps": tensor(want, 5), "condition": float(f"{off:.1e}")})
        names.append((name, want / want.abs().max()))
    for at, (one, ours) in enumerate(names):
        for other, theirs in names[at + 1 :]:
            apart = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else 1.0
            assert apart >= DISTINCT, f"{one} and {other}: {apart:.1e}"
    known = {"seed": SEED, "input": list(INPUT), "classes": CLASSES, "cases": rows}
    (folder / "cases.json").write_text(json.dumps(known, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES / "heatmaps")
