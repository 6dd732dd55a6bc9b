"""Image data sets that `datasets.load_dataset` can load: from the hub, Parquet files or folders of images."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hamu_ray.config.vision import ImagesData
from hamu_ray.tasks.hub import hub_or_cache, is_local, one_line
from hamu_ray.tasks.vision.data import Examples, VisionData, as_pixels, spread_over_classes
from hamu_ray.tasks.vision.pixels import decoded_pixels

if TYPE_CHECKING:
    from datasets import Dataset


def load_images_data(config: ImagesData, cache: Path | None) -> VisionData:
    """Return the training and test images that the configuration names.

    Raises `ValueError` with one line that names the key and the remedy: for a path that cannot be loaded, a
    split or column that is not there, labels that are no classes, images of different sizes.
    """
    train = _load_split(config, config.train_split, "train_split")
    test = _load_split(config, config.test_split, "test_split")
    names, (train_labels, test_labels) = _classes(config, train, test)

    def examples(dataset: "Dataset", labels: np.ndarray, split: str, limit: int | None) -> Examples:
        if limit is not None and limit < len(labels):
            rows = spread_over_classes(labels, limit)
            dataset, labels = dataset.select(rows), labels[rows]
        pixels = decoded_pixels(
            dataset,
            config.image_column,
            channels=len(config.mean),
            size=config.image_size,
            where=f"{config.path} ({split})",
            cache=cache,
        )
        return Examples(as_pixels(pixels), torch.from_numpy(labels))

    trained = examples(train, train_labels, config.train_split, config.train_limit)
    tested = examples(test, test_labels, config.test_split, config.test_limit)
    if trained.pixels.shape[1:] != tested.pixels.shape[1:]:
        raise ValueError(
            f"data.image_size: training and test images of {config.path} differ in size "
            f"({_size(trained)} and {_size(tested)}): set the size that all are to have"
        )
    return VisionData(trained, tested, names, config.mean, config.std)


def _load_split(config: ImagesData, split: str, key: str) -> "Dataset":
    """Load one split and check that it has rows and the two columns."""
    # Imported here: runs on digits can do without the second that it takes.
    from datasets import load_dataset

    blame = {"Unknown split": key, "BuilderConfig": "subset", "Config name is missing": "subset"}
    path = config.path
    if is_local(path):
        path = str(Path(path).expanduser())
        if not Path(path).exists():
            raise ValueError(f"data.path: {config.path}: no such folder")
    try:
        with hub_or_cache(path):
            dataset = load_dataset(path, config.subset, split=split)
    except Exception as error:  # builders, Arrow and the hub's client raise a zoo of types
        text = one_line(error)
        blamed = next((key for start, key in blame.items() if text.startswith(start)), "path")
        raise ValueError(f"data.{blamed}: {config.path} ({split}) cannot be loaded: {text}") from error
    for name, column in (("image_column", config.image_column), ("label_column", config.label_column)):
        if column not in dataset.column_names:
            raise ValueError(
                _no_column(f"data.{name}: {config.path} has no column {column}", dataset.column_names, column)
            )
    if len(dataset) == 0:
        raise ValueError(f"data.{key}: {config.path} ({split}) has no rows")
    return dataset


def _no_column(problem: str, columns: Sequence[str], wanted: str) -> str:
    near = difflib.get_close_matches(wanted, columns, n=1)
    return f"{problem}; " + (f"did you mean {near[0]}?" if near else f"it has {', '.join(columns)}")


def _classes(config: ImagesData, *splits: "Dataset") -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Return the names of the classes and each split's labels as int64 numbers of classes.

    A `datasets.ClassLabel` names its classes. Plain integers and strings become classes in sorted order of
    the training split's values.
    """
    from datasets import ClassLabel

    column = config.label_column
    feature = splits[0].features[column]
    values = [_label_values(config, split) for split in splits]
    if isinstance(feature, ClassLabel):
        if min(labels.min() for labels in values) < 0:
            raise ValueError(f"data.label_column: {column} of {config.path} has rows without a label (-1)")
        return tuple(feature.names), values
    known = np.unique(values[0])
    for labels in values[1:]:
        if len(strange := np.setdiff1d(labels, known)):
            raise ValueError(
                f"data.label_column: {column} of {config.path} has test labels that no training image has, "
                f"such as {strange[0]!s}"
            )
    return tuple(str(value) for value in known), [np.searchsorted(known, labels) for labels in values]


def _label_values(config: ImagesData, split: "Dataset") -> np.ndarray:
    """Return a split's labels, integers as int64 and strings as they are."""
    column: Any = split.with_format("arrow")[config.label_column]
    labels = np.asarray(column.to_pylist() if hasattr(column, "to_pylist") else list(column))
    if labels.dtype.kind == "i":
        return labels.astype(np.int64)
    if labels.dtype.kind == "U":
        return labels
    raise ValueError(
        f"data.label_column: {config.label_column} of {config.path} must hold integers, strings or a "
        f"ClassLabel in every row, found {split.features[config.label_column]}"
    )


def _size(examples: Examples) -> str:
    height, width = examples.pixels.shape[-2:]
    return f"{width}x{height}"
