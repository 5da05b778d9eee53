"""Explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from . import _native
    from ._typing import Floats, Image, Pixels

SHOWN_CLASSES = 5
"""The number of classes that a notebook shows."""


class ClassScore(NamedTuple):
    """A class, and what the network says of it."""

    index: int  # type: ignore[assignment]  # A tuple's method of this name is not needed.
    """Its number."""
    label: str | None
    """Its label, where the model has labels."""
    score: float
    """Its score: the logit, or the value of a regressor."""
    probability: float | None
    """Its probability, where scores have one."""

    def __str__(self) -> str:
        name = self.label if self.label is not None else f"class {self.index}"
        return f"{name}: {self.score:.4g}" if self.probability is None else f"{name}: {self.probability:.1%}"


class Warning(NamedTuple):
    """A warning or a note about an explanation or its model."""

    id: str
    """Such as ``all-negative``."""
    level: str
    """``warning``, ``note`` or ``detail``."""
    text: str
    """What it is, and what to do."""

    def __str__(self) -> str:
        return self.text


class Explanation:
    """The explanation of one image for one target.

    Arrays are copies: writing into them changes nothing here. As an array (``np.asarray``) it is the heatmap of its first layer.
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(self, native: _native.Explanation) -> None:
        self._native = native

    @property
    def map(self) -> Floats:
        """The raw map of the first layer, ``[h, w]``: signed, before relu, at the layer's own size. ``[C, H, W]`` for a method that
        explains the network's input.
        """
        return self._native.maps()[0]

    @property
    def maps(self) -> list[Floats]:
        """The raw map of each layer."""
        return self._native.maps()

    @property
    def weights(self) -> Floats:
        """The channel weights of the first layer, ``[K]``; empty where the method has none."""
        return self._native.weights()[0]

    @property
    def all_weights(self) -> list[Floats]:
        """The channel weights of each layer."""
        return self._native.weights()

    @property
    def layer(self) -> str:
        """The path of the first layer; the input's name where the method explains that."""
        return self._native.layers()[0]

    @property
    def layers(self) -> list[str]:
        """The path of each layer."""
        return self._native.layers()

    def heatmap(self, layer: int | str = 0) -> Floats:
        """The heatmap of a layer, ``[H, W]`` at the size of the network's input, in 0..1 as pytorch-grad-cam has it, or with the numbers
        of ``compat``. Where layers are fused, there is the heatmap 0.
        """
        return self._native.heatmap(layer)

    def overlay(
        self,
        photo: Image | None = None,
        *,
        layer: int | str = 0,
        colormap: str | None = None,
        alpha: float | None = None,
        kind: str | None = None,
        size: tuple[int, int] | str | None = None,
        max_side: int | None = None,
        colorbar: bool = False,
    ) -> Pixels:
        """A heatmap over the photo that was explained, or another one, as pixels ``[H, W, 3]``; where there is none, the colors alone.

        ``colormap`` is ``jet``, ``jet-mpl``, ``turbo``, ``viridis``, ``inferno``, ``magma`` or ``gray``, ``alpha`` the weight of the heat,
        ``kind`` one of ``alpha``, ``fade``, ``pytorch-grad-cam``, ``contours``, ``cutout`` and ``transparent`` (``[H, W, 4]``).
        ``size`` is (width, height), ``photo``, or ``network``: that of the network's input, with the part of the photo that it saw.
        """
        style = {
            "colormap": colormap,
            "alpha": alpha,
            "kind": kind,
            "size": size,
            "max_side": max_side,
            "colorbar": colorbar,
        }
        return self._native.overlay(photo, layer, style)

    def plot(self, ax: Any = None, *, layer: int | str = 0, **style: Any) -> Any:
        """Draws the overlay into axes of matplotlib, the current ones where none are given, and gives the axes. ``style`` is that of
        ``overlay``.
        """
        if ax is None:
            from matplotlib import pyplot  # type: ignore[import-not-found, unused-ignore]

            ax = pyplot.gca()
        ax.imshow(self.overlay(layer=layer, **style))
        ax.set_axis_off()
        ax.set_title(self._explained())
        return ax

    @property
    def class_score(self) -> ClassScore:
        """The class that is explained; the first one of a difference."""
        return ClassScore(*self._native.class_score())

    @property
    def against(self) -> ClassScore | None:
        """The second class of a difference."""
        other = self._native.against()
        return None if other is None else ClassScore(*other)

    @property
    def class_index(self) -> int:
        """The number of the class that is explained."""
        return self.class_score.index

    @property
    def label(self) -> str | None:
        """The label of the class that is explained, where the model has labels."""
        return self.class_score.label

    @property
    def score(self) -> float:
        """The score of the class that is explained."""
        return self.class_score.score

    @property
    def probability(self) -> float | None:
        """The probability of the class that is explained, where scores have one."""
        return self.class_score.probability

    def top(self, count: int = 5) -> list[ClassScore]:
        """The classes with the largest scores, the largest first."""
        return [ClassScore(*row) for row in self._native.top(count)]

    @property
    def scores(self) -> Floats:
        """The score of every class, ``[K]``: logits."""
        return self._native.scores()

    @property
    def probabilities(self) -> Floats:
        """The probability of every class, ``[K]``; empty where scores have none."""
        return self._native.probabilities()

    @property
    def warnings(self) -> list[Warning]:
        """What to mind, about the model too."""
        return [Warning(*row) for row in self._native.warnings()]

    @property
    def target(self) -> str:
        """The target, as users write it, with numbers for classes."""
        return self._native.target()

    @property
    def value(self) -> float:
        """The value of the target: what is differentiated."""
        return self._native.value()

    @property
    def text(self) -> str | None:
        """What a sequence reads."""
        return self._native.text()

    @property
    def method(self) -> str:
        """The id of the method."""
        return self._native.method()

    @property
    def engine(self) -> str:
        """The name of the engine."""
        return self._native.engine()

    @property
    def input_size(self) -> tuple[int, ...]:
        """The size of the network's input: ``(height, width)``, ``(length,)`` or ``(depth, height, width)``."""
        return tuple(self._native.input_size())

    def to_dict(self, top: int = 5) -> dict[str, Any]:
        """Everything but the numbers of the maps, as the command line writes it to JSON."""
        import json

        summary: dict[str, Any] = json.loads(self._native.to_json(top))
        return summary

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("the heatmap is computed, so it is always a new array; leave copy=False out")
        heatmap = self.heatmap()
        return heatmap if dtype is None else heatmap.astype(dtype)

    def _explained(self) -> str:
        """The class that is explained, and that of a difference which speaks against it."""
        return str(self.class_score) if self.against is None else f"{self.class_score} against {self.against}"

    def __repr__(self) -> str:
        return f"<Explanation of {self._explained()!r} by {self.method} at {', '.join(self.layers)}>"

    def _repr_png_(self) -> bytes | None:
        return self._native.to_png()

    def _repr_html_(self) -> str:
        import base64
        import html

        explained = html.escape(self._explained())
        parts = [f"<b>{explained}</b> by {html.escape(self.method)} at {html.escape(', '.join(self.layers))}"]
        png = self._repr_png_()
        if png is not None:
            picture = base64.b64encode(png).decode("ascii")
            parts.append(f'<div><img alt="{explained}" src="data:image/png;base64,{picture}"></div>')
        classes = [f"<li>{html.escape(str(one))}</li>" for one in self.top(SHOWN_CLASSES)]
        parts.append(f"<ol>{''.join(classes)}</ol>")
        parts += [f"<p>{one.level}: {html.escape(one.text)}</p>" for one in self.warnings if one.level != "detail"]
        return f"<div>{''.join(parts)}</div>"
