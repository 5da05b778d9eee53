"""Explanations of data sets: rows of plain columns, made by Ray Data, by Spark, or by a loop on this machine."""

from __future__ import annotations

from ._columns import SPARK_SCHEMA, arrow_schema, read_map
from ._folder import ImageFolder, RunSummary
from ._images import ExplainImages

__all__ = ["SPARK_SCHEMA", "ExplainImages", "ImageFolder", "RunSummary", "arrow_schema", "read_map"]
