"""The columns of a row, and how a map becomes bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from .._explanation import Explanation
    from .._typing import Floats


class Column(NamedTuple):
    """A column of a row."""

    name: str
    arrow: str
    """Its type in Arrow, as ``pyarrow.type_for_alias`` knows it."""
    spark: str
    """Its type in the schemas of Spark."""


COLUMNS = (
    Column("path", "string", "STRING"),
    Column("class_index", "int32", "INT"),
    Column("label", "string", "STRING"),
    Column("score", "float32", "FLOAT"),
    Column("probability", "float32", "FLOAT"),
    Column("target", "string", "STRING"),
    Column("method", "string", "STRING"),
    Column("layer", "string", "STRING"),
    Column("height", "int32", "INT"),
    Column("width", "int32", "INT"),
    Column("map", "binary", "BINARY"),
    Column("warnings", "string", "STRING"),
    Column("error", "string", "STRING"),
)
"""What each is: docs/datasets.md."""

SPARK_SCHEMA = ", ".join(f"{column.name} {column.spark}" for column in COLUMNS)
"""The columns as Spark writes schemas, for ``DataFrame.mapInArrow``."""

SETTINGS = "onnx_gradcam"
"""The key of the settings in the metadata of tables and Parquet files."""

MAP_TYPES = {"raw": "<f4", "heatmap": "<f2"}
"""The numbers of a stored map, by its kind. A raw map is signed and of any scale, so it keeps its 32 bits; a heatmap is in 0..1, where
the error of 16 bits is 2**-12 at most.
"""


def pyarrow() -> Any:
    """The package pyarrow, which tables need."""
    try:
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import pyarrow.parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        message = f"data sets need the package pyarrow ({error}); install it with: pip install pyarrow"
        raise MissingPackageError(message, name="pyarrow") from error
    return pyarrow


def arrow_schema() -> Any:
    """The columns as a ``pyarrow.Schema``."""
    arrow = pyarrow()
    return arrow.schema([(column.name, arrow.type_for_alias(column.arrow)) for column in COLUMNS])


def row(path: str | None, explanation: Explanation, kind: str | None) -> dict[str, Any]:
    """The row of an explanation, with the map of that kind."""
    explained = explanation.class_score
    warnings = [warning.id for warning in explanation.warnings if warning.level == "warning"]
    found: dict[str, Any] = {
        "path": path,
        "class_index": explained.index,
        "label": explained.label,
        "score": explained.score,
        "probability": explained.probability,
        "target": explanation.target,
        "method": explanation.method,
        "layer": " ".join(explanation.layers),
        "warnings": " ".join(warnings),
    }
    if kind is not None:
        found |= _stored(explanation.map if kind == "raw" else explanation.heatmap(), kind)
    return found


def _stored(values: Floats, kind: str) -> dict[str, Any]:
    """A map as its columns."""
    if values.ndim != 2:
        raise InputError(f"the map has shape {list(values.shape)}, and a row holds [h, w]; give map=None for none")
    height, width = values.shape
    return {"height": height, "width": width, "map": values.astype(MAP_TYPES[kind]).tobytes()}


def read_map(data: bytes, height: int, width: int) -> Floats:
    """The map of a row, ``[height, width]``, from its columns ``map``, ``height`` and ``width``.

    ``data`` holds the rows one after another, in little-endian floats: of 32 bits for a raw map, of 16 for a heatmap.
    """
    import numpy as np

    types = {height * width * np.dtype(one).itemsize: one for one in MAP_TYPES.values()}
    if height < 1 or width < 1 or len(data) not in types:
        sizes = " or ".join(str(size) for size in types)
        raise InputError(
            f"the map has {len(data)} bytes, and one of {height} by {width} has {sizes}; give the columns map, height and width of one row"
        )
    return np.frombuffer(data, types[len(data)]).reshape(height, width).astype(np.float32)
