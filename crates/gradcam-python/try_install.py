"""Tries an installed package where neither torch nor onnxruntime is, with NumPy and Pillow: the package, and its command."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx_gradcam as gc

PHOTO = Path(__file__).parent.parent / "gradcam-cli" / "assets" / "cat_beside_coffee.png"
OTHERS = ("torch", "onnxruntime", "onnx", "matplotlib", "tqdm")


def main() -> None:
    present = [name for name in OTHERS if importlib.util.find_spec(name)]
    assert not present, f"the environment has {present}"
    e = gc.Explainer()(PHOTO, "Egyptian cat")
    assert (e.engine, e.class_index, e.map.shape) == ("rten", 285, (7, 7))

    import numpy as np
    from PIL import Image

    with Image.open(PHOTO) as photo:
        assert gc.Explainer()(photo, 285).map.tobytes() == e.map.tobytes()
    command = Path(sys.executable).with_name("gradcam")
    with tempfile.TemporaryDirectory() as folder:
        words = [command, "explain", PHOTO, "--target", "285", "--format", "png,npy", "-o", folder, "-q"]
        subprocess.run(words, check=True)
        names = sorted(path.name for path in Path(folder).iterdir())
        assert names == [f"cat_beside_coffee.285-egyptian-cat.{end}" for end in ("heatmap.npy", "png", "raw.npy")], names
        assert np.load(Path(folder) / names[-1]).tobytes() == e.map.tobytes()
        assert np.asarray(Image.open(Path(folder) / names[1])).tobytes() == e.overlay().tobytes()
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, {gc.__name__} {gc.__version__}: {e}")


if __name__ == "__main__":
    main()
