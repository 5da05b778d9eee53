# /// script
# requires-python = ">=3.10"
# dependencies = []
# ///
"""Writes docs/heads.md: what gradcam reads in networks of each kind of scores, without flags.

python tools/head_table.py GRADCAM

GRADCAM is the program, such as target/release/gradcam. The small networks are those of tools/head_cases.py; the tests compare their
targets and maps with PyTorch in float64. The trained ones were read and explained by hand.
"""

import json
import subprocess
import sys
from pathlib import Path

HEADS = Path("crates/testkit/fixtures/heads")
ZOO = Path("crates/testkit/fixtures/zoo")
LOCAL = {"detection", "sequence"}
# File, package on PyPI, head, default layer, what was seen.
TRAINED = [
    (
        "320n.onnx",
        "nudenet 3.4.2",
        "detection",
        "`model.15.cv2`, `model.18.cv2` or `model.21.cv2`, by the box",
        "eight photos of faces: 0.75 to 1.00 of the heat in the face's box, which is 4 to 14 % of the photo",
    ),
    (
        "ch_PP-OCRv4_det_infer.onnx",
        "rapidocr-onnxruntime 1.4.4",
        "segmentation",
        "`batch_norm_1.tmp_4`",
        "six pictures with text: all of the heat on the text",
    ),
    (
        "PP-OCRv6_det_small.onnx",
        "rapidocr 3.10.0",
        "segmentation",
        "`Add.221`",
        "six pictures with text: all of the heat on the text",
    ),
    (
        "ch_PP-OCRv4_rec_infer.onnx",
        "rapidocr-onnxruntime 1.4.4",
        "sequence",
        "`p2o.Add.231`",
        "reads “Hello 42 world ”; each letter is explained where it stands",
    ),
    (
        "PP-OCRv6_rec_small.onnx",
        "rapidocr 3.10.0",
        "sequence",
        "`Add.183`",
        "reads “Hello 42 world”; each letter is explained where it stands",
    ),
    (
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "rapidocr-onnxruntime 1.4.4",
        "softmax",
        "`hardswish_17.tmp_0`",
        "two classes, which way up a line of text is",
    ),
]


def method(kind):
    return "hirescam" if kind in LOCAL else "gradcam"


def read(gradcam, file):
    """The kind of scores, why, and the default layers."""
    found = json.loads(subprocess.check_output([gradcam, "layers", file, "--json"]))
    return found["head"]["kind"], found["head"]["why"], found["defaults"]


def small(gradcam):
    for case in json.loads((HEADS / "heads.json").read_text()):
        kind, why, layers = read(gradcam, HEADS / case["file"])
        expected = "as expected" if kind == case["kind"] else f"expected: {case['kind']}"
        shown = ", ".join(f"`{layer}`" for layer in layers)
        yield f"| {case['file']} | {case['why']} | {kind} | {why} | {shown} | {method(kind)} | {expected} |"


def families(gradcam):
    for file in sorted(ZOO.glob("*.json")):
        case = json.loads(file.read_text())
        kind, _, layers = read(gradcam, file.with_suffix(".onnx"))
        expected = "as expected" if layers == [case["default"]] else f"expected: `{case['default']}`"
        yield f"| {file.stem} | {case['family']} | {kind} | `{layers[0]}` | {method(kind)} | {case['why']} | {expected} |"


def main():
    (gradcam,) = sys.argv[1:]
    lines = [
        "<!-- Written by `python tools/head_table.py GRADCAM`. -->",
        "# Scores of each kind",
        "",
        "What `gradcam layers` says of a model without flags: what its scores are and why, the layer that is explained by default,",
        "and the method that `gradcam explain` takes without `--method`.",
        "",
        "## Small networks with random weights",
        "",
        "The tests compare every target of these with PyTorch in float64, on both engines: its value, its class, its box, and the maps",
        "of Grad-CAM and HiResCAM, to 1e-4 of their largest entry.",
        "",
        "| file | what it is | scores | why | default layer | method | |",
        "|---|---|---|---|---|---|---|",
        *small(gradcam),
        "",
        "## Small networks of the families of [models.md](models.md)",
        "",
        "The tests compare their maps at the default layer, and at an early one, with PyTorch in float64.",
        "",
        "| file | family | scores | default layer | method | why this layer | |",
        "|---|---|---|---|---|---|---|",
        *families(gradcam),
        "",
        "## Trained networks from Python packages",
        "",
        "They are not a part of this project. Photos were explained without flags but for `--size`, `--mean` and `--std` of the",
        "recognizers.",
        "",
        "| file | package | scores | default layer | method | seen |",
        "|---|---|---|---|---|---|",
        *(f"| {file} | {package} | {kind} | {layer} | {method(kind)} | {seen} |" for file, package, kind, layer, seen in TRAINED),
    ]
    Path("docs/heads.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
