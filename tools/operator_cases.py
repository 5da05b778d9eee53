# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "onnxruntime==1.32.0", "numpy"]
# ///
"""Writes the drawn cases of the gradient rules: crates/testkit/fixtures/operators/.

python tools/operator_cases.py [OPERATOR…]

Every operator of the rule table is used at least 12 times with shapes, attributes, optional inputs and opsets drawn
from a seed. What is right is said by float64 torch autograd, and where torch lacks the operator by ONNX's reference
evaluator in float64 with central differences; the two are compared where both can, and with ONNX Runtime. Inputs are
not stored: they are made again from the seed of the case. `operators.json` has a row per case, `operators.f32` the
output and the gradients of all cases, one behind the other. With operators named it prints what it notices about them
and writes nothing.
"""

import json
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import onnx
import torch

from operators import elementwise, index, layout, linear, norm, pool, quantize, reduce, sample, transformer, zero  # noqa: F401, they register operators
from operators.draw import SPECS, make

FOLDER = Path(__file__).parent.parent / "crates/testkit/fixtures/operators"


def work(entry):
    torch.set_num_threads(1)
    notes = []
    rows, numbers = make(*SPECS[entry], notes.append)
    return rows, numbers, notes


def standard():
    """Every operator of the standard: its name, the opset that it came with, and the one that gave it up or null."""
    first, gone = {}, {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            first[schema.name] = min(schema.since_version, first.get(schema.name, schema.since_version))
            if schema.deprecated:
                gone[schema.name] = schema.since_version
    return [[name, first[name], gone.get(name)] for name in sorted(first)]


def main(named):
    entries = [at for at, (op, *_) in enumerate(SPECS) if not named or op in named]
    with Pool(2) as pool:
        results = pool.map(work, entries, chunksize=1)
    rows = [row for r, _, _ in results for row in r]
    for _, _, notes in results:
        for note in notes:
            print(note)
    print(f"{len(rows)} cases of {len({row['op'] for row in rows})} operators")
    if named:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    names = json.dumps(standard(), separators=(",", ":"))
    (FOLDER / "operators.json").write_text(f'{{"standard":{names},\n"cases":[\n{lines}\n]}}\n')
    numbers = [part for _, n, _ in results for part in n]
    (FOLDER / "operators.f32").write_bytes(np.concatenate(numbers).astype("<f4").tobytes())


if __name__ == "__main__":
    main(sys.argv[1:])
