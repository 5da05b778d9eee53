"""Data sets: rows of plain columns, a row for each picture, Parquet files that are complete or not there."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import onnx_gradcam as gc
from conftest import ASSETS, CAT, ESPRESSO, python
from onnx_gradcam.batch import SPARK_SCHEMA, ExplainImages, arrow_schema, read_map

MODEL = str(ASSETS / "efficientnet_lite0.onnx")
HEADS = Path(__file__).parents[2] / "testkit" / "fixtures" / "heads"
PICTURES = 21


@pytest.fixture(scope="session")
def images() -> ExplainImages:
    return ExplainImages(MODEL, engine="rten")


@pytest.fixture(scope="session")
def cat(photo: str) -> bytes:
    return Path(photo).read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small pictures in two folders, one of them broken, and files that are no pictures."""
    from PIL import Image

    found = tmp_path / "pictures"
    (found / "below").mkdir(parents=True)
    (found / ".cache").mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        pixels = rng.integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(pixels).save((found / "below" if number % 2 else found) / f"{number:02}.PNG")
    (found / "broken.jpg").write_bytes(b"nothing")
    (found / "notes.txt").write_text("no picture")
    shutil.copy(found / "00.PNG", found / ".cache" / "hidden.png")
    return found


def paths_of(out: Path) -> Counter[str]:
    """How many rows each path has, and no file that is half-written."""
    assert all(file.suffix == ".parquet" for file in out.iterdir())
    return Counter(pq.read_table(out).column("path").to_pylist())


def test_a_row_is_the_explanation(images: ExplainImages, cat: bytes, photo: str) -> None:
    for target in (None, ESPRESSO, "espresso"):
        (row,) = ExplainImages(MODEL, engine="rten", target=target)({"path": ["here"], "bytes": [cat]}).to_pylist()
        wanted = images.explainer(photo, target)
        assert np.array_equal(read_map(row["map"], row["height"], row["width"]), wanted.map)
        assert len(row["map"]) == 4 * wanted.map.size
        assert row["score"] == pytest.approx(wanted.score)
        assert row["probability"] == pytest.approx(wanted.probability)
        assert (row["path"], row["class_index"], row["label"]) == ("here", wanted.class_index, wanted.label)
        assert (row["target"], row["method"], row["layer"]) == (wanted.target, "gradcam", "bn2")
        assert (row["warnings"], row["error"]) == ("", None)


def test_a_heatmap_is_stored_in_16_bits(cat: bytes, photo: str) -> None:
    heatmaps = ExplainImages(MODEL, engine="rten", map="heatmap")
    (row,) = heatmaps({"bytes": [cat]}).to_pylist()
    assert (row["height"], row["width"], len(row["map"])) == (224, 224, 2 * 224 * 224)
    found = read_map(row["map"], 224, 224)
    assert found.dtype == np.float32
    assert np.abs(found - heatmaps.explainer(photo).heatmap()).max() <= 2**-12
    (row,) = ExplainImages(MODEL, engine="rten", map=None)({"bytes": [cat]}).to_pylist()
    assert (row["height"], row["map"], row["class_index"]) == (None, None, CAT)


def test_bytes_are_little_endian_rows() -> None:
    values = np.array([[1, 2, 3], [4, 5, 6]])
    assert np.array_equal(read_map(values.astype("<f4").tobytes(), 2, 3), values)
    assert np.array_equal(read_map(values.astype("<f2").tobytes(), 2, 3), values)
    for data, height, width in ((b"123", 1, 1), (b"", 0, 0), (bytes(24), 3, 3), (bytes(4), -1, -1)):
        with pytest.raises(gc.InputError, match="give the columns map, height and width"):
            read_map(data, height, width)


def test_columns_of_pictures(images: ExplainImages, cat: bytes, photo: str, x: np.ndarray) -> None:
    from PIL import Image

    pixels = np.asarray(Image.open(photo).convert("RGB"))
    wanted = images({"bytes": np.array([cat, cat], object)}).column("map").to_pylist()
    batches = {
        "content": {"path": ["a", "b"], "content": [cat, cat]},
        "path": {"path": np.array([photo, photo], object)},
        "pixels": {"image": np.stack([pixels, pixels])},
        "Hugging Face": {"image": [{"bytes": cat, "path": "a"}, {"bytes": None, "path": photo}], "label": [1, 2]},
    }
    for name, batch in batches.items():
        found = images(batch)
        assert found.column("map").to_pylist() == wanted, name
    assert found.column("path").to_pylist() == ["a", photo]
    with pytest.raises(gc.InputError, match=r"has the columns \['picture'\], and none of pictures; rename one \(\"bytes\""):
        images({"picture": [cat]})


def test_a_broken_picture_is_a_row_with_its_error(images: ExplainImages, cat: bytes) -> None:
    contents = [cat, b"nothing", None, cat[:2000], *[cat] * 7]
    table = images({"path": list("abcdefghijk"), "bytes": contents})
    rows = table.to_pylist()
    assert [row["path"] for row in rows] == list("abcdefghijk")
    assert [row["path"] for row in rows if row["error"] is not None] == ["b", "c", "d"]
    assert "not a JPEG" in rows[1]["error"]
    assert "null" in rows[2]["error"]
    assert all(value is None for name, value in rows[1].items() if name not in ("path", "error"))
    (wanted,) = images({"bytes": [cat]}).to_pylist()
    for row in (rows[0], rows[10]):
        found = read_map(row["map"], row["height"], row["width"])
        assert np.abs(found - read_map(wanted["map"], 7, 7)).max() <= 1e-5
    assert images({"path": ["b"], "bytes": [b"nothing"]}).schema == table.schema == arrow_schema()
    (missing,) = images({"path": ["missing.png"]}).to_pylist()
    assert missing["error"] == "the file cannot be read: No such file or directory"


def test_an_error_about_one_picture_alone_is_a_row() -> None:
    detector = ExplainImages(str(HEADS / "detr" / "model.onnx"), engine="rten", target="1@40")
    (row,) = detector({"image": [np.zeros((64, 64, 3), np.uint8)]}).to_pylist()
    assert "there is no box 40" in row["error"]


def test_a_detector_has_a_layer_for_each_picture() -> None:
    yolo = ExplainImages(str(HEADS / "yolo11.onnx"), engine="rten")
    pixels = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    (row,) = yolo({"image": pixels}).to_pylist()
    assert row["layer"] in yolo.explainer.layers
    assert len(yolo.explainer.layers) == 3
    assert row["height"] > 0


def test_arrow_and_spark_have_the_same_columns(images: ExplainImages, cat: bytes) -> None:
    batch = pa.record_batch({"path": ["a", "b"], "content": [cat, b"nothing"]})
    wanted = images({"path": ["a", "b"], "bytes": [cat, b"nothing"]})
    assert images.arrow(pa.Table.from_batches([batch])).equals(wanted)
    found = list(images.map_arrow(iter([batch, batch])))
    assert all(isinstance(one, pa.RecordBatch) for one in found)
    assert pa.Table.from_batches(found).equals(pa.concat_tables([wanted, wanted]))
    spark = {"string": "STRING", "int32": "INT", "float": "FLOAT", "binary": "BINARY"}
    assert ", ".join(f"{field.name} {spark[str(field.type)]}" for field in arrow_schema()) == SPARK_SCHEMA


def test_it_is_pickled_as_its_settings(tmp_path: Path, cat: bytes) -> None:
    model = tmp_path / "model.onnx"
    shutil.copy(MODEL, model)
    images = ExplainImages(model, ["blocks.4"], "layercam", target=CAT, engine="rten", threads=1)
    data = pickle.dumps(images)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert copy.settings == images.settings
    assert copy({"bytes": [cat]}).equals(images({"bytes": [cat]}))
    model.unlink()
    # A copy reads the model when it is first used.
    late = pickle.loads(data)
    with pytest.raises(gc.MissingFileError):
        late({"bytes": [cat]})


CASES = {
    "no file": (lambda: ExplainImages("missing.onnx"), gc.MissingFileError, "cannot open missing"),
    "no layer": (lambda: ExplainImages(MODEL, "block.4", engine="rten"), gc.LayerError, 'no layer named "block.4"'),
    "no class": (lambda: ExplainImages(MODEL, target=1000, engine="rten"), gc.TargetError, "classes 0 to 999"),
    "no label": (lambda: ExplainImages(MODEL, target="Egyptian dog", engine="rten"), gc.TargetError, "Egyptian"),
    "several targets": (lambda: ExplainImages(MODEL, target="top:3", engine="rten"), gc.TargetError, "one target, not top:K"),
    "no box": (lambda: ExplainImages(MODEL, target="1@2", engine="rten"), gc.TargetError, "of the kind softmax"),
    "no kind of map": (lambda: ExplainImages(MODEL, map="raws", engine="rten"), gc.InputError, "map is 'raws'; give 'raw' or 'heatmap'"),
    "several layers": (lambda: ExplainImages(MODEL, ["blocks.3", "blocks.4"], engine="rten"), gc.InputError, "a row holds one map"),
    "channels": (lambda: ExplainImages(MODEL, method="saliency", engine="rten"), gc.InputError, "channels of the image"),
    "no photos": (lambda: ExplainImages(str(HEADS.parent / "networks" / "ecg.onnx"), engine="rten"), gc.ImageError, "photo"),
    "no setting": (lambda: ExplainImages(MODEL, layer="blocks.4"), TypeError, "unexpected keyword argument 'layer'"),
    "no folder": (lambda: ExplainImages(MODEL, engine="rten").folder("missing"), gc.MissingFileError, "there is no folder"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_setting_is_an_error_at_once(case: str) -> None:
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()


def test_an_error_about_every_picture_is_raised(cat: bytes) -> None:
    with pytest.raises(gc.MemoryLimitError, match="max_memory="):
        ExplainImages(MODEL, engine="rten", max_memory=1000)({"bytes": [cat]})


@pytest.mark.parametrize("settings", [{"fuse": "mean"}, {"method": "refinecam"}], ids=str)
def test_layers_are_fused_into_one_heatmap(cat: bytes, photo: str, settings: dict[str, str]) -> None:
    with pytest.raises(gc.InputError, match="a row holds one map"):
        ExplainImages(MODEL, ["blocks.3", "blocks.4"], engine="rten", **settings)
    images = ExplainImages(MODEL, ["blocks.3", "blocks.4"], map="heatmap", engine="rten", **settings)
    (row,) = images({"bytes": [cat]}).to_pylist()
    assert np.abs(read_map(row["map"], 224, 224) - images.explainer(photo).heatmap()).max() <= 2**-12
    assert row["layer"] == "blocks.3 blocks.4"


def test_a_folder_becomes_parquet(images: ExplainImages, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    done = images.folder(folder).to_parquet(out, rows_per_file=8)
    assert (done.rows, done.errors, done.skipped) == (PICTURES + 1, 1, 0)
    assert str(done) == f"pictures explained: {PICTURES + 1} (errors: 1), there already: 0, in {out}"
    assert len(list(out.iterdir())) == 3
    rows = pq.read_table(out).to_pylist()
    assert [row["error"] for row in rows if row["error"]] == ["not a JPEG, PNG, WebP, TIFF, BMP or GIF picture"]
    assert [row["path"] for row in rows] == sorted(map(str, [*folder.rglob("[0-9]*.PNG"), folder / "broken.jpg"]))
    wanted = images({"path": [row["path"] for row in rows]}).to_pylist()
    for found, one in zip(rows, wanted, strict=True):
        assert found["class_index"] == one["class_index"]
    assert pq.read_schema(next(out.iterdir())).metadata[b"onnx_gradcam"].decode() == images.settings

    shutil.copy(folder / "00.PNG", folder / "new.png")
    again = images.folder(str(folder)).to_parquet(out, progress=False)
    assert (again.rows, again.errors, again.skipped) == (1, 0, PICTURES + 1)
    assert set(paths_of(out).values()) == {1}
    assert images.folder(folder).to_parquet(out) == (str(out), 0, 0, PICTURES + 2)


def test_other_settings_need_another_folder(images: ExplainImages, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    images.folder(folder).to_parquet(out)
    with pytest.raises(gc.InputError, match="was made with other settings"):
        ExplainImages(MODEL, target=CAT, engine="rten").folder(folder).to_parquet(out)
    # How it runs changes no rows.
    assert ExplainImages(MODEL, engine="rten", threads=1).folder(folder).to_parquet(out).rows == 0


def test_a_folder_of_other_files_is_refused(images: ExplainImages, folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(gc.InputError, match=r"has the columns \['a'\]"):
        images.folder(folder).to_parquet(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(gc.InputError, match="no Parquet file"):
        images.folder(folder).to_parquet(tmp_path)
    with pytest.raises(gc.FileError, match="is a file; give a folder"):
        images.folder(folder).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(gc.InputError, match="there are no pictures in"):
        images.folder(tmp_path / "empty").to_parquet(tmp_path / "rows")
    with pytest.raises(gc.InputError, match="workers is 0"):
        images.folder(folder).to_parquet(tmp_path / "rows", workers=0)


class Interrupted(ExplainImages):
    """Sends the signal of Ctrl-C to the process with its third batch, which starts when the first one is written."""

    calls = 0

    def __call__(self, batch):
        self.calls += 1
        if self.calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__call__(batch)


@pytest.mark.skipif(sys.platform == "win32", reason="there a signal does not go to a process alone")
def test_ctrl_c_leaves_complete_files_and_the_next_run_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    with pytest.raises(KeyboardInterrupt):
        Interrupted(MODEL, engine="rten").folder(folder).to_parquet(out, workers=1, rows_per_file=1)
    before = paths_of(out)
    assert 0 < len(before) < PICTURES + 1
    done = ExplainImages(MODEL, engine="rten").folder(folder).to_parquet(out)
    assert done.skipped == len(before)
    after = paths_of(out)
    assert (len(after), set(after.values())) == (PICTURES + 1, {1})


def test_a_file_that_cannot_be_written_leaves_nothing(
    images: ExplainImages, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rows"

    def full(table: pa.Table, file: Path) -> None:
        Path(file).write_bytes(b"PAR1")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(gc.FileError, match="cannot write .*No space left"):
            images.folder(folder).to_parquet(out)
    assert list(out.iterdir()) == []
    # What a run left that was killed.
    (out / ".part-00000-0.parquet.partial").write_bytes(b"PAR1")
    images.folder(folder).to_parquet(out)
    assert len(paths_of(out)) == PICTURES + 1


def test_pyarrow_is_imported_when_it_is_used(model: str) -> None:
    code = """if True:
        import sys
        import onnx_gradcam.batch, onnx_gradcam.ray
        assert not {"pyarrow", "ray", "tqdm", "numpy"} & set(sys.modules)
        sys.modules["pyarrow"] = None
        try:
            onnx_gradcam.batch.ExplainImages(sys.argv[1], engine="rten")
        except onnx_gradcam.MissingPackageError as error:
            assert isinstance(error, ModuleNotFoundError)
            print(error)
    """
    assert python(code, model).endswith("install it with: pip install pyarrow\n")
