# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "torch==2.15.0", "torchvision==0.29.2", "transformers==5.24.0", "ultralytics==8.4.190", "grad-cam==1.5.7",
#     "onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript==0.7.2", "numpy",
# ]
# ///
"""Writes small networks of each kind of head, and what targets of them are: crates/testkit/fixtures/heads.

python tools/head_cases.py [FOLDER] [NAME…]

With names only those are made again. tools/heads/targets.py defines the targets; values, boxes and raw maps are torch's in float64.
"""

import copy
import json
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from heads.cases import CASES
from heads.reference import check_file, referenced
from networks.reference import tensor
from splitmix import uniform
from zoo.fixtures import strip

ROOT = Path(__file__).resolve().parent.parent
EXPORTERS = {
    "legacy": {"dynamo": False, "opset_version": 17},
    "dynamo": {"dynamo": True, "opset_version": 18, "external_data": False},
}
SEEDS = 60


def image(seed, shape, name="input"):
    count = 1
    for size in shape:
        count *= size
    return torch.from_numpy(uniform(seed, name, count)).reshape(shape)


def write(network, x, case, path):
    if hasattr(network, "write"):
        network.write(x, path)
        return
    options = dict(EXPORTERS[case.exporter])
    if case.shape[0] > 1:
        open_batch = {0: "batch"}
        if case.exporter == "dynamo":
            options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
        else:
            axis = 1 if getattr(network, "time_first", False) else 0
            options["dynamic_axes"] = {"input": open_batch} | {name: {axis: "batch"} for name in network.outputs}
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        exported = Path(folder) / "model.onnx"
        names = {"input_names": ["input"], "output_names": list(network.outputs)}
        torch.onnx.export(copy.deepcopy(network).eval(), (x,), str(exported), verbose=False, **names, **options)
        model = strip(exported)
        model.producer_name = getattr(network, "producer", model.producer_name)
        onnx.save(model, path)


def settled(case):
    """The first network and input, from a seed, all of whose targets are decided clearly."""
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        x = image(seed, case.shape)
        network = case.make()
        network = network.settle(x).eval()
        case.prepare(network, seed)
        try:
            run, truth, faults, worst = referenced(network, x, case)
        except (AssertionError, IndexError) as error:
            faults = [f"a box or run that is not there: {error}"]
        if not faults:
            return seed, x, network, run, truth, worst
        print(f"  {case.name} seed {seed}: {faults[0]}", flush=True)
    raise SystemExit(f"{case.name}: no seed is good")


def rounded(numbers):
    return [float(f"{number:.9g}") for number in torch.as_tensor(numbers).detach().tolist()]


def scale_of(anchor, scales):
    """The module whose map an anchor comes from."""
    for path, count in scales:
        if anchor < count:
            return path
        anchor -= count
    raise IndexError(anchor)


def fixture(folder, case):
    seed, x, network, run, truth, worst = settled(case)
    config = getattr(network, "config_json", None)
    # A configuration is known by its name, so it has a folder of its own.
    file = f"{case.name}/model.onnx" if config else f"{case.name}.onnx"
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    if config:
        (path.parent / "config.json").write_text(json.dumps(config) + "\n")
    write(network, x, case, path)
    outputs, value = check_file(path, network, x, case, run.activation)
    found = []
    for asked, (row, maps) in zip(case.targets, truth, strict=True):
        entry = dict(asked) | {"values": rounded(row.values)}
        if row.classes is not None:
            entry["classes"] = row.classes
        if row.boxes is not None:
            entry["boxes"] = [rounded(box) for box in row.boxes]
            entry |= {"probabilities": rounded(row.probabilities), "anchors": row.anchors}
            if hasattr(network, "scales"):
                entry["scale_layers"] = [scale_of(anchor, network.scales(x)) for anchor in row.anchors]
        found.append(entry | {"maps": {method: tensor(m, 9) for method, m in maps.items()}})
    known = {
        "name": case.name,
        "file": file,
        "kind": case.kind,
        "why": case.why,
        "seed": seed,
        "input": list(case.shape),
        "outputs": outputs,
    }
    known |= {"layer": case.layer, "value": value}
    if run.head.default is not None:
        known["default"] = run.head.default
    p = run.head.probabilities()
    if p is not None:
        known["probabilities"] = tensor(p, 9)
    if hasattr(run.head, "greedy"):
        known |= {"blank": run.head.blank, "greedy": run.head.greedy()}
    known["targets"] = found
    size = path.stat().st_size
    print(f"{case.name}: seed {seed}, {size} bytes, condition {worst:.1e}, layer {value}, default {run.head.default}", flush=True)
    return known


def main(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "heads.json"
    known = {case["name"]: case for case in json.loads(path.read_text())} if path.exists() and names else {}
    for case in CASES:
        if not names or case.name in names:
            known[case.name] = fixture(folder, case)
    lines = [json.dumps(known[case.name], separators=(",", ":")) for case in CASES if case.name in known]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    # One order of summation, so that files are the same everywhere.
    torch.set_num_threads(1)
    arguments = sys.argv[1:]
    all_names = {case.name for case in CASES}
    folders = [a for a in arguments if a not in all_names]
    main(Path(folders[0]) if folders else ROOT / "crates/testkit/fixtures/heads", [a for a in arguments if a in all_names])
