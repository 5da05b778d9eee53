# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "tensorflow-cpu==2.21.0", "keras==3.15.1", "tf2onnx==1.17.0", "onnx==1.23.2", "onnxruntime==1.32.0",
#     "onnxsim==0.8.1", "numpy",
# ]
# ///
"""Writes one small Keras model as Keras and as tf2onnx write it, with its maps: crates/testkit/fixtures/exporters.

python tools/keras_cases.py [FOLDER]

The model has what makes layer names hard: norms that are folded into a convolution and into a separable one, layers whose own
names end in numbers, a layer that is called twice, a model in the model, a padding and a dropout that leave no node, linear
layers and norms that want the channels last. Keras's file also as onnxsim and ONNX Runtime (level extended) make it. Maps
are by TensorFlow's autograd in float64.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import keras
import numpy as np
import onnx
import tensorflow as tf
from keras import layers as L

from exported import optimize, simplify, write_maps

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "crates/testkit/fixtures/exporters")
CLASS = 2
CELL = "cell_1"


class Block:
    def __init__(self):
        self.first = [L.Conv2D(4, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU()]
        self.second = [L.SeparableConv2D(4, 3, padding="same", use_bias=False), L.BatchNormalization()]
        self.last = [L.Add(), L.Activation("relu")]

    def __call__(self, call, x):
        y = x
        for layer in self.first + self.second:
            y = call(layer, y)
        return call(self.last[1], call(self.last[0], [x, y]))


class Small:
    """The layers, called by Keras, or one by one with the output of each."""

    def __init__(self, floats, softmax):
        keras.backend.clear_session()
        keras.utils.set_random_seed(4)
        keras.config.set_dtype_policy(floats)
        self.stem = [L.ZeroPadding2D(1), L.Conv2D(4, 3, strides=2, activation="relu")]
        self.block, self.convs, self.twice = Block(), [L.Conv2D(4, 1), L.Conv2D(4, 1)], L.ReLU(name="twice")
        self.inside, self.norms = Block(), [L.LayerNormalization(), L.Dense(5, activation="swish")]
        self.head = [L.Dropout(0.3), L.GlobalAveragePooling2D(), L.Dense(6, activation="softmax" if softmax else None)]
        plain = lambda layer, x: layer(x)
        image, inside = keras.Input((12, 16, 3), dtype=floats), keras.Input((6, 8, 4), dtype=floats)
        self.cell = keras.Model(inside, self.run_cell(plain, inside), name=CELL)
        self.model = keras.Model(image, self.run(plain, self.cell, image))
        rng = np.random.default_rng(6)
        for variable in self.model.weights:
            low, high = (0.5, 1.5) if variable.path.endswith(("gamma", "variance")) else (-0.6, 0.6)
            variable.assign(rng.uniform(low, high, variable.shape).astype(np.float32))

    def run_cell(self, call, x):
        x = self.inside(call, x)
        for layer in self.norms:
            x = call(layer, x)
        return x

    def run(self, call, cell, x):
        for layer in self.stem:
            x = call(layer, x)
        x = self.block(call, x)
        for conv in self.convs:
            x = call(self.twice, call(conv, x))
        x = cell(x)
        for layer in self.head:
            x = call(layer, x)
        return x

    def maps(self, x):
        kept = {}

        def into(prefix):
            def call(layer, x):
                kept[prefix + layer.name] = layer(x, training=False)
                return kept[prefix + layer.name]

            return call

        def cell(x):
            kept[CELL] = self.run_cell(into(f"{CELL}/"), x)
            return kept[CELL]

        with tf.GradientTape() as tape:
            x = tf.Variable(x, dtype=self.model.compute_dtype)
            scores = self.run(into(""), cell, x)
            score = scores[0, CLASS]
        pictures = {path: value for path, value in kept.items() if len(value.shape) == 4}
        gradients = dict(zip(pictures, tape.gradient(score, list(pictures.values())), strict=True))
        sums = lambda path, g: tf.reduce_sum(pictures[path] * g, -1).numpy()[0]
        return scores.numpy()[0], {
            path: {"gradcam": sums(path, tf.reduce_mean(g, (1, 2), keepdims=True)), "hirescam": sums(path, g)}
            for path, g in gradients.items()
        }


model, double = Small("float32", True).model, Small("float64", False)
x = np.random.default_rng(8).uniform(-1, 1, (1, 12, 16, 3)).astype(np.float32)
model(x)
scores, found = double.maps(x)
whole = double.model(x, training=False).numpy()[0]

assert np.abs(scores - whole).max() <= 1e-12 * np.abs(whole).max()
FOLDER.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory() as folder:
    model.export(FOLDER / "keras.onnx", format="onnx", verbose=False)
    model.export(f"{folder}/saved", verbose=False)
    target = str((FOLDER / "tf2onnx.onnx").resolve())
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", "saved", "--output", target, "--opset", "18"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
simplify(FOLDER / "keras.onnx", FOLDER / "keras_onnxsim.onnx")
optimize(FOLDER / "keras.onnx", FOLDER / "keras_extended.onnx")
for name in ("keras", "tf2onnx", "keras_onnxsim", "keras_extended"):
    file = onnx.load(FOLDER / f"{name}.onnx")
    print(name, len(file.graph.node), sorted({n.op_type for n in file.graph.node}))
write_maps(FOLDER / "keras.json", x, CLASS, scores, found)
print(list(found))
