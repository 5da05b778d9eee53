"""Fills in the right-hand sides of truth.txt: python truth.py < rows > truth.txt

Each row, `shape|fold Op@opset name=value… | input; input | outputs`, is run as a model of one node by
ONNX Runtime, or where that has no kernel by the reference evaluator of the `onnx` package. Types,
shapes and, for `fold`, numbers are written behind `=>`. Versions: onnx 1.23.2, onnxruntime 1.32.0.
"""

import re
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

TYPES = {"f": T.FLOAT, "d": T.DOUBLE, "h": T.FLOAT16, "i": T.INT64, "j": T.INT32, "c": T.INT8, "u": T.UINT8, "b": T.BOOL}
LETTERS = {helper.tensor_dtype_to_np_dtype(t): letter for letter, t in TYPES.items()}


def tensor(text):
    """`i[2]=3,4` as an array; without numbers it is filled with ones."""
    letter, dims, numbers = re.fullmatch(r"(\w)\[([\d,]*)\](?:=(.*))?", text).groups()
    shape = [int(d) for d in dims.split(",") if d]
    dtype = helper.tensor_dtype_to_np_dtype(TYPES[letter])
    if numbers is None:
        return np.ones(shape, dtype) if letter in "fhd" else np.zeros(shape, dtype)
    number = float if letter in "fhd" else int
    return np.array([number(n) for n in numbers.split(",") if n], dtype).reshape(shape)


def attribute(text):
    if text.startswith("t:"):
        return numpy_helper.from_array(tensor(text[2:]))
    if text.startswith('"'):
        return text.strip('"')
    number = float if "." in text else int
    return [number(n) for n in text.split(",") if n] if "," in text else number(text)


def words(text):
    return re.findall(r'(?:"[^"]*"|\S)+', text)


def run(row):
    parts = [part.strip() for part in row.split("|")]
    kind, op, *attributes = words(parts[0])
    tail = words(parts[2]) if len(parts) > 2 else ["1"]
    outputs = int(tail[0])
    attributes += tail[1:]
    op, opset = op.split("@")
    inputs = [text.strip() for text in parts[1].split(";") if text.strip()]
    names = ["" if text == "-" else f"x{k}" for k, text in enumerate(inputs)]
    feed = {name: tensor(text) for name, text in zip(names, inputs, strict=True) if name}
    wanted = [f"y{k}" for k in range(outputs)]
    pairs = (text.split("=", 1) for text in attributes)
    node = helper.make_node(op, names, wanted, **{k: attribute(v) for k, v in pairs})
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feed.items()]
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=n) for n in wanted])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", int(opset))])
    model.ir_version = 10
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        results = session.run(wanted, feed)
    except Exception as refused:
        print(row, "ORT:", str(refused)[:120], file=sys.stderr)
        results = ReferenceEvaluator(model).run(wanted, feed)
    shown = []
    for result in map(np.asarray, results):
        text = f"{LETTERS[result.dtype]}[{','.join(map(str, result.shape))}]"
        if kind == "fold":
            number = repr if result.dtype.kind == "f" else int
            text += "=" + ",".join(str(number(n.item())) for n in result.ravel())
        shown.append(text)
    head = " | ".join([" ".join([kind, f"{op}@{opset}", *attributes]), "; ".join(inputs)])
    if outputs > 1:
        head += f" | {outputs}"
    return f"{head.rstrip()} => {'; '.join(shown)}"


onnxruntime.set_default_logger_severity(4)
for line in sys.stdin:
    row = line.split("=>")[0].strip()
    try:
        print(run(row) if row and not row.startswith("#") else row)
    except Exception as wrong:
        print("FAILED", row, str(wrong)[:300], file=sys.stderr)
