"""Grad-CAM and class-activation maps for any ONNX image model, without PyTorch."""

from __future__ import annotations

from ._concepts import Component, Concepts, ImageConcepts
from ._explainer import Explainer, grad_cam
from ._explanation import ClassScore, Explanation, Warning
from ._native import ForwardPass, HookHandle, Network, __version__
from ._tables import Layer, Method, layers, methods
from ._targets import BoxTarget, MaskTarget, SimilarTarget
from .errors import (
    CanceledError,
    EngineError,
    FileError,
    GradcamError,
    ImageError,
    InputError,
    InputTypeError,
    LayerError,
    MemoryLimitError,
    MethodError,
    MissingFileError,
    MissingPackageError,
    ModelError,
    ReentryError,
    TargetError,
    TargetTypeError,
    UnsupportedError,
)

__all__ = [
    "BoxTarget",
    "CanceledError",
    "ClassScore",
    "Component",
    "Concepts",
    "EngineError",
    "Explainer",
    "Explanation",
    "FileError",
    "ForwardPass",
    "GradcamError",
    "HookHandle",
    "ImageConcepts",
    "ImageError",
    "InputError",
    "InputTypeError",
    "Layer",
    "LayerError",
    "MaskTarget",
    "MemoryLimitError",
    "Method",
    "MethodError",
    "MissingFileError",
    "MissingPackageError",
    "ModelError",
    "Network",
    "ReentryError",
    "SimilarTarget",
    "TargetError",
    "TargetTypeError",
    "UnsupportedError",
    "Warning",
    "__version__",
    "grad_cam",
    "layers",
    "methods",
]
