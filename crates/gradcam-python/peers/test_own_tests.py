"""The tests of pytorch-grad-cam's source distribution: with every model computed by the engine, and with this package in its place."""

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

# What does not hold in each way, and why.
EXCEPTIONS = {
    "modules": {
        # Second derivatives: ShapleyCAM differentiates the gradient, which the engine gives as numbers.
        "test_context_release.py::test_memory_usage_in_loop[ShapleyCAM-False-False-100-1-224-224-resnet18-target_layer_names0]",
    },
    "drop_in": {
        # It searches the source of a class for the name of a device's library.
        "test_finer_cam_correctness.py::test_finercam_htcore_is_single_underscore",
    },
}

# The convolutions that torch runs: those of the resnet18 that one test calls itself, to find the best class.
IN_TORCH = {"modules": 0, "drop_in": 20}


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


def run(suite: Path, way: str, folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    """The outcome of each test, and the counts of the plugin."""
    report, counts = folder / "report.txt", folder / "counts.json"
    places = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": places, "PEERS_WAY": way, "PEERS_COUNTS": str(counts)}
    # The suite holds a package of the name that is installed: the tests run elsewhere, beside no other source.
    tests = suite / "tests"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "own_tests", "-p", "no:cacheprovider", "-rA", "--tb=short", "-W", "ignore"]
    command += ["--import-mode=importlib", "--show-capture=no", "--rootdir", str(tests), "-c", os.devnull, str(tests)]
    with report.open("w") as out:
        subprocess.run(command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, check=False)
    outcomes = {}
    for line in report.read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word in ("PASSED", "FAILED", "ERROR", "SKIPPED") and "::" in rest:
            outcomes[rest.split(" - ")[0].rpartition("/")[2]] = word
    assert counts.exists(), report.read_text()[-4000:]
    return outcomes, json.loads(counts.read_text())


@pytest.mark.parametrize("way", EXCEPTIONS)
def test_on_the_engine(suite, way, tmp_path):
    outcomes, counts = run(suite, way, tmp_path)
    print(way, counts)
    failed = {test for test, outcome in outcomes.items() if outcome != "PASSED"}
    assert len(outcomes) == COUNT
    assert failed == EXCEPTIONS[way], (tmp_path / "report.txt").read_text()[-4000:]
    assert counts["torch"] == IN_TORCH[way]
    assert counts["runs"] == counts["calls"] > 0
