# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "grad-cam==1.5.7", "pillow==13.0.0", "numpy"]
# ///
"""Writes raw maps of all methods of pytorch-grad-cam that have one answer: crates/testkit/fixtures/methods.

python tools/method_cases.py [FOLDER] [NAME…]

The models are those of other fixtures: the ONNX file itself is run with torch operators in float64 (`networks/interpret.py`), and
pytorch-grad-cam must agree on the same network. Each image is a batch of its own. Of a batch of the fixture, the first image has
maps of all methods, the others those of Grad-CAM++ and EigenCAM. A network with smooth activations is there for ShapleyCAM alone,
whose Hessian is 0 where all activations are relus.

AblationCAM replaces one channel a run, by 0 where the least activation of the image is 0, else by that - 1e7. Of tokens
[1, T, K] it replaces the channel of all, the class token's too, which also counts for the least, as pytorch-grad-cam's
AblationLayerVit does; the map is that of the patches. The signs of EigenCAM and Eigen-Grad-CAM, which are arbitrary there, are
those with which the entry of the largest magnitude is positive. ShapleyCAM takes no tokens there, so its weights are compared.

A map counts only if float32 and float64 torch agree, to 1e-5 of the largest entry or 1e-4 where scores are compared, and the JSON
says how far they are apart (`condition`). Where a first image has too large a difference, `NETWORKS` names another class; of another
image the map is left out. Of each two methods the maps must differ by 1e-2 at some layer, each over its largest entry.
"""

import json
import os
import sys
from functools import cached_property
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # before torch reads it

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image
from pytorch_grad_cam import (
    FEM,
    KPCA_CAM,
    AblationCAM,
    EigenCAM,
    EigenGradCAM,
    FinerCAM,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
    SegEigenCAM,
    ShapleyCAM,
    XGradCAM,
)
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from networks.interpret import Network
from networks.reference import error, tensor
from networks.settle import settled
from splitmix import uniform

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "crates/testkit/fixtures"
# Methods for every image, and for the first image: those that need a run for each channel, and those that need one.
CHEAP = {"gradcam++": GradCAMPlusPlus, "eigencam": EigenCAM}
COSTLY = {"ablationcam": AblationCAM, "scorecam": ScoreCAM}
FIRST = {
    "gradcam": GradCAM,
    "hirescam": HiResCAM,
    "gradcam-elementwise": GradCAMElementWise,
    "xgradcam": XGradCAM,
    "layercam": LayerCAM,
    "shapleycam": ShapleyCAM,
    "finercam": FinerCAM,
    "eigengradcam": EigenGradCAM,
    "segeigencam": SegEigenCAM,
    "kpcacam": KPCA_CAM,
    "fem": FEM,
}
ALL = CHEAP | COSTLY | FIRST
UNSIGNED = {"eigencam", "eigengradcam"}


def limit(method):
    return 1e-4 if method in COSTLY else 1e-5


# Maps are compared to 1e-4 of the largest entry.
DIGITS = 8
DISTINCT = 1e-2
# The least gap between the magnitudes of the largest and the least entry of an EigenCAM map: at 0, rounding decides the sign.
SIDES = 1e-2


def picture(t):
    """[1, K, h, w]; tokens [1, T, K] are those of a square of patches behind the class token."""
    if t.ndim == 4:
        return t
    side = int((t.shape[1] - 1) ** 0.5)
    assert side**2 == t.shape[1] - 1
    return t[:, 1:].transpose(1, 2).reshape(1, -1, side, side)


def channel_axis(t):
    return 1 if t.ndim == 4 else 2


def at_once(model):
    """The number of images that the network takes."""
    return model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 16


def combined(w, a):
    return (w.flatten()[:, None, None] * a).sum(1)


def centered(a):
    """[S, K], without the mean of each channel."""
    rows = a[0].flatten(1).T
    return rows - rows.mean(0)


def principal(a):
    rows = centered(a)
    return signed(rows @ torch.linalg.svd(rows, full_matrices=False).Vh[0], a)


def signed(along, a):
    high, low = along.max(), -along.min()
    assert abs(high - low) >= SIDES * max(high, low), "rounding would decide the sign"
    return (along if high > low else -along).reshape(1, *a.shape[2:])


class Run:
    """A network's run of one image, and what the methods make of it at a layer."""

    def __init__(self, model, dtype, x, value, k):
        self.network, self.value, self.k = Network(model, dtype).eval(), value, k
        self.at_once = at_once(model)
        self.x = x.to(dtype, copy=True).requires_grad_()
        scores = self.network(self.x)[0]
        whole = self.network.values[value]
        (gradient,) = torch.autograd.grad(scores[k], whole, create_graph=True)
        (contrast,) = torch.autograd.grad(self.contrast(scores), whole, retain_graph=True)
        curvature = torch.zeros_like(whole)
        if gradient.requires_grad:
            curvature = torch.autograd.grad(gradient, whole, whole.detach(), allow_unused=True, materialize_grads=True)[0]
        self.x, self.score, self.whole = self.x.detach(), scores[k].detach(), whole.detach()
        self.a, self.g = picture(self.whole), picture(gradient.detach())
        self.contrast_gradient, self.curvature = picture(contrast), picture(curvature)

    def contrast(self, scores):
        """The score against those of the three nearest classes, weighed by their probabilities."""
        nearest = (scores - scores[self.k]).abs().argsort(stable=True)[1:4]
        assert self.k not in nearest
        p = scores.softmax(0)[nearest]
        return (p * (scores[self.k] - scores[nearest])).sum() / (p.sum() + 1e-9)

    def maps(self, methods):
        names = {
            "gradcam": self.grad_cam,
            "hirescam": lambda: (self.g * self.a).sum(1),
            "gradcam-elementwise": lambda: (self.g * self.a).relu().sum(1),
            "gradcam++": self.grad_cam_plus_plus,
            "xgradcam": lambda: combined((self.g * self.a / (self.a.sum((2, 3), keepdim=True) + 1e-7)).sum((2, 3)), self.a),
            "layercam": lambda: (self.g.relu() * self.a).sum(1),
            "shapleycam": lambda: combined(self.shapley_weights, self.a),
            "finercam": lambda: combined(self.contrast_gradient.mean((2, 3)), self.a),
            "eigencam": lambda: principal(self.a),
            "eigengradcam": lambda: principal(self.g * self.a),
            "segeigencam": lambda: principal(self.g.abs() * self.a),
            "kpcacam": self.kpca_cam,
            "fem": lambda: combined((self.a > self.peak()).to(self.a.dtype).mean((2, 3)), self.a),
            "ablationcam": self.ablation_cam,
            "scorecam": self.score_cam,
        }
        return {method: names[method]() for method in methods}

    @cached_property
    def shapley_weights(self):
        return (self.g - self.curvature / 2).mean((2, 3))

    def peak(self):
        """Two standard deviations above the mean of each channel."""
        return self.a.mean((2, 3), keepdim=True) + 2 * self.a.std((2, 3), correction=0, keepdim=True)

    def kpca_cam(self):
        rows = centered(self.a)
        kernel = torch.tanh(rows @ rows.T / rows.shape[1] + 1)
        kernel = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
        values, vectors = torch.linalg.eigh(kernel)
        return signed(vectors[:, -1] * values[-1].sqrt(), self.a)

    def grad_cam(self):
        return combined(self.g.mean((2, 3)), self.a)

    def grad_cam_plus_plus(self):
        a, g = self.a, self.g
        share = g**2 / (2 * g**2 + a.sum((2, 3), keepdim=True) * g**3 + 1e-6)
        return combined((g.relu() * torch.where(g != 0, share, 0)).sum((2, 3)), a)

    def ablation_cam(self):
        return combined((self.score - self.ablated) / self.score, self.a)

    @cached_property
    @torch.no_grad()
    def ablated(self):
        """The score without each channel."""
        least = self.whole.min()
        instead = 0 if least == 0 else least - 1e7
        reached, behind = {self.value}, []
        for n in self.network.graph.node:
            if reached & set(n.input):
                reached |= set(n.output)
                behind.append(n)
        scores = []
        for channels in torch.arange(self.a.shape[1]).split(self.at_once):
            replaced = self.whole.repeat(len(channels), *[1] * (self.whole.ndim - 1))
            for one, channel in zip(replaced, channels, strict=True):
                one.select(channel_axis(self.whole) - 1, channel).fill_(instead)
            self.network.values[self.value] = replaced
            for n in behind:
                self.network.step(n)
            scores.append(self.network.values[self.network.graph.output[0].name][:, self.k])
        return torch.cat(scores)

    def score_cam(self):
        return combined(self.masked.softmax(0), self.a)

    @cached_property
    @torch.no_grad()
    def masked(self):
        """The score of the image behind each channel."""
        masks = F.interpolate(self.a, self.x.shape[2:], mode="bilinear", align_corners=True)[0]
        low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
        masks = (masks - low) / (high - low + 1e-8)
        return torch.cat([self.network(self.x * some)[:, self.k] for some in masks[:, None].split(self.at_once)])


def rounded(run, method):
    """The map with pytorch-grad-cam's casts to float32: of EigenCAM's map, AblationCAM's scores, and ScoreCAM's before the softmax."""
    match method:
        case "ablationcam":
            score = run.score.float()
            return combined((score - run.ablated.float()) / score, run.a)
        case "scorecam":
            return combined(run.masked.float().softmax(0), run.a)
    return run.maps([method])[method]


def library_map(method, extractor, network, run):
    """The raw map of the library."""
    tapped, x = network.tapped, run.x.clone().requires_grad_()
    if method == "finercam":
        extractor, whole = extractor.base_cam, extractor
        raw, make = [], extractor.get_cam_image
        extractor.get_cam_image = lambda *given: raw.append(make(*given)) or raw[0]
        whole(x, target_idx=run.k)
        return torch.tensor(raw[0])
    extractor.batch_size = run.at_once if method == "scorecam" else 1
    targets, saved = [ClassifierOutputTarget(run.k)], extractor.activations_and_grads
    score = saved(x)[0, run.k]
    if method == "shapleycam":
        torch.autograd.grad(score, x, create_graph=True)
        (a,), (g,) = saved.activations, saved.gradients
        if not g.requires_grad:
            # The gradient does not depend on the activation, which the library does not expect.
            return combined(picture(g).mean((2, 3)), run.a)
        weights = torch.tensor(extractor.get_cam_weights(x, tapped, targets, a, g))
        # The library would detach them in place, which views refuse.
        saved.activations, saved.gradients = [], []
        return combined(weights, run.a)
    score.backward()
    a, g = saved.activations[0], saved.gradients[0]
    return torch.tensor(extractor.get_cam_image(run.x, tapped, targets, a.numpy(), g.numpy(), False))


def check_with_pytorch_grad_cam(model, run, row):
    """Asserts that the library's raw maps are ours with its casts; returns the error that its casts alone cause."""
    casts = {}
    for method in row:
        network = Network(model, torch.float64).eval()
        # AblationCAM replaces this module, so that a run looks it up.
        network.tapped = torch.nn.Identity()
        network.taps[run.value] = lambda out, network=network: network.tapped(out)
        options = {"reshape_transform": picture}
        if method == "ablationcam":
            # In a batch of channels, the least activation would include the channels replaced before.
            options |= {"batch_size": 1, "ablation_layer": AblationLayer() if run.whole.ndim == 4 else AblationLayerVit()}
        with ALL[method](network, [network.tapped], **options) as extractor:
            theirs = library_map(method, extractor, network, run)
        signs = (1, -1) if method in UNSIGNED else (1,)
        rounding, casts[method] = (min(error(sign * theirs, ours) for sign in signs) for ours in (rounded(run, method), row[method]))
        assert rounding <= 1e-6, f"{method} at {run.value}: {rounding:.1e}"
    return casts


def case(model, network, layer, value, image, x, k):
    """A case, with its maps and Grad-CAM's, each divided by its largest entry."""
    methods = (ONLY.get(network) or [*ALL]) if image == 0 else [*CHEAP]
    run = Run(model, torch.float64, x, value, k)
    row, rough = run.maps(methods), Run(model, torch.float32, x, value, k).maps(methods)
    off = {method: error(rough[method], row[method]) for method in methods}
    casts = check_with_pytorch_grad_cam(model, run, row)
    for method in methods:
        print(
            f"{network} {layer} image {image} {method}: condition {off[method]:.1e}, casts of pytorch-grad-cam {casts[method]:.1e}",
            flush=True,
        )
    sound = [method for method in methods if off[method] <= limit(method)]
    if sound != methods:
        assert image > 0, "ill-conditioned"
        print(f"    of which only {sound} are kept")
    found = {
        "layer": layer,
        "value": value,
        "image": image,
        "class": k,
        "maps": {m: tensor(row[m], DIGITS if m in FIRST else 12) for m in sound},
        "condition": {m: float(f"{off[m]:.1e}") for m in sound},
    }
    scaled = {m: t / t.abs().max() for m, t in row.items()}
    return found, scaled


def weighed(name, k=None):
    """A network of fixtures/networks, its images and their classes, and of a value the classes and the maps of Grad-CAM that are known."""
    known = json.loads((FIXTURES / f"networks/{name}.json").read_text())
    model = onnx.load(FIXTURES / f"networks/{name}.onnx")
    for t in model.graph.initializer:
        if t.name in known["scales"]:
            weights = uniform(known["seed"], t.name, int(np.prod(t.dims))) * np.float32(known["scales"][t.name])
            t.CopyFrom(numpy_helper.from_array(weights.reshape(tuple(t.dims)), t.name))
    maps = next(iter(known["layers"].values()))
    classes = known["classes"] if k is None else [k, *known["classes"][1:]]
    return model, drawn(known), classes, (maps["value"], known["classes"], maps["gradcam"])


def of_the_zoo(name, value, k=None):
    known = json.loads((FIXTURES / f"zoo/{name}.json").read_text())
    maps = value, [known["class"]], known["layers"][known["default"]]["gradcam"]
    return onnx.load(FIXTURES / f"zoo/{name}.onnx"), drawn(known), [known["class"] if k is None else k], maps


def drawn(known):
    return torch.tensor(uniform(known["seed"], "input", int(np.prod(known["input"]))).reshape(known["input"]))


def lite0():
    known = json.loads((FIXTURES / "networks/lite0.json").read_text())[0]
    photo = np.asarray(Image.open(FIXTURES / f"networks/{known['photo']}_224.png").convert("RGB"))
    x = ((torch.tensor(photo).float() - 127) / 128).permute(2, 0, 1)[None]
    maps = known["layers"]["blocks.4.2"]
    model = onnx.load(ROOT / "crates/gradcam-cli/assets/efficientnet_lite0.onnx")
    of_fixture, moves = settled(model, x, known["layers"]["blocks.2.1"]["value"])
    assert moves == known["moves"]
    return model, x, [known["class"]], (maps["value"], [known["class"]], maps["gradcam"], of_fixture)


def check_with_fixture(model, images, value, classes, maps, of_fixture=None):
    """The network is that of the other fixture, or has become it."""
    model = of_fixture or model
    ours = torch.cat([Run(model, torch.float64, x[None], value, k).grad_cam() for x, k in zip(images, classes, strict=True)])
    assert error(ours, torch.tensor(maps["data"], dtype=torch.float64).reshape(maps["shape"])) <= 1e-6


# Networks of a few methods.
ONLY = {"efficientnet_b0": ["gradcam", "shapleycam"]}
# The networks, and the values of their layers. Two have another class than their fixture: without one of its channels vgg11_bn's own
# differs by so little that float32 does not tell, and nor does it with vit.dynamo's masks, while channels of a norm that weigh the
# same are nearly 0 together.
NETWORKS = {
    "vgg11_bn": (
        lambda: weighed("vgg11_bn", 117),
        {"features.27": "/features/features.27/Relu_output_0", "features.10": "/features/features.10/Relu_output_0"},
    ),
    "resnet18": (
        lambda: weighed("resnet18"),
        {"layer4.1": "/layer4/layer4.1/relu_1/Relu_output_0", "layer2.1": "/layer2/layer2.1/relu_1/Relu_output_0"},
    ),
    "vit.dynamo": (lambda: of_the_zoo("vit.dynamo", "layer_norm_4", 9), {"blocks.2.norm1": "layer_norm_4"}),
    "hf_clip.dynamo": (lambda: of_the_zoo("hf_clip.dynamo", "layer_norm_5"), {"vision_model.encoder.layers.2.layer_norm1": "layer_norm_5"}),
    "efficientnet_b0": (lambda: weighed("efficientnet_b0"), {"features.6": "/features/features.6/features.6.3/Add_output_0"}),
    "lite0": (lite0, {"blocks.4": "/blocks/blocks.4/blocks.4.2/Add_output_0"}),
}


def main(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for name in names or NETWORKS:
        load, layers = NETWORKS[name]
        model, images, classes, known = load()
        check_with_fixture(model, images, *known)
        cases = []
        for layer, value in layers.items():
            for image, k in enumerate(classes[:1] if name in ONLY else classes):
                found, scaled = case(model, name, layer, value, image, images[image : image + 1], k)
                cases.append({"network": name} | found)
                if image == 0:
                    tables[f"{name} {layer}"] = scaled
        (folder / f"{name}.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    methods = [*ALL]
    print("\ndifferences of the maps, each over its largest entry")
    for i, one in enumerate(methods):
        for other in methods[i + 1 :]:
            both = {layer: row for layer, row in tables.items() if one in row and other in row}
            apart = {layer: float((row[one] - row[other]).abs().max()) for layer, row in both.items()}
            print(f"{one} {other}: " + ", ".join(f"{layer} {number:.1e}" for layer, number in apart.items()))
            assert max(apart.values(), default=1) >= DISTINCT


if __name__ == "__main__":
    arguments = sys.argv[1:]
    folders = [a for a in arguments if a not in NETWORKS]
    main(Path(folders[0]) if folders else FIXTURES / "methods", [a for a in arguments if a in NETWORKS])
