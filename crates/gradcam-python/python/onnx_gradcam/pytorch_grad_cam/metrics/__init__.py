"""How faithful maps are, by the scores of changed images."""

from . import cam_mult_image, road

__all__ = ["cam_mult_image", "road"]
