"""What the command line says is what the package says: the same arrays, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnx_gradcam as gc
from conftest import CAT, ENGINES, ESPRESSO, FIXTURES

HEADS = FIXTURES / "heads"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small photo, another one, and a mask."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("photo", "other"):
        Image.fromarray(random.integers(0, 256, (20, 24, 3), np.uint8)).save(folder / f"{name}.png")
    half = np.zeros((20, 24), np.uint8)
    half[:, :12] = 255
    Image.fromarray(half).save(folder / "mask.png")
    return folder


def command(folder: Path, *args: str | Path) -> None:
    """Runs the command in a folder, in a process of its own."""
    words = [sys.executable, "-m", "onnx_gradcam", *map(str, args)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr


def written(folder: Path, kind: str = "raw") -> list[np.ndarray]:
    """The arrays that a command wrote into a folder, by name."""
    return [np.load(path) for path in sorted(folder.glob(f"*.{kind}.npy"))]


TARGETS = {
    "a box": ("yolov8", ["--box", "2,2,12,12"], lambda ex, folder: gc.BoxTarget(2, 2, 12, 12)),
    "a box of a class": ("yolov8", ["--box", "2,2,12,12", "--target", "1"], lambda ex, folder: gc.BoxTarget(2, 2, 12, 12, target=1)),
    "the second box": ("yolov8", ["--target", "0@2"], lambda ex, folder: "0@2"),
    "a mask": ("segmenter", ["--mask", "mask.png"], lambda ex, folder: gc.MaskTarget(folder / "mask.png")),
    "a mask of a class": (
        "segmenter",
        ["--mask", "mask.png", "--target", "1"],
        lambda ex, folder: gc.MaskTarget(np.asarray(Image.open(folder / "mask.png")) > 127, target=1),
    ),
    "another photo": ("clip_tower", ["--similar-to", "other.png"], lambda ex, folder: gc.SimilarTarget(ex.embedding(folder / "other.png"))),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", TARGETS)
def test_targets_are_those_of_the_command(case: str, engine: str, small: Path, tmp_path: Path) -> None:
    file, flags, target = TARGETS[case]
    model = HEADS / f"{file}.onnx"
    options = ["-m", model, "--engine", engine, "--preset", "imagenet", "--format", "npy", "-o", tmp_path]
    command(small, "explain", "photo.png", *options, *flags)
    ex = gc.Explainer(model, engine=engine, imagenet=True)
    e = ex(small / "photo.png", target(ex, small))
    (wanted,), (heatmap,) = written(tmp_path), written(tmp_path, "heatmap")
    assert np.abs(wanted).max() > 0
    assert e.map.tobytes() == wanted.tobytes()
    assert e.heatmap().tobytes() == heatmap.tobytes()


def test_a_mask_is_a_picture_or_an_array(small: Path) -> None:
    ex = gc.Explainer(HEADS / "segmenter.onnx", engine="rten", imagenet=True)
    pixels = np.asarray(Image.open(small / "mask.png"))
    forms = [small / "mask.png", (small / "mask.png").read_bytes(), Image.open(small / "mask.png"), pixels, pixels > 0, pixels / 255.0]
    maps = {ex(small / "photo.png", gc.MaskTarget(form, 1)).map.tobytes() for form in forms}
    assert len(maps) == 1
    assert maps != {ex(small / "photo.png", gc.MaskTarget(pixels == 0, 1)).map.tobytes()}
    each = ex.batch([small / "photo.png"] * 2, gc.MaskTarget(pixels > 0, 1))
    assert {e.map.tobytes() for e in each} == maps


@pytest.mark.parametrize("engine", ENGINES)
def test_several_methods_are_those_of_the_command(engine: str, model: str, photo: str, tmp_path: Path) -> None:
    options = ["-m", model, "--engine", engine, "--format", "npy", "-o", tmp_path, "--target", CAT, "--target", ESPRESSO]
    command(tmp_path, "explain", photo, *options, "--method", "layercam,gradcam")
    ex = gc.Explainer(model, engine=engine, method=["layercam", "gradcam"])
    assert ex.methods == ["layercam", "gradcam"]
    es = ex.explain(photo, [CAT, ESPRESSO])
    assert [(e.method, e.class_index) for e in es] == [
        ("layercam", CAT),
        ("layercam", ESPRESSO),
        ("gradcam", CAT),
        ("gradcam", ESPRESSO),
    ]
    files = {path.name: np.load(path) for path in tmp_path.glob("*.raw.npy")}
    for e in es:
        (name,) = [name for name in files if f".{e.class_index}-" in name and f".{e.method}." in name]
        assert e.map.tobytes() == files[name].tobytes()
    with pytest.raises(gc.TargetError, match="None by 2 methods gives 2 explanations"):
        ex(photo)
    batch = ex.batch([photo, photo], CAT)
    assert [e.method for e in batch] == ["layercam", "gradcam"] * 2


def test_without_a_model_it_is_the_built_in_one(photo: str, model: str, tmp_path: Path) -> None:
    command(tmp_path, "explain", photo, "--format", "npy", "-o", tmp_path)
    ex = gc.Explainer()
    assert ex.engine == "rten"
    assert ex(photo).map.tobytes() == written(tmp_path)[0].tobytes()
    assert gc.layers() == gc.layers(model)
    assert gc.Network().modules() == gc.Network(model).modules()


@pytest.mark.parametrize("engine", ENGINES)
def test_concepts_are_those_of_the_command(engine: str, model: str, photo: str, small: Path, tmp_path: Path) -> None:
    photos = [Path(photo), small / "photo.png"]
    options = ["-m", model, "--engine", engine, "--components", "3", "--top", "1", "--format", "npy,json", "-o", tmp_path]
    command(tmp_path, "concepts", *photos, *options)
    found = gc.Explainer(model, engine=engine).concepts(photos, 3)
    assert (found.layer, found.engine, len(found.images)) == ("bn2", engine, 2)
    for path, image in zip(photos, found.images, strict=True):
        said = json.loads((tmp_path / f"{path.stem}.concepts.json").read_text(encoding="utf-8"))
        assert image.maps.tobytes() == np.load(tmp_path / f"{path.stem}.concepts.raw.npy").tobytes()
        assert image.heatmaps().tobytes() == np.load(tmp_path / f"{path.stem}.concepts.heatmap.npy").tobytes()
        assert found.error == pytest.approx(said["error"])
        for component, share, line in zip(found.components, image.shares, said["components"], strict=True):
            assert share == pytest.approx(line["share"])
            assert list(component.color) == line["color"]
            assert component.classes[0].index == line["classes"][0]["index"]
        assert image.overlay().shape == np.asarray(Image.open(path)).shape[:2] + (3,)
        assert image._repr_png_().startswith(b"\x89PNG")
    assert found._repr_html_().count("data:image/png;base64,") == 2


def test_concepts_of_one_image_or_an_array(photo: str, x: np.ndarray) -> None:
    ex = gc.Explainer(threads=1)
    alone = ex.concepts(photo, 2)
    assert len(alone.images) == 1
    assert alone.images[0].maps.tobytes() == ex.concepts(Image.open(photo), 2).images[0].maps.tobytes()
    assert alone.images[0].maps.tobytes() == ex.concepts(x[0], 2).images[0].maps.tobytes()
    vectors = [component.vector for component in alone.components]
    assert [vector.shape for vector in vectors] == [(1280,), (1280,)]
    both = ex.concepts(np.concatenate([x, x[..., ::-1]]), 2)
    assert [image.maps.shape for image in both.images] == [(2, 7, 7)] * 2
    assert both.images[0].overlay().shape == (224, 224, 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_takes_inputs_beside_the_image(engine: str) -> None:
    path = FIXTURES / "inputs" / "two_branches.onnx"
    case = json.loads((FIXTURES / "inputs" / "inputs.json").read_text(encoding="utf-8"))["two_branches"]
    image, features = (np.reshape(case["inputs"][name]["data"], case["inputs"][name]["shape"]) for name in ("image", "features"))
    network = gc.Network(path, inputs={"features": features[:1]}, engine=engine)
    seen = []
    network.register_forward_hook("trunk.late", lambda layer, inputs, output: seen.append(output))
    network.register_full_backward_pre_hook("trunk.late", lambda layer, grad_output: seen.append(grad_output[0]))
    scores = network(image, inputs={"features": features})
    assert np.abs(scores - np.reshape(case["scores"]["data"], case["scores"]["shape"])).max() <= 1e-5
    network.backward(np.eye(scores.shape[1])[case["classes"]])
    activation, gradient = seen
    found = (gradient.mean((2, 3), keepdims=True) * activation).sum(1)
    wanted = np.reshape(case["layers"]["trunk.late"]["data"], case["layers"]["trunk.late"]["shape"])
    assert np.abs(found - wanted).max() <= case["bound"] * np.abs(wanted).max()
    first = network.forward_pass(image[:1]).scores
    assert np.abs(first - scores[:1]).max() <= 1e-6
    assert np.abs(network(image[:1], {"features": features[1:]}) - first).max() > 1e-3
    with pytest.raises(gc.InputError, match='has no input "feature"'):
        network(image, inputs={"feature": features})


def test_a_stream_is_a_batch_that_holds_few_images(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    ex = gc.Explainer(threads=1)
    images = [x, x[..., ::-1]] * 5
    wanted = [e.map.tobytes() for e in ex.batch(images, CAT)]
    taken, shown = [], []

    class Bar:
        def __init__(self, total: int | None, unit: str) -> None:
            shown.append((total, unit))

        def update(self, count: int) -> None:
            shown.append(count)

        def close(self) -> None:
            shown.append("closed")

    def each() -> object:
        for image in images:
            taken.append(1)
            yield image

    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Bar))
    stream = ex.stream(each(), CAT)
    assert next(stream).map.tobytes() == wanted[0]
    assert len(taken) == 8
    assert [e.map.tobytes() for e in stream] == wanted[1:]
    assert shown == [(None, "image"), 8, 2, "closed"]
    shown.clear()
    left_early = ex.stream(images)
    next(left_early)
    left_early.close()
    assert shown == [(10, "image"), "closed"]
    shown.clear()
    assert len(list(ex.stream(images[:2]))) == len(list(ex.stream(images[:2], progress=False)))
    assert shown == [(2, "image"), 2, "closed"]
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert [e.map.tobytes() for e in ex.stream(images[:2], CAT)] == wanted[:2]


def test_other_settings_reach_the_library(model: str, photo: str) -> None:
    config = {"session.intra_op.allow_spinning": "0"}
    assert gc.Explainer(model, session_config=config).engine == "onnxruntime"
    for call in (gc.Explainer, gc.Network):
        with pytest.raises(gc.EngineError, match=r"session\.intra_op\.allow_spinning"):
            call(model, session_config=config, engine="rten")
    e = gc.Explainer()(photo, CAT)
    assert e.overlay(size="network").shape == (224, 224, 3)
    assert e.overlay(size="photo").tobytes() == e.overlay().tobytes()
    strip = gc.Explainer(FIXTURES / "heads" / "recognizer.onnx", image_shape=(1, 3, 32, 96), engine="rten", imagenet=True)
    assert strip(np.zeros((1, 3, 32, 96), np.float32)).input_size == (32, 96)
