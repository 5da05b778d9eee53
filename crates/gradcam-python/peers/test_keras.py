"""Keras models: the exported file against Keras, and maps against TensorFlow's gradients."""

import os
import subprocess
import sys

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", KERAS_BACKEND="tensorflow")

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from onnx_gradcam.keras import from_keras

ENGINE = os.environ.get("PEERS_ENGINE", "auto")
BOUND = 1e-4


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    inside = keras.Input((12, 16, 8))
    cell = keras.Model(inside, L.ReLU(name="act")(L.Conv2D(12, 3, padding="same", name="conv")(inside)), name="cell")
    image = keras.Input((24, 32, 3))
    stem = L.ReLU(name="act")(L.BatchNormalization(name="norm")(L.Conv2D(8, 3, padding="same", name="first")(image)))
    pooled = L.GlobalAveragePooling2D()(L.Conv2D(10, 3, name="second")(cell(L.MaxPooling2D()(stem))))
    return keras.Model(image, L.Dense(5, activation="softmax", name="head")(pooled))


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 24, 32, 3)).astype(np.float32)


def grad_cam(model: keras.Model, layer: keras.Layer, x: np.ndarray, category: int) -> np.ndarray:
    """The raw map of each image, [N, h, w], of the logits."""
    logits = keras.Model(model.inputs[0], [layer.output, model.get_layer("head").input])
    head = model.get_layer("head")
    with tf.GradientTape() as tape:
        activation, features = logits(x)
        score = (features @ head.kernel + head.bias)[:, category]
    gradient = tape.gradient(score, activation)
    return np.einsum("nk,nhwk->nhw", gradient.numpy().mean(axis=(1, 2)), activation.numpy())


@pytest.mark.parametrize("name", ["act", "first", "second"])
def test_maps(model, x, name):
    layer = model.get_layer(name)
    explainer = from_keras(model, x, layers=[layer], method="gradcam", engine=ENGINE)
    assert explainer.layers == [name]
    explained = explainer.batch(x, targets=2)
    probabilities = np.stack([one.probabilities for one in explained])
    assert np.abs(probabilities - model(x).numpy()).max() <= 1e-6
    want = grad_cam(model, layer, x, 2)
    got = np.stack([one.map for one in explained])
    assert np.abs(got - want).max() <= BOUND * np.abs(want).max()


def test_layers_of_models_inside(model, x):
    cell = model.get_layer("cell")
    explainer = from_keras(model, x, layers=[cell.get_layer("conv"), "second"], engine=ENGINE)
    assert explainer.layers == ["cell/conv", "second"]


def test_without_layers(model, x):
    assert from_keras(model, x, engine=ENGINE).layers == ["second"]


def test_what_cannot_be_says_why(model, x):
    with pytest.raises(ValueError, match='"other" is no layer of the model'):
        from_keras(model, x, layers=[L.ReLU(name="other")])
    with pytest.raises(ValueError, match='no layer named "thrid"'):
        from_keras(model, x, layers=["thrid"])


OF_TORCH = """
import keras, numpy as np
from onnx_gradcam.keras import from_keras
layers = keras.layers
model = keras.Sequential([keras.Input((24, 32, 3)), layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(5)])
x = np.random.default_rng(0).normal(size=(3, 24, 32, 3)).astype(np.float32)
scores = np.stack([one.scores for one in from_keras(model, x).batch(x)])
print(np.abs(scores - model(x).detach().numpy()).max() <= 1e-5)
try:
    from_keras(model, x, layers=model.layers[:1])
except ValueError as error:
    print(error)
"""


def test_the_backend_torch():
    env = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", OF_TORCH], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("True\nKeras's backend torch writes files without the names of layers"), done.stderr
