# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "grad-cam==1.5.7", "scikit-learn==1.9.1", "numpy"]
# ///
"""Writes concepts by deep feature factorization: crates/testkit/fixtures/concepts.

python tools/concept_cases.py [FOLDER]

`cnn.onnx` is a small network with a global pooling in front of its linear layer. `cases.json` has its two images and, at the layers
`early` and `late`, what pytorch-grad-cam's DeepFeatureFactorization makes of one image and of both, run in float64, where
scikit-learn's NMF starts from singular vectors (`init="nndsvda"`) instead of random numbers. Its concepts and maps leave a factor
open, which follows from the start: here the largest entry of each map is 1. Components are in the order of their shares, the sum
of W·H of each. Scores are those of the rest of the network where each position holds the concept; at `late` that is its linear
layer, as `computation_on_concepts` of pytorch-grad-cam.

`matrices` has what NMF of scikit-learn makes of matrices of more rows than columns and of more columns than rows: from a random
start, which is in the file too, and from singular vectors.

A case counts only if the concepts and maps of the activations in float32 are within 1e-5, over the largest entry (`condition`), and
all shares differ by 1e-3.
"""

import copy
import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from pytorch_grad_cam.feature_factorization import deep_feature_factorization as library
from sklearn.decomposition import NMF
from sklearn.decomposition._nmf import _initialize_nmf
from torch import nn

from networks.reference import error, tensor
from splitmix import uniform

warnings.filterwarnings("ignore")
FIXTURES = Path(__file__).parent.parent / "crates/testkit/fixtures"
SEED = 3
INPUT = (2, 3, 10, 14)
CONDITION = 1e-5
GAP = 1e-3
# Rows, columns, components.
MATRICES = [(12, 30, 4), (40, 9, 3), (6, 6, 6)]
CASES = [("early", 1, 3), ("early", 2, 4), ("late", 1, 3), ("late", 2, 5)]


class Cnn(nn.Module):
    """Two layers of different sizes, a global pooling and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv1, self.early = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.ReLU()
        self.conv2, self.late = nn.Conv2d(8, 12, 3, padding=1, stride=2), nn.ReLU()
        self.classifier = nn.Linear(12, 5)

    def forward(self, x):
        x = self.early(self.conv1(x))
        x = self.late(self.conv2(x))
        return self.classifier(x.mean((2, 3)))

    def rest(self, layer, vectors, size):
        """The scores where each position of a layer holds a vector."""
        x = vectors[:, :, None, None].expand(-1, -1, *size)
        if layer == "early":
            x = self.late(self.conv2(x))
        return self.classifier(x.mean((2, 3)))


def cnn():
    net = Cnn()
    for name, parameter in net.named_parameters():
        scale = 0.1 if parameter.ndim == 1 else (6 / parameter[0].numel()) ** 0.5
        parameter.data = torch.tensor(uniform(SEED, name, parameter.numel()) * np.float32(scale)).reshape(parameter.shape)
    return net.eval()


def concepts_of(net, layer, x, components):
    """Concepts, maps, heatmaps, shares of all images and of each, and scores, in the order of the shares."""
    found = library.DeepFeatureFactorization(net, getattr(net, layer))
    vectors, heatmaps = found(x, components)
    values = found.activations_and_grads.activations[0].cpu().numpy()
    again, maps = library.dff(values.copy(), components)
    assert (again == vectors).all()
    least = values.min((0, 2, 3))
    most = maps.max((0, 2, 3))
    w, maps = (vectors - least[:, None]) * most, maps / most[None, :, None, None]
    amounts = w.sum(0) * maps.sum((2, 3))
    order = np.argsort(-amounts.sum(0))
    amounts, maps, vectors = amounts[:, order], maps[:, order], (w + least[:, None])[:, order].T
    heatmaps = np.stack(heatmaps)[:, order]
    x_of = values.transpose(1, 0, 2, 3).reshape(len(least), -1) - least[:, None]
    product = w[:, order] @ maps.transpose(1, 0, 2, 3).reshape(components, -1)
    scores = net.rest(layer, torch.tensor(vectors), values.shape[2:])
    return {
        "vectors": torch.tensor(vectors),
        "maps": torch.tensor(maps),
        "heatmaps": torch.tensor(heatmaps),
        "share": torch.tensor(amounts.sum(0) / amounts.sum()),
        "shares": torch.tensor(amounts / amounts.sum(1, keepdims=True)),
        "scores": scores.detach(),
        "error": float(np.linalg.norm(x_of - product) / np.linalg.norm(x_of)),
    }


def matrix(rows, columns, components):
    """A matrix, and its factors from a random start and from singular vectors."""
    x = uniform(SEED, f"{rows}x{columns}", rows * columns).astype(np.float64).reshape(rows, columns) ** 2
    known = {"x": x}
    for init in ["random", "nndsvda"]:
        w, h = _initialize_nmf(x, components, init=init, random_state=0)
        model = NMF(components, init="custom")
        from_start = model.fit_transform(x, W=w.copy(), H=h.copy())
        own = NMF(components, init=init, random_state=0)
        assert np.allclose(own.fit_transform(x), from_start)
        known[init] = {"start": [w, h.T], "end": [from_start, model.components_.T], "error": model.reconstruction_err_}
    whole = np.linalg.norm(x)
    errors = [f"{known[init]['error'] / whole:.3f}" for init in ["random", "nndsvda"]]
    print(f"{rows}x{columns}: {model.n_iter_} sweeps, errors {errors}")

    def numbers(pair):
        return [tensor(torch.tensor(np.ascontiguousarray(one)), 15) for one in pair]

    ends = {k: {"start": numbers(v["start"]), "end": numbers(v["end"]), "error": v["error"] / whole} for k, v in known.items() if k != "x"}
    return {"x": tensor(torch.tensor(x), 17), "components": components} | ends


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    library.NMF = lambda n_components, init, random_state: NMF(n_components, init="nndsvda", random_state=random_state)
    net = cnn()
    exact = copy.deepcopy(net).double()
    x = torch.tensor(uniform(SEED, "input", int(np.prod(INPUT))).reshape(INPUT))
    file = io.BytesIO()
    dynamic = {"input": {0: "batch"}, "scores": {0: "batch"}}
    options = {"input_names": ["input"], "output_names": ["scores"], "dynamic_axes": dynamic}
    torch.onnx.export(net, x, file, dynamo=False, opset_version=17, **options)
    onnx.checker.check_model(onnx.load_from_string(file.getvalue()))
    (folder / "cnn.onnx").write_bytes(file.getvalue())
    rows = []
    for layer, images, components in CASES:
        want = concepts_of(exact, layer, x[:images].double(), components)
        got = concepts_of(net, layer, x[:images], components)
        off = max(error(got[key], want[key]) for key in ["vectors", "maps", "heatmaps", "scores"])
        share = want["share"]
        print(f"{layer}, {images} images, {components}: condition {off:.1e}, shares {share.tolist()}, error {want['error']:.3f}")
        assert off <= CONDITION
        assert float((share[:-1] - share[1:]).min()) >= GAP
        numbers = {k: tensor(v, 8) if isinstance(v, torch.Tensor) else v for k, v in want.items()}
        rows.append({"layer": layer, "images": images, "components": components} | numbers | {"condition": float(f"{off:.1e}")})
    known = {"seed": SEED, "input": list(INPUT), "cases": rows, "matrices": [matrix(*sizes) for sizes in MATRICES]}
    (folder / "cases.json").write_text(json.dumps(known, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES / "concepts")
