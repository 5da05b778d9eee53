"""Data sets on Ray Data: workers and programs that are killed, second runs, and readers of the Parquet files."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import polars
import psutil
import pyarrow.dataset
import pyarrow.parquet
import pytest
from PIL import Image

import onnx_gradcam.ray as program
from conftest import ENGINE
from onnx_gradcam import InputError, MissingPackageError
from onnx_gradcam.batch import ExplainImages, arrow_schema, read_map

MODEL = str(Path(__file__).parents[2] / "gradcam-cli" / "assets" / "efficientnet_lite0.onnx")
PICTURES, BROKEN = 45, 1
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small pictures, one of which is broken."""
    found = tmp_path / "pictures"
    found.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(found / f"{number:02}.png")
    (found / "broken.jpg").write_bytes(b"nothing")
    return found


def paths_of(out: Path) -> Counter:
    return Counter(pyarrow.parquet.read_table(out, columns=["path"]).column("path").to_pylist())


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


def run(*args: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "onnx_gradcam.ray", *map(str, args), "--engine", ENGINE]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def test_a_killed_worker_loses_no_row_and_writes_none_twice(folder, tmp_path, monkeypatch):
    marks, out = tmp_path / "marks", tmp_path / "rows"
    marks.mkdir()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    class Dying(ExplainImages):
        def __call__(self, batch):
            (marks / str(os.getpid())).touch()
            table = super().__call__(batch)
            try:
                (marks / "killed").mkdir()
            except FileExistsError:
                return table
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

    ray = program._ray(None)
    program._connect(ray, argparse.Namespace(address=None, workers=2, threads=1))
    try:
        listening = [
            (process.name(), one.laddr.ip)
            for process in psutil.Process().children(recursive=True)
            for one in process.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert all(address in LOOPBACK for _, address in listening), listening
        ray.data.read_binary_files(str(folder), include_paths=True).map_batches(
            Dying,
            fn_constructor_kwargs={"model": MODEL, "engine": ENGINE, "threads": 1},
            batch_format="numpy",
            batch_size=4,
            compute=ray.data.ActorPoolStrategy(size=2),
        ).write_parquet(str(out))
    finally:
        ray.shutdown()
    assert (marks / "killed").exists()
    assert len(list(marks.iterdir())) >= 3, "the mark, the one that was killed, and another"
    paths = paths_of(out)
    assert (len(paths), set(paths.values())) == (PICTURES + BROKEN, {1})
    errors = pyarrow.parquet.read_table(out).column("error")
    assert len(errors) - errors.null_count == BROKEN


def test_the_program_explains_what_is_new_and_others_read_it(folder, tmp_path):
    # A name that Ray's own readers change, and a file that cannot be opened.
    (folder / "44.png").rename(folder / "50% #1?\n.png")
    (folder / "gone.png").symlink_to("nowhere")
    count, errors = PICTURES + BROKEN + 1, BROKEN + 1
    out = tmp_path / "rows"
    done = run(folder, MODEL, out, "--workers", 2, "--batch-size", 4, "--map", "heatmap")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"pictures explained: {count} (errors: {errors}), there already: 0, in {out}\n"
    assert f"{folder / 'gone.png'}: the file cannot be read: No such file or directory" in done.stderr
    assert f"{folder / 'broken.jpg'}: not a JPEG" in done.stderr

    for number in range(3):
        shutil.copy(folder / f"{number:02}.png", folder / f"new {number}.png")
    done = run(folder, MODEL, out, "--map", "heatmap")
    assert done.stdout == f"pictures explained: 3 (errors: 0), there already: {count}, in {out}\n", done.stderr
    paths = paths_of(out)
    assert set(paths) == {str(path) for path in folder.iterdir()}
    assert (len(paths), set(paths.values())) == (count + 3, {1})

    # Three readers see the same plain columns.
    assert pyarrow.parquet.read_schema(next(out.glob("*.parquet"))).equals(arrow_schema())
    ours = pyarrow.dataset.dataset(out).to_table().sort_by("path").to_pylist()
    assert polars.read_parquet(out).sort("path").to_dicts() == ours
    rows = duckdb.sql(f"select * from '{out}/*.parquet' order by path")
    assert [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()] == ours
    counts = duckdb.sql(f"select count(*), count(error), max(octet_length(map)) from '{out}/*.parquet'")
    assert counts.fetchall() == [(count + 3, errors, 2 * 224 * 224)]

    # They hold what the local loop writes.
    local = ExplainImages(MODEL, engine=ENGINE, map="heatmap")
    wanted = local({"path": [row["path"] for row in ours]}).to_pylist()
    for found, one in zip(ours, wanted, strict=True):
        assert found["class_index"] == one["class_index"]
        if one["error"] is None:
            maps = [read_map(row["map"], row["height"], row["width"]) for row in (found, one)]
            assert np.abs(maps[0] - maps[1]).max() <= 2**-10
    with pytest.raises(InputError, match="was begun by python -m"):
        local.folder(folder).to_parquet(out)

    # Other settings, rows without what says that they are done, and the contrary.
    assert "was made with other settings" in run(folder, MODEL, out, "--map", "raw").stderr
    checkpoint = Path(f"{out}.checkpoint")
    checkpoint.rename(tmp_path / "elsewhere")
    assert f"no {checkpoint} says which pictures they hold" in run(folder, MODEL, out, "--map", "heatmap").stderr
    (tmp_path / "elsewhere").rename(checkpoint)
    shutil.rmtree(out)
    assert "delete it to begin anew" in run(folder, MODEL, out, "--map", "heatmap").stderr


KILLED = """
import os, signal, sys
from pathlib import Path
import onnx_gradcam.ray as program

driver, out, engine = os.getpid(), Path(sys.argv[3]), sys.argv[4]

class Killer(program.ExplainImages):
    def __call__(self, batch):
        if os.getpid() != driver and list(out.glob("*.parquet")):
            os.kill(driver, signal.SIGKILL)
        return super().__call__(batch)

program.ExplainImages = Killer
program.main([*sys.argv[1:4], "--workers", "1", "--batch-size", "4", "--rows-per-file", "4", "--engine", engine])
"""


def test_a_program_that_was_killed_goes_on(folder, tmp_path):
    out = tmp_path / "rows"
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, MODEL, out, ENGINE], capture_output=True, check=False, env=environment())
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert list(out.glob("*.parquet"))
    done = run(folder, MODEL, out)
    assert done.returncode == 0, done.stderr
    paths = paths_of(out)
    assert (len(paths), set(paths.values())) == (PICTURES + BROKEN, {1})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r'pip install "ray\[data\]>=2.60"'):
        program._ray("auto")


def test_mistakes_are_told_before_a_cluster_starts(folder, tmp_path):
    cases = {
        ("--layer", "nope"): 'no layer named "nope"',
        ("--target", "top:3"): "one target, not top:K",
        ("--set", "seeds=1"): "give NAME=VALUE; the names are",
        ("--workers", "0"): "--workers is 0",
    }
    for args, message in cases.items():
        done = run(folder, MODEL, tmp_path / "rows", *args)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: ")
        assert message in done.stderr
        assert "Ray" not in done.stderr
    assert run(folder, MODEL, tmp_path / "rows", "--no-such-flag").returncode == 2


@pytest.mark.parametrize(
    ("nodes", "workers", "threads", "wanted"),
    [
        ([4], None, 1, 2),
        ([8, 8], None, 4, 3),
        ([3, 3], None, 2, 2),
        ([4], 2, 1, 2),
        ([4], 3, 1, None),
        ([2], None, 1, None),
        ([4, 4], 1, 5, None),
    ],
)
def test_workers_leave_cpus_to_the_readers(nodes, workers, threads, wanted):
    ray = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": {"CPU": float(cpus)}} for cpus in nodes])
    options = argparse.Namespace(workers=workers, threads=threads)
    if wanted is None:
        with pytest.raises(InputError, match="give fewer --workers or --threads"):
            program._workers(ray, options)
    else:
        assert program._workers(ray, options) == wanted
