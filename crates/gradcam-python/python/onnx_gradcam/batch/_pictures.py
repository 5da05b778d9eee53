"""The pictures of a batch, in the columns in which data sets have them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import FileError, ImageError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = {
    "bytes": "the files that ray.data.read_binary_files reads",
    "content": "those of Spark's binaryFile",
    "image": "pixels [H, W, 3], or files as Hugging Face's data sets hold them",
    "path": "the files to open",
}
"""The columns that pictures are taken from, the first that is there."""


class Picture(NamedTuple):
    """A picture of a data set."""

    path: str | None
    """The path of its row."""
    content: Any
    """What ``Explainer`` takes; None where the row has none."""

    def read(self) -> Any:
        """Its pixels or the bytes of its file, or an error. The texts of errors have no path, so that equal ones can be counted."""
        if self.content is None:
            raise ImageError("the row has no picture: its value is null")
        if not isinstance(self.content, str | os.PathLike):
            return self.content
        try:
            return Path(self.content).read_bytes()
        except OSError as error:
            raise FileError(f"the file cannot be read: {error.strerror}") from error


def pictures(batch: Mapping[str, Any]) -> list[Picture]:
    """The pictures of a batch of columns."""
    names = list(batch)
    column = next((name for name in COLUMNS if name in names), None)
    if column is None:
        wanted = "; ".join(f'"{name}": {what}' for name, what in COLUMNS.items())
        raise InputError(f"the batch has the columns {names}, and none of pictures; rename one ({wanted})")
    contents = [_content(value) for value in batch[column]]
    if "path" in names:
        paths = [None if path is None else str(path) for path in batch["path"]]
    else:
        paths = [_path(value) for value in batch[column]]
    return [Picture(path, content) for path, content in zip(paths, contents, strict=True)]


def _content(value: Any) -> Any:
    """The content of a cell. Hugging Face's hold the bytes of a file, or its path alone."""
    if not isinstance(value, dict):
        return value
    return value.get("bytes") if value.get("bytes") is not None else value.get("path")


def _path(value: Any) -> str | None:
    return value.get("path") if isinstance(value, dict) else None
