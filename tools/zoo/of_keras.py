"""The models of keras.applications, written by Keras (`export(format="onnx")`) and by tf2onnx from a SavedModel.

Weights are random from a seed, batch norms have the statistics of random images. The notes count the layers of the Keras
model whose output is the value of that name; "folded" are those whose value is the norm behind them, which gradcam warns
of; "absent" have left no node.
"""

import os
import subprocess
import sys

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")
import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from zoo import measure

SIDE, CLASSES, FOLDS = 128, 10, 1e-9
# Model: its last feature map, and an early layer.
LAYERS = {
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
    """Gives a copy the model's weights, with every batch norm behind a convolution folded into its kernel, as exporters do.

    Folding is in the copy's precision. The norms keep only the shift.
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
    for value, gradient in zip(values, tape.gradient(best, values), strict=True):
        found.append([(value * tf.reduce_mean(gradient, (1, 2), keepdims=True)), value * gradient])
    return scores.numpy()[0], int(tf.argmax(scores[0])), [[tf.reduce_sum(m, -1).numpy()[0] for m in pair] for pair in found]


def by_name(model, path, layers, x):
    """How many layers' names give the layer's output."""
    file = onnx.load(path)
    file.graph.output.extend(
        onnx.ValueInfoProto(name=layer["value"]) for layer in layers if layer["value"] not in [o.name for o in file.graph.output]
    )
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    values = {layer["path"]: layer["value"] for layer in layers}
    used = {name for node in file.graph.node for name in node.input}
    feeds = {i.name: x if len(session.get_inputs()) == 1 or i.name in used else np.zeros(i.shape, np.float32) for i in session.get_inputs()}
    names = sorted(set(values.values()))
    numbers = dict(zip(names, session.run(names, feeds), strict=True))
    wanted = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    truth = keras.Model(model.inputs, [layer.output for layer in wanted])(x, training=False)
    right, other, absent = set(), [], []
    for layer, want in zip(wanted, truth, strict=True):
        if layer.name not in values:
            absent.append(layer.name)
            continue
        got, own = numbers[values[layer.name]], want.numpy()
        turned = own.transpose(0, 3, 1, 2) if own.ndim == 4 else own
        close = any(got.size == w.size and np.abs(got.reshape(-1) - w.reshape(-1)).max() <= 1e-3 * np.abs(w).max() for w in (own, turned))
        right.add(layer.name) if close else other.append(layer.name)
    known = {values[name] for name in right}
    folded = [name for name in other if values[name] in known]
    return {"right": len(right), "folded": len(folded), "absent": absent, "wrong": [name for name in other if name not in folded]}


MODELS = [("keras", name) for name in LAYERS]
EXPORTERS = ["keras", "tf2onnx"]


def exports(model, folder):
    """Exporter, and what writes the file."""
    direct, saved = folder / "direct.onnx", folder / "saved.onnx"

    def from_saved():
        model.export(folder / "saved", verbose=False)
        command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", folder / "saved", "--output", saved]
        done = subprocess.run([*command, "--opset", "18"], capture_output=True, text=True, check=False)
        if done.returncode or not saved.exists():
            raise RuntimeError(done.stderr[-300:])
        return saved

    def from_keras():
        model.export(direct, format="onnx", verbose=False)
        return direct

    return dict(zip(EXPORTERS, (from_keras, from_saved), strict=True))


def draw(seed):
    rng = np.random.default_rng(seed)
    x = images(rng, 1)
    return x, [x * (1 + 1e-6 * rng.standard_normal(x.shape)) for _ in range(2)]


def rows(source, name, exporters, gradcam, folder):
    layers = LAYERS[name]
    model = build(name, "float32", "softmax")
    fill(model)
    single, double = build(name, "float32", None), build(name, "float64", None)
    single.set_weights(model.get_weights())
    double.set_weights(model.get_weights())
    holds = {floats: folded(model, build(name, floats, None)) for floats in ("float32", "float64")}
    still = measure.stillest(draw, lambda x: maps(double, layers, x), lambda x: maps(single, layers, x))
    # float32 has many answers: images that differ in the last bit, and kernels that hold the norms behind them. The last
    # count only where they give the same maps in float64.
    noise = [np.random.default_rng(seed).uniform(-1, 1, still.x.shape) for seed in (1, 2)]
    near = [still.x, *((still.x * (1 + 2.0**-24 * one)).astype(np.float32) for one in noise)]
    runs = [maps(single, layers, image)[2] for image in near]
    same = maps(holds["float64"], layers, still.x)[2]
    if all(measure.worst(s, w) <= FOLDS for s, w in zip(same, still.truth, strict=True)):
        runs += [maps(holds["float32"], layers, image)[2] for image in near]
    else:
        print(f"{name}: folded norms give other maps in float64", file=sys.stderr)

    def remark(path, tree):
        names = by_name(model, path, tree["layers"], still.x)
        counts = f"{names['right']} right, {names['folded']} folded, {len(names['absent'])} absent"
        return f"; names: {counts}, {len(names['wrong'])} wrong {names['wrong'][:3] or ''}".rstrip()

    written = {exporter: write for exporter, write in exports(model, folder).items() if exporter in exporters}
    head, float32 = {"source": source, "model": name}, measure.float32_error(still, runs)
    yield from measure.rows(head, written, gradcam, layers, still, float32, remark)
