# /// script
# requires-python = ">=3.10"
# dependencies = ["onnx==1.23.2"]
# ///
"""Writes the built-in model: an ONNX classifier with its preprocessing and labels in its metadata.

python tools/builtin_model.py SOURCE.onnx LABELS.txt crates/gradcam-cli/assets/efficientnet_lite0.onnx

SOURCE is EfficientNet-Lite0 with weights stored as float16 behind Cast, input [N, 3, 224, 224]; LABELS has
the 1000 ImageNet labels, one a line, in the model's order. Running it on its own output changes nothing.
"""

import json
import sys
from pathlib import Path

import onnx

PREPROCESS = {
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": False,
    "do_normalize": True,
    "image_mean": [127, 127, 127],
    "image_std": [128, 128, 128],
}


def main(source: str, labels: str, target: str) -> None:
    model = onnx.load(source)
    names = [line.strip() for line in Path(labels).read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(names) == 1000, f"{labels} has {len(names)} labels"
    own = {"gradcam.preprocess": json.dumps(PREPROCESS), "gradcam.labels": json.dumps(names)}
    kept = [entry for entry in model.metadata_props if entry.key not in own]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    for key, value in own.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
