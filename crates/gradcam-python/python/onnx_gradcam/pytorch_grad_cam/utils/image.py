"""Images of pytorch-grad-cam's scripts, with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The number of OpenCV's COLORMAP_JET, the only table here.
COLORMAP_JET = 2


def jet() -> np.ndarray:
    """OpenCV's table of colors, [256, 3] in the order blue, green, red."""
    steps = 4 * np.arange(256)
    red = np.minimum(steps - 382, 1148 - steps)
    green = np.minimum(steps - 128, 892 - steps)
    blue = np.minimum(steps + 128, 638 - steps)
    blue[159] = 1
    return np.stack([blue, green, red], axis=1).clip(0, 255).astype(np.uint8)


def preprocess_image(img: np.ndarray, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)) -> np.ndarray:
    """A photo [H, W, C] as a normalized batch of one, [1, C, H, W]. Bytes are divided by 255, floats are taken as they are."""
    img = np.asarray(img)
    scaled = img.astype(np.float32) / np.float32(255) if img.dtype == np.uint8 else img
    normalized = (np.asarray(scaled, np.float32) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1)[None])


def deprocess_image(img: np.ndarray) -> np.ndarray:
    """A gradient as bytes: its mean is gray, ten standard deviations span the range."""
    centered = np.asarray(img) - np.mean(img)
    shown = centered / (np.std(centered) + 1e-5) * 0.1 + 0.5
    return np.asarray(np.clip(shown, 0, 1) * 255, np.uint8)


def show_cam_on_image(
    img: np.ndarray,
    mask: np.ndarray,
    use_rgb: bool = False,
    colormap: int = COLORMAP_JET,
    image_weight: float = 0.5,
) -> np.ndarray:
    """A map in colors over an image [H, W, 3] of floats in 0..1, as bytes; the colors are BGR unless `use_rgb` is set."""
    if colormap != COLORMAP_JET:
        message = f"colormap is {colormap}; there is 2, COLORMAP_JET. For others: Explanation.overlay(colormap=...)"
        raise ValueError(message)
    if np.max(img) > 1:
        message = f"the image has values up to {np.max(img)}; give floats in 0..1: np.float32(img) / 255"
        raise ValueError(message)
    if not 0 <= image_weight <= 1:
        message = f"image_weight is {image_weight}; give a number in 0..1"
        raise ValueError(message)
    table = jet()[:, ::-1] if use_rgb else jet()
    colors = np.asarray(table[np.asarray(255 * np.asarray(mask), np.uint8)], np.float32) / 255
    mixed = (1 - image_weight) * colors + image_weight * img
    return np.asarray(255 * (mixed / np.max(mixed)), np.uint8)


def scale_cam_image(cam: np.ndarray, target_size: tuple[int, int] | None = None) -> np.ndarray:
    """Each map [H, W] of a batch in 0..1, and at the size (width, height)."""
    scaled = []
    for one in cam:
        above = one - np.min(one)
        normalized = np.asarray(above / (1e-7 + np.max(above)), np.float32)
        if target_size is not None:
            if normalized.ndim != 2:
                message = f"a map has {normalized.ndim} axes; maps of 2 axes can be resized"
                raise ValueError(message)
            normalized = resize(normalized, target_size)
        scaled.append(normalized)
    return np.asarray(scaled, np.float32)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [H, W] at (width, height): bilinear between the centers of pixels, without antialiasing."""
    width, height = size
    for axis, length in ((0, height), (1, width)):
        old = image.shape[axis]
        at = ((np.arange(length) + 0.5) * old / length - 0.5).clip(0, old - 1)
        low = np.floor(at).astype(int)
        share = np.float32(at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        before, after = image.take(low, axis), image.take(np.minimum(low + 1, old - 1), axis)
        image = before + (after - before) * share
    return image
