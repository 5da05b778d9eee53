"""Times of the package that no test asserts, because the machine may be busy: python crates/gradcam-python/bench/figures.py

Needs the package installed from a release wheel. Each figure is taken in turn with what it is compared with, so that both see the
machine at the same speed; its bound stands beside it. With --check, the exit code is 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import onnx_gradcam as gc

SMALL = Path(__file__).parents[2] / "testkit" / "fixtures" / "heads" / "softmax.onnx"

IMPORT = "import time; import numpy; start = time.{clock}(); import onnx_gradcam; print(time.{clock}() - start)"


def import_seconds(rounds: int) -> float:
    """The time that a process, which has NumPy already, takes to import the package: the processor's, which other programs do not
    stretch as they do the clock's.
    """
    code = IMPORT.format(clock="process_time")
    return min(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(rounds))


def outside_seconds(rounds: int) -> float:
    """The time of a call that is not the run of the engine: arrays in and out, the target, the explanation."""
    ex = gc.Explainer(SMALL, engine="rten", threads=1)
    x = np.zeros((1, 3, 32, 32), np.float32)
    ex(x)
    outside = []
    for _ in range(rounds):
        start = time.perf_counter()
        e = ex(x)
        e.map  # noqa: B018 - an array of it is a part of the call.
        spent = time.perf_counter() - start
        outside.append(spent - e.to_dict()["timings_ms"]["run"] / 1e3)
    return statistics.median(outside)


def two_threads(engine: str, rounds: int, calls: int = 4) -> float:
    """How many times as much two threads of Python do as one, in the same time."""
    ex = gc.Explainer(engine=engine, threads=1)
    x = np.zeros((1, 3, 224, 224), np.float32)

    def work() -> None:
        for _ in range(calls):
            ex(x, 285)

    def seconds(count: int) -> float:
        threads = [threading.Thread(target=work) for _ in range(count)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    seconds(2)
    return statistics.median(2 * seconds(1) / seconds(2) for _ in range(rounds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is missed")
    options = parser.parse_args()
    figures = [
        ("import beyond NumPy", 1e3 * import_seconds(options.rounds), "ms", "<=", 5.0),
        ("a call outside the engine", 1e3 * outside_seconds(20 * options.rounds), "ms", "<=", 0.2),
    ]
    figures += [
        (f"two threads over one, {engine}", two_threads(engine, options.rounds), "times", ">=", 1.5) for engine in ("rten", "onnxruntime")
    ]
    missed = 0
    for name, value, unit, sign, bound in figures:
        holds = value <= bound if sign == "<=" else value >= bound
        missed += not holds
        print(f"{name:32} {value:6.2f} {unit:5} (bound {sign} {bound}){'' if holds else ', missed'}")
    return int(options.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
