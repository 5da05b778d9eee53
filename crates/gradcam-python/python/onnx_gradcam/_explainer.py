"""Explainers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sized
from itertools import islice
from operator import index
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

from . import _arrays, _native
from ._concepts import Concepts
from ._explanation import Explanation
from ._targets import BoxTarget, MaskTarget, SimilarTarget
from .errors import InputError, InputTypeError, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ._typing import Array, Floats, Image, Model, Target

IMAGES_OF_A_RUN = 8
"""The images that ``stream`` explains together: as many as a run has that may be canceled."""


class Explainer:
    """Explains images with one model. Any number of threads may use it at once.

    ``model`` is a path, the bytes of a file, or an ``onnx.ModelProto``; without one, it is the built-in EfficientNet-Lite0 for the 1000
    classes of ImageNet. ``layers`` are module paths such as ``layer4``, names of nodes or values, or negative numbers that count from the
    last; without any, the last feature map is taken. ``method`` is an id of ``methods()``, or a list of several, which share one run of the
    network; the default is Grad-CAM, or the method that fits where a target is a small part of the image.

    ``engine`` is ``rten``, which is built in, ``onnxruntime``, or ``auto``: ONNX Runtime where ``ORT_DYLIB_PATH`` names its library or the
    package is installed in this interpreter (it is not imported), else rten, and rten for the built-in model. ``provider`` is an execution
    provider of ONNX Runtime, ``session_config`` holds entries of its session configuration, ``threads`` is the number of threads of a run,
    ``max_memory`` the limit in bytes of all concurrent runs.

    ``size`` (width, height), ``fit`` (``crop``, ``squash``, ``pad``), ``short_side``, ``filter``, ``rescale``, ``mean``, ``std``,
    ``layout`` (``nchw``, ``nhwc``) and ``channels`` (``rgb``, ``bgr``, ``gray``, ``rgba``, ``gray-alpha``) say how photos are prepared
    where neither the model nor the files beside it do; ``imagenet=True`` says that the usual values are right. ``labels`` is a file of
    labels. ``image_shape`` is the shape of arrays, such as ``(1, 3, 48, 320)``, for which a model that leaves sizes open is read.

    ``inputs`` are the values of the inputs beside the image, ``output`` is the value that holds the scores, ``head`` the kind of
    scores, ``grid`` the rows and columns of a transformer's tokens, and ``prefix_tokens`` the number of tokens before those. ``compat``
    is the library whose numbers heatmaps have, ``fuse`` how several layers become one heatmap (``mean``, ``max``, ``product``);
    ``aug_smooth`` and ``eigen_smooth`` are those of pytorch-grad-cam. ``seed``, ``samples``, ``noise``, ``window``, ``stride`` and
    ``budget`` are numbers that some methods read.

    An explainer is pickled as its settings; the copy reads the model again.
    """

    def __init__(
        self,
        model: Model | None = None,
        layers: str | Sequence[str | int] = (),
        method: str | Sequence[str] | None = None,
        *,
        engine: str = "auto",
        provider: str | None = None,
        session_config: Mapping[str, str] | None = None,
        threads: int | None = None,
        max_memory: int | None = None,
        size: int | tuple[int, int] | None = None,
        fit: str | None = None,
        short_side: int | None = None,
        filter: str | None = None,
        rescale: float | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        layout: str | None = None,
        channels: str | None = None,
        imagenet: bool = False,
        labels: str | None = None,
        image_shape: Sequence[int] | None = None,
        inputs: Mapping[str, Array] | None = None,
        output: str | None = None,
        head: str | None = None,
        grid: tuple[int, int] | None = None,
        prefix_tokens: int | None = None,
        compat: str | None = None,
        fuse: str | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        seed: int = 0,
        samples: int | None = None,
        noise: float | None = None,
        window: int | None = None,
        stride: int | None = None,
        budget: int | None = None,
    ) -> None:
        settings: dict[str, Any] = dict(locals())
        del settings["self"], settings["model"], settings["method"]
        settings["layers"] = [layers] if isinstance(layers, str) else [str(layer) for layer in layers]
        settings["size"] = (size, size) if isinstance(size, int) else size
        settings["methods"] = [method] if isinstance(method, str) else list(method or ())
        settings["inputs"] = dict(inputs or {})
        settings["session_config"] = dict(session_config or {})
        serialize = getattr(model, "SerializeToString", None)
        self._start(serialize() if serialize else model, settings)

    def _start(self, model: Any, settings: dict[str, Any]) -> None:
        self._settings = (model, settings)
        self._native = _native.Explainer(model, settings)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, self._settings

    def __repr__(self) -> str:
        return f"Explainer(layers={self.layers}, methods={self.methods}, engine={self.engine!r})"

    def __call__(self, image: Image, target: Target = None, *, inputs: Mapping[str, Array] | None = None) -> Explanation:
        """Explains one image for one target.

        ``image`` is a path, the bytes of a file, a PIL image (turned as its EXIF says), pixels (uint8 ``[H, W, 3]``), or floats that are
        ready for the network, ``[1, C, H, W]`` or ``[C, H, W]``, of NumPy or any library that speaks DLPack.

        ``target`` is None for the class with the largest score, the number of a class, or a text: a label, ``"A-B"`` for one class
        against another, ``"p:CLASS"`` for a probability, ``"CLASS@2"`` for the second box of a detector; or a ``BoxTarget``, a
        ``MaskTarget`` or a ``SimilarTarget``.

        ``inputs`` are values of the inputs beside the image, for this call.
        """
        explained = self.explain(image, [target], inputs=inputs)
        if len(explained) != 1:
            methods = f" by {len(self.methods)} methods" if len(self.methods) > 1 else ""
            raise TargetError(f"the target {target!r}{methods} gives {len(explained)} explanations; explain() gives a list of them")
        return explained[0]

    def explain(self, image: Image, targets: Sequence[Target] = (None,), *, inputs: Mapping[str, Array] | None = None) -> list[Explanation]:
        """Explains one image for several targets, of which ``"top:K"`` stands for the K best classes, in one run. Of several methods, the
        explanations of the first one come first.
        """
        if isinstance(targets, str | int | BoxTarget | MaskTarget | SimilarTarget) or targets is None:
            raise TargetError(f"targets is {targets!r}; give a list of targets, such as [{targets!r}]")
        explained = self._native.explain(image, list(targets), dict(inputs or {}))
        return [Explanation(one) for one in explained]

    def batch(
        self,
        images: Array | Sequence[Image],
        targets: Target | Sequence[Target] = None,
        *,
        inputs: Mapping[str, Array] | None = None,
    ) -> list[Explanation]:
        """Explains several images: an array ``[N, C, H, W]``, pixels ``[N, H, W, 3]``, or a list of images.

        ``targets`` is one target for all, or a list with one for each image. Of several methods, those of one image come one after the
        other.
        """
        each: list[Target] | None
        if targets is None:
            each = None
        elif isinstance(targets, str | SupportsIndex | BoxTarget | MaskTarget | SimilarTarget):
            if not isinstance(images, Sized):
                raise InputTypeError(f"images is a {type(images).__qualname__}; give an array or a list of images")
            each = [index(targets) if isinstance(targets, SupportsIndex) else targets] * len(images)
        else:
            each = list(targets)
        explained = self._native.batch(images, each, dict(inputs or {}))
        return [Explanation(one) for one in explained]

    def check_target(self, target: Target) -> None:
        """Raises a ``TargetError`` or a ``MethodError`` where no image of this model has that target, or it is not a single one."""
        self._native.check_target(target)

    def stream(self, images: Iterable[Image], target: Target = None, *, progress: bool = True) -> Iterator[Explanation]:
        """Explains any number of images for one target, and holds few of them at once: 8 are explained together.

        Where tqdm is installed, a bar shows the progress; ``progress=False`` leaves it out.
        """
        bar = _progress_bar(images) if progress else None
        waiting = iter(images)
        try:
            while some := list(islice(waiting, IMAGES_OF_A_RUN)):
                yield from self.batch(some, target)
                if bar is not None:
                    bar.update(len(some))
        finally:
            if bar is not None:
                bar.close()

    def concepts(self, images: Image | Sequence[Image], components: int = 5, *, inputs: Mapping[str, Array] | None = None) -> Concepts:
        """What the layer is made of: its activation is factored into concepts, which all images share, by deep feature factorization.

        ``images`` is one image, a list of them, or an array ``[N, C, H, W]``. Methods do not matter.
        """
        several: Any = [images] if _arrays.is_one(images) else images
        return Concepts(self._native.concepts(several, components, dict(inputs or {})))

    def embedding(self, image: Image, *, inputs: Mapping[str, Array] | None = None) -> Floats:
        """The vector ``[K]`` that a model of embeddings makes of an image, for a ``SimilarTarget``."""
        return self._native.embedding(image, dict(inputs or {}))

    @overload
    def export(
        self,
        path: None = None,
        *,
        targets: Sequence[Target] | Literal["input"] = (None,),
        heads: Literal["all", "cam-only"] = "all",
        fp16: bool = False,
    ) -> bytes: ...
    @overload
    def export(
        self,
        path: str | os.PathLike[str],
        *,
        targets: Sequence[Target] | Literal["input"] = (None,),
        heads: Literal["all", "cam-only"] = "all",
        fp16: bool = False,
    ) -> None: ...
    def export(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        targets: Sequence[Target] | Literal["input"] = (None,),
        heads: Literal["all", "cam-only"] = "all",
        fp16: bool = False,
    ) -> bytes | None:
        """Writes a model that explains itself: the model, with ``gradcam.map``, ``gradcam.heatmap`` and ``gradcam.class`` behind its own
        outputs. It is ordinary ONNX, for any engine; ``docs/export.md`` says where it was run.

        Without a ``path``, the bytes of the file are returned; above 2 GiB, only a file can hold it, with its weights beside it.
        ``targets`` are a part of the model; of K of them the outputs are ``[N, K, ...]``. With ``"input"``, the class is an input,
        ``gradcam.target`` (int64 ``[N]``, -1 for the class with the largest score). ``heads="cam-only"`` leaves the other outputs out,
        and ``fp16`` stores weights as 16-bit floats. A warning says so where the model takes one image at a time.
        """
        if isinstance(targets, str | int | BoxTarget | MaskTarget | SimilarTarget) and targets != "input" or targets is None:
            raise TargetError(f'targets is {targets!r}; give a list of targets, such as [{targets!r}], or "input"')
        model = self._settings[0]
        if path is not None and isinstance(model, str | os.PathLike) and os.path.exists(path) and os.path.samefile(path, model):
            raise InputError(f"{os.fspath(path)} is the file of the model, and would be replaced; name another one")
        data, fixed_batch = self._native.export(path, None if targets == "input" else list(targets), heads, fp16)
        if fixed_batch is not None:
            warnings.warn(f"the exported model takes one image at a time: {fixed_batch}", stacklevel=2)
        return data

    def prepare(self, image: Image) -> Floats:
        """The network's input that a photo becomes, ``[1, C, H, W]``."""
        return self._native.prepare(image)

    @property
    def layers(self) -> list[str]:
        """The paths of the layers that are explained."""
        return [path for path, _ in self._native.layers()]

    @property
    def labels(self) -> list[str] | None:
        """The labels of the classes, where the model has some."""
        return self._native.labels()

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self._native.classes()

    @property
    def methods(self) -> list[str]:
        """The ids of the methods."""
        return self._native.methods()

    @property
    def engine(self) -> str:
        """The name of the engine."""
        return self._native.engine()

    @property
    def head(self) -> str:
        """What the scores are, such as ``softmax``."""
        return self._native.head()

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The shape of the input that takes the images; None where the model leaves a size open."""
        return tuple(self._native.input()[1])


def _progress_bar(images: Iterable[Image]) -> Any:
    """A bar of tqdm for so many images, in a notebook one of a notebook; None where tqdm is not installed."""
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    return tqdm(total=len(images) if isinstance(images, Sized) else None, unit="image")


def _restored(model: Any, settings: dict[str, Any]) -> Explainer:
    """An explainer of the same settings."""
    explainer = Explainer.__new__(Explainer)
    explainer._start(model, settings)
    return explainer


def grad_cam(model: Model, x: Array, layer: str) -> Floats:
    """The classic function: the raw Grad-CAM of the class with the largest score, signed, before relu and at the layer's own size.

    ``x`` is one image that is ready for the network, ``[1, C, H, W]``.
    """
    return Explainer(model, layers=[layer], method="gradcam")(x).map
