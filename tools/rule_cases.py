# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "onnx==1.23.2", "onnxruntime==1.32.0", "numpy"]
# ///
"""Writes the reference cases of the gradient rules: crates/testkit/fixtures/rules/<family>.json.

python tools/rule_cases.py [FOLDER]

A case is one operator used in one way (or a few operators together): ONNX models that spell it for ranges of opsets, the
inputs, a cotangent of the output, and what float64 torch autograd says of output and input gradients. Every
model is checked by onnx.checker and run by ONNX Runtime, whose output must agree with torch's to 1e-5.
Inputs are float32 numbers away from kinks, except in cases named for what happens there.
"""

import json
import sys
from pathlib import Path

from rules import activation, attention, contrib, elementwise, index, layout, linear, norm, pool, quantize, reduce, resize, together, zero  # noqa: F401, they add their cases
from rules.case import CASES


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for family, cases in CASES.items():
        names = [c["name"] for c in cases]
        assert len(set(names)) == len(names), "two cases share a name"
        text = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
        (folder / f"{family}.json").write_text(f"[\n{text}\n]\n")
        print(f"{family}: {len(cases)} cases")


if __name__ == "__main__":
    default = Path(__file__).parent.parent / "crates/testkit/fixtures/rules"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
