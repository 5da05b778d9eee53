"""Concepts: what deep feature factorization finds in a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ._explanation import ClassScore, Warning

if TYPE_CHECKING:
    from . import _native
    from ._typing import Floats, Image, Pixels

SHOWN_CLASSES = 2
"""The number of classes of a component that a notebook shows."""


class Component(NamedTuple):
    """A concept: one of the parts that the activation of a layer is a sum of."""

    vector: Floats
    """The concept as an activation, ``[K]``."""
    share: float
    """Its share of the activation of all images."""
    color: tuple[int, int, int]
    """Its color in pictures: red, green and blue."""
    classes: list[ClassScore]
    """The classes that it speaks for, that with the largest score first; empty where the part of the network behind the layer reads
    other values too, of which a warning says more.
    """


class ImageConcepts:
    """Where the concepts are in one image. Arrays are copies."""

    __slots__ = ("_native", "_number")

    def __init__(self, native: _native.Concepts, number: int) -> None:
        self._native, self._number = native, number

    @property
    def maps(self) -> Floats:
        """A raw map of each component, ``[components, h, w]`` at the layer's size: at least 0, and 1 where it is strongest in any image."""
        return self._native.maps(self._number)

    @property
    def shares(self) -> Floats:
        """The share of each component in the activation of this image, ``[components]``."""
        return self._native.shares(self._number)

    def heatmaps(self) -> Floats:
        """The maps in 0..1 at the size of the network's input, ``[components, H, W]``, as pytorch-grad-cam has them."""
        return self._native.heatmaps(self._number)

    def overlay(self, photo: Image | None = None, *, alpha: float = 0.7) -> Pixels:
        """Each place of the photo, or of another one, in the color of the component that is strongest there, as pixels ``[H, W, 3]``;
        where there is none, the colors alone. ``alpha`` is their share.
        """
        return self._native.overlay(self._number, photo, alpha)

    def _repr_png_(self) -> bytes:
        return self._native.to_png(self._number, 0.7)


class Concepts:
    """The concepts of a layer, the same ones for all images of a call: deep feature factorization, Collins et al. 2018."""

    __slots__ = ("_native",)

    def __init__(self, native: _native.Concepts) -> None:
        self._native = native

    @property
    def components(self) -> list[Component]:
        """The concepts, that with the largest share first."""
        rows = self._native.components()
        return [Component(vector, share, color, [ClassScore(*one) for one in classes]) for vector, share, color, classes in rows]

    @property
    def images(self) -> list[ImageConcepts]:
        """Where they are in each image."""
        return [ImageConcepts(self._native, number) for number in range(self._native.images())]

    @property
    def layer(self) -> str:
        """The path of the layer."""
        return self._native.layer()

    @property
    def engine(self) -> str:
        """The name of the engine."""
        return self._native.engine()

    @property
    def error(self) -> float:
        """What the components leave out of the activation, as a share of it: ``‖X - WH‖ / ‖X‖``."""
        return self._native.error()

    @property
    def warnings(self) -> list[Warning]:
        """What to mind, about the model too."""
        return [Warning(*row) for row in self._native.warnings()]

    def __repr__(self) -> str:
        return f"<{len(self.components)} concepts of {self.layer} in {len(self.images)} images>"

    def _repr_html_(self) -> str:
        import base64
        import html

        parts = [f"<b>concepts of {html.escape(self.layer)}</b>, error {self.error:.1%}"]
        components = self.components
        for image in self.images:
            picture = base64.b64encode(image._repr_png_()).decode("ascii")
            parts.append(f'<div><img alt="concepts" src="data:image/png;base64,{picture}"></div>')
            rows = zip(components, image.shares, strict=True)
            parts.append(f"<ul>{''.join(f'<li>{_entry(component, float(share))}</li>' for component, share in rows)}</ul>")
        parts += [f"<p>{one.level}: {html.escape(one.text)}</p>" for one in self.warnings if one.level != "detail"]
        return f"<div>{''.join(parts)}</div>"


def _entry(component: Component, share: float) -> str:
    """A component in the list under a picture: its color, its share and its classes."""
    import html

    red, green, blue = component.color
    classes = html.escape("; ".join(str(one) for one in component.classes[:SHOWN_CLASSES]))
    return f'<span style="color: rgb({red}, {green}, {blue})">&#9632;</span> {share:.1%} {classes}'
