"""Explains a folder of pictures with Ray Data: ``python -m onnx_gradcam.ray FOLDER MODEL OUT``.

The program is a Dataset of files, ``ExplainImages`` in a pool of actors, and a folder of Parquet files. docs/datasets.md has the same as
lines of Python.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._explainer import Explainer
from .batch import ExplainImages, RunSummary
from .batch._columns import pyarrow
from .batch._folder import CHECKPOINT, check_settings, parquet_files
from .errors import EngineError, GradcamError, InputError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Sequence

LIGHT_CPUS = 2
"""The CPUs of Ray that workers leave: one for reading and writing files, one for the filter of a second run. Without them a run waits
for ever.
"""

SHOWN_ERRORS = 5
"""The errors that a summary shows."""

EXAMPLES = """examples:
  python -m onnx_gradcam.ray photos resnet50.onnx maps
  python -m onnx_gradcam.ray photos resnet50.onnx maps --layer layer3 --method layercam --target tabby
  python -m onnx_gradcam.ray photos resnet50.onnx maps --map heatmap --set "mean=[0.5, 0.5, 0.5]" --set std=0.5
  python -m onnx_gradcam.ray /shared/photos /shared/resnet50.onnx /shared/maps --address auto --workers 16 --threads 4

A second run explains the pictures that are new. On a cluster, every node opens FOLDER, MODEL and OUT by the same paths, and has this
package. Columns, and how to read a map back: docs/datasets.md.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of the program."""
    found = argparse.ArgumentParser(
        "python -m onnx_gradcam.ray",
        description="Explains the pictures of a folder with Ray Data: a row for each in Parquet files, with an error where one is broken.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("folder", metavar="FOLDER", help="pictures, also in the folders below it")
    found.add_argument("model", metavar="MODEL", help="the ONNX file")
    found.add_argument("out", metavar="OUT", help=f"folder for the Parquet files; OUT{CHECKPOINT} says what is done")
    explained = found.add_argument_group("what is explained")
    explained.add_argument("--layer", action="append", default=[], help="module path, name of a node or value, or -1 for the last")
    explained.add_argument("--method", help="id of a method, such as layercam [default: Grad-CAM]")
    explained.add_argument("--target", help="label, number of a class, or A-B [default: the best class of each picture]")
    explained.add_argument(
        "--map",
        choices=("raw", "heatmap", "none"),
        default="raw",
        help="what is stored: the raw map at the layer's size (f32), the heatmap at the input's (f16), or none [default: raw]",
    )
    explained.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another argument of Explainer, its value as Python writes it"
    )
    how = found.add_argument_group("how it runs")
    how.add_argument("--address", help="a cluster of Ray, such as auto or ray://HOST:10001 [default: RAY_ADDRESS, or one on this machine]")
    how.add_argument("--workers", type=int, help=f"actors [default: as many as the CPUs allow, {LIGHT_CPUS} left to Ray]")
    how.add_argument("--threads", type=int, default=1, help="threads of each worker, which takes as many CPUs [default: 1]")
    how.add_argument("--engine", default="auto", help="rten, onnxruntime or auto [default: auto]")
    how.add_argument("--batch-size", type=int, default=16, help="pictures of a task [default: 16]")
    how.add_argument(
        "--rows-per-file", type=int, default=1000, help="least rows of a file; a killed run repeats what is in none [default: 1000]"
    )
    return found


def main(args: Sequence[str] | None = None) -> int:
    """Runs the program; gives its exit code: 0, or 1 where it failed or no picture could be explained."""
    try:
        summary = explain(parser().parse_args(args))
    except GradcamError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 1
    print(summary)
    return 1 if summary.rows and summary.errors == summary.rows else 0


def explain(options: argparse.Namespace) -> RunSummary:
    """Explains the pictures that are new."""
    for name in ("workers", "threads", "batch_size", "rows_per_file"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}; give a number of at least 1")
    arguments = {
        "model": os.path.abspath(options.model),
        "layers": options.layer,
        "method": options.method,
        "target": options.target,
        "map": None if options.map == "none" else options.map,
        "engine": options.engine,
        "threads": options.threads,
        **dict(_setting(text) for text in options.set),
    }
    if "labels" in arguments:
        arguments["labels"] = os.path.abspath(arguments["labels"])
    # What is wrong with the settings shows here, before a cluster starts; the first picture needs a gradient and the engine.
    images = ExplainImages(**arguments)
    paths = images.folder(options.folder).paths()
    images({"path": paths[:1]})
    out = os.path.abspath(options.out)
    before = _files_before(out, images)

    ray = _ray(options.address)
    try:
        _connect(ray, options)
        workers = _workers(ray, options)
        ray.data.DataContext.get_current().checkpoint_config = ray.data.checkpoint.CheckpointConfig(
            id_column="path", checkpoint_path=out + CHECKPOINT, delete_checkpoint_on_success=False
        )
        dataset = _dataset_of(ray, paths, options.batch_size).map_batches(
            ExplainImages,
            fn_constructor_kwargs=arguments,
            batch_format="numpy",
            batch_size=options.batch_size,
            num_cpus=options.threads,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        dataset.write_parquet(out, min_rows_per_file=options.rows_per_file)
    except (ray.exceptions.RayError, OSError) as error:
        text = str(error).strip() or type(error).__name__
        raise EngineError(f"Ray ended the run: {text.splitlines()[-1]}; the same command goes on where it was") from error
    finally:
        ray.shutdown()
    return _summary(out, before, len(paths))


def _setting(text: str) -> tuple[str, Any]:
    """An argument of Explainer by its name."""
    name, equals, value = text.partition("=")
    names = sorted(set(inspect.signature(Explainer).parameters) - {"model", "layers", "method", "engine", "threads"})
    if not equals or name not in names:
        raise InputError(f"--set {text}: give NAME=VALUE; the names are {', '.join(names)}")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def _files_before(out: str, images: ExplainImages) -> set[Path]:
    """The files of earlier runs, whose rows a checkpoint names."""
    files, checkpoint = parquet_files(out), Path(out + CHECKPOINT)
    if files and not checkpoint.exists():
        raise InputError(f"{out} has files, and no {checkpoint} says which pictures they hold; give another folder")
    done = [file for file in checkpoint.glob("*.parquet") if not file.name.endswith(".pending.parquet")]
    if done and not files:
        raise InputError(f"{checkpoint} says that pictures are done, and {out} has no rows of them; delete it to begin anew")
    arrow = pyarrow()
    for file in files:
        # Ray deletes a file that a killed run left half-written.
        with contextlib.suppress(arrow.ArrowInvalid):
            check_settings(file, arrow.parquet.read_schema(file), images)
    return set(files)


def _ray(address: str | None) -> Any:
    """Ray, with a cluster of this machine alone on its loopback interface."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not _address(address):
        # Ray's switch between a cluster, which other machines may join, and one on the loopback interface.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import ray.data  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import ray.data.block  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import ray.data.checkpoint  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        message = f'this program needs Ray Data ({error}); install it with: pip install "ray[data]>=2.60"'
        raise MissingPackageError(message, name="ray") from error
    return ray


def _address(address: str | None) -> str | None:
    return address or os.environ.get("RAY_ADDRESS")


def _connect(ray: Any, options: argparse.Namespace) -> None:
    """Connects to a cluster, or starts one on this machine."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    address = _address(options.address)
    if address:
        ray.init(address=address)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Ray's CPUs are numbers to count with: reading and writing are light, so they come on top.
    cpus = max(cores, (options.workers or 1) * options.threads) + LIGHT_CPUS
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)


def _dataset_of(ray: Any, paths: list[str], rows: int) -> Any:
    """A dataset of paths. Workers open the files: a file that cannot be read is a row, and one of any name has its path."""
    arrow = pyarrow()

    def task(part: list[str]) -> Any:
        table = arrow.table({"path": arrow.array(part, arrow.string())})
        metadata = ray.data.block.BlockMetadata(num_rows=len(part), size_bytes=table.nbytes, exec_stats=None, input_files=None)
        return ray.data.ReadTask(lambda: [table], metadata)

    tasks = [task(paths[start : start + rows]) for start in range(0, len(paths), rows)]
    methods = {
        "estimate_inmemory_data_size": lambda self: sum(len(path) for path in paths),
        "get_read_tasks": lambda self, *_, **__: tasks,
    }
    return ray.data.read_datasource(type("Paths", (ray.data.Datasource,), methods)())


def _workers(ray: Any, options: argparse.Namespace) -> int:
    """The number of actors, which leave CPUs to Ray."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    threads, wanted = int(options.threads), options.workers
    most = max(0, min(sum(cpus // threads for cpus in nodes), (sum(nodes) - LIGHT_CPUS) // threads))
    if most < (wanted or 1):
        raise InputError(
            f"{wanted or 1} workers of {threads} threads need as many CPUs of Ray, and {LIGHT_CPUS} more for files; its nodes have "
            f"{nodes}, enough for {most}: give fewer --workers or --threads, or start Ray with a larger --num-cpus"
        )
    return int(wanted or most)


def _summary(out: str, before: set[Path], pictures: int) -> RunSummary:
    """What the files that are new hold; the first errors are printed."""
    arrow, rows, failed = pyarrow(), 0, []
    for file in sorted(set(parquet_files(out)) - before):
        table = arrow.parquet.read_table(file, columns=["path", "error"])
        rows += table.num_rows
        failed += [row for row in table.to_pylist() if row["error"] is not None]
    for row in failed[:SHOWN_ERRORS]:
        print(f"{row['path']}: {row['error']}", file=sys.stderr)
    if len(failed) > SHOWN_ERRORS:
        print(f"... and {len(failed) - SHOWN_ERRORS} more, in the column error", file=sys.stderr)
    return RunSummary(out, rows, len(failed), pictures - rows)


if __name__ == "__main__":
    sys.exit(main())
