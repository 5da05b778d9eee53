"""Folders of pictures, explained on this machine, and folders of Parquet files with their rows."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import FileError, InputError, MissingFileError
from ._columns import SETTINGS, pyarrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ._images import ExplainImages

EXTENSIONS = ("avif", "bmp", "gif", "heic", "heif", "jfif", "jpeg", "jpg", "jxl", "png", "tif", "tiff", "webp")
"""Of the files of a folder that are pictures. Those that are not decoded get a row with an error."""

BATCH = 8
"""The pictures of one call."""

CHECKPOINT = ".checkpoint"
"""The end of the name of the folder in which Ray keeps what is done."""

PARTIAL = ".partial"
"""The end of the name of a file that is being written. It begins with a point, so that no reader of folders takes it for a part."""


class RunSummary(NamedTuple):
    """What a run did."""

    out: str
    """The folder of the Parquet files."""
    rows: int
    """The rows that it wrote, one for each picture."""
    errors: int
    """Those of them that have an error."""
    skipped: int
    """The pictures that were left out, because the folder had a row of them."""

    def __str__(self) -> str:
        return f"pictures explained: {self.rows} (errors: {self.errors}), there already: {self.skipped}, in {self.out}"


class ImageFolder:
    """The pictures of a folder and the folders below it, in the order of their paths, and the settings that explain them."""

    def __init__(self, explain: ExplainImages, folder: str | os.PathLike[str]) -> None:
        self._explain, self.folder = explain, os.path.abspath(folder)
        if not os.path.isdir(self.folder):
            raise MissingFileError(f"there is no folder {self.folder}; give that of the pictures")

    def __repr__(self) -> str:
        return f"ImageFolder({self.folder!r}, {self._explain!r})"

    def paths(self) -> list[str]:
        """The absolute paths of the pictures. Hidden files and folders are left out."""
        found = []
        for parent, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            pictures = (name for name in files if name.lower().endswith(tuple(f".{one}" for one in EXTENSIONS)))
            found += [os.path.join(parent, name) for name in pictures if not name.startswith(".")]
        if not found:
            raise InputError(f"there are no pictures in {self.folder}; their names end in {', '.join(EXTENSIONS)}")
        return sorted(found)

    def to_parquet(self, out: str | os.PathLike[str], *, workers: int = 2, rows_per_file: int = 1000, progress: bool = True) -> RunSummary:
        """Writes the rows of the pictures into a folder of Parquet files. Pictures that have a row there are left out, so that a second
        run explains those that are new.

        ``workers`` is the number of batches that are decoded and explained at once. A file gets its name when it is complete. Ctrl-C
        ends the run after the batches that are under way, and keeps the rows of those before them. ``progress`` shows a bar, where
        tqdm is installed and a terminal is watched.
        """
        for name, value in (("workers", workers), ("rows_per_file", rows_per_file)):
            if value < 1:
                raise InputError(f"{name} is {value}; give a number of at least 1")
        there = _written_paths(out, self._explain)
        paths = self.paths()
        new = [path for path in paths if path not in there]
        parts = _Parts(Path(out), rows_per_file)
        with _bar(len(new), progress) as advance, contextlib.closing(parts):
            for table in _in_order(self._explain, new, workers):
                parts.add(table)
                advance(table.num_rows)
        return RunSummary(os.path.abspath(out), parts.rows, parts.errors, len(paths) - len(new))


def parquet_files(out: str | os.PathLike[str]) -> list[Path]:
    """The Parquet files of a folder, which need not exist."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file; give a folder for Parquet files")
    return sorted(folder.glob("*.parquet"))


def check_settings(file: Path, schema: Any, explain: ExplainImages) -> None:
    """An error where a Parquet file holds other rows than those of explanations with these settings."""
    if "path" not in schema.names or "error" not in schema.names:
        raise InputError(f"{file} has the columns {schema.names}, which are no explanations; give another folder")
    settings = (schema.metadata or {}).get(SETTINGS.encode(), b"").decode()
    if settings and settings != explain.settings:
        raise InputError(f"{file} was made with other settings, {settings}, and these are {explain.settings}; give another folder for them")


def _written_paths(out: str | os.PathLike[str], explain: ExplainImages) -> set[str]:
    """The paths that a folder has rows of."""
    if Path(f"{os.path.abspath(out)}{CHECKPOINT}").exists():
        raise InputError(
            f"{out} was begun by python -m onnx_gradcam.ray, which keeps {out}{CHECKPOINT}; go on with that, or give another folder"
        )
    return {path for file in parquet_files(out) for path in _paths_of(file, explain)}


def _paths_of(file: Path, explain: ExplainImages) -> list[str]:
    """The paths of the rows of a file."""
    arrow = pyarrow()
    try:
        check_settings(file, arrow.parquet.read_schema(file), explain)
        paths: list[str] = arrow.parquet.read_table(file, columns=["path"]).column("path").to_pylist()
    except arrow.ArrowInvalid as error:
        raise InputError(f"{file} is no Parquet file: {error}; delete it, or give another folder") from error
    return paths


def _in_order(explain: Callable[[Mapping[str, Any]], Any], paths: list[str], workers: int) -> Iterator[Any]:
    """The tables of batches of paths, in their order, while others are under way."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for start in range(0, len(paths), BATCH):
                waiting.append(pool.submit(explain, {"path": paths[start : start + BATCH]}))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Parts:
    """The Parquet files of a folder."""

    def __init__(self, folder: Path, rows_per_file: int) -> None:
        self.folder, self.rows_per_file = folder, rows_per_file
        self.rows = self.errors = 0
        self.tables: list[Any] = []
        folder.mkdir(parents=True, exist_ok=True)
        # Of a run that was killed.
        for file in folder.glob(f".*{PARTIAL}"):
            file.unlink()

    def add(self, table: Any) -> None:
        """Adds rows, and writes a file when there are enough of them."""
        self.tables.append(table)
        if sum(one.num_rows for one in self.tables) >= self.rows_per_file:
            self.close()

    def close(self) -> None:
        """Writes the rows that were added."""
        # Rows whose file is interrupted are explained again by the next run; none is written twice.
        tables, self.tables = self.tables, []
        if not tables:
            return
        arrow = pyarrow()
        table = arrow.concat_tables(tables)
        name = f"part-{len(list(self.folder.glob('*.parquet'))):05}-{uuid.uuid4().hex[:8]}.parquet"
        partial = self.folder / f".{name}{PARTIAL}"
        try:
            arrow.parquet.write_table(table, partial)
            partial.replace(self.folder / name)
        except OSError as error:
            raise FileError(f"cannot write {self.folder / name}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        self.rows += table.num_rows
        self.errors += table.num_rows - table.column("error").null_count


@contextlib.contextmanager
def _bar(total: int, progress: bool) -> Iterator[Callable[[int], object]]:
    """A function that shows how many pictures are done."""
    try:
        from tqdm import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ModuleNotFoundError:
        progress = False
    if not progress:
        yield lambda _: None
        return
    # On a stream that is no terminal it shows nothing.
    with tqdm(total=total, unit="picture", disable=None) as bar:
        yield bar.update
