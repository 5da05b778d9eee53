"""SESS: maps of windows that slide over an image at several scales, as one map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._resize import blurred, resized
from ._tensors import is_tensor, like, softmax, to_floats, to_numpy
from .base_cam import BaseCAM
from .grad_cam import GradCAM
from .utils.image import scale_cam_image
from .utils.model_targets import of_best_classes

# Of the blur of the fused map, in pixels.
BLUR_SIZE, BLUR_SIGMA = 11, 5.0

POOLS = ("mean", "max")


class Window(NamedTuple):
    """A part of a scaled image: its pixels [1, C, h, w], where it begins, and the size of that image."""

    pixels: np.ndarray
    x: int
    y: int
    width: int
    height: int


class SESS:
    """The maps of a base method for windows of the image at several scales, weighted by the windows' scores.

    Args:
        base_method: the method of each window; `options` are its own.
        scales: the sizes of the shorter side; without them, `num_scales` ones that begin with the window's size and grow by
            `scale_step_ratio` of it.
        window_size: of the square window; without it, the shorter side of the image.
        step_size: how far the window moves; without it, by its size.
        pre_filter_ratio: the share of windows with the lowest scores that are left out.
        theta: what a map must be above to count in the mean.
        pool: `mean` or `max` over the windows.
        smooth: whether the fused map is blurred.
        use_softmax_scores: whether windows are weighted by probabilities; else by scores, those below 0 as 0.
        batch_size: the windows of a run.
    """

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[Any],
        reshape_transform: Callable[..., Any] | None = None,
        base_method: type[BaseCAM] = GradCAM,
        scales: Sequence[int] | None = None,
        num_scales: int = 12,
        scale_step_ratio: float = 2.0 / 7.0,
        window_size: int | None = None,
        step_size: int | None = None,
        pre_filter_ratio: float = 0.0,
        theta: float = 0.0,
        pool: str = "mean",
        smooth: bool = True,
        use_softmax_scores: bool = True,
        batch_size: int = 32,
        **options: Any,
    ) -> None:
        if pool not in POOLS:
            raise ValueError(f"pool is {pool!r}; give one of {', '.join(POOLS)}")
        if not 0 <= pre_filter_ratio < 1:
            raise ValueError(f"pre_filter_ratio is {pre_filter_ratio}; give a share from 0 to below 1")
        if num_scales < 1:
            raise ValueError(f"num_scales is {num_scales}; give 1 or more")
        self.base_cam = base_method(model, target_layers, reshape_transform, **options)
        self.model, self.device = self.base_cam.model, self.base_cam.device
        self.scales, self.num_scales, self.scale_step_ratio = scales, num_scales, scale_step_ratio
        self.window_size, self.step_size = window_size, step_size
        self.pre_filter_ratio, self.theta, self.pool, self.smooth = pre_filter_ratio, theta, pool, smooth
        self.use_softmax_scores, self.batch_size = use_softmax_scores, batch_size

    def __call__(self, *args: Any, **settings: Any) -> np.ndarray:
        """As `forward`."""
        return self.forward(*args, **settings)

    def forward(self, input_tensor: Any, targets: Sequence[Any] | None = None, eigen_smooth: bool = False) -> np.ndarray:
        """The maps of a batch, [N, H, W] in 0..1; without targets, of the best class of each image."""
        if targets is None:
            targets = of_best_classes(self.base_cam.activations_and_grads.networks(to_floats(input_tensor)))
        if len(targets) != len(input_tensor):
            raise ValueError(f"the number of targets is {len(targets)}, that of the images {len(input_tensor)}; give one for each")
        pairs = zip(range(len(targets)), targets, strict=True)
        return scale_cam_image([self.forward_single_image(input_tensor[at : at + 1], target, eigen_smooth) for at, target in pairs])

    def forward_single_image(self, input_tensor: Any, target: Any, eigen_smooth: bool = False) -> np.ndarray:
        """The map of one image, [H, W], not normalized."""
        height, width = input_tensor.shape[-2:]
        windows = self._windows(to_floats(input_tensor))
        scores = self._window_scores(windows, target, input_tensor)
        kept = np.argsort(scores)[int(len(scores) * self.pre_filter_ratio) :]
        highest = scores[kept[-1]]
        weights = scores / highest if highest > 0 else np.ones_like(scores)
        total, count = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        for start in range(0, len(kept), self.batch_size):
            of_run = kept[start : start + self.batch_size]
            pixels = np.concatenate([windows[at].pixels for at in of_run])
            given = like(pixels, input_tensor) if is_tensor(input_tensor) else pixels
            maps = self.base_cam.forward(given, [target] * len(of_run), eigen_smooth)
            for at, cam in zip(of_run, maps, strict=True):
                placed = pasted(cam * weights[at], windows[at], (width, height))
                if self.pool == "max":
                    total = np.maximum(total, placed)
                else:
                    counts = placed > self.theta
                    total, count = total + np.where(counts, placed, 0), count + counts
        fused = total if self.pool == "max" else total / np.maximum(count, 1)
        return blurred(fused, BLUR_SIZE, BLUR_SIGMA) if self.smooth else fused

    def _windows(self, image: np.ndarray) -> list[Window]:
        short = min(image.shape[-2:])
        size = self.window_size or short
        grown = round(size * self.scale_step_ratio)
        windows = []
        for scale in self.scales or [size + grown * number for number in range(self.num_scales)]:
            if scale < size:
                raise ValueError(
                    f"the scale {scale} is below the window's size {size}; give scales from {size} on, or a smaller window_size"
                )
            width, height = (int(scale * length / short) for length in image.shape[:1:-1])
            scaled = resized(image, (width, height), antialias=True)
            windows += [
                Window(scaled[..., y : y + size, x : x + size], x, y, width, height)
                for x, y in sliding_window(height, width, self.step_size or size, size)
            ]
        return windows

    def _window_scores(self, windows: Sequence[Window], target: Any, example: Any) -> np.ndarray:
        """The target's value of each window, at least 0."""
        found: list[np.ndarray] = []
        for start in range(0, len(windows), self.batch_size):
            pixels = np.concatenate([window.pixels for window in windows[start : start + self.batch_size]])
            scores = self.base_cam.activations_and_grads.networks(pixels)
            scores = softmax(scores) if self.use_softmax_scores else scores
            found.append(to_numpy(target(like(scores, example) if is_tensor(example) else scores)))
        return np.asarray(np.maximum(np.concatenate(found), 0))

    def __enter__(self) -> SESS:
        return self

    def __exit__(self, *exception: object) -> None:
        self.base_cam.__exit__(*exception)


def pasted(cam: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """The map of a window in that of the image, at the size (width, height)."""
    whole = np.zeros((window.height, window.width), np.float32)
    whole[window.y : window.y + cam.shape[0], window.x : window.x + cam.shape[1]] = cam
    return resized(whole, size)


def sliding_window(height: int, width: int, step_size: int, window_size: int) -> list[tuple[int, int]]:
    """Where windows begin, (x, y), row by row. The last ones of a row and a column end with the image."""
    rows, columns = (window_starts(length, step_size, window_size) for length in (height, width))
    return [(x, y) for y in rows for x in columns]


def window_starts(length: int, step_size: int, window_size: int) -> list[int]:
    """Where windows begin along an axis."""
    last = max(length - window_size, 0)
    return [*range(0, last, step_size), last]
