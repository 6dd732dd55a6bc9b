"""Images created by the tests."""

import numpy as np
from PIL import Image


def image_of(brightness: int, size: tuple[int, int] = (6, 5)) -> Image.Image:
    """Return a colour image, ``size`` (width, height), of one brightness."""
    width, height = size
    return Image.fromarray(np.full((height, width, 3), brightness, dtype=np.uint8))
