"""scikit-learn's bundled handwritten digits: real images that need no download."""

import numpy as np
import torch

from hamu_ray.config.vision import DigitsData
from hamu_ray.tasks.vision.data import Examples, VisionData, as_pixels

MEAN, STD = (0.3053,), (0.3759,)
"""Of all 1,797 images with their pixels scaled to 0..1."""

BRIGHTEST = 16
"""The data set's own largest pixel value."""

TEST_SPLIT_SEED = 0
"""The test images are the same for every seed of a run, so that runs can be compared."""


def load_digits_data(config: DigitsData) -> VisionData:
    """Return the 1,797 grey 8x8 images, split into training and test images by class."""
    # Imported here: runs on other data sets can do without the seconds that scikit-learn takes.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    pixels = np.rint(bunch.images[..., None] * (255 / BRIGHTEST)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    try:
        train, test = train_test_split(
            np.arange(len(labels)), test_size=config.test_share, stratify=labels, random_state=TEST_SPLIT_SEED
        )
    except ValueError as error:
        raise ValueError(
            f"data.test_share: {config.test_share} leaves a class without images: {error}"
        ) from error

    def examples(rows: np.ndarray) -> Examples:
        rows = np.sort(rows)
        return Examples(as_pixels(pixels[rows]), torch.from_numpy(labels[rows]))

    return VisionData(examples(train), examples(test), tuple(str(digit) for digit in range(10)), MEAN, STD)
