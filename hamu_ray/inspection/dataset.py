"""A data set as its files describe it: splits, columns, classes, image sizes. Needs no torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hamu_ray.config.task.vision import DataConfig, DigitsData, ImagesData
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.tasks.language.documents.corpus import LOCUSLAB
from hamu_ray.tasks.language.documents.rows import named_split
from hamu_ray.tasks.models.hub import hub_or_cache, is_local, one_line, prepared_in
from hamu_ray.tasks.vision.images.labels import Numbers, training_labels

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

DIGITS = "digits"
"""Name of the built-in data set."""

TEST_NAMES = ("test", "validation", "valid", "val", "eval")
"""Usual names of a test split, the most usual one first."""
REQUESTED = ("forget", "retain")
"""Splits that a run finds by the names of files, and `datasets` does not."""

LABELS = ("label", "labels", "class", "target", "category", "fine_label")
QUESTIONS = ("question", "prompt", "instruction", "input", "query", "q")
ANSWERS = ("answer", "response", "completion", "output", "text", "content", "document", "a")
IDS = ("id", "uid", "uuid", "identifier", "key")
"""Usual names of columns, the most usual one first."""

SAMPLED = 200
"""Images whose size is looked at."""


@dataclass(frozen=True)
class Data:
    """A data set that `datasets.load_dataset` can load, a folder or a name on the hub, or the built-in digits."""

    path: str

    @property
    def embedded(self) -> bool:
        """Whether it is built in."""
        return self.path == DIGITS and not Path(self.path).exists()

    @property
    def place(self) -> str:
        """The argument of `load_dataset`; a local path is absolute, because names such as `csv` have a meaning."""
        return str(Path(self.path).expanduser().absolute()) if is_local(self.path) else self.path

    @cached_property
    def subsets(self) -> Sequence[str]:
        """The names of its configurations.

        Raises:
            ValueError: It cannot be loaded; one line with the remedy.
        """
        from datasets import get_dataset_config_names

        path = Path(self.place)
        if is_local(self.path) and not path.is_dir():
            hint = (
                f"put it into a folder, as train{path.suffix}, and give the folder"
                if path.exists()
                else "check it"
            )
            raise ValueError(f"data: {self.path}: {'a file' if path.exists() else 'no such folder'}; {hint}")
        with _loading(self):
            return list(get_dataset_config_names(self.place))

    @property
    def tofu_layout(self) -> Literal["waterdrum", "locuslab"] | None:
        """The layout of TOFU that its configurations have, None for other data."""
        if self.embedded:
            return None
        if any(subset in self.subsets for subset in LOCUSLAB):
            return "waterdrum"
        return "locuslab" if any(name in self.subsets for name, _ in LOCUSLAB.values()) else None

    @property
    def tofu_subsets(self) -> list[str]:
        """The TOFU subsets that it has, by the configuration's names."""
        own = {
            subset: subset if self.tofu_layout == "waterdrum" else name
            for subset, (name, _) in LOCUSLAB.items()
        }
        return [subset for subset, name in own.items() if name in self.subsets]

    @property
    def subset(self) -> str | None:
        """The configuration that is used, None if there is only one."""
        if self.tofu_layout == "waterdrum":
            return self.tofu_subsets[-1]
        if self.tofu_layout == "locuslab":
            return LOCUSLAB[self.tofu_subsets[-1]][0]
        return self.subsets[0] if len(self.subsets) > 1 else None

    @cached_property
    def splits(self) -> "DatasetDict":
        """Its splits, among them the files `forget` and `retain` of a folder; on the hub, they are downloaded."""
        from datasets import disable_progress_bars, load_dataset

        disable_progress_bars()
        _ = self.subsets
        with _loading(self):
            splits = load_dataset(self.place, self.subset, cache_dir=prepared_in(self.place))
            for name in REQUESTED if is_local(self.path) else ():
                if name not in splits and any(Path(self.place).glob(f"{name}.*")):
                    splits[name] = named_split(self.place, self.subset, name)
        if "retain" in splits and not any(Path(self.place).rglob("*train*")):
            splits.pop("train", None)  # files of all names, which `datasets` takes for one split
        return splits

    @property
    def train(self) -> str:
        """The name of the training split."""
        return next((name for name in ("train", "retain") if name in self.splits), next(iter(self.splits)))

    @property
    def test(self) -> str | None:
        """The name of the test split, if there is one."""
        return next((name for name in TEST_NAMES if name in self.splits and name != self.train), None)

    @property
    def features(self) -> "Features":
        """The columns of the training split with their types."""
        return self.splits[self.train].features

    @property
    def images(self) -> str | None:
        """The column of the images; None for texts."""
        from datasets import Image

        return next((name for name, kind in self.features.items() if isinstance(kind, Image)), None)

    @property
    def task(self) -> Literal["vision", "language"]:
        """The task of the data."""
        return "vision" if self.embedded or (self.tofu_layout is None and self.images) else "language"

    @property
    def labels(self) -> str | None:
        """The column of the labels."""
        if self.embedded:
            return LABELS[0]
        from datasets import ClassLabel

        named = [name for name, kind in self.features.items() if isinstance(kind, ClassLabel)]
        return next(iter(named), self._named(LABELS))

    @cached_property
    def class_names(self) -> Sequence[str]:
        """The names of its classes, as a run finds them.

        Raises:
            ValueError: Labels are no classes, or differ between the splits; one line with the remedy.
        """
        return self._labelled[1]

    @cached_property
    def _labelled(self) -> tuple[Numbers, Sequence[str]]:
        labels, names, _ = training_labels(self.section)
        return labels, names

    @cached_property
    def section(self) -> DataConfig:
        """The `data` section of images, without preprocessing.

        Raises:
            ValueError: It has no split or no column that a run needs; one line with the remedy.
        """
        if self.embedded:
            return DigitsData()
        if self.test is None:
            raise ValueError(
                f"data: {self.path} has no test split, only {', '.join(self.splits)}; add one, such as test/CLASS/x.png"
            )
        if self.labels is None:
            raise ValueError(f"data: {self.path} has no column of labels; add one, such as `label`")
        return ImagesData(
            path=self.place,
            subset=self.subset,
            train_split=self.train,
            test_split=self.test,
            image_column=self.images or "image",
            label_column=self.labels,
        )

    @property
    def answers(self) -> str | None:
        """The column of the texts that are learned: by its usual name, or the last one with texts."""
        texts = [name for name, kind in self.features.items() if _is_text(kind)]
        return self._named(ANSWERS, texts) or next(reversed(texts), None)

    @property
    def questions(self) -> str | None:
        """The column of the questions, by its usual name."""
        found = self._named(QUESTIONS, [name for name, kind in self.features.items() if _is_text(kind)])
        return None if found == self.answers else found

    @property
    def ids(self) -> str | None:
        """The column of the rows' identifiers, by its usual name."""
        return self._named(IDS)

    def _named(self, names: Sequence[str], among: Sequence[str] | None = None) -> str | None:
        columns = {name.lower(): name for name in (self.features if among is None else among)}
        return next((columns[name] for name in names if name in columns), None)

    @cached_property
    def image_sizes(self) -> list[tuple[int, int]]:
        """The distinct (width, height) of the first training images."""
        return sorted({size for size, _ in self._sampled})

    @cached_property
    def is_grey(self) -> bool:
        """Whether the first training images have one channel."""
        return all(mode in ("1", "L") for _, mode in self._sampled)

    @cached_property
    def _sampled(self) -> list[tuple[tuple[int, int], str]]:
        """Sizes and modes of the first training images; raises `ValueError` for one that is none."""
        rows, found = self.splits[self.train].select_columns([self.images]), []
        for number in range(min(SAMPLED, len(rows))):
            try:
                image = rows[number][self.images]
            except (OSError, SyntaxError) as error:  # Pillow raises both for damaged files
                text = f"data: image {number} of {self.path} ({self.train}) cannot be read"
                raise ValueError(f"{text}: {one_line(error)}; replace or remove it") from error
            if image is None:
                raise ValueError(f"data: row {number} of {self.path} ({self.train}) has no image; remove it")
            found.append((image.size, image.mode))
        return found

    def findings(self) -> Iterator[Finding]:
        """Yield a line for each part of it.

        Raises:
            ValueError: It cannot be loaded; one line with the remedy.
        """
        if self.embedded:
            yield Finding("data", "scikit-learn's handwritten digits, built in: 10 classes, 1,797 images")
            return
        subset = f", configuration {self.subset} of {', '.join(self.subsets)}" if self.subset else ""
        if self.tofu_layout:
            subset = f", TOFU in the layout {self.tofu_layout}: {self.subset}"
        sizes = ", ".join(f"{name} {len(rows):,}" for name, rows in self.splits.items())
        yield Finding(
            "data", f"{self.path}{subset}: {sizes} {'images' if self.task == 'vision' else 'texts'}"
        )
        yield Finding("columns", ", ".join(f"{name} ({_kind(kind)})" for name, kind in self.features.items()))
        if self.task == "vision":
            sizes = ", ".join(f"{width}x{height}" for width, height in self.image_sizes[:3])
            more = f" and {len(self.image_sizes) - 3} other sizes" if len(self.image_sizes) > 3 else ""
            yield from self._label_findings()
            yield Finding("images", f"{'grey' if self.is_grey else 'colour'}, {sizes}{more}")

    def _label_findings(self) -> Iterator[Finding]:
        counts = np.bincount(self._labelled[0], minlength=len(self.class_names))
        names = list(self.class_names)
        sizes = f"{counts.min():,} to {counts.max():,} training images each"
        yield Finding("labels", f"{len(names)} classes by {self.labels}: {sizes}")
        if empty := [name for name, count in zip(names, counts, strict=True) if count == 0]:
            yield Finding(
                "labels", f"no training image of {', '.join(empty)}; add some, or remove the class", True
            )


@contextmanager
def _loading(data: Data) -> Iterator[None]:
    """Within this context, errors of `datasets` and of the hub's client become a `ValueError` of one line."""
    try:
        with hub_or_cache(data.place):
            yield
    except Exception as error:  # builders, Arrow and the hub's client raise many unrelated types
        remedy = "" if is_local(data.path) else "; without a network, give a folder with a copy"
        raise ValueError(f"data: {data.path} cannot be loaded: {one_line(error)}{remedy}") from error


def _is_text(kind: Any) -> bool:
    return getattr(kind, "dtype", None) in ("string", "large_string")


def _kind(kind: Any) -> str:
    name = type(kind).__name__
    return str(kind.dtype) if name == "Value" else name
