# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "torchvision==0.29.2", "timm==1.0.31", "transformers==5.24.0", "onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript==0.7.2", "numpy"]
# ///
"""Compares gradcam with float64 torch on the models that people export, and writes docs/models.md.

python tools/model_zoo.py run ROWS.jsonl [--shard I/N] [--only TEXT…] [--cache FOLDER] [--gradcam PROGRAM]
python tools/model_zoo.py write ROWS.jsonl… > docs/models.md
python tools/model_zoo.py fixtures [NAME…]

`run` adds a row, one JSON object a line, for each model of `zoo/names.py` and each of torch's two exporters; rows that the file
has are kept. Models have random weights from a seed, batch norms have the statistics of random images. It takes hours: shards
run side by side. `fixtures` writes the small members of the families (`zoo/tiny.py`) to crates/testkit/fixtures/zoo. gradcam is found in PATH or target/release; ONNX Runtime's library in the package of this Python.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path


from zoo.names import MODELS
from zoo.write import write

ROOT = Path(__file__).parent.parent


def run(options):
    from zoo.build import build
    from zoo.subject import EXPORTERS, Gradcam, Subject, row

    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    rows = Path(options.rows)
    done = {(row["source"], row["model"], row["exporter"]) for row in map(json.loads, rows.read_text().splitlines())} if rows.exists() else set()
    gradcam = Gradcam(options.gradcam)
    index, count = map(int, options.shard.split("/"))
    cache = Path(options.cache or tempfile.mkdtemp())
    chosen = [model for model in MODELS if not options.only or any(text in " ".join(model) for text in options.only)]
    for source, name in chosen[index - 1 :: count]:
        missing = [exporter for exporter in EXPORTERS if (source, name, exporter) not in done]
        if not missing:
            continue
        began = time.time()
        folder = cache / source.replace(" ", "_") / name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            model, side = build(source, name)
            subject = Subject.with_random_images(model, side)
        except Exception:
            print(f"{source} {name}: torch does not build or run it", file=sys.stderr)
            traceback.print_exc()
            continue
        for exporter in missing:
            found = row(subject, gradcam, source, name, exporter, folder / f"{exporter.split()[1]}.onnx")
            with rows.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(f"{time.time() - began:6.1f} s", json.dumps(found), flush=True)
        if not options.cache:
            shutil.rmtree(folder)


def small(options):
    from zoo.fixtures import write

    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    write(ROOT / "crates/testkit/fixtures/zoo", options.names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("run", help="compare models and add their rows")
    runs.add_argument("rows")
    runs.add_argument("--shard", default="1/1", help="the I-th of N parts of the list")
    runs.add_argument("--only", nargs="*", help="models whose source and name contain one of these")
    runs.add_argument("--cache", help="where exported models are kept; else they are thrown away")
    runs.add_argument("--gradcam", default="gradcam", help="the program")
    runs.set_defaults(call=run)
    writes = commands.add_parser("write", help="print docs/models.md")
    writes.add_argument("rows", nargs="+")
    writes.add_argument("--older", nargs="*", default=[], help="rows of an earlier run, for models that have no others")
    writes.set_defaults(call=lambda options: print(write(options.rows, options.older), end=""))
    fixtures = commands.add_parser("fixtures", help="write the small models that tests explain")
    fixtures.add_argument("names", nargs="*")
    fixtures.set_defaults(call=small)
    options = parser.parse_args()
    options.call(options)


main()
