"""The forget set of an image data set, and its overlap with other sets. Decodes no image and needs no torch."""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import DataConfig, DigitsData, ForgetConfig, ImagesData
from hamu_ray.tasks.forecast import SHOWN, Forecast, Side, allowed, shortened
from hamu_ray.tasks.overlap import equal_matches
from hamu_ray.tasks.request import Indices, image_files
from hamu_ray.tasks.vision.forget import ForgetSplit, split_examples
from hamu_ray.tasks.vision.images.labels import (
    LabelledRows,
    digits_content,
    digits_rows,
    labelled_rows,
    training_labels,
)

if TYPE_CHECKING:
    from datasets import Dataset
from hamu_ray.tasks.validation import VALIDATION, validation_mask

AT_ONCE = 256
"""Number of images that are read at once."""


def forecast_vision(
    config: DataConfig, forget: ForgetConfig, seed: int, model: ModelConfig, cache: Path | None
) -> Forecast:
    """Return what a run with these sections will forget, retain and test.

    Raises `ValueError` with one line that names the key and the remedy.
    """
    labels, names, source = training_labels(config)
    split = split_examples(labels, names, forget, seed, source)
    files = _files(config)
    content = hashlib.sha256()
    for found in _contents(config, "train", split.forget):
        content.update(found)

    held = validation_mask(_count(config, "test"), config.validation)

    def line(index: int) -> str:
        row = index if source.used is None else source.used[index]
        file = files[index] if files else ""
        return shortened(f"row {row}: {names[labels[index]]}{f', {file}' if file else ''}")

    return Forecast(
        unit="images",
        splits={
            "forget": Side(len(split.forget)),
            "retain": Side(len(split.retain)),
            "test": Side(int((~held).sum())),
            **({VALIDATION: Side(int(held.sum()))} if held.any() else {}),
        },
        first=[line(index) for index in split.forget[:SHOWN].tolist()],
        digest=content.hexdigest(),
        overlaps=overlaps(config, split) if allowed(forget) else (),
    )


def overlaps(config: DataConfig, split: ForgetSplit) -> list[str]:
    """Return a line for each retain or test image whose file equals one of the forget set.

    For the digits, which have no files, pixels are compared. Only files with the size of a forget file are read.
    """
    forget = list(_contents(config, "train", split.forget))
    sizes = {len(content) for content in forget}
    lines = []
    for part, name, indices in (
        ("retain", "train", split.retain),
        ("test", "test", range(_count(config, "test"))),
    ):
        known = [hashlib.sha256(content).digest() for content in forget]
        others = (
            hashlib.sha256(content).digest() if content else b""
            for content in _contents(config, name, indices, sizes)
        )
        lines += [
            f"image {indices[match.other]} ({part}) equals image {split.forget[match.forget]}"
            for match in equal_matches(known, others)
        ]
    return lines


def _count(config: DataConfig, split: str) -> int:
    if isinstance(config, DigitsData):
        labels = digits_content()[1]
        return len(digits_rows(labels, config.test_share)[split == "test"])
    return len(_rows(config, split).labels)


def _rows(config: ImagesData, split: str) -> LabelledRows:
    train, test, _ = labelled_rows(config)
    return test if split == "test" else train


def _contents(
    config: DataConfig, split: str, indices: Indices | range, sizes: Collection[int] | None = None
) -> Iterator[bytes]:
    """Yield the content of images in bytes, or nothing for an image with none of the sizes."""
    if isinstance(config, DigitsData):
        images, labels = digits_content()
        rows = digits_rows(labels, config.test_share)[split == "test"]
        yield from (images[rows[index]].tobytes() for index in indices)
        return
    dataset = _rows(config, split).dataset
    for image in _encoded(dataset, config.image_column, indices):
        stored, file = image["bytes"], Path(image["path"] or "")
        size = len(stored) if stored is not None else file.stat().st_size
        if sizes is not None and size not in sizes:
            yield b""
        else:
            yield stored if stored is not None else file.read_bytes()


def _encoded(dataset: "Dataset", column: str, indices: Indices | range) -> Iterator[dict[str, Any]]:
    from datasets import Image

    if not isinstance(dataset.features[column], Image):
        return
    files = dataset.select_columns([column]).cast_column(column, Image(decode=False))
    for start in range(0, len(indices), AT_ONCE):
        yield from files[list(indices[start : start + AT_ONCE])][column]


def _files(config: DataConfig) -> list[str]:
    """Return the file names of the training images, if the data set has them."""
    return [] if isinstance(config, DigitsData) else list(image_files(_rows(config, "train").dataset))
