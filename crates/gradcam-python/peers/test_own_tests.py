"""The tests of pytorch-grad-cam's source distribution, with every model computed by the engine."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

VERSION = "1.5.7"
COUNT = 249

HERE = Path(__file__).parent
FOLDER = HERE.parents[2] / "target" / "peers"

# What does not hold on modules of the engine, and why.
EXCEPTIONS = {
    # Second derivatives: ShapleyCAM differentiates the gradient, which the engine gives as numbers.
    "test_context_release.py::test_memory_usage_in_loop[ShapleyCAM-False-False-100-1-224-224-resnet18-target_layer_names0]",
}


@pytest.fixture(scope="session")
def suite() -> Path:
    """The folder of the source distribution."""
    folder = FOLDER / f"grad_cam-{VERSION}"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--dest", FOLDER]
        subprocess.run([*pip, f"grad-cam=={VERSION}"], check=True)
        with tarfile.open(FOLDER / f"grad_cam-{VERSION}.tar.gz") as archive:
            archive.extractall(FOLDER, filter="data")
    return folder


def run(suite: Path, plugin: str, folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    """The outcome of each test, and the counts of the plugin."""
    report, counts = folder / "report.txt", folder / "counts.json"
    env = os.environ | {"PYTHONPATH": str(HERE), "PEERS_COUNTS": str(counts)}
    # The suite holds a package of the name that is installed: the tests run elsewhere, beside no other source.
    tests = suite / "tests"
    command = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", "-rA", "--tb=short", "-W", "ignore"]
    command += ["--import-mode=importlib", "--rootdir", str(tests), "-c", os.devnull, str(tests)]
    with report.open("w") as out:
        subprocess.run(command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, check=False)
    outcomes = {}
    for line in report.read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word in ("PASSED", "FAILED", "ERROR", "SKIPPED") and "::" in rest:
            outcomes[rest.split(" - ")[0].rpartition("/")[2]] = word
    return outcomes, json.loads(counts.read_text())


def test_on_the_engine(suite, tmp_path):
    outcomes, counts = run(suite, "own_tests", tmp_path)
    print(counts)
    failed = {test for test, outcome in outcomes.items() if outcome != "PASSED"}
    assert len(outcomes) == COUNT
    assert failed == EXCEPTIONS, (tmp_path / "report.txt").read_text()[-4000:]
    assert counts["torch"] == 0, "no convolution ran in torch"
    assert counts["runs"] == counts["calls"] + counts["repeated"]
