"""Maps and gradients in float64, and whether a network is fit to be a fixture."""

import torch
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from .interpret import Network

CONDITION = 1e-5
METHODS = {"gradcam": GradCAM, "hirescam": HiResCAM, "layercam": LayerCAM}


def run(model, dtype, x, layers):
    """A function of the classes of the images, which gives the raw maps of each layer and the gradient of the image; and the scores."""
    network = Network(model, dtype).eval()
    x = x.detach().to(dtype, copy=True).requires_grad_()
    scores = network(x)
    values = [network.values[layer] for layer in layers]

    def differentiate(classes):
        score = scores[torch.arange(len(classes)), torch.tensor(classes)].sum()
        *grads, image = torch.autograd.grad(score, values + [x], retain_graph=True)
        rows = []
        for a, g in zip(values, grads, strict=True):
            w = g.mean(tuple(range(2, g.ndim)), keepdim=True)
            maps = {"gradcam": (w * a).sum(1), "hirescam": (g * a).sum(1), "layercam": (g.relu() * a).sum(1)}
            rows.append({"weights": w.flatten(1)} | {k: v.detach() for k, v in maps.items()})
        return rows, image

    return differentiate, scores.detach()


def error(got, want):
    return float((got.double() - want.double()).abs().max() / want.abs().max())


def tensor(t, digits=12):
    t = t.detach()
    return {"shape": list(t.shape), "data": [float(f"{v:.{digits}g}") for v in t.double().flatten()]}


def check_with_pytorch_grad_cam(model, x, value, classes, row):
    """The raw maps of the library itself, which takes images and volumes."""
    for method, cam in METHODS.items():
        network = Network(model, torch.float64).eval()
        tapped = network.tap(value)
        targets = [ClassifierOutputTarget(k) for k in classes]
        with cam(network, [tapped]) as extractor:
            extractor.outputs = extractor.activations_and_grads(x.double().requires_grad_())
            sum(target(out) for target, out in zip(targets, extractor.outputs, strict=True)).backward()
            a, g = extractor.activations_and_grads.activations[0], extractor.activations_and_grads.gradients[0]
            if a.ndim == 3 and method == "gradcam":
                continue  # The library's Grad-CAM has no mean over one axis.
            theirs = extractor.get_cam_image(x, tapped, targets, a.numpy(), g.numpy(), False)
        assert error(torch.tensor(theirs), row[method]) <= 1e-6, f"{method} at {value}"


def condition(model, x, layers, classes):
    """Scores, rows and image gradient in float64, and the error of torch's own float32."""
    differentiate, scores = run(model, torch.float64, x, layers)
    rows, image = differentiate(classes)
    rough, rough_image = run(model, torch.float32, x, layers)[0](classes)
    off = {f"{layer} {m}": error(other[m], row[m]) for layer, row, other in zip(layers, rows, rough, strict=True) for m in METHODS}
    off["image"] = error(rough_image, image)
    return scores, rows, image, off


def contrast(rows):
    """The least range of a map over its largest entry, for each image: 0 where a map is flat."""
    maps = torch.stack([torch.stack(((m := row[k].flatten(1)).amax(1) - m.amin(1), m.abs().amax(1))) for row in rows for k in METHODS])
    return (maps[:, 0] / maps[:, 1]).amin(0)


def classes_with_contrast(model, x, layers, candidates):
    """A class for each image, no two equal: the candidate whose maps have the most contrast."""
    differentiate, _ = run(model, torch.float64, x, layers)
    found = torch.stack([contrast(differentiate([k] * len(x))[0]) for k in candidates])
    chosen = []
    for image in range(len(x)):
        best = found[:, image].argmax()
        chosen.append(candidates[best])
        found[best] = 0
    return chosen


def apart(row):
    """The least difference between two methods, of the largest entry."""
    names = list(METHODS)
    return min(error(row[a], row[b]) for i, a in enumerate(names) for b in names[i + 1 :])
