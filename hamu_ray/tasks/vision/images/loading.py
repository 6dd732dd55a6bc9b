"""Image data sets that `datasets.load_dataset` can load: from the hub, Parquet files or folders of images."""

from pathlib import Path

import torch

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import ImagesData
from hamu_ray.tasks.models.hub import is_local
from hamu_ray.tasks.vision.data import Examples, VisionData, as_pixels
from hamu_ray.tasks.vision.images.labels import LabelledRows, labelled_rows
from hamu_ray.tasks.vision.images.pixels import check_sample, decoded_pixels
from hamu_ray.tasks.vision.images.preprocessing import Preprocessing, preprocessing_of


def load_images_data(
    config: ImagesData, cache: Path | None, preprocessing: Preprocessing | None = None
) -> VisionData:
    """Return the training and test images of a configuration.

    ``preprocessing`` is a checkpoint's; None uses the configuration's.

    Raises `ValueError` with one line that names the key and the remedy: if the path cannot be loaded, a split or column
    does not exist, labels are not classes, or images have different sizes.
    """
    preprocessing = preprocessing or preprocessing_of(config, ModelConfig())
    train, test, names = labelled_rows(config)

    def examples(rows: LabelledRows, split: str) -> Examples:
        pixels = decoded_pixels(
            rows.dataset,
            config.image_column,
            preprocessing=preprocessing,
            where=f"{config.path} ({split})",
            cache=cache,
        )
        return Examples(as_pixels(pixels), torch.from_numpy(rows.labels))

    trained = examples(train, config.train_split)
    tested = examples(test, config.test_split)
    if trained.pixels.shape[1:] != tested.pixels.shape[1:]:
        raise ValueError(
            f"data.image_size: training and test images of {config.path} differ in size "
            f"({_size(trained)} and {_size(tested)}): set a common size"
        )
    return VisionData(
        trained, tested, names, preprocessing.mean, preprocessing.std, train.source, config.validation
    )


def check_images(config: ImagesData) -> None:
    """Decode a sample of the training and test images of local data; raises `ValueError` as `load_images_data`."""
    if is_local(config.path):
        train, test, _ = labelled_rows(config)
        for rows, split in ((train, config.train_split), (test, config.test_split)):
            check_sample(rows.dataset, config.image_column, f"{config.path} ({split})")


def _size(examples: Examples) -> str:
    height, width = examples.pixels.shape[-2:]
    return f"{width}x{height}"
