"""The program under test, run on exported models."""

import glob
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

ENGINES = ["onnxruntime", "rten"]


def runtime_library():
    return glob.glob(f"{Path(onnxruntime.__file__).parent}/capi/libonnxruntime.so.*")[0]


class Gradcam:
    """The command line of one program."""

    def __init__(self, program):
        self.program = program
        self.environment = {**os.environ, "ORT_DYLIB_PATH": runtime_library()}

    def __call__(self, *arguments):
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)
        if done.returncode:
            raise RuntimeError(" ".join(done.stderr.split()) or f"exit {done.returncode}")
        return done.stdout

    def layers(self, model):
        return json.loads(self("layers", model, "--json"))

    def explain(self, model, x, layer, target, engine):
        """The raw maps of Grad-CAM and HiResCAM, the scores by index, the explained value, and the warnings."""
        with tempfile.TemporaryDirectory() as folder:
            image = f"{folder}/x.npy"
            np.save(image, np.asarray(x))
            printed = self(
                *("explain", image, "--model", model, "--layer", layer, "--target", target),
                *("--engine", engine, "--top", 100000, "--method", "gradcam", "--method", "hirescam"),
                *("--format", "npy", "--json", "--output", f"{folder}/"),
            )
            lines = [json.loads(line) for line in printed.splitlines()]
            raw = [np.load(next(file for file in line["files"] if file.endswith(".raw.npy"))) for line in lines]
        top = {entry["index"]: entry["score"] for entry in lines[0]["top"]}
        return raw, top, lines[0]["layers"][0]["value"], lines[0]["warnings"]
