"""scikit-learn's bundled handwritten digits: real images that need no download."""

import numpy as np
import torch

from hamu_ray.config.vision import DigitsData
from hamu_ray.tasks.vision.data import Examples, VisionData, as_pixels
from hamu_ray.tasks.vision.labels import DIGITS, digits_content, digits_rows, digits_source

MEAN, STD = (0.3053,), (0.3759,)
"""Of all 1,797 images with their pixels scaled to 0..1."""

BRIGHTEST = 16
"""The data set's own largest pixel value."""


def load_digits_data(config: DigitsData) -> VisionData:
    """Return the 1,797 grey 8x8 images, split into training and test images by class."""
    images, labels = digits_content()
    pixels = np.rint(images[..., None] * (255 / BRIGHTEST)).astype(np.uint8)
    train, test = digits_rows(labels, config.test_share)

    def examples(rows: np.ndarray) -> Examples:
        return Examples(as_pixels(pixels[rows]), torch.from_numpy(labels[rows]))

    source = digits_source(len(labels), train)
    return VisionData(examples(train), examples(test), DIGITS, MEAN, STD, source)
