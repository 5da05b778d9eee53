"""Exported models: ONNX Runtime gives of them what ``explain`` gives of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import onnx_gradcam as gc
from conftest import ASSETS, CAT, ESPRESSO, FIXTURES

OWN = ["gradcam.map", "gradcam.heatmap", "gradcam.class"]


@pytest.fixture(scope="module")
def runtime(model: str) -> gc.Explainer:
    return gc.Explainer(model, layers=["blocks.4"], engine="onnxruntime", threads=1)


def session(model: str | bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_map_heatmap_and_class_are_those_of_explain(runtime: gc.Explainer, model: str, x: np.ndarray) -> None:
    exported = session(runtime.export())
    assert [output.name for output in exported.get_outputs()] == ["logits", *OWN]
    batch = np.concatenate([x, x[..., ::-1]])
    logits, maps, heatmaps, classes = exported.run(None, {"input": batch})
    assert np.array_equal(logits, session(model).run(None, {"input": batch})[0])
    wanted = runtime.batch(batch)
    same(maps, np.stack([one.map for one in wanted]))
    same(heatmaps, np.stack([one.heatmap() for one in wanted]))
    assert classes.tolist() == [one.class_index for one in wanted]


def test_targets_are_a_part_of_the_model(runtime: gc.Explainer, x: np.ndarray) -> None:
    maps, _, classes = session(runtime.export(targets=[CAT, f"{ESPRESSO}-{CAT}"])).run(OWN, {"input": x})
    same(maps[0], np.stack([one.map for one in runtime.explain(x, [CAT, f"{ESPRESSO}-{CAT}"])]))
    assert classes.tolist() == [[CAT, ESPRESSO]]


def test_the_class_may_be_an_input(runtime: gc.Explainer, x: np.ndarray) -> None:
    exported = session(runtime.export(targets="input", heads="cam-only"))
    assert [output.name for output in exported.get_outputs()] == OWN
    for asked, target in [(CAT, CAT), (-1, None)]:
        (found,) = exported.run(["gradcam.map"], {"input": x, "gradcam.target": np.array([asked])})
        same(found[0], runtime(x, target).map)


def test_a_file_has_the_same_bytes(runtime: gc.Explainer, tmp_path: Path) -> None:
    path = tmp_path / "explained.onnx"
    assert runtime.export(path, targets=["top:2"]) is None
    assert path.read_bytes() == runtime.export(targets=["top:2"])
    assert [file.name for file in tmp_path.iterdir()] == ["explained.onnx"]


def test_weights_may_be_halved(tmp_path: Path) -> None:
    segmenter = gc.Explainer(FIXTURES / "heads" / "segmenter.onnx", imagenet=True, engine="rten")
    whole, half = segmenter.export(), segmenter.export(fp16=True)
    assert len(half) < len(whole)
    session(half)


def test_a_model_that_takes_one_image_at_a_time_warns() -> None:
    # The file says that it takes any number of images, and its nodes are made for one.
    fixed = (FIXTURES / "zoo" / "lraspp.dynamo.onnx").read_bytes()
    shape = b"".join(bytes([0x0A, 2, 8, size]) for size in [1, 3, 64, 64])
    assert fixed.count(shape) == 1
    explainer = gc.Explainer(fixed.replace(shape, b"\x0a\x02\x12\x00" + shape[4:]), imagenet=True, engine="rten")
    with pytest.warns(UserWarning, match="takes one image at a time: ") as caught:
        data = explainer.export()
    assert caught[0].filename == __file__
    assert session(data).get_inputs()[0].shape[0] == 1


def test_the_file_of_the_model_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((ASSETS / "efficientnet_lite0.onnx").read_bytes())
    before = path.read_bytes()
    with pytest.raises(gc.InputError, match=r"is the file of the model, and would be replaced"):
        gc.Explainer(str(path), engine="rten").export(tmp_path / "." / "model.onnx")
    assert path.read_bytes() == before
