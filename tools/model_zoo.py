# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.15.0", "torchvision==0.29.2", "timm==1.0.31", "transformers==5.24.0", "ultralytics==8.4.190",
#     "onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript==0.7.2", "onnxslim==0.1.98", "numpy",
# ]
# ///
"""Compares gradcam with the float64 of frameworks on the models that people export, and writes docs/models.md.

python tools/model_zoo.py run SOURCE ROWS.jsonl [--shard I/N] [--only TEXT…] [--cache FOLDER] [--gradcam PROGRAM]
python tools/model_zoo.py write ROWS.jsonl… > docs/models.md
python tools/model_zoo.py fixtures [NAME…]

`run` adds a row, one JSON object a line, for each model of a source (torch, keras, ultralytics) and each of its exporters;
rows that the file has are kept. Models have random weights from a seed, batch norms have the statistics of random images.
It takes hours: shards run side by side. ONNX Runtime's library is that of the package of this Python. Keras needs packages
of its own:

uv run --with tensorflow-cpu==2.21.0,keras==3.15.1,tf2onnx==1.17.0,onnx==1.23.2,onnxruntime==1.32.0,numpy \
    python tools/model_zoo.py run keras ROWS.jsonl

`fixtures` writes the small members of the families (`zoo/tiny.py`) to crates/testkit/fixtures/zoo.
"""

import argparse
import importlib
import json
import logging
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from zoo.write import write

ROOT = Path(__file__).parent.parent
# Source: a module with MODELS, pairs of a source's name in the rows and a model; EXPORTERS; and `rows`, which compares one model.
SOURCES = {"torch": "zoo.subject", "keras": "zoo.of_keras", "ultralytics": "zoo.of_ultralytics"}


def run(options):
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    from zoo.program import Gradcam

    source = importlib.import_module(SOURCES[options.source])
    file = Path(options.rows)
    known = map(json.loads, file.read_text().splitlines()) if file.exists() else []
    done = {(row["source"], row["model"], row["exporter"]) for row in known}
    gradcam = Gradcam(program(options.gradcam))
    index, count = map(int, options.shard.split("/"))
    cache = Path(options.cache or tempfile.mkdtemp()).resolve()
    wanted = lambda model: not options.only or any(text in " ".join(model) for text in options.only)
    for model in [model for model in source.MODELS if wanted(model)][index - 1 :: count]:
        missing = [exporter for exporter in source.EXPORTERS if (*model, exporter) not in done]
        if not missing:
            continue
        began = time.time()
        folder = cache / model[0].replace(" ", "_") / model[1]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for found in source.rows(*model, missing, gradcam, folder):
                with file.open("a") as opened:
                    opened.write(json.dumps(found) + "\n")
                print(f"{time.time() - began:6.1f} s", json.dumps(found), flush=True)
        except Exception:
            print(f"{' '.join(model)}: the framework does not build or run it", file=sys.stderr)
            traceback.print_exc()
        if not options.cache:
            shutil.rmtree(folder)


def program(name):
    """The program of that name or path, found in PATH too."""
    found = shutil.which(name)
    if found is None:
        sys.exit(f"no program {name}: build it with cargo build --release -p gradcam-cli, or name it with --gradcam")
    return str(Path(found).resolve())


def small(options):
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    fixtures = importlib.import_module("zoo.fixtures")
    fixtures.write(ROOT / "crates/testkit/fixtures/zoo", options.names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("run", help="compare models and add their rows")
    runs.add_argument("source", choices=SOURCES)
    runs.add_argument("rows")
    runs.add_argument("--shard", default="1/1", help="the I-th of N parts of the list")
    runs.add_argument("--only", nargs="*", help="models whose source and name contain one of these")
    runs.add_argument("--cache", help="where exported models are kept; else they are thrown away")
    runs.add_argument("--gradcam", default=str(ROOT / "target/release/gradcam"), help="the program")
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


if __name__ == "__main__":
    main()
