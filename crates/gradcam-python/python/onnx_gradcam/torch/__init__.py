"""Torch's view of ONNX files, and of its own models on this package's engines. It needs torch.

`OnnxModule` is an ONNX file as a torch.nn.Module, `ExportedModule` a torch model that the engines compute, `from_torch` an
explainer of a torch model.
"""

# Types are checked where torch is not installed.
# mypy: ignore-errors

from ._export import ExportedModule, export, from_torch
from ._module import OnnxModule

__all__ = ["ExportedModule", "OnnxModule", "export", "from_torch"]
