# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "onnxruntime==1.32.0", "numpy"]
# ///
"""Writes the cases of the gradient rules: crates/testkit/fixtures/rules and crates/testkit/fixtures/operators.

python tools/operator_cases.py [OPERATOR…] [--into FOLDER]

`operators/` has a file for each family of operators. It says once what an operator computes, and has two kinds of cases.

Chosen cases use one operator in one way (or a few together): ONNX models for ranges of opsets, the inputs, a cotangent of
the output, and what float64 torch autograd says of output and input gradients. onnx.checker checks every model, and ONNX
Runtime runs it and must agree with torch to 1e-5. Inputs are float32 numbers away from kinks, except in cases named for
what happens there. They are `rules/<family>.json`.

Drawn cases use every operator of the rule table at least 12 times with shapes, attributes, optional inputs and opsets from
a seed. Float64 torch autograd says what is right; where torch lacks the operator, ONNX's reference evaluator in float64 with
central differences does. The two are compared where both can, and with ONNX Runtime. Inputs are not stored: the seed of the
case makes them again. `operators/operators.json` has a row per case, `operators/operators.f32` the output and the gradients
of all cases, one behind the other.

With operators named, the command prints what it notices about their cases and writes nothing.
"""

import argparse
import importlib
import json
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import onnx
import torch

from operators import chosen, drawn

FOLDER = Path(__file__).parent.parent / "crates/testkit/fixtures"
# In the order of their cases: `attention` has those of `transformer` before those of `sample`.
FAMILIES = [
    *("elementwise", "index", "layout", "linear", "norm", "pool", "quantize", "qlinear", "recurrent", "reduce", "transformer"),
    *("sample", "control", "zero", "contrib", "together"),
]
# The families are read before the pool forks: threads that this process had started would be missing in the others.
torch.set_num_threads(1)
for family in FAMILIES:
    importlib.import_module(f"operators.{family}")


def specs():
    return [spec for family in sorted(drawn.DRAWN) for spec in drawn.DRAWN[family]]


def cases():
    return [case for family in chosen.CHOSEN.values() for case in family]


def work(job):
    kind, at = job
    # The last bits of float64 sums depend on it.
    torch.set_num_threads(2 if kind == "chosen" else 1)
    notes = []
    if kind == "chosen":
        return chosen.row(cases()[at], notes.append), notes
    return drawn.make(specs()[at], notes.append), notes


def standard():
    """Every operator of the standard: its name, the opset that it came with, and the one that gave it up or null."""
    first, gone = {}, {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            first[schema.name] = min(schema.since_version, first.get(schema.name, schema.since_version))
            if schema.deprecated:
                gone[schema.name] = schema.since_version
    return [[name, first[name], gone.get(name)] for name in sorted(first)]


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def write_chosen(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    rows = iter(rows)
    for family, members in chosen.CHOSEN.items():
        names = [case.name for case in members]
        assert len(set(names)) == len(names), "two cases share a name"
        text = ",\n".join(compact(next(rows)) for _ in members)
        (folder / f"{family}.json").write_text(f"[\n{text}\n]\n")


def write_drawn(folder, results):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(compact(row) for rows, _ in results for row in rows)
    (folder / "operators.json").write_text(f'{{"standard":{compact(standard())},\n"cases":[\n{lines}\n]}}\n')
    numbers = np.concatenate([part for _, parts in results for part in parts])
    (folder / "operators.f32").write_bytes(numbers.astype("<f4").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operators", nargs="*", help="print what is noticed about these, and write nothing")
    parser.add_argument("--into", type=Path, default=FOLDER, help="the folder of the fixtures")
    options = parser.parse_args()
    wanted = lambda entry: not options.operators or entry.op in options.operators
    jobs = [("chosen", at) for at, case in enumerate(cases()) if wanted(case)]
    count = len(jobs)
    jobs += [("drawn", at) for at, spec in enumerate(specs()) if wanted(spec)]
    with Pool(2) as pool:
        results = pool.map(work, jobs, chunksize=1)
    for _, notes in results:
        for note in notes:
            print(note)
    rows, made = [row for row, _ in results[:count]], [result for result, _ in results[count:]]
    print(f"{len(rows)} chosen and {sum(len(rows) for rows, _ in made)} drawn cases")
    if not options.operators:
        write_chosen(options.into / "rules", rows)
        write_drawn(options.into / "operators", made)


if __name__ == "__main__":
    main()
