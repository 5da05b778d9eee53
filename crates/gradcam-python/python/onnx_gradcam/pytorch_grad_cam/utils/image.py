"""Images of pytorch-grad-cam's scripts, with NumPy alone."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._resize import resized, resized_volume
from .._tensors import torch

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


def preprocess_image(img: np.ndarray, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)) -> Any:
    """A photo [H, W, C] as a normalized batch of one, [1, C, H, W]. Bytes are divided by 255, floats are taken as they are.

    It is a tensor where the program has imported torch, else an array.
    """
    img = np.asarray(img)
    scaled = img.astype(np.float32) / np.float32(255) if img.dtype == np.uint8 else img
    normalized = (np.asarray(scaled, np.float32) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    batch = np.ascontiguousarray(normalized.transpose(2, 0, 1)[None])
    return batch if torch() is None else torch().from_numpy(batch)


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


def scale_cam_image(cam: Any, target_size: Sequence[int] | None = None) -> np.ndarray:
    """Each map [H, W] of a batch in 0..1, and at the size (width, height); volumes [D, H, W] at (width, height, depth)."""
    scaled = []
    for one in cam:
        above = one - np.min(one)
        normalized = np.asarray(above / (1e-7 + np.max(above)), np.float32)
        if target_size is not None:
            resize = resized if normalized.ndim == 2 else resized_volume
            normalized = resize(normalized, target_size)
        scaled.append(normalized)
    return np.asarray(scaled, np.float32)


def scale_accross_batch_and_channels(tensor: np.ndarray, target_size: Sequence[int]) -> np.ndarray:
    """Each channel of [N, K, H, W] as `scale_cam_image` makes it."""
    images, channels = tensor.shape[:2]
    maps = scale_cam_image(tensor.reshape(images * channels, *tensor.shape[2:]), target_size)
    return maps.reshape(images, channels, *maps.shape[1:])


def create_labels_legend(concept_scores: np.ndarray, labels: Mapping[int, str], top_k: int = 2) -> list[str]:
    """The best classes of each concept, [concepts, classes], as lines of text."""
    best = np.argsort(concept_scores, axis=1)[:, ::-1][:, :top_k]
    return [
        "\n".join(f"{','.join(labels[number].split(',')[:3])}:{scores[number]:.2f}" for number in numbers)
        for numbers, scores in zip(best, concept_scores, strict=True)
    ]


def show_factorization_on_image(
    img: np.ndarray,
    explanations: np.ndarray,
    colors: Sequence[Any] | None = None,
    image_weight: float = 0.5,
    concept_labels: Sequence[str] | None = None,
) -> np.ndarray:
    """The maps of concepts, [concepts, H, W] in 0..1, over an image [H, W, 3] of floats in 0..1, as bytes.

    Each pixel has the color of the concept that is strongest there, as bright as it is strong. With labels, a legend is put
    beside the image, for which matplotlib is needed.
    """
    maps = np.asarray(explanations)
    if colors is None:
        colors = [colorsys.hsv_to_rgb(number / len(maps), 1, 1) for number in range(len(maps))]
    table = np.asarray([np.asarray(color[:3], np.float32) / max(color[:3]) for color in colors], np.float32)
    shown = table[maps.argmax(axis=0)] * maps.max(axis=0)[..., None]
    result = np.asarray((img * image_weight + shown * (1 - image_weight)) * 255, np.uint8)
    return result if concept_labels is None else np.hstack((result, legend(result.shape, table, concept_labels)))


def legend(shape: Sequence[int], colors: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """A picture [H, W, 3] of colors and their labels."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # type: ignore[import-not-found, unused-ignore]
        from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]
        from matplotlib.lines import Line2D  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError("the legend needs matplotlib: pip install matplotlib") from error

    height, width = shape[:2]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    lines = [Line2D([0], [0], color=color, lw=5 * height / 256) for color in colors]
    size = 14 * height / 256 / max(1, len(labels) / 6)
    figure.legend(lines, list(labels), loc="center", mode="expand", fontsize=size)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3]
    return np.asarray(resized(picture.transpose(2, 0, 1).astype(np.float32), (width, height)).round(), np.uint8).transpose(1, 2, 0)
