"""Settings that explain the pictures of a batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .._explainer import Explainer
from .._tables import methods
from ..errors import FileError, GradcamError, ImageError, InputError, TargetError
from ._columns import MAP_TYPES, SETTINGS, arrow_schema, pyarrow, row
from ._folder import ImageFolder
from ._pictures import Picture, pictures

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from .._explanation import Explanation
    from .._typing import Model, Target

CHUNK = 8
"""The most pictures that are decoded at once."""

NOT_IN_ROWS = ("model", "engine", "provider", "threads", "max_memory", "labels")
"""Settings that say where a model is, and how it runs."""

OF_A_PICTURE = (ImageError, FileError, TargetError)
"""Errors about one picture. They become its row; others, such as those of a model or an engine, end the work."""


class ExplainImages:
    """Explains the pictures of a batch: a table with a row for each, in their order.

    The arguments are those of ``Explainer``, and ``target``, the one of every picture: None for its best class, the number of a class, or
    a text. ``map`` is what is stored of each: ``raw`` for the raw map at the layer's size, ``heatmap`` for the heatmap at the size of the
    network's input, None for no map. There is one layer, unless ``fuse`` makes one heatmap of several.

    Settings are checked when it is made: a model that does not exist, a layer or a target that it does not have are errors. A picture
    that cannot be explained is a row with its ``error``. It is pickled as its settings; the copy opens the model when it is first used.
    A model that is a path is opened there by that path.
    """

    def __init__(
        self,
        model: Model,
        layers: str | Sequence[str | int] = (),
        method: str | None = None,
        *,
        target: Target = None,
        map: str | None = "raw",
        **settings: Any,
    ) -> None:
        if hasattr(model, "SerializeToString"):
            model = model.SerializeToString()
        layers = [layers] if isinstance(layers, str) else [str(layer) for layer in layers]
        self._restore({"model": model, "layers": layers, "method": method, **settings}, target, map)
        if map is not None and map not in MAP_TYPES:
            raise InputError(f"map is {map!r}; give {' or '.join(repr(kind) for kind in MAP_TYPES)}, or None for no map")
        self._check(self.explainer)

    def _restore(self, settings: dict[str, Any], target: Target, map: str | None) -> None:
        self._settings, self._target, self._map = settings, target, map
        self._explainer: Explainer | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._settings, self._target, self._map)

    def __repr__(self) -> str:
        model = self._settings["model"]
        name = f"{len(model)} bytes" if isinstance(model, bytes | bytearray | memoryview) else repr(str(model))
        return f"{type(self).__name__}({name}, target={self._target!r}, map={self._map!r})"

    @property
    def settings(self) -> str:
        """What rows depend on beside the model and the picture, as JSON. Parquet files keep it, under the key ``onnx_gradcam``."""
        kept = {name: value for name, value in self._settings.items() if name not in NOT_IN_ROWS}
        return json.dumps({**kept, "target": self._target, "map": self._map}, default=repr, sort_keys=True)

    @property
    def explainer(self) -> Explainer:
        """The explainer of this process."""
        if self._explainer is None:
            self._explainer = Explainer(**self._settings)
        return self._explainer

    def _check(self, explainer: Explainer) -> None:
        """Checks what every picture would fail by."""
        import numpy as np

        pyarrow()
        explainer.check_target(self._target)
        explainer.prepare(np.zeros((32, 32, 3), np.uint8))
        method = explainer.methods[0]
        takes_layer = {row.id: row.takes_layer for row in methods()}
        if self._map == "raw" and not takes_layer[method]:
            raise InputError(
                f'the raw map of {method} has the channels of the image, and a row holds [h, w]; give map="heatmap", or map=None'
            )
        maps, heatmaps = explainer._native.counts()
        if self._map is not None and (maps if self._map == "raw" else heatmaps) > 1:
            raise InputError(
                f'a row holds one map, and there are the layers {", ".join(explainer.layers)}; give one, or map="heatmap" and fuse, '
                'such as fuse="mean"'
            )

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        """The ``pyarrow.Table`` of a batch of columns, such as Ray's with ``batch_format="numpy"``.

        Pictures are in the column ``bytes``, ``content`` (bytes of files), ``image`` (pixels, or Hugging Face's structs) or, with none
        of these, ``path``. The column ``path`` names the rows.
        """
        return self._table(pictures(batch))

    def arrow(self, batch: Any) -> Any:
        """The same of a ``pyarrow.Table`` or ``pyarrow.RecordBatch``."""
        return self._table(pictures({name: batch.column(name).to_pylist() for name in batch.schema.names}))

    def map_arrow(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The record batches of an iterator, for Spark: ``frame.mapInArrow(ex.map_arrow, SPARK_SCHEMA)``."""
        for batch in batches:
            yield from self.arrow(batch).to_batches()

    def folder(self, path: str | os.PathLike[str]) -> ImageFolder:
        """The pictures of a folder and the folders below it."""
        return ImageFolder(self, path)

    def _table(self, found: Sequence[Picture]) -> Any:
        chunks = [found[start : start + CHUNK] for start in range(0, len(found), CHUNK)]
        rows = [row for chunk in chunks for row in self._rows(chunk)]
        return pyarrow().Table.from_pylist(rows, schema=arrow_schema().with_metadata({SETTINGS: self.settings}))

    def _rows(self, chunk: Sequence[Picture]) -> list[dict[str, Any]]:
        """The rows of pictures that are explained at once, or each by itself where one cannot be."""
        explainer = self.explainer
        try:
            explained: list[Explanation] = explainer.batch([one.read() for one in chunk], self._target)
        except OF_A_PICTURE as error:
            if len(chunk) == 1:
                return [{"path": chunk[0].path, "error": _text(error)}]
            return [row for one in chunk for row in self._rows([one])]
        return [row(one.path, explanation, self._map) for one, explanation in zip(chunk, explained, strict=True)]


def _text(error: GradcamError) -> str:
    """The text of an error, which is never empty."""
    return str(error) or type(error).__name__


def _restored(kind: type[ExplainImages], settings: dict[str, Any], target: Target, map: str | None) -> ExplainImages:
    """An object of the same settings, which has not opened its model."""
    images = kind.__new__(kind)
    images._restore(settings, target, map)
    return images
