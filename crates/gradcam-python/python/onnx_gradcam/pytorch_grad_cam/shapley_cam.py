"""ShapleyCAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base_cam import BaseCAM


class ShapleyCAM(BaseCAM):
    """Channels weighted by gradient and Hessian, by the explainer alone."""

    method = "shapleycam"

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, target_category: Sequence[Any], activations: Any, grads: Any) -> Any:
        message = (
            "ShapleyCAM needs second derivatives, which the explainer finds for ClassifierOutputTarget, ClassifierOutputSoftmaxTarget "
            "and BinaryClassifierOutputTarget, and for a reshape_transform that makes a grid of tokens; for others: pytorch-grad-cam on "
            "the torch model"
        )
        raise NotImplementedError(message)
