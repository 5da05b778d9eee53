# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "grad-cam==1.5.7", "pillow==13.0.0", "numpy"]
# ///
"""Writes raw maps of methods that need more than one gradient: crates/testkit/fixtures/methods.

python tools/method_cases.py [FOLDER] [NAME…]

Grad-CAM++, EigenCAM, AblationCAM and ScoreCAM on models of other fixtures: the ONNX file itself is run with torch operators in
float64 (`networks/interpret.py`), and pytorch-grad-cam must agree on the same network. Each image is a batch of its own. Of a
batch of the fixture, the first image has maps of all methods, the others those of Grad-CAM++ and EigenCAM.

AblationCAM replaces one channel a run, by 0 where the least activation of the image is 0, else by that - 1e7. Of tokens
[1, T, K] it replaces the channel of all, the class token's too, which also counts for the least, as pytorch-grad-cam's
AblationLayerVit does; the map is that of the patches. EigenCAM's sign, which is arbitrary there, is the one with which the entry of
the largest magnitude is positive.

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
from pytorch_grad_cam import AblationCAM, EigenCAM, GradCAMPlusPlus, ScoreCAM
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from networks.interpret import Network
from networks.reference import error, tensor
from splitmix import uniform

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "crates/testkit/fixtures"
# Methods that need one run, and methods that need a run for each channel.
CHEAP = {"gradcam++": GradCAMPlusPlus, "eigencam": EigenCAM}
COSTLY = {"ablationcam": AblationCAM, "scorecam": ScoreCAM}
CONDITION = {"gradcam++": 1e-5, "eigencam": 1e-5, "ablationcam": 1e-4, "scorecam": 1e-4}
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


class Run:
    """A network's run of one image, and what the methods make of it at a layer."""

    def __init__(self, model, dtype, x, value, k):
        self.network, self.value, self.k = Network(model, dtype).eval(), value, k
        self.at_once = at_once(model)
        self.x = x.to(dtype, copy=True).requires_grad_()
        score = self.network(self.x)[0, k]
        self.whole = self.network.values[value]
        (gradient,) = torch.autograd.grad(score, self.whole)
        self.x, self.score, self.whole = self.x.detach(), score.detach(), self.whole.detach()
        self.a, self.g = picture(self.whole), picture(gradient)

    def maps(self, methods):
        names = {
            "gradcam": self.grad_cam,
            "gradcam++": self.grad_cam_plus_plus,
            "eigencam": self.eigen_cam,
            "ablationcam": self.ablation_cam,
            "scorecam": self.score_cam,
        }
        return {method: names[method]() for method in methods}

    def grad_cam(self):
        return combined(self.g.mean((2, 3)), self.a)

    def grad_cam_plus_plus(self):
        a, g = self.a, self.g
        share = g**2 / (2 * g**2 + a.sum((2, 3), keepdim=True) * g**3 + 1e-6)
        return combined((g.relu() * torch.where(g != 0, share, 0)).sum((2, 3)), a)

    def eigen_cam(self):
        rows = self.a[0].flatten(1).T
        rows = rows - rows.mean(0)
        along = rows @ torch.linalg.svd(rows, full_matrices=False).Vh[0]
        high, low = along.max(), -along.min()
        assert abs(high - low) >= SIDES * max(high, low), "rounding would decide the sign"
        return (along if high > low else -along).reshape(1, *self.a.shape[2:])

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
        with (CHEAP | COSTLY)[method](network, [network.tapped], **options) as extractor:
            extractor.batch_size = run.at_once if method == "scorecam" else 1
            tapped, targets = network.tapped, [ClassifierOutputTarget(run.k)]
            extractor.activations_and_grads(run.x.clone().requires_grad_())[0, run.k].backward()
            a, g = extractor.activations_and_grads.activations[0], extractor.activations_and_grads.gradients[0]
            theirs = torch.tensor(extractor.get_cam_image(run.x, tapped, targets, a.numpy(), g.numpy(), False))
        # EigenCAM's maps have no sign.
        signs = (1, -1) if method == "eigencam" else (1,)
        rounding, casts[method] = (min(error(sign * theirs, ours) for sign in signs) for ours in (rounded(run, method), row[method]))
        assert rounding <= 1e-6, f"{method} at {run.value}: {rounding:.1e}"
    return casts


def case(model, network, layer, value, image, x, k):
    """A case, with its maps and Grad-CAM's, each divided by its largest entry."""
    methods = [*CHEAP, *COSTLY] if image == 0 else [*CHEAP]
    run = Run(model, torch.float64, x, value, k)
    row, rough = run.maps(methods), Run(model, torch.float32, x, value, k).maps(methods)
    off = {method: error(rough[method], row[method]) for method in methods}
    casts = check_with_pytorch_grad_cam(model, run, row)
    for method in methods:
        print(
            f"{network} {layer} image {image} {method}: condition {off[method]:.1e}, casts of pytorch-grad-cam {casts[method]:.1e}",
            flush=True,
        )
    sound = [method for method in methods if off[method] <= CONDITION[method]]
    if sound != methods:
        assert image > 0, "ill-conditioned"
        print(f"    of which only {sound} are kept")
    found = {
        "layer": layer,
        "value": value,
        "image": image,
        "class": k,
        "maps": {m: tensor(row[m]) for m in sound},
        "condition": {m: float(f"{off[m]:.1e}") for m in sound},
    }
    scaled = {m: t / t.abs().max() for m, t in (run.maps(["gradcam"]) | row).items()}
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
    return (
        onnx.load(ROOT / "crates/gradcam-cli/assets/efficientnet_lite0.onnx"),
        x,
        [known["class"]],
        (maps["value"], [known["class"]], maps["gradcam"]),
    )


def check_with_fixture(model, images, value, classes, maps):
    """The network is that of the other fixture."""
    ours = torch.cat([Run(model, torch.float64, x[None], value, k).grad_cam() for x, k in zip(images, classes, strict=True)])
    assert error(ours, torch.tensor(maps["data"], dtype=torch.float64).reshape(maps["shape"])) <= 1e-6


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
            for image, k in enumerate(classes):
                found, scaled = case(model, name, layer, value, image, images[image : image + 1], k)
                cases.append({"network": name} | found)
                if image == 0:
                    tables[f"{name} {layer}"] = scaled
        (folder / f"{name}.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    methods = ["gradcam", *CHEAP, *COSTLY]
    print("\ndifferences of the maps, each over its largest entry")
    for i, one in enumerate(methods):
        for other in methods[i + 1 :]:
            apart = {layer: float((row[one] - row[other]).abs().max()) for layer, row in tables.items()}
            print(f"{one} {other}: " + ", ".join(f"{layer} {number:.1e}" for layer, number in apart.items()))
            assert max(apart.values()) >= DISTINCT


if __name__ == "__main__":
    arguments = sys.argv[1:]
    folders = [a for a in arguments if a not in NETWORKS]
    main(Path(folders[0]) if folders else FIXTURES / "methods", [a for a in arguments if a in NETWORKS])
