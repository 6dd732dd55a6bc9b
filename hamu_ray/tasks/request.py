"""Rows selected by a request: by index, column value, identifier or file name, in the user's training split."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.task.forget import (
    AnyNamed,
    Condition,
    ForgetFiles,
    ForgetIds,
    ForgetIndices,
    ForgetWhere,
)

if TYPE_CHECKING:
    from datasets import Dataset

Indices = NDArray[np.int64]

AT_ONCE = 256
"""Maximum number of images that are read at once."""

SHOWN = 3
"""Maximum number of values or names in an error."""


@dataclass(frozen=True, eq=False)
class Source:
    """The rows that a request can select: those of the stored training splits, one split after another."""

    name: str
    """Its name in errors: path and split."""
    count: int
    parts: tuple["Dataset", ...] = ()
    """The splits themselves; empty for data without columns."""
    used: Indices | None = None
    """int64, sorted: the rows that remain after limits; None for all."""
    limit: str = "data.train_limit"
    """The key that limits the rows."""
    remedy: str = "raise it or set it to null"
    """The remedy if it excludes a row of the forget set."""

    @classmethod
    def of(cls, name: str, *parts: "Dataset", used: Indices | None = None, limit: str) -> "Source":
        """Return the rows of these splits."""
        return cls(name, sum(len(part) for part in parts), parts, used, limit)

    @property
    def columns(self) -> list[str]:
        """The columns that every split has."""
        first, *others = (part.column_names for part in self.parts) if self.parts else ([],)
        return [column for column in first if all(column in known for known in others)]

    def stored(self, row: int) -> int:
        """Return the stored row of a used one."""
        return row if self.used is None else int(self.used[row])

    def values(self, column: str, key: str) -> list[Any]:
        """Return a column's value in every row; ``key`` is the configuration key that names it."""
        if column not in self.columns:
            if not self.columns:
                raise ValueError(f"{key}: {self.name} has no columns; use forget.kind indices")
            raise ValueError(f"{key}: {self.name} has no column {column}; {nearest(column, self.columns)}")
        return [value for part in self.parts for value in _column(part, column)]


def requested(config: AnyNamed, source: Source) -> Indices:
    """Return the rows that a request selects, as int64 indices among the used rows, sorted.

    Raises `ValueError` for rows that do not exist, and for rows excluded by a limit.
    """
    rows = np.unique(_rows(config, source))
    if source.used is None:
        return rows
    left_out = np.setdiff1d(rows, source.used)
    if len(left_out):
        raise ValueError(
            f"{source.limit}: leaves out {len(left_out)} of the {len(rows)} rows that forget names, such as row "
            f"{left_out[0]}; {source.remedy}"
        )
    return np.searchsorted(source.used, rows)


def _rows(config: AnyNamed, source: Source) -> Indices:
    if isinstance(config, ForgetIndices):
        return read_indices(Path(config.path), source.count, source.name)
    if isinstance(config, ForgetIds):
        return _rows_of_ids(config, source)
    if isinstance(config, ForgetFiles):
        return _rows_of_files(config, source)
    return _rows_where(config, source)


def _rows_where(config: ForgetWhere, source: Source) -> Indices:
    holding = np.ones(source.count, dtype=bool)
    for condition in config.every:
        values = source.values(condition.column, "forget.column")
        holding &= np.fromiter(map(_test_of(condition), values), dtype=bool, count=source.count)
    if not holding.any():
        raise ValueError(f"forget: no row of {source.name} has {_described(config, source)}")
    return holding.nonzero()[0]


def _test_of(condition: Condition) -> Callable[[Any], bool]:
    """Return a predicate for a condition. Numbers never equal texts, nor does 1 equal true."""
    if condition.matches is not None:
        pattern = re.compile(condition.matches)
        return lambda value: value is not None and pattern.search(str(value)) is not None
    wanted = condition.one_of if condition.one_of is not None else (condition.equals,)
    booleans = {value for value in wanted if isinstance(value, bool)}
    others = {value for value in wanted if not isinstance(value, bool)}
    return lambda value: value in (booleans if isinstance(value, bool) else others)


def _described(config: ForgetWhere, source: Source) -> str:
    """Return the conditions, with values that do occur in the last column."""
    parts = []
    for condition in config.every:
        test = condition.model_dump(exclude_none=True, exclude={"column"})
        (name, value), *_ = test.items()
        parts.append(f"{condition.column} {name} {list(value) if isinstance(value, tuple) else value!r}")
    column = config.every[-1].column
    held = dict.fromkeys(source.values(column, "forget.column"))
    some = ", ".join(f"{value!r:.40}" for value in list(held)[:SHOWN])
    return f"{' and '.join(parts)}; {column} has values {some}{', ...' if len(held) > SHOWN else ''}"


def _rows_of_ids(config: ForgetIds, source: Source) -> Indices:
    values = [str(value) for value in source.values(config.column, "forget.column")]
    known = set(values)
    wanted: set[str] = set()
    for number, text in numbered_lines(Path(config.path), "an identifier"):
        if text not in known:
            raise ValueError(
                f"forget.path: {config.path}, line {number}: no row of {source.name} has {config.column} {text[:40]!r}"
            )
        wanted.add(text)
    return np.array([row for row, value in enumerate(values) if value in wanted], dtype=np.int64)


def _rows_of_files(config: ForgetFiles, source: Source) -> Indices:
    paths = [path for part in source.parts for path in image_files(part)]
    if not any(paths):
        raise ValueError(f"forget.kind: the images of {source.name} have no file names; use indices or where")
    by_name: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        by_name.setdefault(PurePath(path).name, []).append(row)
    found = []
    for wanted in config.names:
        parts = PurePath(wanted).parts
        rows = [
            row
            for row in by_name.get(PurePath(wanted).name, [])
            if PurePath(paths[row]).parts[-len(parts) :] == parts
        ]
        if len(rows) != 1:
            problem = (
                f"is not a training image; {nearest(PurePath(wanted).name, by_name)}"
                if not rows
                else f"matches {len(rows)} images, such as {paths[rows[0]]}; give more of the path"
            )
            raise ValueError(f"forget.names: {wanted} {problem}")
        found += rows
    return np.array(found, dtype=np.int64)


def image_files(dataset: "Dataset") -> Iterator[str]:
    """Yield the path of each row's image as in the data set, or an empty one if it has none."""
    column = _image_column(dataset)
    if column is None:
        return
    for image in _column(_undecoded(dataset, column), column):
        yield (image or {}).get("path") or ""


def stored_images(dataset: "Dataset", rows: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """Yield the path (empty if it has none) and the encoded content of each row's image.

    Yields nothing if the data set has no images.
    """
    column = _image_column(dataset)
    if column is None:
        return
    files = _undecoded(dataset, column)
    for start in range(0, len(rows), AT_ONCE):
        for image in files[list(rows[start : start + AT_ONCE])][column]:
            path, content = image["path"] or "", image["bytes"]
            yield path, Path(path).read_bytes() if content is None else content


def _image_column(dataset: "Dataset") -> str | None:
    from datasets import Image

    return next((name for name, kind in dataset.features.items() if isinstance(kind, Image)), None)


def _undecoded(dataset: "Dataset", column: str) -> "Dataset":
    from datasets import Image

    return dataset.with_format(None).select_columns([column]).cast_column(column, Image(decode=False))


def _column(dataset: "Dataset", column: str) -> list[Any]:
    return list(dataset.with_format(None)[column])


def read_indices(path: Path, count: int, of: str) -> Indices:
    """Read unique indices below ``count`` from a text file, one per line; blank lines are skipped.

    ``of`` describes the indices in errors. Raises `ValueError` that names the file and the line.
    """
    seen: dict[int, int] = {}
    for number, text in numbered_lines(path, "an index"):
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"forget.path: {path}, line {number}: {text[:40]!r} is not an index (0, 1, ...)")
        index = int(text)
        if index >= count:
            raise ValueError(
                f"forget.path: {path}, line {number}: there is no row {index}; the {count} rows of {of} have 0 to "
                f"{count - 1}"
            )
        if index in seen:
            raise ValueError(f"forget.path: {path}, line {number}: {index} is already on line {seen[index]}")
        seen[index] = number
    return np.fromiter(seen, dtype=np.int64)


def numbered_lines(path: Path, what: str) -> list[tuple[int, str]]:
    """Return the non-blank lines of a text file, with line numbers from 1; raises `ValueError`."""
    try:
        lines = path.expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(
            f"forget.path: {path} cannot be read: {reason}; give a text file with {what} on each line"
        ) from error
    found = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ValueError(f"forget.path: {path} is empty; write {what} on each line")
    return found


def listed(items: Iterable[str], total: int) -> str:
    """Return some items in one line, and how many more there are."""
    some = list(items)
    return ", ".join(some) + (f" and {total - len(some)} more" if total > len(some) else "")
