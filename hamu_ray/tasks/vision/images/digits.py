"""scikit-learn's bundled handwritten digits: real images that need no download."""

import numpy as np
import torch

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import DigitsData
from hamu_ray.tasks.vision.data import Examples, VisionData, as_pixels
from hamu_ray.tasks.vision.images.labels import DIGITS, digits_content, digits_rows, digits_source
from hamu_ray.tasks.vision.images.pixels import resizer
from hamu_ray.tasks.vision.images.preprocessing import Preprocessing, preprocessing_of

BRIGHTEST = 16
"""The largest pixel value in the data set."""


def load_digits_data(config: DigitsData, preprocessing: Preprocessing | None = None) -> VisionData:
    """Return the 1,797 greyscale 8x8 images, split into training and test images, stratified by class.

    ``preprocessing`` is a checkpoint's; None leaves the images unchanged.
    """
    preprocessing = preprocessing or preprocessing_of(config, ModelConfig())
    images, labels = digits_content()
    grey = np.rint(images[..., None] * (255 / BRIGHTEST)).astype(np.uint8)
    resize = resizer(preprocessing)
    pixels = np.stack([resize(image) for image in grey.repeat(len(preprocessing.mean), axis=-1)])
    train, test = digits_rows(labels, config.test_share)

    def examples(rows: np.ndarray) -> Examples:
        return Examples(as_pixels(pixels[rows]), torch.from_numpy(labels[rows]))

    source = digits_source(len(labels), train)
    return VisionData(
        examples(train),
        examples(test),
        DIGITS,
        preprocessing.mean,
        preprocessing.std,
        source,
        config.validation,
    )
