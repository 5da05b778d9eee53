"""Explanations: the numbers of the library, whatever the image comes as."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnx_gradcam as gc
from conftest import CAT, ENGINES, ESPRESSO


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["gradcam", "layercam", "ablationcam", "saliency"])
def test_maps_are_those_of_the_command_line_byte_for_byte(model: str, photo: str, tmp_path: Path, engine: str, method: str) -> None:
    command = [sys.executable, "-m", "onnx_gradcam", "explain", photo, "--model", model, "--engine", engine, "--threads", "1"]
    command += ["--method", method, "--target", str(CAT), "--format", "npy", "--output", f"{tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = [path for path in tmp_path.iterdir() if path.name.endswith("raw.npy")]
    wanted = np.load(file)
    found = gc.Explainer(model, method=method, engine=engine, threads=1)(photo, target=CAT).map
    assert found.dtype == wanted.dtype == np.float32
    assert found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


class Capsule:
    """An array of another library, of which only DLPack is known."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def misaligned(x: np.ndarray) -> np.ndarray:
    buffer = np.empty(x.nbytes + 1, np.uint8)
    moved = buffer[1:].view(np.float32).reshape(x.shape)
    moved[...] = x
    assert not moved.flags.aligned
    return moved


FORMS = {
    "without a batch": lambda x: x[0],
    "float64": lambda x: x.astype(np.float64),
    "longdouble": lambda x: x.astype(np.longdouble),
    "other order of bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "misaligned": misaligned,
    "columns first": np.asfortranarray,
    "channels last in memory": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "strides": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "backward": lambda x: x[:, :, ::-1].copy()[:, :, ::-1],
    "DLPack": Capsule,
    "lists": lambda x: x.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_array_of_any_layout_and_type_is_the_same_image(explainer: gc.Explainer, x: np.ndarray, form: str) -> None:
    wanted = explainer(x, CAT)
    found = explainer(FORMS[form](x), CAT)
    assert found.map.tobytes() == wanted.map.tobytes()
    assert found.scores.tobytes() == wanted.scores.tobytes()


def test_float16_is_read_as_its_numbers(explainer: gc.Explainer, x: np.ndarray) -> None:
    half = x.astype(np.float16)
    assert explainer(half).map.tobytes() == explainer(half.astype(np.float32)).map.tobytes()


def test_an_array_is_copied_before_it_is_read(explainer: gc.Explainer, x: np.ndarray) -> None:
    frozen = x.copy()
    frozen.flags.writeable = False
    assert explainer(frozen, CAT).map.tobytes() == explainer(x, CAT).map.tobytes()


@pytest.mark.parametrize("form", ["path", "bytes", "memoryview", "PIL", "PIL with opacity", "pixels"])
def test_a_photo_of_any_form_is_the_same_image(explainer: gc.Explainer, photo: str, form: str) -> None:
    picture = Image.open(photo)
    opaque = picture.convert("RGB")
    bytes_ = Path(photo).read_bytes()
    forms = {
        "path": Path(photo),
        "bytes": bytes_,
        "memoryview": memoryview(bytes_),
        "PIL": opaque,
        "PIL with opacity": opaque.convert("RGBA"),
        "pixels": np.asarray(opaque),
    }
    assert explainer(forms[form], CAT).map.tobytes() == explainer(photo, CAT).map.tobytes()


def test_a_picture_is_turned_as_its_exif_says(explainer: gc.Explainer, photo: str) -> None:
    upright = Image.open(photo).convert("RGB")
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter, clockwise.
    file = io.BytesIO()
    lying.save(file, "PNG", exif=exif)
    lying.getexif()[0x0112] = 6
    wanted = explainer(photo, CAT).map.tobytes()
    assert explainer(Image.open(io.BytesIO(file.getvalue())), CAT).map.tobytes() == wanted
    assert explainer(np.asarray(lying), CAT).map.tobytes() != wanted


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "I;16"])
def test_pictures_of_other_modes_are_photos(explainer: gc.Explainer, photo: str, mode: str) -> None:
    gray = Image.open(photo).convert("L")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
        assert picture.mode == mode
    else:
        picture = gray.convert(mode)
    wanted = gray if mode in ("LA", "I;16") else picture
    rgb = np.asarray(wanted.convert("RGB"))
    assert explainer(picture, CAT).map.tobytes() == explainer(rgb, CAT).map.tobytes()


def test_a_batch_has_the_maps_of_its_images(explainer: gc.Explainer, x: np.ndarray) -> None:
    flipped = x[..., ::-1]
    both = explainer.batch(np.concatenate([x, flipped]), targets=[CAT, ESPRESSO])
    assert [one.class_index for one in both] == [CAT, ESPRESSO]
    for found, wanted in zip(both, [explainer(x, CAT), explainer(flipped, ESPRESSO)], strict=True):
        # A batch sums in another order.
        largest = np.abs(wanted.map).max()
        assert np.abs(found.map - wanted.map).max() <= 1e-5 * largest


def test_a_batch_is_an_array_or_a_list(explainer: gc.Explainer, x: np.ndarray, photo: str) -> None:
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    wanted = [one.map.tobytes() for one in explainer.batch(np.concatenate([x, x]), targets=CAT)]
    for images in ([x, x[0]], (photo, pixels), np.stack([pixels, pixels]), [Path(photo)] * 2):
        assert [one.map.tobytes() for one in explainer.batch(images, CAT)] == wanted


def test_several_targets_are_one_run(explainer: gc.Explainer, photo: str) -> None:
    found = explainer.explain(photo, ["top:2", ESPRESSO, f"{CAT}-{ESPRESSO}"])
    assert len(found) == 4
    assert [one.class_index for one in found[:2]] == [one.index for one in found[0].top(2)]
    assert found[2].class_index == ESPRESSO
    difference = found[3]
    assert (difference.class_index, difference.against.index) == (CAT, ESPRESSO)
    assert difference.value == pytest.approx(difference.scores[CAT] - difference.scores[ESPRESSO], abs=1e-5)


def test_a_target_is_a_number_a_label_or_nothing(explainer: gc.Explainer, photo: str) -> None:
    best = explainer(photo)
    assert best.class_index == int(best.scores.argmax()) == best.top(1)[0].index
    assert explainer(photo, target="Egyptian cat").class_index == CAT
    assert explainer(photo, target=np.int64(CAT)).class_index == CAT


def test_an_explanation_has_its_parts(explainer: gc.Explainer, photo: str) -> None:
    e = explainer(photo, CAT)
    height, width = np.asarray(Image.open(photo)).shape[:2]
    assert e.map.shape == (7, 7)
    assert e.maps[0].tobytes() == e.map.tobytes()
    assert e.weights.shape == (1280,)
    assert e.layer == e.layers[0] == explainer.layers[0]
    assert e.input_size == (224, 224)
    heatmap = e.heatmap()
    assert heatmap.shape == (224, 224)
    assert (heatmap.min(), heatmap.max()) == (0, pytest.approx(1))
    assert np.asarray(e).tobytes() == heatmap.tobytes() == e.heatmap(e.layer).tobytes()
    assert np.asarray(e, dtype=np.float64).dtype == np.float64
    overlay = e.overlay()
    assert (overlay.shape, overlay.dtype) == ((height, width, 3), np.uint8)
    assert e.overlay(kind="transparent").shape == (height, width, 4)
    assert e.overlay(size=(30, 20)).shape == (20, 30, 3)
    assert e.label == "Egyptian cat"
    assert e.score == e.scores[CAT] == e.value
    assert e.probability == e.probabilities[CAT]
    assert e.target == str(CAT)
    assert (e.method, e.engine) == ("gradcam", explainer.engine)
    assert e.to_dict()["class"]["index"] == CAT


def test_a_tensor_is_drawn_alone_or_over_a_given_photo(explainer: gc.Explainer, x: np.ndarray, photo: str) -> None:
    e = explainer(x, CAT)
    gray = e.overlay(colormap="gray")
    assert (gray == np.trunc(255 * e.heatmap())[..., None]).all()
    assert gray.shape == (224, 224, 3)
    assert e.overlay(photo).shape == np.asarray(Image.open(photo)).shape[:2] + (3,)


def test_a_notebook_shows_picture_classes_and_warnings(explainer: gc.Explainer, photo: str, x: np.ndarray) -> None:
    e = explainer(photo, CAT)
    shown = Image.open(io.BytesIO(e._repr_png_()))
    assert np.asarray(shown).tobytes() == e.overlay().tobytes()
    html = e._repr_html_()
    assert "Egyptian cat" in html
    assert "data:image/png;base64," in html
    assert "<b>Egyptian cat: 49.4% against espresso: 6.1%</b>" in explainer(photo, f"{CAT}-{ESPRESSO}")._repr_html_()
    for e in (explainer(x), explainer.explain(x, ["argmax"])[0]):
        assert e._repr_png_().startswith(b"\x89PNG")


def test_grad_cam_is_the_classic_function(model: str, x: np.ndarray) -> None:
    explainer = gc.Explainer(model, layers="blocks.4", method="gradcam")
    assert explainer.layers == ["blocks.4"]
    assert gc.grad_cam(model, x, "blocks.4").tobytes() == explainer(x).map.tobytes()


def test_a_model_is_a_path_bytes_or_a_message(model: str, x: np.ndarray) -> None:
    class ModelProto:
        def SerializeToString(self) -> bytes:
            return Path(model).read_bytes()

    wanted = gc.Explainer(model, engine="rten")(x).map.tobytes()
    for other in (Path(model), Path(model).read_bytes(), ModelProto()):
        assert gc.Explainer(other, engine="rten")(x).map.tobytes() == wanted


def test_settings_reach_the_library(model: str, photo: str) -> None:
    plain = gc.Explainer(model, ["blocks.3", "blocks.4"], engine="rten")
    e = plain(photo, CAT)
    assert e.layers == ["blocks.3", "blocks.4"]
    assert [map.shape for map in e.maps] == [(14, 14), (14, 14)]
    assert e.heatmap(1).tobytes() == e.heatmap("blocks.4").tobytes() != e.heatmap(0).tobytes()
    fused = gc.Explainer(model, ["blocks.3", "blocks.4"], engine="rten", fuse="max")(photo, CAT)
    assert fused.to_dict()["heatmap"]["fusion"] == "max"
    assert gc.Explainer(model, engine="rten", compat="torchcam")(photo, CAT).heatmap().shape == (7, 7)
    squashed = gc.Explainer(model, engine="rten", fit="squash", mean=0.5, std=[0.5, 0.5, 0.5]).prepare(photo)
    assert (squashed.shape, squashed.min() >= -1, squashed.max() <= 1) == ((1, 3, 224, 224), True, True)
    noise = [gc.Explainer(model, method="randomcam", engine="rten", seed=seed)(photo).map.tobytes() for seed in (1, 1, 2)]
    assert noise[0] == noise[1] != noise[2]
    smooth = gc.Explainer(model, engine="rten", aug_smooth=True)(photo, CAT)
    assert len(smooth.to_dict()["heatmap"]["augmentations"]) == 5
