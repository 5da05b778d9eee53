"""Targets at a place, and likeness. Other targets are None, numbers and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ._typing import Array, Image


class BoxTarget(NamedTuple):
    """Of a detector's boxes the one that overlaps most with an area of the photo, or of the network's input where an array is explained."""

    x: float
    """The left edge, in pixels."""
    y: float
    """The top edge."""
    width: float
    """The width."""
    height: float
    """The height."""
    target: int | str | None = None
    """The class, by number or label: of the boxes of that class."""


class MaskTarget(NamedTuple):
    """The score of a class of a segmentation over the pixels of a mask."""

    mask: Image
    """Over the whole photo: an array of booleans ``[H, W]``, or of 0 and 1, or of 0 and 255; or a picture, white where it counts."""
    target: int | str | None = None
    """The class, by number or label; None for the best one."""


class SimilarTarget(NamedTuple):
    """The cosine of the angle between an embedding and a vector: which parts of the photo make it similar."""

    vector: Array
    """The vector, ``[K]``, such as ``explainer.embedding(image)``."""
