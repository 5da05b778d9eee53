# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.15.0", "torchvision==0.29.2", "timm==1.0.31", "transformers==5.24.0", "ultralytics==8.4.190",
#     "onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript==0.7.2", "onnxslim==0.1.98", "numpy",
# ]
# ///
"""Runs exported models in several engines, and writes the table of docs/export.md.

python tools/export_table.py prepare FOLDER [NAME...]
python tools/export_table.py run FOLDER ROWS.jsonl ENGINE [NAME...] [--packages FOLDER]
python tools/export_table.py write ROWS.jsonl

`prepare` writes each model, its export and what `gradcam explain` says of three images to FOLDER. `run` compares an engine
with that, and adds a row for each model that ROWS.jsonl has no row of: onnxruntime, openvino and reference need their package in
the Python that runs this, rten needs `cargo build --release -p bench`, web the folder where npm has installed onnxruntime-web.
`write` puts the table into docs/export.md. All need `cargo build --release -p gradcam-cli -p bench`.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from portable import engines
from portable.models import MODELS
from portable.table import write

ROOT = Path(__file__).parent.parent
ENGINES = {
    "onnxruntime": engines.OnnxRuntime,
    "openvino": engines.OpenVino,
    "reference": engines.Reference,
    "rten": engines.Rten,
    "web": engines.Web,
}
# The reference evaluator is NumPy: one image. A dilated convolution takes more than 24 GB.
REFERENCE = [name for name in MODELS if name != "deeplabv3_mobilenet"]


def prepare(options):
    import onnx

    from portable import models, reference
    from zoo.program import Gradcam

    gradcam = Gradcam(ROOT / "target/release/gradcam")
    for name in options.names or MODELS:
        folder = Path(options.folder, name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        plain, exported = folder / "plain.onnx", folder / "exported.onnx"
        if not plain.exists():
            models.write(name, plain)
        size = MODELS[name][2]
        print(name, gradcam("export", plain, "--output", exported, *size))
        passes(onnx, plain, exported)
        sides = [dim.dim_value for dim in onnx.load(exported, load_external_data=False).graph.input[0].type.tensor_type.shape.dim]
        reference.write(gradcam, folder, size, [3, *sides[1:]])


def passes(onnx, plain, exported):
    """The full check and the strict inference of shapes, where the model itself passes them."""
    for check in (
        lambda path: onnx.checker.check_model(str(path), full_check=True),
        lambda path: onnx.shape_inference.infer_shapes_path(
            str(path), str(path.with_suffix(".inferred")), check_type=True, strict_mode=True
        ),
    ):
        try:
            check(plain)
        except Exception as error:
            print("the model itself does not pass:", error)
            continue
        check(exported)
    for path in (plain, exported):
        path.with_suffix(".inferred").unlink(missing_ok=True)


def run(options):
    engine = ENGINES[options.engine]
    extra = [options.packages] if options.engine == "web" else []
    rows = Path(options.rows)
    known = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    names = options.names or (REFERENCE if options.engine == "reference" else MODELS)
    for name in names:
        folder = Path(options.folder, name).resolve()
        row = {"engine": engine.name, "model": name}
        try:
            row |= measured(engine, folder, extra, [1] if options.engine == "reference" else [1, 3])
        except Exception as error:
            row["error"] = " ".join(str(error).split())[:300]
        if any((old["engine"], old.get("version"), old["model"]) == (row["engine"], row.get("version"), name) for old in known):
            continue
        print(json.dumps(row), flush=True)
        with rows.open("a") as file:
            file.write(json.dumps(row) + "\n")


def measured(engine, folder, extra, batches):
    """One row: differences from the reference and from the model's own outputs, and for ONNX Runtime the time over plain."""
    from portable.reference import compare

    x = np.load(folder / "x.npy")
    plain, exported = (engine(folder / f"{name}.onnx", *extra) for name in ("plain", "exported"))
    row = {"version": exported.version, "batches": {}, "own": 0.0}
    for images in batches:
        # A model without norms of its own batch has the same outputs for a part of the images.
        before, after = plain.run(x[:images]), exported.run(x[:images])
        row["batches"][images] = compare(folder, "rten" if engine is engines.Rten else "onnxruntime", after, images)
        for name, numbers in before.items():
            row["own"] = max(row["own"], apart(np.asarray(numbers), np.asarray(after[name])))
    # How far the engines are apart without an explanation.
    row["scores"] = apart(np.asarray(next(iter(before.values()))), np.load(folder / "scores.npy")[: batches[-1]])
    if engine is engines.OnnxRuntime:
        row["own_basic"] = 0.0
        before, after = (engine(folder / f"{name}.onnx", basic=True).run(x[:1]) for name in ("plain", "exported"))
        for name, numbers in before.items():
            row["own_basic"] = max(row["own_basic"], apart(numbers, after[name]))
        row["ratio"] = ratio(plain, exported, x[:1])
        sizes = [(folder / f"{name}.onnx").stat().st_size for name in ("plain", "exported")]
        row["growth"] = sizes[1] / sizes[0] - 1
    return row


def apart(one, other):
    """0 for the same bits, else the largest difference as a share of the largest number."""
    if one.tobytes() == other.tobytes():
        return 0.0
    return float(np.abs(one.astype(np.float64) - other).max() / max(np.abs(one).max(), 1e-30))


def ratio(plain, exported, x, least=25, seconds=15):
    """The median over pairs of runs, one after the other, of the time of the exported model over that of the plain one."""
    ratios = []
    began = time.perf_counter()
    while len(ratios) < least + 2 or time.perf_counter() - began < seconds:
        times = []
        for session in (plain, exported):
            started = time.perf_counter()
            session.run(x)
            times.append(time.perf_counter() - started)
        ratios.append(times[1] / times[0])
    # The first runs are slower.
    return statistics.median(ratios[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare")
    command.add_argument("folder")
    command.add_argument("names", nargs="*")
    command = commands.add_parser("run")
    command.add_argument("folder")
    command.add_argument("rows")
    command.add_argument("engine", choices=ENGINES)
    command.add_argument("names", nargs="*")
    command.add_argument("--packages", default=".")
    commands.add_parser("write").add_argument("rows")
    options = parser.parse_args()
    {"prepare": prepare, "run": run, "write": lambda options: write(Path(options.rows), ROOT / "docs/export.md")}[options.command](options)


if __name__ == "__main__":
    main()
