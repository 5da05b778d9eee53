"""Images, targets and transforms."""

from . import model_targets, reshape_transforms
from .image import deprocess_image

__all__ = ["deprocess_image", "model_targets", "reshape_transforms"]
