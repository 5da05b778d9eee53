# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "captum==0.9.0", "torchcam==0.5.0", "grad-cam==1.5.7", "pillow==13.0.0", "numpy"]
# ///
"""Writes maps of methods that run the network again, or need gradients at several places: crates/testkit/fixtures/passes.

python tools/pass_cases.py [FOLDER]

On models of fixtures/networks, which `networks/interpret.py` runs with torch operators in float64: saliency and integrated gradients
by Captum, with its nodes; occlusion by Captum; SmoothGrad, Smooth Grad-CAM++, RISE and Recipro-CAM by the formulas below, with the
random numbers that the project draws from a seed (`wyrand.py`). Smooth Grad-CAM++ is that of TorchCAM where there is no noise and
the gradient is the same at all positions. Cases of the profile torchcam are TorchCAM's own ScoreCAM and Smooth Grad-CAM++, with
these random numbers and before its relu; the usual formulas give maps that differ from them by DISTINCT of the largest entry.

Guided Grad-CAM and FullGrad are pytorch-grad-cam's, of the networks of fixtures/guided and of a small one that keeps its batch norms
(`norms.onnx`).

A map counts only if float32 and float64 torch agree, to 1e-5 of the largest entry or 1e-4 where scores are compared; the JSON says
how far they are apart (`condition`). The noisy images of SmoothGrad keep the inputs of rectifiers MARGIN away from zero, so that no
processor's float32 has another sign there. Of maps at the input every STEP-th entry is kept.
"""

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, Occlusion, Saliency
from pytorch_grad_cam import FullGrad, GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam.methods import ScoreCAM, SmoothGradCAMpp

import guided_cases
from method_cases import FIXTURES, weighed
from networks.interpret import Network
from networks.reference import error
from splitmix import uniform
from wyrand import Wyrand

STEP = 29
DISTINCT = 1e-2
# Of the root mean square of a rectifier's inputs.
MARGIN = 2e-6


class Subject:
    """A network in one precision, an image [1, …] and a class, whose score or probability is explained."""

    def __init__(self, model, dtype, x, k, probability=False):
        self.network, self.x, self.k, self.probability = Network(model, dtype).eval(), x.to(dtype, copy=True), k, probability

    @torch.no_grad()
    def scores(self, images):
        scores = torch.cat([self.network(some) for some in images.split(16)])
        return (scores.softmax(1) if self.probability else scores)[:, self.k]

    def gradient(self, x, value=None):
        """Of the score with respect to a value, or to the image; and the value."""
        x = x.to(self.x.dtype).requires_grad_()
        score = self.network(x)[0, self.k]
        at = x if value is None else self.network.values[value]
        return torch.autograd.grad(score, at)[0][0], at[0].detach()

    def noisy(self, samples, deviation, seed):
        """The images, rounded as the network's input is."""
        random, x = Wyrand(seed), self.x.detach().float().numpy()
        for _ in range(samples):
            noise = random.normal(x.size).reshape(x.shape)
            yield torch.tensor(x + np.float32(deviation) * noise)


def margin(s, samples, noise, seed):
    """The least distance of a rectifier's input from zero over the noisy images."""
    x = s.x.detach().float().numpy()
    rectifiers = [n.input[0] for n in s.network.graph.node if n.op_type == "Relu"]
    found = []
    for image in s.noisy(samples, np.float32(noise) * (x.max() - x.min()), seed):
        with torch.no_grad():
            s.network(image)
        found += [v.abs().min() / v.square().mean().sqrt() for v in map(s.network.values.get, rectifiers)]
    return float(min(found))


def saliency(s):
    return Saliency(s.network).attribute(s.x.clone().requires_grad_(), target=s.k, abs=False)[0], {}


def integrated_gradients(s, samples):
    found, delta = IntegratedGradients(s.network).attribute(s.x, target=s.k, n_steps=samples, return_convergence_delta=True)
    return found[0], {"completeness_error": float(delta[0])}


def smoothgrad(s, samples, noise, seed):
    x = s.x.detach().float().numpy()
    deviation = np.float32(noise) * (x.max() - x.min())
    return torch.stack([s.gradient(x)[0] for x in s.noisy(samples, deviation, seed)]).mean(0), {}


def smoothgradcampp(s, value, samples, noise, seed):
    a = s.gradient(s.x, value)[1]
    g = torch.stack([s.gradient(x, value)[0] for x in s.noisy(samples, noise, seed)])
    space = tuple(range(1, a.ndim))
    g1, g2, g3 = g.mean(0), (g**2).mean(0), (g**3).mean(0)
    alpha = g2 / (2 * g2 + g3 * a.sum(space, keepdim=True) + 1e-8)
    w = (alpha * g1.relu()).sum(space, keepdim=True)
    return (w * a).sum(0), {}


def rise(s, samples, seed):
    size = s.x.shape[2:]
    random, cells = Wyrand(seed), [-(-n // 7) for n in size]
    masks = []
    for _ in range(samples):
        grid = torch.tensor([random.f64() < 0.5 for _ in range(7 ** len(size))], dtype=s.x.dtype).reshape(1, 1, *[7] * len(size))
        shift = [int(random.f64() * cell) for cell in cells]
        mode = {1: "linear", 2: "bilinear"}[len(size)]
        whole = F.interpolate(grid, [8 * cell for cell in cells], mode=mode, align_corners=False)[0, 0]
        masks.append(whole[tuple(slice(at, at + n) for at, n in zip(shift, size, strict=True))])
    masks = torch.stack(masks)
    scores = s.scores(s.x * masks[:, None])
    return torch.tensordot(scores, masks, 1) / (samples * 0.5), {}


def occlusion(s, window=None, stride=None):
    channels, *size = s.x.shape[1:]
    windows = [min(window or -(-n // 7), n) for n in size]
    strides = [stride or -(-n // 2) for n in windows]
    found = Occlusion(s.network).attribute(s.x, (channels, *windows), (channels, *strides), target=s.k)
    return found[0, 0], {}


def reciprocam(s, value):
    s.network(s.x)
    a = s.network.values[value].detach()
    size = a.shape[2:]
    masks = []
    for center in np.ndindex(*size):
        factors = [[{0: 0.5, 1: 0.25}.get(abs(i - at), 0.0) for i in range(n)] for at, n in zip(center, size, strict=True)]
        mask = torch.ones(size, dtype=a.dtype)
        for axis, factor in enumerate(factors):
            mask *= torch.tensor(factor, dtype=a.dtype).reshape([-1 if i == axis else 1 for i in range(len(size))])
        masks.append(mask)
    nodes, reached = [], {value}
    for n in s.network.graph.node:
        if reached & set(n.input):
            reached |= set(n.output)
            nodes.append(n)
    s.network.values[value] = a * torch.stack(masks)[:, None]
    with torch.no_grad():
        for n in nodes:
            s.network.step(n)
    return s.network.values[s.network.graph.output[0].name][:, s.k].reshape(size), {}


def scorecam(s, value):
    """The usual one, for comparison."""
    s.network(s.x)
    a = s.network.values[value].detach()
    masks = F.interpolate(a, s.x.shape[2:], mode="bilinear", align_corners=True)[0]
    masks = masks - masks.amin((1, 2), keepdim=True)
    masks = masks / (masks.amax((1, 2), keepdim=True) + 1e-8)
    return torch.tensordot(s.scores(s.x * masks[:, None]).softmax(0), a[0], 1), {}


def of_torchcam(s, value, make):
    s.network.tapped = s.network.tap(value)
    with make(s.network) as extractor:
        extractor._relu = False
        (found,) = extractor(s.k, s.network(s.x.clone().requires_grad_()), normalized=False)
    return found[0], {}


def scorecam_of_torchcam(s, value):
    return of_torchcam(s, value, lambda network: ScoreCAM(network, "tapped"))


def smoothgradcampp_of_torchcam(s, value, samples, noise, seed):
    images = s.noisy(samples, noise, seed)

    class Noise:
        def sample(self, size):
            return next(images).to(s.x.dtype) - s.x

    def make(network):
        extractor = SmoothGradCAMpp(network, "tapped", num_samples=samples)
        extractor._distrib = Noise()
        return extractor

    return of_torchcam(s, value, make)


METHODS = {
    "saliency": saliency,
    "integrated-gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "smoothgradcam++": smoothgradcampp,
    "rise": rise,
    "occlusion": occlusion,
    "reciprocam": reciprocam,
}
# Of the profile torchcam, and the usual ones.
OF_TORCHCAM = {"scorecam": (scorecam_of_torchcam, scorecam), "smoothgradcam++": (smoothgradcampp_of_torchcam, smoothgradcampp)}
# Methods that compare scores.
COMPARED = ("rise", "occlusion", "reciprocam", "scorecam")
TORCHCAM = {"profile": "torchcam"}
PROBABILITY = {"probability": True}

# For each network the method, its layer, its settings and what else is not usual.
CASES = {
    "resnet18": [
        ("saliency", None, {}),
        ("integrated-gradients", None, {"samples": 50}),
        ("smoothgrad", None, {"samples": 6, "noise": 0.15, "seed": 0}),
        ("smoothgradcam++", "layer4.1", {"samples": 1, "noise": 0.0, "seed": 0}),
        ("reciprocam", "layer4.1", {}),
        ("occlusion", None, {}),
        ("scorecam", "layer4.1", {}, TORCHCAM),
        ("smoothgradcam++", "layer4.1", {"samples": 4, "noise": 0.3, "seed": 6}, TORCHCAM),
    ],
    "vgg11_bn": [
        ("integrated-gradients", None, {"samples": 7}),
        ("smoothgrad", None, {"samples": 3, "noise": 0.05, "seed": 2**63 + 5}),
        ("smoothgradcam++", "features.10", {"samples": 4, "noise": 0.3, "seed": 2}),
        ("reciprocam", "features.10", {}),
        ("rise", None, {"samples": 90, "seed": 0}),
        ("rise", None, {"samples": 90, "seed": 0}, PROBABILITY),
        ("occlusion", None, {"window": 9, "stride": 4}),
        ("occlusion", None, {"window": 40, "stride": 7}),
        ("scorecam", "features.10", {}, TORCHCAM),
        ("smoothgradcam++", "features.10", {"samples": 4, "noise": 0.3, "seed": 2}, TORCHCAM),
    ],
    "ecg": [
        ("rise", None, {"samples": 40, "seed": 7}),
        ("rise", None, {"samples": 40, "seed": 7}, PROBABILITY),
        ("occlusion", None, {}),
        ("smoothgrad", None, {"samples": 5, "noise": 0.1, "seed": 4}),
    ],
}


def check_with_torchcam(model, x, k, value, ours):
    """Without noise, where the gradient is the same at all positions."""
    network = Network(model, torch.float64).eval()
    network.tapped = network.tap(value)

    class Silence:
        def sample(self, size):
            return torch.zeros(size, dtype=torch.float64)

    with SmoothGradCAMpp(network, "tapped", num_samples=2) as extractor:
        extractor._distrib = Silence()
        scores = network(x.double().requires_grad_())
        (theirs,) = extractor(k, scores, normalized=False)
    assert error(theirs, ours.relu()) <= 1e-6, "TorchCAM"


def norms():
    """A network that keeps its batch norms; some convolutions have biases."""
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for t, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5), (module.running_var, 0.5)):
                nn.init.uniform_(t, low, low + 1)
    return net.eval()


def guided_network(name):
    """A network of fixtures/guided."""
    net = getattr(guided_cases, name)().eval()
    known = json.loads((FIXTURES / f"guided/{name}.json").read_text())
    assert guided_cases.weigh(net, known["seed"]) == known["scales"]
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    x = torch.tensor(uniform(known["seed"], "input", math.prod(known["input"]))).reshape(known["input"])
    return net, x[:1], known["classes"][0]


def guided_gradcam(net, x, k, layer):
    with GradCAM(net, [net.get_submodule(layer)]) as extractor:
        heat = torch.tensor(extractor(x.clone(), [ClassifierOutputTarget(k)]))
    return heat * guided_cases.guided(net, x, k)


def fullgrad(net, x, k):
    x = x.clone().requires_grad_()
    with FullGrad(net, []) as extractor:
        extractor.activations_and_grads(x)[0, k].backward()
        # The map before the last normalization.
        return torch.tensor(extractor.compute_cam_per_layer(x, None, False)[0, 0])


def with_hooks():
    """The cases of pytorch-grad-cam."""
    net, x = norms(), torch.tensor(uniform(2026, "input", 3 * 24 * 32)).reshape(1, 3, 24, 32)
    yield {"folder": "passes", "network": "norms"}, net, x, 3, fullgrad, None
    for name, layers in (("resnet18", ("layer4.1", "layer2.1")), ("vgg16", ("features.29",))):
        net, x, k = guided_network(name)
        for layer in layers:
            yield {"folder": "guided", "network": name}, net, x, k, guided_gradcam, layer
        if name == "resnet18":
            yield {"folder": "guided", "network": name}, net, x, k, fullgrad, None


def export(net, x, path):
    buffer = io.BytesIO()
    kept = torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(net, x, buffer, dynamo=False, opset_version=17, training=kept, do_constant_folding=False, input_names=["input"])
    model = onnx.load_from_string(buffer.getvalue())
    assert sum(n.op_type == "BatchNormalization" for n in model.graph.node) == 2
    del model.graph.value_info[:]
    onnx.save(model, path)


def row(method, layer, k, settings, exact, condition):
    step = 1 if method in ("smoothgradcam++", "reciprocam", "scorecam") else STEP
    return {
        "method": method, "layer": layer, "class": k, "settings": settings, "shape": list(exact.shape), "step": step,
        "entries": [float(f"{v:.9g}") for v in exact.detach().flatten()[::step]],
        "largest": float(exact.abs().max()), "condition": float(f"{condition:.1e}"),
    }  # fmt: skip


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, cases in CASES.items():
        model, images, classes, _ = weighed(name)
        layers = {path: row["value"] for path, row in json.loads((FIXTURES / f"networks/{name}.json").read_text())["layers"].items()}
        x, k = images[:1], classes[0]
        found = []
        for method, layer, settings, *rest in cases:
            unusual = rest[0] if rest else {}
            is_of_torchcam, probability = unusual == TORCHCAM, unusual == PROBABILITY
            compute = OF_TORCHCAM[method][0] if is_of_torchcam else METHODS[method]
            value = {} if layer is None else {"value": layers[layer]}
            exact, numbers = compute(Subject(model, torch.float64, x, k, probability), **value, **settings)
            rough, _ = compute(Subject(model, torch.float32, x, k, probability), **value, **settings)
            condition = error(rough.detach(), exact.detach())
            what = f"{name} {method} {layer or ''} {settings} {unusual}"
            print(f"{what}: {list(exact.shape)}, condition {condition:.1e} {numbers}", flush=True)
            assert condition <= (1e-4 if method in COMPARED else 1e-5)
            if method == "smoothgrad":
                least = margin(Subject(model, torch.float64, x, k), **settings)
                print(f"  margin {least:.1e}")
                assert least >= MARGIN
            if is_of_torchcam:
                usual, _ = OF_TORCHCAM[method][1](Subject(model, torch.float64, x, k), **value, **settings)
                apart = error(usual.detach(), exact)
                print(f"  from the usual one: {apart:.1e}")
                assert apart >= DISTINCT
            elif method == "smoothgradcam++" and settings["noise"] == 0:
                check_with_torchcam(model, x, k, value["value"], exact)
            names = {"folder": "networks", "network": name}
            found.append(names | row(method, layer, k, settings, exact, condition) | unusual | numbers)
        (folder / f"{name}.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
    found = []
    for names, net, x, k, method, layer in with_hooks():
        at = [] if layer is None else [layer]
        exact, rough = method(net.double(), x.double(), k, *at), method(net.float(), x, k, *at)
        condition = error(rough, exact)
        print(f"{names} {method.__name__} {layer or ''}: {list(exact.shape)}, condition {condition:.1e}", flush=True)
        assert condition <= 1e-5
        found.append(names | row(method.__name__.replace("_", "-"), layer, k, {}, exact, condition))
        if names["network"] == "norms":
            export(net, x, folder / "norms.onnx")
    (folder / "guided.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES / "passes")
