"""Nodes as ONNX models, run by ONNX Runtime."""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ort.set_default_logger_severity(4)


def build(nodes, inputs, output, constants, opset, name, wide=False):
    """A model with the output `y`. `inputs` are name → shape; `wide` makes every float a double."""
    kind, plain = (TensorProto.DOUBLE, np.float64) if wide else (TensorProto.FLOAT, np.float32)
    widened = lambda key, value: wide and key in ("to", "dtype") and value == TensorProto.FLOAT
    made = []
    for op, ins, outs, attributes in nodes:
        written = {k: kind if widened(k, v) else v for k, v in attributes.items()}
        made.append(helper.make_node(op, ins, outs, name=f"{outs[0]}_node" if name == "case" else None, **written))
    arrays = {k: np.asarray(v) for k, v in constants.items()}
    floats = lambda array: array.astype(plain) if array.dtype == np.float32 else array
    tensors = [numpy_helper.from_array(floats(array), k) for k, array in arrays.items()]
    info = lambda value, shape: helper.make_tensor_value_info(value, kind, shape)
    graph = helper.make_graph(made, name, [info(k, s) for k, s in inputs.items()], [info("y", output)], tensors)
    domains = {attributes["domain"]: 1 for *_, attributes in nodes if "domain" in attributes}
    imports = [helper.make_opsetid(domain, version) for domain, version in ({"": opset} | domains).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def session(model):
    options = ort.SessionOptions()
    # Products of 8-bit integers do not saturate, on any processor.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model, feeds):
    """The output `y` by ONNX Runtime."""
    return session(model).run(["y"], feeds)[0]
