"""Errors: a class of this package that is also the builtin one, and what to do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import onnx_gradcam as gc
from conftest import ASSETS, CAT, FIXTURES

MODEL = str(ASSETS / "efficientnet_lite0.onnx")
CLIP, TWO_BRANCHES = FIXTURES / "heads" / "clip_tower.onnx", FIXTURES / "inputs" / "two_branches.onnx"
PHOTO = str(ASSETS / "cat_beside_coffee.png")


class Tensor:
    """A tensor of a library like torch."""

    def __init__(self, device: int = 1, dtype: str = "torch.float32", requires_grad: bool = False) -> None:
        self.place, self.dtype, self.requires_grad = device, dtype, requires_grad

    def __dlpack__(self, **options: object) -> object:
        raise BufferError("the exporter says why")

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.place, 0


def explainer(**settings: object) -> gc.Explainer:
    return gc.Explainer(MODEL, engine="rten", **settings)


CASES = {
    "no file": (lambda: gc.Explainer("missing.onnx"), gc.MissingFileError, FileNotFoundError, r"cannot open missing\.onnx"),
    "no photo": (lambda: explainer()("missing.jpg"), gc.MissingFileError, FileNotFoundError, r"missing\.jpg"),
    "a folder": (lambda: explainer()(str(ASSETS)), gc.FileError, OSError, "assets"),
    "no model": (lambda: gc.Explainer(b"nothing"), gc.ModelError, ValueError, "ONNX"),
    "no model's type": (
        lambda: gc.Explainer(3),
        gc.InputTypeError,
        TypeError,
        "path, the bytes of a file or an onnx.ModelProto; it is a int",
    ),
    "no layer": (lambda: explainer(layers=["block.4"]), gc.LayerError, ValueError, r'no layer named "block\.4"; closest: "blocks\.4"'),
    "no layer of it": (lambda: explainer()(PHOTO).heatmap("a"), gc.LayerError, ValueError, r'no layer "a"; it has "'),
    "no layer's number": (lambda: explainer()(PHOTO).heatmap(1), gc.LayerError, ValueError, "has 1 layers, not 2"),
    "no label": (lambda: explainer()(PHOTO, "Egyptian dog"), gc.TargetError, ValueError, "Egyptian"),
    "no class": (lambda: explainer()(PHOTO, 1000), gc.TargetError, ValueError, "out of range; the model has classes 0 to 999"),
    "a negative class": (lambda: explainer()(PHOTO, -1), gc.TargetError, ValueError, "negative"),
    "no target": (lambda: explainer()(PHOTO, 1.5), gc.TargetTypeError, TypeError, "is a <class 'float'>"),
    "several targets": (lambda: explainer()(PHOTO, "top:2"), gc.TargetError, ValueError, r"explain\(\) gives a list"),
    "too few targets": (lambda: explainer().batch([PHOTO] * 2, [1]), gc.TargetError, ValueError, "number of targets is 1"),
    "a box without a size": (
        lambda: explainer()(PHOTO, gc.BoxTarget(1, 2, 0, 4)),
        gc.TargetError,
        ValueError,
        "width 0 and height 4; give finite numbers",
    ),
    "a box of two classes": (lambda: explainer()(PHOTO, gc.BoxTarget(1, 2, 3, 4, "1-2")), gc.TargetError, ValueError, "a class or None"),
    "a box in a classifier": (lambda: explainer()(PHOTO, gc.BoxTarget(1, 2, 3, 4)), gc.TargetError, ValueError, "box"),
    "an empty mask": (lambda: explainer()(PHOTO, gc.MaskTarget(np.zeros((4, 4), bool))), gc.TargetError, ValueError, "no pixel brighter"),
    "a gray mask": (
        lambda: explainer()(PHOTO, gc.MaskTarget(np.full((4, 4), 0.5))),
        gc.TargetError,
        ValueError,
        r"other numbers than 0 and 1, or 0 and 255; give booleans \[H, W\]",
    ),
    "a mask of colors": (lambda: explainer()(PHOTO, gc.MaskTarget(np.zeros((4, 4, 3)))), gc.TargetError, ValueError, r"shape \[4, 4, 3\]"),
    "a matrix": (
        lambda: explainer()(PHOTO, gc.SimilarTarget(np.zeros((2, 2)))),
        gc.TargetError,
        ValueError,
        r"shape \[2, 2\]; give one of",
    ),
    "no vector": (lambda: gc.Explainer(CLIP, imagenet=True)(PHOTO), gc.TargetError, ValueError, r"SimilarTarget\(explainer\.embedding"),
    "one target to export": (lambda: explainer().export(targets=CAT), gc.TargetError, ValueError, r'such as \[285\], or "input"'),
    "no targets to export": (lambda: explainer().export(targets=[]), gc.TargetError, ValueError, "1 to 16 targets, and there are 0"),
    "no heads": (lambda: explainer().export(heads="a"), gc.InputError, ValueError, 'heads is "a"; there are: all, cam-only'),
    "a method that is no graph": (lambda: explainer(method="scorecam").export(), gc.MethodError, ValueError, "no part of a graph"),
    "no folder": (lambda: explainer().export("missing/a.onnx"), gc.MissingFileError, FileNotFoundError, "cannot write missing/a.onnx"),
    "exported already": (
        lambda: gc.Explainer(explainer().export(), engine="rten").export(),
        gc.ModelError,
        ValueError,
        "the model is exported already",
    ),
    "no components": (lambda: explainer().concepts(PHOTO, 0), gc.InputError, ValueError, "components is 0"),
    "too many components": (lambda: explainer().concepts(PHOTO, 50), gc.MethodError, ValueError, "50"),
    "concepts of two layers": (
        lambda: explainer(layers=["blocks.3", "blocks.4"]).concepts(PHOTO),
        gc.LayerError,
        ValueError,
        "concepts are those of one layer",
    ),
    "no value for an input": (lambda: gc.Network(TWO_BRANCHES), gc.InputError, ValueError, r"with inputs=\{name: array\}"),
    "no size's name": (lambda: explainer()(PHOTO).overlay(size="a"), gc.InputError, ValueError, 'size is "a"; there are: photo, network'),
    "no method": (lambda: explainer(method="cam2"), gc.MethodError, ValueError, 'no method named "cam2"; there are: gradcam'),
    "layers for the input": (lambda: explainer(method="saliency", layers=["blocks.4"]), gc.MethodError, ValueError, "leave layers out"),
    "no picture": (lambda: explainer()(b"nothing"), gc.ImageError, ValueError, "not a JPEG"),
    "no channels": (lambda: explainer()(np.zeros((5, 5, 2), np.uint8)), gc.ImageError, ValueError, r"\[5, 5, 2\]; a photo is \[H, W, 3\]"),
    "no style": (lambda: explainer()(PHOTO).overlay(kind="a"), gc.InputError, ValueError, 'kind is "a"; there are: alpha, fade'),
    "no shape": (lambda: explainer()(np.zeros((1, 4, 9, 9), "f4")), gc.InputError, ValueError, r"has shape \[1, 4, 9, 9\]"),
    "several images": (
        lambda: explainer()(np.zeros((2, 3, 224, 224), "f4")),
        gc.InputError,
        ValueError,
        r"2 images; explain them with batch",
    ),
    "no numbers": (lambda: explainer()(np.array(["a"])), gc.InputTypeError, TypeError, "holds <U1"),
    "complex numbers": (lambda: explainer()(np.zeros(3, complex)), gc.InputTypeError, TypeError, "holds complex128"),
    "requires grad": (lambda: explainer()(Tensor(requires_grad=True)), gc.InputTypeError, TypeError, r"give x\.detach\(\)"),
    "on another device": (lambda: explainer()(Tensor(device=2)), gc.InputTypeError, TypeError, r"x\.cpu\(\)"),
    "bfloat16": (lambda: explainer()(Tensor(dtype="torch.bfloat16")), gc.InputTypeError, TypeError, r"x\.float\(\)"),
    "an exporter's error": (lambda: explainer()(Tensor()), gc.InputTypeError, TypeError, "the exporter says why"),
    "no threads": (lambda: explainer(threads=0), gc.InputError, ValueError, "threads is 0"),
    "no memory": (lambda: explainer(max_memory=1000)(PHOTO), gc.MemoryLimitError, MemoryError, "max_memory="),
    "no engine": (lambda: gc.Explainer(MODEL, engine="tpu"), gc.EngineError, RuntimeError, 'no engine named "tpu"; there are: rten'),
    "no hook": (lambda: gc.Network(MODEL).register_forward_hook("blocks.4", 3), gc.InputTypeError, TypeError, "a hook is a function"),
    "no forward pass": (lambda: gc.Network(MODEL, engine="rten").backward(np.zeros(1)), gc.InputError, ValueError, "call forward first"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_has_its_class_and_says_what_to_do(case: str) -> None:
    call, ours, builtin, message = CASES[case]
    with pytest.raises(ours, match=message) as caught:
        call()
    assert type(caught.value) is ours
    assert isinstance(caught.value, gc.GradcamError)
    assert isinstance(caught.value, builtin)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


BAD_MODELS = FIXTURES / "bad_models"


@pytest.mark.parametrize("file", sorted(path.name for path in BAD_MODELS.iterdir() if path.suffix != ".md"))
def test_a_bad_model_is_refused_without_a_crash(file: str) -> None:
    path = str(BAD_MODELS / file)
    try:
        gc.Explainer(path, engine="rten")(np.zeros((1, 3, 224, 224), np.float32))
    except gc.GradcamError as error:
        assert str(error)
        assert error.node is None or isinstance(error.node, str)
