# /// script
# requires-python = ">=3.10"
# dependencies = ["tensorflow-cpu==2.21.0", "keras==3.15.1", "tf2onnx==1.17.0", "onnx==1.23.2", "onnxruntime==1.32.0", "numpy"]
# ///
"""Compares gradcam with float64 TensorFlow on the models of keras.applications: one JSON object a line.

python tools/zoo_keras.py [--only NAME…] [--gradcam PROGRAM] > ROWS.jsonl

Each model is written by Keras (`export(format="onnx")`) and by tf2onnx from a SavedModel. Weights are random from a seed,
batch norms have the statistics of random images. Errors are the largest difference over the largest number: of the scores,
and of the raw maps of Grad-CAM and HiResCAM at the default layer and at an early one. The notes count the layers of the Keras
model whose output is the value of that name; "folded" are those whose value is the norm behind them, which gradcam warns of;
"absent" have left no node.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")
import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

SIDE, CLASSES, SEEDS, STILL, FOLDS = 128, 10, 6, 1e-4, 1e-9
# Model: its last feature map, and an early layer.
MODELS = {
    "ConvNeXtTiny": ("convnext_tiny_stage_3_block_2_identity", "convnext_tiny_stage_1_block_2_identity"),
    "DenseNet121": ("relu", "conv3_block6_concat"),
    "EfficientNetB0": ("top_activation", "block3b_add"),
    "EfficientNetV2B0": ("top_activation", "block3b_add"),
    "InceptionV3": ("mixed10", "mixed2"),
    "MobileNet": ("conv_pw_13_relu", "conv_pw_4_relu"),
    "MobileNetV2": ("out_relu", "block_6_expand_relu"),
    "MobileNetV3Small": ("activation_17", "expanded_conv_4_add"),
    "NASNetMobile": ("activation_187", "normal_concat_2"),
    "ResNet50": ("conv5_block3_out", "conv2_block3_out"),
    "ResNet50V2": ("post_relu", "conv3_block2_out"),
    "VGG16": ("block5_conv3", "block2_conv2"),
    "Xception": ("block14_sepconv2_act", "add_1"),
}


def build(name, floats, activation):
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(floats)
    return getattr(keras.applications, name)(weights=None, input_shape=(SIDE, SIDE, 3), classes=CLASSES, classifier_activation=activation)


def fill(model):
    """Random biases and scales; batch norms with the statistics of random images."""
    rng = np.random.default_rng(2)
    for layer in model.layers:
        norm = isinstance(layer, keras.layers.BatchNormalization)
        if norm:
            layer.momentum = 0.0
        for variable in layer.weights:
            if variable.path.endswith(("/gamma", "/layer_scale")) or (norm and variable.path.endswith("/variance")):
                variable.assign(rng.uniform(0.7, 1.3, variable.shape))
            elif variable.path.endswith(("/beta", "/bias")):
                variable.assign(rng.uniform(-0.2, 0.4, variable.shape))
    model(tf.constant(images(rng, 8)), training=True)


def folded(model, copy):
    """Gives a copy the model's weights, with every batch norm behind a convolution folded into its kernel, as exporters do, in the copy's precision.

    The norms keep only the shift.
    """
    copy.set_weights(model.get_weights())
    for norm in copy.layers:
        if not isinstance(norm, keras.layers.BatchNormalization):
            continue
        conv = norm.input._keras_history.operation
        if not isinstance(conv, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)):
            continue
        deviation = np.sqrt(norm.moving_variance.numpy() + np.asarray(norm.epsilon, norm.compute_dtype))
        factor = (norm.gamma.numpy() if norm.scale else 1) / deviation
        shift = (norm.beta.numpy() if norm.center else 0) - norm.moving_mean.numpy() * factor
        if conv.use_bias:
            shift = shift + conv.bias.numpy() * factor
            conv.bias.assign(np.zeros_like(conv.bias.numpy()))
        if isinstance(conv, keras.layers.SeparableConv2D):
            conv.pointwise_kernel.assign(conv.pointwise_kernel.numpy() * factor)
        elif isinstance(conv, keras.layers.DepthwiseConv2D):
            conv.kernel.assign(conv.kernel.numpy() * factor.reshape(conv.kernel.shape[2:]))
        else:
            conv.kernel.assign(conv.kernel.numpy() * factor)
        norm.epsilon = 0.0
        norm.moving_mean.assign(-shift)
        norm.moving_variance.assign(np.ones_like(deviation))
        if norm.scale:
            norm.gamma.assign(np.ones_like(deviation))
        if norm.center:
            norm.beta.assign(np.zeros_like(deviation))
    return copy


def images(rng, count):
    return rng.uniform(0, 255, (count, SIDE, SIDE, 3)).astype(np.float32)


def maps(model, layers, x):
    """The scores, the class, and the raw maps of Grad-CAM and HiResCAM at each layer."""
    whole = keras.Model(model.inputs, [model.get_layer(layer).output for layer in layers] + [model.output])
    with tf.GradientTape() as tape:
        *values, scores = whole(tf.constant(x, model.compute_dtype), training=False)
        best = scores[0, int(tf.argmax(scores[0]))]
    found = []
    for value, gradient in zip(values, tape.gradient(best, values)):
        found.append([(value * tf.reduce_mean(gradient, (1, 2), keepdims=True)), value * gradient])
    return scores.numpy()[0], int(tf.argmax(scores[0])), [[tf.reduce_sum(m, -1).numpy()[0] for m in pair] for pair in found]


def relative(got, want):
    if np.shape(got) != np.shape(want):
        return f"shape {list(np.shape(got))}, not {list(np.shape(want))}"
    return float(f"{np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max():.2e}")


def worst(got, want):
    errors = [relative(g, w) for g, w in zip(got, want)]
    return next((error for error in errors if isinstance(error, str)), None) or max(errors)


class Gradcam:
    def __init__(self, program):
        library = glob.glob(f"{Path(onnxruntime.__file__).parent}/capi/libonnxruntime.so.*")[0]
        self.program, self.environment = program, {**os.environ, "ORT_DYLIB_PATH": library}

    def __call__(self, *arguments):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, env=self.environment)
        if done.returncode:
            raise RuntimeError(" ".join(done.stderr.split()))
        return done.stdout

    def maps(self, model, image, layer, target, engine):
        """The scores, and the raw maps of Grad-CAM and HiResCAM."""
        with tempfile.TemporaryDirectory() as folder:
            printed = self("explain", image, "-m", model, "--layer", layer, "--target", target, "--engine", engine, "--top", CLASSES, "--method", "gradcam", "--method", "hirescam", "--format", "npy", "--json", "-o", f"{folder}/")
            lines = [json.loads(line) for line in printed.splitlines()]
            raw = [np.load(next(file for file in line["files"] if file.endswith(".raw.npy"))) for line in lines]
        top = {entry["index"]: entry["score"] for entry in lines[0]["top"]}
        return [top[index] for index in sorted(top)], raw


def by_name(model, path, layers, x):
    """How many layers' names give the layer's output."""
    file = onnx.load(path)
    file.graph.output.extend(onnx.ValueInfoProto(name=layer["value"]) for layer in layers if layer["value"] not in [o.name for o in file.graph.output])
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    read = {node for node in [i.name for i in session.get_inputs()]}
    values = {layer["path"]: layer["value"] for layer in layers}
    used = {name for node in file.graph.node for name in node.input}
    feeds = {i.name: x if len(read) == 1 or i.name in used else np.zeros(i.shape, np.float32) for i in session.get_inputs()}
    names = sorted(set(values.values()))
    numbers = dict(zip(names, session.run(names, feeds)))
    wanted = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    truth = keras.Model(model.inputs, [layer.output for layer in wanted])(x, training=False)
    right, other, absent = set(), [], []
    for layer, want in zip(wanted, truth):
        if layer.name not in values:
            absent.append(layer.name)
            continue
        got, want = numbers[values[layer.name]], want.numpy()
        turned = want.transpose(0, 3, 1, 2) if want.ndim == 4 else want
        close = any(got.size == w.size and np.abs(got.reshape(-1) - w.reshape(-1)).max() <= 1e-3 * np.abs(w).max() for w in (want, turned))
        right.add(layer.name) if close else other.append(layer.name)
    known = {values[name] for name in right}
    folded = [name for name in other if values[name] in known]
    return {"right": len(right), "folded": len(folded), "absent": absent, "wrong": [name for name in other if name not in folded]}


def exports(model, folder):
    """Exporter, and what writes the file."""
    direct, saved = folder / "direct.onnx", folder / "saved.onnx"

    def from_saved():
        model.export(folder / "saved", verbose=False)
        command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", folder / "saved", "--output", saved, "--opset", "18"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not saved.exists():
            raise RuntimeError(done.stderr[-300:])
        return saved

    def from_keras():
        model.export(direct, format="onnx", verbose=False)
        return direct

    return {"keras": from_keras, "tf2onnx": from_saved}


def measure(name, gradcam, folder):
    last, early = MODELS[name]
    model = build(name, "float32", "softmax")
    fill(model)
    single, double = build(name, "float32", None), build(name, "float64", None)
    single.set_weights(model.get_weights())
    double.set_weights(model.get_weights())
    holds = {floats: folded(model, build(name, floats, None)) for floats in ("float32", "float64")}
    best = None
    for seed in range(SEEDS):
        # The image on which rounding changes the maps least: that of float32, and of images as near as rounding.
        rng = np.random.default_rng(seed)
        x = images(rng, 1)
        (scores, target, truth), (_, _, theirs) = maps(double, [last, early], x), maps(single, [last, early], x)
        own = [worst(t, w) for t, w in zip(theirs, truth)]
        near = [maps(double, [last, early], x * (1 + 1e-6 * rng.standard_normal(x.shape))) for _ in range(2)]
        moved = max(own + [worst(n, w) for _, _, pairs in near for n, w in zip(pairs, truth)])
        if best is None or moved < best[0]:
            best = moved, own, x, scores, target, truth
        if moved < STILL:
            break
    moved, own, x, scores, target, truth = best
    # float32 has many answers: images that differ in the last bit, and kernels that hold the norms behind them. The last count
    # only where they give the same maps in float64.
    near = [(x * (1 + 2.0**-24 * np.random.default_rng(seed).uniform(-1, 1, x.shape))).astype(np.float32) for seed in (1, 2)]
    runs = [maps(single, [last, early], image)[2] for image in near]
    same = maps(holds["float64"], [last, early], x)[2]
    if all(worst(s, w) <= FOLDS for s, w in zip(same, truth)):
        runs += [maps(holds["float32"], [last, early], image)[2] for image in [x, *near]]
    else:
        print(f"{name}: folded norms give other maps in float64", file=sys.stderr)
    own = [max([o] + [worst(run[place], truth[place]) for run in runs]) for place, o in enumerate(own)]
    np.save(folder / "image.npy", x)
    for exporter, write in exports(model, folder).items():
        row = {"source": "keras", "model": name, "exporter": exporter, "export_error": None, "nodes": None, "opset": None, "default_layer": None, "early_layer": early}
        row |= {"engines": {}, "framework_f32": dict(zip(("default", "early"), own)), "notes": f"rounding moves the maps by {moved:.1e}"}
        try:
            path = write()
            file = onnx.load(path)
            row |= {"nodes": len(file.graph.node), "opset": file.opset_import[0].version}
            onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:
            row["export_error"] = " ".join(str(error).split())[:300]
            yield row
            continue
        try:
            tree = json.loads(gradcam("layers", path, "--json"))
            row["default_layer"] = tree["default"]
            names = by_name(model, path, tree["layers"], x)
            row["notes"] += f"; names: {names['right']} right, {names['folded']} folded, {len(names['absent'])} absent, {len(names['wrong'])} wrong {names['wrong'][:3] or ''}".strip()
            if tree["default"] != last:
                row["notes"] += f"; the default layer should be {last}"
        except Exception as error:
            row["notes"] += "; " + " ".join(str(error).split())[:300]
        for engine in ("onnxruntime", "rten"):
            found = {"error": None, "forward": None, "default": None, "early": None}
            try:
                for place, layer in enumerate((last, early)):
                    logits, raw = gradcam.maps(path, folder / "image.npy", layer, target, engine)
                    found["forward"] = relative(logits, scores)
                    found[("default", "early")[place]] = worst(raw, truth[place])
            except Exception as error:
                found["error"] = " ".join(str(error).split())[:300]
            row["engines"][engine] = found
        yield row


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    parser.add_argument("--gradcam", default="target/release/gradcam")
    options = parser.parse_args()
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(name, Gradcam(options.gradcam), Path(folder)):
                print(json.dumps(row), flush=True)
