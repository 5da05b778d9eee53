"""pytorch-grad-cam without torch: its classes, targets and metrics by name, on an ONNX file.

from onnx_gradcam.pytorch_grad_cam import GradCAM
from onnx_gradcam.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

with GradCAM(model="resnet50.onnx", target_layers=["layer4"]) as cam:
    maps = cam(input_tensor=x, targets=[ClassifierOutputTarget(281)])
"""

from . import metrics, utils
from ._cam import (
    FEM,
    KPCA_CAM,
    AblationCAM,
    BaseCAM,
    EigenCAM,
    EigenGradCAM,
    FinerCAM,
    FullGrad,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    GuidedBackpropReLUModel,
    HiResCAM,
    LayerCAM,
    RandomCAM,
    RefineCAM,
    ScoreCAM,
    SegEigenCAM,
    ShapleyCAM,
    XGradCAM,
)

__all__ = [
    "FEM",
    "AblationCAM",
    "BaseCAM",
    "EigenCAM",
    "EigenGradCAM",
    "FinerCAM",
    "FullGrad",
    "GradCAM",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "GuidedBackpropReLUModel",
    "HiResCAM",
    "KPCA_CAM",
    "LayerCAM",
    "RandomCAM",
    "RefineCAM",
    "ScoreCAM",
    "SegEigenCAM",
    "ShapleyCAM",
    "XGradCAM",
    "metrics",
    "utils",
]
