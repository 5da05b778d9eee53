"""The exceptions of the package. Each derives from GradcamError and from the builtin exception that fits."""

from __future__ import annotations


class GradcamError(Exception):
    """An error of this package."""

    node: str | None = None
    """The name of the node that the error is about, if it is about one."""


class FileError(GradcamError, OSError):
    """A file could not be read."""


class MissingFileError(FileError, FileNotFoundError):
    """A file does not exist."""


class ModelError(GradcamError, ValueError):
    """The model is no ONNX model, or a broken one."""


class UnsupportedError(GradcamError, NotImplementedError):
    """An operator on the path has no gradient, or the engine lacks it."""


class LayerError(GradcamError, ValueError):
    """No layer has that name, or it cannot be explained."""


class TargetError(GradcamError, ValueError):
    """The target names no class, or several."""


class TargetTypeError(TargetError, TypeError):
    """The target is of a type that stands for none."""


class MethodError(GradcamError, ValueError):
    """No method has that name, or it does not go with the other settings."""


class ImageError(GradcamError, ValueError):
    """A picture or its preparation is not usable."""


class InputError(GradcamError, ValueError):
    """An array has the wrong shape, or an argument the wrong value."""


class InputTypeError(InputError, TypeError):
    """An argument has the wrong type."""


class MemoryLimitError(GradcamError, MemoryError):
    """The run would need more memory than it may use."""


class EngineError(GradcamError, RuntimeError):
    """The engine is missing, or failed while it ran."""


class MissingPackageError(GradcamError, ModuleNotFoundError):
    """A package that this part needs is not installed."""


class CanceledError(GradcamError):
    """The work was canceled."""


class ReentryError(GradcamError, RuntimeError):
    """A hook used the network that was calling it."""
