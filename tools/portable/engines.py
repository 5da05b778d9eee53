"""The engines of the table: each loads a file and runs it on one input. A Python needs the package of the engine that it runs."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent


class OnnxRuntime:
    name = "ONNX Runtime"

    def __init__(self, path, basic=False):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        if basic:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self.version = onnxruntime.__version__
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, x):
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        return dict(zip([output.name for output in outputs], self.session.run(None, {inputs[0].name: x}), strict=True))


class OpenVino:
    name = "OpenVINO"

    def __init__(self, path):
        import openvino

        self.version = openvino.__version__.split("-")[0]
        # Its default on some processors is bfloat16.
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
        self.model = openvino.Core().compile_model(str(path), "CPU", config)

    def run(self, x):
        made = self.model(x)
        return {name: made[output] for output in self.model.outputs for name in output.names}


class Reference:
    name = "ONNX reference evaluator"

    def __init__(self, path):
        import onnx
        import onnx.reference

        self.version = onnx.__version__
        self.names = [output.name for output in onnx.load(path, load_external_data=False).graph.output]
        self.evaluator = onnx.reference.ReferenceEvaluator(str(path))

    def run(self, x):
        return dict(zip(self.names, self.evaluator.run(None, {self.evaluator.input_names[0]: x}), strict=True))


class Command:
    """An engine that another program runs: it gets the model, a file of numbers and a folder for the outputs."""

    def __init__(self, path):
        self.path = Path(path).resolve()

    def run(self, x):
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/x.npy", x)
            done = subprocess.run([*self.command, self.path, f"{folder}/x.npy", folder], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr.strip())
            made = {}
            for index, output in enumerate(json.loads(done.stdout)):
                numbers = np.fromfile(f"{folder}/{index}.bin", dtype=output["type"])
                made[output["name"]] = numbers.reshape(output["shape"])
            return made


class Rten(Command):
    name = "rten"
    command = [ROOT / "target/release/rten_outputs"]
    version = re.search(r'name = "rten"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text()).group(1)


class Web(Command):
    """In Node.js, in the folder where npm has installed onnxruntime-web."""

    name = "onnxruntime-web"

    def __init__(self, path, packages):
        self.command = ["node", ROOT / "tools/portable/web.mjs", packages]
        self.version = json.loads(Path(packages, "node_modules/onnxruntime-web/package.json").read_text())["version"]
        super().__init__(path)
