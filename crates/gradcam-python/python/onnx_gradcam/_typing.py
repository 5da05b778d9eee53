"""Types of arguments, for readers and type checkers; not imported at run time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ._targets import BoxTarget, MaskTarget, SimilarTarget

Floats: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.uint8]


class ModelProto(Protocol):
    """A model of the package ``onnx``."""

    def SerializeToString(self) -> bytes:
        """The bytes of its file."""


class Tensor(Protocol):
    """An array of another library that speaks DLPack, such as a torch tensor."""

    def __dlpack__(self, *, stream: Any = ...) -> Any:
        """Its capsule."""

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Its device."""


class Picture(Protocol):
    """A PIL image."""

    mode: str

    def getexif(self) -> Any:
        """Its EXIF data."""

    def convert(self, mode: str) -> Any:
        """The picture in another mode."""


Model: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | ModelProto
Array: TypeAlias = npt.NDArray[Any] | Tensor | Sequence[Any]
Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Picture | Array
Target: TypeAlias = int | str | BoxTarget | MaskTarget | SimilarTarget | None

ClassRow: TypeAlias = tuple[int, str | None, float, float | None]
"""Index, label, score and probability of a class."""
WarningRow: TypeAlias = tuple[str, str, str]
"""Id, level and text of a warning."""
ComponentRow: TypeAlias = tuple[Floats, float, tuple[int, int, int], list[ClassRow]]
"""Vector, share, color and classes of a concept."""
Reply: TypeAlias = Array | Sequence[Array] | None
"""What a hook returns: nothing, or what replaces the values that it got."""
