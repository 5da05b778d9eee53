"""What is right: torch's autograd, or ONNX's reference evaluator and central differences."""

import numpy as np
import torch


class Again(Exception):
    """A drawn use is not legal, or has no derivative; draw again."""


def differentiate(y, tensors, cotangent):
    """The gradient of ⟨cotangent, y⟩ with respect to each tensor: zero where y does not depend on it."""
    grads = torch.autograd.grad(y, tensors, cotangent, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, grads, strict=True)]


def by_torch(function, xs, cotangent, kind):
    """The output of a function of named tensors, and its gradients by name."""
    tensors = {k: torch.tensor(v.astype(kind), requires_grad=True) for k, v in xs.items()}
    y = function(tensors)
    cotangent = torch.tensor(cotangent.astype(kind))
    assert cotangent.shape == y.shape, f"{tuple(y.shape)} and {tuple(cotangent.shape)}"
    grads = differentiate(y, list(tensors.values()), cotangent)
    return y.detach().numpy(), {name: grad.numpy() for name, grad in zip(tensors, grads, strict=True)}


def by_differences(function, xs, cotangent):
    """The gradient of ⟨cotangent, y⟩ by central differences; `Again` where two steps disagree, as at a kink."""
    grads = {}
    for name, x in xs.items():
        found = []
        for h in (1e-5, 3e-6):
            grad = np.zeros(x.shape)
            for at in np.ndindex(*x.shape):
                sides = []
                for sign in (1, -1):
                    moved = x.copy()
                    moved[at] += sign * h
                    sides.append(function(xs | {name: moved}))
                if any(side.shape != cotangent.shape for side in sides):
                    raise Again("its shape depends on its numbers")
                grad[at] = ((sides[0] - sides[1]) * cotangent).sum() / (2 * h)
            found.append(grad)
        scale = max(np.abs(found[0]).max(initial=0), 1e-3)
        if not np.abs(found[0] - found[1]).max(initial=0) < 2e-6 * scale:
            raise Again("its derivative jumps")
        grads[name] = found[0]
    return grads


def distance(a, b):
    """The largest difference over the largest entry of b; infinite where shapes differ."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return np.inf
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0, np.abs(a - b))
    return difference.max(initial=0) / max(np.abs(b).max(initial=0), 1e-30)
