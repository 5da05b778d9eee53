"""How faithful maps are, by the scores of changed images."""

from . import arcc, cam_mult_image, road

__all__ = ["arcc", "cam_mult_image", "road"]
