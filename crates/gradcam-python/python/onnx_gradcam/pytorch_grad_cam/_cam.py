"""The classes of pytorch-grad-cam, as explainers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnx_gradcam import Explainer, layers

from .utils.model_targets import explained
from .utils.reshape_transforms import grid_of


class BaseCAM:
    """A method with its layers. The mathematics is that of `onnx_gradcam.Explainer`.

    Args:
        model: the path of an ONNX file, its bytes or an onnx.ModelProto; or a torch model, which is exported.
        target_layers: module paths; of a torch model, its modules.
        reshape_transform: from tokens to a grid, where the layer gives tokens. It may drop tokens at the front and put the
            others into rows.
        options: those of the explainer, such as `engine` and `threads`.
    """

    method = ""
    takes_layers = True

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        self.model = model
        self.target_layers = list(target_layers)
        self.reshape_transform = reshape_transform
        self.outputs: np.ndarray | None = None
        # Read by pytorch-grad-cam; here the engine chooses its batches by the memory limit.
        self.batch_size = 16
        self._options = options
        self._explainers: dict[tuple[Any, ...], Explainer] = {}
        # A wrong name is told here, not at the first image. A torch model is exported when the size of images is known.
        if not is_torch(model) and self.takes_layers:
            self._explainer(None, aug_smooth=False, eigen_smooth=False)

    def __call__(
        self,
        input_tensor: Any,
        targets: Sequence[Any] | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> np.ndarray:
        """The maps of a batch, [N, H, W] in 0..1.

        Args:
            input_tensor: images that are ready for the network, [N, C, H, W].
            targets: one for each image; without them, the best class of each.
            aug_smooth: the mean over flipped and scaled images.
            eigen_smooth: the first principal component of the weighted channels.
        """
        return self.forward(input_tensor, targets, eigen_smooth, aug_smooth)

    def forward(self, input_tensor: Any, targets: Sequence[Any] | None, eigen_smooth: bool = False, aug_smooth: bool = False) -> np.ndarray:
        """As a call."""
        explainer = self._explainer(input_tensor, aug_smooth=aug_smooth, eigen_smooth=eigen_smooth)
        return self._explain(explainer, input_tensor, targets)

    def _explain(self, explainer: Explainer, images: Any, targets: Sequence[Any] | None) -> np.ndarray:
        read = None if targets is None else [explained(target) for target in targets]
        explanations = explainer.batch(to_numpy(images), targets=read)
        self.outputs = np.stack([np.asarray(one.scores) for one in explanations])
        return np.asarray([one.heatmap() for one in explanations], np.float32)

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"method": self.method}
        if len(self.target_layers) > 1:
            settings["fuse"] = "mean"
        return settings

    def _explainer(self, images: Any, *, aug_smooth: bool, eigen_smooth: bool) -> Explainer:
        settings = self._settings() | {"aug_smooth": aug_smooth, "eigen_smooth": eigen_smooth} | self._options
        model, paths, key = self._file(images)
        key = (key, *sorted((name, str(value)) for name, value in settings.items()))
        if key not in self._explainers:
            if self.takes_layers:
                settings["layers"] = paths
            if self.reshape_transform is not None:
                settings["grid"] = self._grid(model, paths)
            self._explainers[key] = Explainer(model, **settings)
        return self._explainers[key]

    def _file(self, images: Any) -> tuple[Any, list[str], Any]:
        """The model as an explainer takes it, the paths of the layers, and what tells it from an earlier one."""
        if not is_torch(self.model):
            return self.model, [str(layer) for layer in self.target_layers], None
        from onnx_gradcam.torch import export

        names = {module: name for name, module in self.model.named_modules()}
        paths = [layer if isinstance(layer, str) else names[layer] for layer in self.target_layers]
        file = export(self.model, to_tensor(images))
        return file, paths, id(file)

    def _grid(self, model: Any, paths: list[str]) -> tuple[int, int] | None:
        """The grid into which the transform puts the tokens of the layers."""
        transform = self.reshape_transform
        if transform is None:
            return None
        shapes = {layer.path: layer.shape for layer in layers(model)}
        grids = {grid_of(transform, shapes[path]) for path in paths if path in shapes}
        if len(grids) != 1:
            message = f"the layers {paths} have {len(grids)} grids under reshape_transform; give layers of one grid"
            raise ValueError(message)
        return grids.pop()

    def __enter__(self) -> BaseCAM:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._explainers.clear()


class GradCAM(BaseCAM):
    """Channels weighted by the mean of their gradient."""

    method = "gradcam"


class HiResCAM(BaseCAM):
    """The sum over channels of gradient times activation."""

    method = "hirescam"


class GradCAMElementWise(BaseCAM):
    """The sum over channels of gradient times activation, where it is positive."""

    method = "gradcam-elementwise"


class GradCAMPlusPlus(BaseCAM):
    """Channels weighted by their positive gradients, with powers of the gradient."""

    method = "gradcam++"


class XGradCAM(BaseCAM):
    """Channels weighted by their gradient at the positions of their activation."""

    method = "xgradcam"


class LayerCAM(BaseCAM):
    """Activations weighted by the positive gradient at each position."""

    method = "layercam"


class EigenCAM(BaseCAM):
    """The first principal component of the activation."""

    method = "eigencam"


class EigenGradCAM(BaseCAM):
    """The first principal component of gradient times activation."""

    method = "eigengradcam"


class SegEigenCAM(BaseCAM):
    """The first principal component of the gradient's size times activation, its larger side positive."""

    method = "segeigencam"


class KPCA_CAM(BaseCAM):
    """The first component of a kernel principal component analysis."""

    method = "kpcacam"


class ScoreCAM(BaseCAM):
    """Channels weighted by the scores of images that they mask."""

    method = "scorecam"


class ShapleyCAM(BaseCAM):
    """Channels weighted by gradient and Hessian."""

    method = "shapleycam"


class RandomCAM(BaseCAM):
    """Channels weighted at random; the numbers come from the option `seed`."""

    method = "randomcam"


class FEM(BaseCAM):
    """Channels weighted by the share of rare, large activations."""

    method = "fem"

    def __init__(
        self, model: Any, target_layers: Sequence[Any], reshape_transform: Callable[..., Any] | None = None, k: float = 2, **options: Any
    ) -> None:
        only("k", k, 2)
        super().__init__(model, target_layers, reshape_transform, **options)


class AblationCAM(BaseCAM):
    """Channels weighted by how much the score falls without them."""

    method = "ablationcam"

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        ablation_layer: Any = None,
        batch_size: int = 32,
        ratio_channels_to_ablate: float = 1.0,
        **options: Any,
    ) -> None:
        # Which axis holds channels is known here: every ablation layer means the same.
        del ablation_layer
        only("ratio_channels_to_ablate", ratio_channels_to_ablate, 1.0)
        super().__init__(model, target_layers, reshape_transform, **options)
        self.batch_size = batch_size


class FullGrad(BaseCAM):
    """The gradients of the image and of all biases. It has no layers."""

    method = "fullgrad"
    takes_layers = False


class FinerCAM(BaseCAM):
    """What tells a class from the three with the nearest scores; with targets, the base method."""

    method = "finercam"

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        base_method: type[BaseCAM] = GradCAM,
        **options: Any,
    ) -> None:
        only("base_method", base_method, GradCAM)
        super().__init__(model, target_layers, reshape_transform, **options)
        self.base_cam = base_method(model, target_layers, reshape_transform, **options)

    def forward(
        self,
        input_tensor: Any,
        targets: Sequence[Any] | None = None,
        eigen_smooth: bool = False,
        alpha: float = 1,
        comparison_categories: Sequence[int] | None = None,
        target_idx: int | None = None,
    ) -> np.ndarray:
        """As a call; `target_idx` is the class of all images."""
        only("alpha", alpha, 1)
        only("comparison_categories", comparison_categories, None)
        if targets is not None:
            maps = self.base_cam(input_tensor, targets, eigen_smooth=eigen_smooth)
            self.outputs = self.base_cam.outputs
            return maps
        explainer = self._explainer(input_tensor, aug_smooth=False, eigen_smooth=eigen_smooth)
        classes = None if target_idx is None else [int(target_idx)] * len(input_tensor)
        explanations = explainer.batch(to_numpy(input_tensor), targets=classes)
        self.outputs = np.stack([np.asarray(one.scores) for one in explanations])
        return np.asarray([one.heatmap() for one in explanations], np.float32)

    def __call__(self, *args: Any, **settings: Any) -> np.ndarray:
        """As `forward`."""
        return self.forward(*args, **settings)


class RefineCAM(BaseCAM):
    """The product of the maps of layers by a base method."""

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        base_method: type[BaseCAM] = GradCAMPlusPlus,
        **options: Any,
    ) -> None:
        self.method = base_method.method
        super().__init__(model, target_layers, reshape_transform, **options)

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, "fuse": "product"}


class GuidedBackpropReLUModel:
    """The gradient of a class down to the image, through relus that pass positive gradients alone."""

    def __init__(self, model: Any, device: Any = None, **options: Any) -> None:
        del device
        self.model, self._options = model, options

    def __call__(self, input_img: Any, target_category: int | None = None) -> np.ndarray:
        """The gradient of the first image of a batch, [H, W, C]; without a category, of its best class."""
        model = self.model
        if is_torch(model):
            from onnx_gradcam.torch import export

            model = export(model, to_tensor(input_img))
        explainer = Explainer(model, method="guided-backprop", **self._options)
        target = None if target_category is None else int(target_category)
        return np.asarray(explainer(to_numpy(input_img)[:1], target=target).map).transpose(1, 2, 0)


def only(name: str, value: Any, known: Any) -> None:
    """Refuses a setting that the engine's method does not have."""
    if value is not known and value != known:
        shown, one = (getattr(it, "__name__", it) for it in (value, known))
        message = f"{name} is {shown}; here it is {one}. For others: pytorch-grad-cam on an onnx_gradcam.torch.OnnxModule"
        raise ValueError(message)


def is_torch(model: Any) -> bool:
    """Whether a model is one of torch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def to_tensor(images: Any) -> Any:
    """Images as torch's tensor, where the model is one of torch."""
    return sys.modules["torch"].as_tensor(images)


def to_numpy(images: Any) -> Any:
    """Images without torch's graph."""
    return images.detach().numpy() if hasattr(images, "detach") else images
