"""Writes expected.txt: what the ONNX reference evaluator gives for the cases of the engine suite.

    GRADCAM_WRITE_CASES=cases cargo test -p gradcam-engine --test all engine::cases
    python crates/gradcam-engine/tests/all/engine/expected.py cases > crates/gradcam-engine/tests/all/engine/expected.txt

Needs onnx==1.23.2 and numpy. The models carry everything but the numbers of the input.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    model = onnx.load(path)
    (x,) = model.graph.input
    dims = [d.dim_value for d in x.type.tensor_type.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(x.type.tensor_type.elem_type)
    count = np.arange(np.prod(dims), dtype=np.int64)
    data = count * 7919 % 97 / 32 - 1.5 if dtype.kind == "f" else count % 2 if dtype.kind == "b" else count
    feed = {x.name: data.reshape(dims).astype(dtype)}
    y = np.asarray(ReferenceEvaluator(model).run(["y"], feed)[0])
    numbers = " ".join(repr(round(float(v), 7)) for v in y.ravel())
    print(f"{path.stem} : {' '.join(map(str, y.shape))} : {numbers}")
