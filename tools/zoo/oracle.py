"""Torch's maps: at the output of a module, or at the tensor that has the numbers of a value."""

import copy

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from zoo.build import scores

# How near the float64 maps of a model with folded norms must be to its own: rounding alone moves them.
FOLDS = 1e-9


class Recorded(TorchFunctionMode):
    """Every tensor that a function returns, in order; in-place functions get a copy of their input first."""

    def __init__(self, keep):
        super().__init__()
        self.keep, self.count = keep, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if torch.is_tensor(tensor) and tensor.is_floating_point() and tensor.requires_grad:
                self.keep(self.count, tensor)
                self.count += 1
        return result


class Contiguous(torch.autograd.Function):
    """The identity, whose cotangent is laid out in order."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient.contiguous()


class SoundNorms(TorchFunctionMode):
    """Gives batch norms cotangents that are laid out in order.

    From a transposed one, as attention makes it, torch 2.15 computes on a CPU another gradient of a batch norm in evaluation mode
    than finite differences of its own forward pass say, in both precisions (EfficientFormer, EfficientViT and iFormer have that).
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        norm = function in (torch.batch_norm, torch.nn.functional.batch_norm)
        return Contiguous.apply(result) if norm and result.requires_grad else result


def score(output, target):
    """The class score; of a segmentation the sum over the pixels that the class wins."""
    output = scores(output)
    if output.ndim == 4:
        mask = output.argmax(1) == target
        return (output[:, target] * mask).sum()
    return output[0, target]


def module_maps(model, x, target, path, maps):
    """The raw maps at the output of a module, for each of the layouts that `maps` is given."""
    seen = []

    def hook(_module, _input, output):
        whole = output
        while not torch.is_tensor(output):
            output = output[0] if isinstance(output, (tuple, list)) else next(iter(output.values()))
        seen.append(output)
        # What follows may change its input in place.
        return whole.clone() if torch.is_tensor(whole) else None

    handle = model.get_submodule(path).register_forward_hook(hook)
    try:
        with SoundNorms():
            value = score(model(x), target)
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(value, seen[-1], allow_unused=True)
    gradient = torch.zeros_like(seen[-1]) if gradient is None else gradient
    return maps(seen[-1].detach(), gradient)


def find_value(model, x, wanted):
    """The number of the first recorded tensor that has the numbers of `wanted`: later ones may be seen by some of its readers only."""
    found = []
    wanted = torch.from_numpy(wanted).flatten()
    scale = float(wanted.abs().max())

    def keep(number, tensor):
        if tensor.numel() == wanted.numel() and float((tensor.detach().flatten() - wanted).abs().max()) <= 1e-3 * scale:
            found.append(number)

    with Recorded(keep):
        model(x)
    return found[0] if found else None


def value_maps(model, x, target, number, maps):
    """The raw maps at the recorded tensor of that number."""
    seen = {}

    def keep(at, tensor):
        if at == number:
            seen["tensor"], seen["value"] = tensor, tensor.detach().clone()

    with SoundNorms(), Recorded(keep):
        value = score(model(x), target)
    (gradient,) = torch.autograd.grad(value, seen["tensor"])
    return maps(seen["value"], gradient)


def roundings(x, scale=2**-24):
    """The image, and two images that differ in the last bits: float32 has an answer for each order of summation."""
    yield x
    for seed in (1, 2):
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
        yield x * (1 + (2 * noise - 1) * scale)


def folded(model, x):
    """The model with every batch norm behind a convolution folded into its weights, as exporters and engines do.

    Folding is in the model's own precision. The norms stay in their place and do nothing, so that names mean what they meant.
    """
    model = copy.deepcopy(model)
    made, pairs, calls = {}, [], {}

    def called(module, inputs, output):
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            made[id(output)] = module, output  # A reference to the output keeps its id unique.
        elif id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    handles = [module.register_forward_hook(called) for module in model.modules() if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))]
    with torch.no_grad():
        model(x)
        for conv, norm in pairs:
            if calls[conv] > 1 or calls[norm] > 1 or norm.running_mean is None:
                continue
            conv.weight, conv.bias = nn.utils.fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            norm.eps = 0.0
            for tensor, number in ((norm.running_mean, 0), (norm.running_var, 1), (norm.weight, 1), (norm.bias, 0)):
                if tensor is not None:
                    tensor.fill_(number)
    for handle in handles:
        handle.remove()
    return model


def singles(of, model, holds, x):
    """The answers that torch's float32 has for `of(model, x)`.

    They differ by the last bits of the image, other kernels, and the norms in the weights.
    """
    found = [of(model, image) for image in roundings(x)]
    with torch.backends.mkldnn.flags(enabled=False):
        found.append(of(model, x))
    return found + [of(holds, image) for image in roundings(x) if holds is not None]


def layouts(tensor, shape, model):
    """The ways in which a tensor of one image is [C, h, w]."""
    h, w = shape
    if hasattr(model, "reroll") and tensor.ndim == 3 and tensor.shape[1] == h * w:
        # Hiera's tokens stand in the order in which its windows are merged.
        for block in model.reroll.schedule:
            rolled = lambda t, block=block: model.reroll(t, block)[0].permute(2, 0, 1)
            try:
                if tuple(rolled(tensor).shape[1:]) == (h, w):
                    yield rolled
            except RuntimeError:
                continue
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        image = tensor[0]
        if tuple(image.shape[1:]) == (h, w):
            yield lambda t: t[0]
        if tuple(image.shape[:2]) == (h, w):
            yield lambda t: t[0].permute(2, 0, 1)
    if tensor.ndim == 4 and tensor.shape[:3] == (1, 1, h * w):
        yield lambda t: t[0, 0].T.reshape(-1, h, w)
    if tensor.ndim == 4 and tensor.shape[0] == 1 and tensor.shape[1] * tensor.shape[2] == h * w and 1 < tensor.shape[1] < h * w:
        # NesT's blocks of tokens, both square.
        blocks, tokens = (round(size**0.5) for size in tensor.shape[1:3])
        if blocks * tokens == h == w:
            yield lambda t: t[0].reshape(blocks, blocks, tokens, tokens, -1).permute(4, 0, 2, 1, 3).reshape(-1, h, w)
    if tensor.ndim == 3 and tensor.shape[0] == 1:
        _, first, second = tensor.shape
        if first >= h * w:
            # Tokens of the picture follow those of the class and the registers.
            yield lambda t: t[0, first - h * w :].T.reshape(-1, h, w)
            if first > h * w:
                yield lambda t: t[0, : h * w].T.reshape(-1, h, w)
        if second == h * w:
            yield lambda t: t[0].reshape(-1, h, w)


def raw_maps(shape, model):
    """A function that makes the raw maps of Grad-CAM and HiResCAM, a pair for each layout that fits."""

    def maps(activation, gradient):
        pairs = []
        for layout in layouts(activation, shape, model):
            a, g = layout(activation), layout(gradient)
            pairs.append((((g.mean((1, 2))[:, None, None] * a).sum(0)).numpy(), (g * a).sum(0).numpy()))
        if not pairs:
            raise ValueError(f"a tensor of {list(activation.shape)} is no map of {list(shape)}")
        return pairs

    return maps


def apart(found, reference):
    """The largest difference as a share of the largest entry."""
    largest = float(np.abs(reference).max())
    return float(np.abs(found - reference).max() / largest) if largest > 0 else float(np.abs(found).max())
