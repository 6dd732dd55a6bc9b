"""Information about images that needs no decoding: the rows used, their labels, and the class names.

Needs no torch, so that a configuration's data can be checked quickly.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hamu_ray.config.task.vision import DataConfig, DigitsData, ImagesData
from hamu_ray.tasks.models.hub import hub_or_cache, is_local, one_line, prepared_in
from hamu_ray.tasks.request import Source

if TYPE_CHECKING:
    from datasets import Dataset

Numbers = NDArray[np.int64]

DIGITS = tuple(str(digit) for digit in range(10))
"""The classes of scikit-learn's handwritten digits."""

TEST_SPLIT_SEED = 0
"""The digits' test images are the same for every seed of a run, so that runs can be compared."""


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The rows of one split that are used. ``labels`` is int64 ``(n,)``, the class index of each."""

    dataset: "Dataset"
    labels: Numbers
    source: Source
    """The stored split, in which a request selects rows."""


def training_labels(config: DataConfig) -> tuple[Numbers, tuple[str, ...], Source]:
    """Return the labels of the used training images, int64 ``(n,)``, the class names, and the rows.

    Raises `ValueError` with one line that names the key and the remedy.
    """
    if isinstance(config, DigitsData):
        labels = digits_content()[1]
        train, _ = digits_rows(labels, config.test_share)
        return labels[train], DIGITS, digits_source(len(labels), train)
    rows, _, names = labelled_rows(config)
    return rows.labels, names, rows.source


def digits_source(count: int, train: Numbers) -> Source:
    """Return the digits' rows, some of which are training images."""
    remedy = "lower it, or select images that it does not hold out for test"
    return Source("scikit-learn's digits", count, used=train, limit="data.test_share", remedy=remedy)


def digits_content() -> tuple[NDArray[np.float64], Numbers]:
    """Return the 1,797 images ``(n, 8, 8)`` with values 0 to 16, and their labels ``(n,)``."""
    # Imported here: runs on other data sets do not need scikit-learn, which takes a second to import.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target.astype(np.int64)


def digits_rows(labels: Numbers, test_share: float) -> tuple[Numbers, Numbers]:
    """Return the sorted rows of the digits' training and test images, split by class."""
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(labels)), test_size=test_share, stratify=labels, random_state=TEST_SPLIT_SEED
        )
    except ValueError as error:
        raise ValueError(f"data.test_share: {test_share} leaves a class without images: {error}") from error
    return np.sort(train), np.sort(test)


def labelled_rows(config: ImagesData) -> tuple[LabelledRows, LabelledRows, tuple[str, ...]]:
    """Return the training and test rows of a configuration, after limits, and the class names.

    Raises `ValueError` if the path cannot be loaded, a split or column does not exist, or labels are not classes.
    """
    train = _load_split(config, config.train_split, "train_split")
    test = _load_split(config, config.test_split, "test_split")
    names, (train_labels, test_labels) = _classes(config, train, test)
    return (
        _limited(config, "train", train, train_labels),
        _limited(config, "test", test, test_labels),
        names,
    )


def _limited(config: ImagesData, split: str, dataset: "Dataset", labels: Numbers) -> LabelledRows:
    limit = getattr(config, f"{split}_limit")
    name, key = f"{config.path} ({getattr(config, f'{split}_split')})", f"data.{split}_limit"
    if limit is None or limit >= len(labels):
        return LabelledRows(dataset, labels, Source.of(name, dataset, limit=key))
    rows = spread_over_classes(labels, limit)
    return LabelledRows(dataset.select(rows), labels[rows], Source.of(name, dataset, used=rows, limit=key))


def spread_over_classes(labels: Numbers, limit: int | None) -> Numbers:
    """Return the sorted indices of ``limit`` examples, with equal numbers per class if possible.

    If a class has too few examples, others fill its places. The draw is always the same; None selects all.
    """
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    shuffled = np.random.default_rng(0).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    rank_in_class = np.concatenate([np.arange(count) for count in counts])
    return np.sort(by_class[np.argsort(rank_in_class, kind="stable")[:limit]])


def _load_split(config: ImagesData, split: str, key: str) -> "Dataset":
    """Load one split and check that it has rows and the two columns."""
    check_folder(config)
    # Imported here: runs on digits do not need it, and it takes a second.
    from datasets import load_dataset

    blame = {"Unknown split": key, "BuilderConfig": "subset", "Config name is missing": "subset"}
    path = str(Path(config.path).expanduser()) if is_local(config.path) else config.path
    try:
        with hub_or_cache(path):
            dataset = load_dataset(path, config.subset, split=split, cache_dir=prepared_in(path))
    except Exception as error:  # builders, Arrow and the hub's client raise many unrelated types
        text = one_line(error)
        blamed = next((key for start, key in blame.items() if text.startswith(start)), "path")
        layout = (
            "; it needs Parquet files, or train/CLASS/x.png and test/CLASS/x.png" if blamed == "path" else ""
        )
        raise ValueError(
            f"data.{blamed}: {config.path} ({split}) cannot be loaded: {text}{layout}"
        ) from error
    check_columns(config, dataset.column_names)
    if len(dataset) == 0:
        raise ValueError(f"data.{key}: {config.path} ({split}) has no rows")
    return dataset


def check_folder(config: ImagesData) -> None:
    """Check that a folder exists, if the path is one rather than a hub name; raises `ValueError`."""
    if is_local(config.path) and not Path(config.path).expanduser().exists():
        raise ValueError(f"data.path: {config.path}: no such folder; check the path")


def check_columns(config: ImagesData, columns: Sequence[str]) -> None:
    """Check that the columns of images and labels exist; raises `ValueError` that suggests the closest."""
    for key in ("image_column", "label_column"):
        wanted = getattr(config, key)
        if wanted not in columns:
            near = difflib.get_close_matches(wanted, columns, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(columns)}"
            raise ValueError(f"data.{key}: {config.path} has no column {wanted}; {hint}")


def _classes(config: ImagesData, *splits: "Dataset") -> tuple[tuple[str, ...], list[Numbers]]:
    """Return the class names and each split's labels as int64 class indices.

    A `datasets.ClassLabel` names its classes. Integers and strings become classes in sorted order of the training
    split's values.
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
    """Return a split's labels: integers as int64, strings unchanged."""
    column: Any = split.with_format("arrow")[config.label_column]
    labels = np.asarray(column.to_pylist() if hasattr(column, "to_pylist") else list(column))
    if labels.dtype.kind == "i":
        return labels.astype(np.int64)
    if labels.dtype.kind == "U":
        return labels
    raise ValueError(
        f"data.label_column: {config.label_column} of {config.path} must contain integers, strings or a "
        f"ClassLabel in every row, found {split.features[config.label_column]}"
    )
