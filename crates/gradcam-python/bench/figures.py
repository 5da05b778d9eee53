"""Times of the package that no test asserts, because the machine may be busy: python crates/gradcam-python/bench/figures.py

Needs the package installed from a release wheel. Each figure is taken in turn with what it is compared with, so that both see the
machine at the same speed; its bound stands beside it. With --check, the exit code is 1 where a bound is missed. What two threads explain
over one needs two cores that have nothing else to do; how many threads compute, or wait for a core and nothing else, does not.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
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


class Workers:
    """Threads of Python that explain until they are told to stop."""

    def __init__(self, engine: str) -> None:
        self.explainer = gc.Explainer(engine=engine, threads=1)
        self.x = np.zeros((1, 3, 224, 224), np.float32)
        self.stopping = threading.Event()
        self.done: list[int] = []

    def _work(self) -> None:
        while not self.stopping.is_set():
            self.explainer(self.x, 285)
            self.done.append(1)

    def run(self, count: int, observe: Callable[[], float]) -> float:
        """What is observed while `count` threads work."""
        self.stopping.clear()
        threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            return observe()
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join()

    def in_a_second(self) -> float:
        """The explanations of a second."""
        before, start = len(self.done), time.perf_counter()
        time.sleep(1)
        return (len(self.done) - before) / (time.perf_counter() - start)


def computing() -> float:
    """How many threads of this process compute, or would if other programs let them: the mean of a second."""
    me, seen = str(threading.get_native_id()), []
    for _ in range(100):
        time.sleep(0.01)
        states = [
            task.joinpath("stat").read_text().rpartition(")")[2].split()[0] for task in Path("/proc/self/task").iterdir() if task.name != me
        ]
        seen.append(states.count("R"))
    return statistics.mean(seen)


def two_over_one(engine: str, rounds: int, observe: Callable[[Workers], float]) -> float:
    """What is observed of two threads over that of one."""
    workers = Workers(engine)
    workers.run(2, workers.in_a_second)
    return statistics.median(workers.run(2, lambda: observe(workers)) / workers.run(1, lambda: observe(workers)) for _ in range(rounds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is missed")
    options = parser.parse_args()
    figures = [
        ("import beyond NumPy", 1e3 * import_seconds(options.rounds), "ms", "<=", 5.0),
        ("a call outside the engine", 1e3 * outside_seconds(20 * options.rounds), "ms", "<=", 0.2),
    ]
    for engine in ("rten", "onnxruntime"):
        explained = two_over_one(engine, options.rounds, Workers.in_a_second)
        figures.append((f"two threads explain, {engine}", explained, "times", ">=", 1.5))
        if Path("/proc/self/task").exists():
            busy = two_over_one(engine, options.rounds, lambda _: computing())
            figures.append((f"two threads compute, {engine}", busy, "times", ">=", 1.5))
    missed = 0
    for name, value, unit, sign, bound in figures:
        holds = value <= bound if sign == "<=" else value >= bound
        missed += not holds
        print(f"{name:32} {value:6.2f} {unit:5} (bound {sign} {bound}){'' if holds else ', missed'}")
    return int(options.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
