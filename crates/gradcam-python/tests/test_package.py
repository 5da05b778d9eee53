"""The package: what it imports, what it lists, threads, copies of explainers, and the command line."""

from __future__ import annotations

import ast
import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import onnx_gradcam as gc
from conftest import CAT, python
from onnx_gradcam import _native


def test_neither_torch_nor_onnxruntime_is_imported(model: str, photo: str) -> None:
    code = """if True:
        import sys
        import onnx_gradcam as gc
        assert "numpy" not in sys.modules and "PIL" not in sys.modules, "they are imported where they are used"
        e = gc.Explainer(sys.argv[1], engine="onnxruntime")(sys.argv[2])
        e.overlay(), e._repr_html_()
        print(e.engine, sorted({"torch", "onnxruntime", "onnx", "PIL", "matplotlib"} & set(sys.modules)))
    """
    assert python(code, model, photo) == "onnxruntime []\n"


def test_onnx_runtime_is_found_in_the_interpreters_environment(model: str) -> None:
    code = "import sys, onnx_gradcam as gc; print(gc.Explainer(sys.argv[1]).engine)"
    assert python(code, model) == "onnxruntime\n"


def test_both_libraries_of_onnx_runtime_live_in_one_process(model: str, x: np.ndarray) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(model)
    (wanted,) = session.run(None, {session.get_inputs()[0].name: x})
    found = gc.Network(model, engine="onnxruntime")(x)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_methods_and_layers_are_listed(model: str) -> None:
    methods = {method.id: method for method in gc.methods()}
    assert methods["gradcam"].takes_layer
    assert not methods["saliency"].takes_layer
    layers = {layer.path: layer for layer in gc.layers(model)}
    assert layers["blocks.4"].shape == (1, 112, 14, 14)
    assert [layer.path for layer in layers.values() if layer.default] == gc.Explainer(model, engine="rten").layers


def test_threads_give_the_same_bytes(explainer: gc.Explainer, x: np.ndarray) -> None:
    wanted = explainer(x, CAT).map.tobytes()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: explainer(x, CAT).map.tobytes(), range(16)))
    assert set(found) == {wanted}


def test_other_threads_run_meanwhile(explainer: gc.Explainer, x: np.ndarray) -> None:
    explainer(x, CAT)
    start, ran = threading.Event(), []
    thread = threading.Thread(target=lambda: (start.wait(), ran.append(1)))
    thread.start()
    interval = sys.getswitchinterval()
    try:
        # A thread that keeps the interpreter keeps it for an hour.
        sys.setswitchinterval(3600)
        start.set()
        explainer(x, CAT)
        assert ran == [1]
    finally:
        sys.setswitchinterval(interval)
        thread.join()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers are POSIX's")
def test_handlers_of_signals_run_during_a_batch_and_end_it(explainer: gc.Explainer, x: np.ndarray) -> None:
    class Alarm(Exception):
        pass

    alarms = []

    def handler(*_: object) -> None:
        alarms.append(1)
        if len(alarms) == 3:
            raise Alarm
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    explainer(x)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        # The second alarm is set by the handler of the first one, and the third by that of the second.
        with pytest.raises(Alarm):
            explainer.batch(np.repeat(x, 64, axis=0))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert explainer(x).map.shape == (7, 7)


@pytest.mark.skipif(os.name != "posix", reason="other systems have other interrupts")
def test_ctrl_c_ends_a_batch_and_leaves_the_explainer_usable() -> None:
    code = """if True:
        import os, signal, threading
        import numpy as np
        import onnx_gradcam as gc
        explainer, x = gc.Explainer(threads=1), np.zeros((1, 3, 224, 224), np.float32)
        explainer(x)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            explainer.batch(np.repeat(x, 64, axis=0))
        except KeyboardInterrupt:
            print("interrupted", explainer(x).map.shape)
    """
    assert python(code) == "interrupted (7, 7)\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
def test_a_forked_process_gets_an_error_and_no_hang(model: str, x: np.ndarray) -> None:
    explainer = gc.Explainer(model, engine="rten")
    explainer(x)
    with multiprocessing.get_context("fork").Pool(1) as pool, pytest.raises(gc.EngineError, match="spawn"):
        pool.apply(explained, (explainer, x))


def explained(explainer: gc.Explainer, x: np.ndarray) -> bytes:
    return explainer(x, CAT).map.tobytes()


def test_an_explainer_is_pickled_as_its_settings(explainer: gc.Explainer, x: np.ndarray, model: str) -> None:
    assert explained(pickle.loads(pickle.dumps(explainer)), x) == explained(explainer, x)
    of_bytes = gc.Explainer(Path(model).read_bytes(), ["blocks.4"], method="layercam", engine="rten")
    copy = pickle.loads(pickle.dumps(of_bytes))
    assert (copy.layers, copy.methods, copy.engine) == (["blocks.4"], ["layercam"], "rten")


def test_a_spawned_process_explains(explainer: gc.Explainer, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(explained, (explainer, x)) == explained(explainer, x)


def test_the_command_line_has_its_exit_codes(photo: str, tmp_path: Path) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "onnx_gradcam", *args], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert run("--version").stdout.startswith(f"gradcam {gc.__version__}\n")
    assert run("explain", photo).returncode == 0
    assert [path.suffix for path in tmp_path.iterdir()] == [".png"]
    assert run("explain", "missing.png").returncode == 1
    assert run("explain", "--no-such-flag").returncode == 2
    script = Path(sys.executable).with_name("gradcam")
    assert subprocess.check_output([script, "--version"], text=True).startswith(f"gradcam {gc.__version__}\n")


def test_the_stub_of_the_native_module_has_its_names() -> None:
    stub = ast.parse(Path(gc.__file__).with_name("_native.pyi").read_text(encoding="utf-8"))
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            assert callable(getattr(_native, node.name))
        if isinstance(node, ast.ClassDef):
            declared = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            found = {name for name in vars(getattr(_native, node.name)) if not name.startswith("_")}
            assert {name for name in declared if not name.startswith("_")} == found
    declared = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert declared == {name for name in dir(_native) if not name.startswith("_")}
    assert Path(gc.__file__).with_name("py.typed").exists()
