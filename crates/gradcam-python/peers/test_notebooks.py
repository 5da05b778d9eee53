"""The notebooks of docs/notebooks run without a browser, and give the outputs that they are stored with, of the same kinds.

With NOTEBOOKS=overwrite the outputs are stored: look at the pictures before you commit them.
"""

import base64
import io
import os
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[3] / "docs" / "notebooks"
NOTEBOOKS = ["datasets", "hooks", "models"]
MOST_BYTES = 200_000
MINUTES = 20


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without times and machines, without the folder of temporary files, and without what libraries say on standard error."""
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
            for one in cell.outputs:
                if "text" in one:
                    one.text = one.text.replace(f"{tempfile.gettempdir()}{os.sep}", "")
    return notebook


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """What each cell of code gave."""
    return [
        sorted(kind for one in cell.outputs for kind in one.get("data", [one.output_type])) for cell in notebook.cells if "outputs" in cell
    ]


def pictures(notebook: nbformat.NotebookNode) -> list[np.ndarray]:
    data = [one.data["image/jpeg"] for cell in notebook.cells for one in cell.get("outputs", []) if "image/jpeg" in one.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in data]


def test_all_are_listed():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    file = FOLDER / f"{name}.ipynb"
    stored = nbformat.read(file, as_version=4)
    fresh = nbformat.read(file, as_version=4)
    client = NotebookClient(fresh, timeout=60 * MINUTES, kernel_name="python3", resources={"metadata": {"path": FOLDER}})
    # Its name is short, because Ray's sockets are below it; what is stored names the usual one.
    with tempfile.TemporaryDirectory() as folder:
        if os.environ.get("NOTEBOOKS") != "overwrite":
            monkeypatch.setenv("TMPDIR", folder)
        client.execute()
    stripped(fresh)
    if os.environ.get("NOTEBOOKS") == "overwrite":
        nbformat.write(fresh, file)
        return
    assert file.stat().st_size < MOST_BYTES
    assert stored == stripped(nbformat.read(file, as_version=4)), "run the test with NOTEBOOKS=overwrite"
    assert kinds(fresh) == kinds(stored)
    found, wanted = pictures(fresh), pictures(stored)
    assert len(found) >= 1
    for one, other in zip(found, wanted, strict=True):
        assert one.std() > 20, "a picture is empty"
        assert other.std() > 20
