"""Small models of both exporters with torch's maps, for crates/testkit/fixtures/zoo."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from networks.reference import tensor
from splitmix import uniform
from zoo import oracle
from zoo.build import prepared
from zoo.subject import EXPORTERS, Subject, export
from zoo.tiny import TINY

# The most that torch's own float32 may differ from its float64.
CONDITION = 1e-5
# The metadata of nodes that stay: where a node stands in the model.
KEPT = {"namespace", "pkg.torch.onnx.name_scopes"}


def image(seed, sides):
    count = 3 * sides[0] * sides[1]
    return torch.from_numpy(uniform(seed, "input", count)).reshape(1, 3, *sides)


def strip(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for holder in [model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        kept = [entry for entry in holder.metadata_props if entry.key in KEPT]
        del holder.metadata_props[:]
        holder.metadata_props.extend(kept)
        holder.doc_string = ""
    return model


def subject_of(make, sides, early):
    """The model of the first well-conditioned seed, and that seed."""
    for seed in range(40):
        torch.manual_seed(seed)
        subject = Subject(prepared(make(), *sides), [image(seed, sides)])
        subject.early = early or subject.early
        if reference(subject, None, subject.early)[1] <= CONDITION:
            return subject, seed
    raise ValueError("no seed is well-conditioned")


def write(folder, names):
    folder.mkdir(exist_ok=True)
    for name, family, why, sides, make, default, *early in TINY:
        if names and name not in names:
            continue
        subject, seed = subject_of(make, sides, *early or [None])
        for exporter, options in EXPORTERS.items():
            kind = exporter.split()[1]
            with TemporaryDirectory() as scratch:
                exported = Path(scratch) / "model.onnx"
                try:
                    export(subject.model, subject.x, exported, options)
                except Exception as error:
                    print(f"{name} {kind}: not exported: {type(error).__name__} {str(error)[:100]!r}")
                    continue
                model = strip(exported)
                path = folder / f"{name}.{kind}.onnx"
                onnx.save(model, path)
            layer = default if isinstance(default, str) else default[kind]
            layers = {}
            for path_of_layer in (layer, subject.early):
                maps, condition = reference(subject, path, path_of_layer)
                if condition > CONDITION:
                    raise ValueError(f"{name} {kind} {path_of_layer}: float32 is {condition:.1e} from float64")
                layers[path_of_layer] = maps
            known = {
                "family": family,
                "why": why,
                "seed": seed,
                "input": list(subject.x.shape),
                "class": subject.target,
                "default": layer,
                "early": subject.early,
                "layers": layers,
            }
            path.with_suffix(".json").write_text(json.dumps(known) + "\n")
            print(f"{name} {kind}: {path.stat().st_size} bytes, default {layer}, early {subject.early}, condition {condition:.1e}")


def reference(subject, path, layer):
    """Torch's raw maps in float64, and how far its float32 is from them."""
    of = subject.reference(path, layer, layer)
    maps = lambda model, x: of(model, x, lambda a, g: oracle.raw_maps(grid(a.shape, x.shape[2:]), subject.model)(a, g))[0]
    double, single = maps(subject.double, subject.x.double()), maps(subject.model, subject.x)
    condition = max(oracle.apart(a, b) for a, b in zip(single, double, strict=True))
    return {method: tensor(torch.from_numpy(a)[None]) for method, a in zip(("gradcam", "hirescam"), double, strict=True)}, condition


def grid(shape, sides):
    """Rows and columns of a tensor of one image, [1, C, h, w], [1, h, w, C], [1, 1, T, C] or [1, T, C]."""
    fits = lambda h, w: h * sides[1] == w * sides[0]
    if len(shape) == 4 and shape[1] > 1:
        return tuple(shape[1:3]) if fits(*shape[1:3]) and not fits(*shape[2:]) else tuple(shape[2:])
    tokens = shape[-2]
    return max(
        (h, h * sides[1] // sides[0])
        for h in range(1, tokens + 1)
        if h * sides[1] % sides[0] == 0 and h * (h * sides[1] // sides[0]) <= tokens
    )
