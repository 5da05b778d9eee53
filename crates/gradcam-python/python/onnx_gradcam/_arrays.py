"""Models, pictures and arrays of other libraries, as the native module takes them. None of these libraries is imported."""

from __future__ import annotations

import io
import os
from typing import Any

from .errors import ImageError, InputError, InputTypeError, TargetError

CPU, CUDA_HOST = 1, 3
"""Devices of DLPack whose memory the processor reads."""
PHOTO_BATCH_AXES = 4
"""Pixels of several photos are [N, H, W, 3]."""


def model(value: Any) -> str | bytes:
    """The path of a model, or the bytes of its file."""
    if isinstance(value, str | os.PathLike):
        return _path(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if hasattr(value, "SerializeToString"):
        return bytes(value.SerializeToString())
    raise InputTypeError(f"a model is a path, the bytes of a file or an onnx.ModelProto; it is a {type(value).__qualname__}")


def image(value: Any) -> Any:
    """The path of a photo, the bytes of its file, its pixels as uint8 [H, W, 3], or an array that is ready for the network."""
    if isinstance(value, str | os.PathLike):
        return _path(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if hasattr(value, "getexif") and hasattr(value, "convert"):
        return _pil(value)
    found = array(value)
    if found.dtype == "uint8" and found.ndim in (2, 3):
        return _pixels(found)
    return found


def is_one(images: Any) -> bool:
    """Whether it is one image: a file, a PIL image or the pixels of one; not a list, nor an array that is ready for the network."""
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(images, "getexif"):
        return True
    return str(getattr(images, "dtype", "")).endswith("uint8") and len(images.shape) < PHOTO_BATCH_AXES


def mask(value: Any) -> Any:
    """A mask as the path of a picture, the bytes of its file, or pixels [H, W, 3]: white where it counts."""
    import numpy as np

    if not (isinstance(value, np.ndarray) or hasattr(value, "__dlpack__") or isinstance(value, list | tuple)):
        return image(value)
    found = array(value)
    numbers = set(np.unique(found).tolist())
    if found.ndim != 2 or not (numbers <= {0, 1} or numbers <= {0, 255}):
        what = f"shape {list(found.shape)}" if found.ndim != 2 else "other numbers than 0 and 1, or 0 and 255"
        raise TargetError(f"the mask has {what}; give booleans [H, W], such as mask > 0.5")
    return _pixels(np.where(found > 0, np.uint8(255), np.uint8(0)))


def array(value: Any) -> Any:
    """A NumPy array of float32, float64, uint8 or int64, or the bits of float16 as uint16, aligned and in the order of bytes of this
    machine. Copies only where the type has to change.
    """
    import numpy as np

    if not isinstance(value, np.ndarray):
        value = _from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value)
    dtype = value.dtype
    if dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize > 1) or dtype == np.int8:
        return value.astype(np.int64)
    if dtype.kind == "f" and dtype.itemsize > 8:
        return value.astype(np.float64)
    if str(dtype) == "bfloat16":
        raise InputTypeError("the array holds bfloat16, which NumPy has no floats for; convert it with x.astype('float32')")
    if dtype.kind not in "fu":
        raise InputTypeError(f"the array holds {dtype}; give one of floats, or of bytes where it is a photo")
    if not (dtype.isnative and value.flags.aligned):
        value = value.astype(dtype.newbyteorder("="))
    return value.view(np.uint16) if dtype == np.float16 else value


def _from_dlpack(value: Any) -> Any:
    """An array of another library, without a copy."""
    import numpy as np

    if getattr(value, "requires_grad", False):
        raise InputTypeError("the tensor requires grad, so its values cannot leave torch; give x.detach()")
    device = value.__dlpack_device__()[0]
    if device not in (CPU, CUDA_HOST):
        where = getattr(value, "device", f"of DLPack's type {int(device)}")
        raise InputTypeError(f"the tensor is on the device {where}; copy it to the processor with x.cpu()")
    if str(getattr(value, "dtype", "")).endswith("bfloat16"):
        raise InputTypeError("the tensor holds bfloat16, which NumPy does not have; convert it with x.float()")
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError) as error:
        raise InputTypeError(f"the {type(value).__qualname__} cannot be read: {error}; give it as a NumPy array of floats") from error


def _pixels(pixels: Any) -> Any:
    """The pixels of a photo as [H, W, 3]."""
    import numpy as np

    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    channels = pixels.shape[2]
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    if channels != 3:
        raise ImageError(
            f"the array of bytes has shape {list(pixels.shape)}; a photo is [H, W, 3] or [H, W], and an array that is ready for the "
            "network holds floats [N, C, H, W]"
        )
    return pixels


def _pil(picture: Any) -> Any:
    """The pixels of a PIL image, turned as its EXIF says; the bytes of a PNG where they are more than 8-bit colors."""
    import numpy as np
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "RGB":
        return np.asarray(picture)
    if picture.mode in ("RGBA", "LA", "PA") or picture.mode.startswith("I;16") or "transparency" in picture.info:
        file = io.BytesIO()
        picture = picture if picture.mode.startswith("I;16") else picture.convert("RGBA")
        picture.save(file, "PNG", compress_level=1)
        return file.getvalue()
    return np.asarray(picture.convert("RGB"))


def _path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise InputTypeError(f"the path is {text!r}; give a text, such as os.fsdecode(path)")
    if not text:
        raise InputError("the path is empty; give that of a file")
    return text
