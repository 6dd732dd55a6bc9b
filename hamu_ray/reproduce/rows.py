"""The table of a study: a CSV file with a row per trial, which an interrupted study continues."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hamu_ray.config.sources.files import ConfigError

Row = Mapping[str, Any]


class Rows:
    """A CSV file with a row per trial; what it contains is not run again."""

    def __init__(self, path: Path, columns: Sequence[str], key: Sequence[str]) -> None:
        """Read the file, or create it with a header; the columns ``key`` identify a trial.

        Raises:
            ConfigError: The file has other columns.
        """
        self._path, self._columns, self._key = path, columns, key
        self._known: dict[tuple[str, ...], dict[str, str]] = {}
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as file:
                csv.DictWriter(file, columns).writeheader()
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != tuple(columns):
                raise ConfigError(f"{path}: not a table of these runs, its columns differ; give another file")
            for row in reader:
                self._known[self._key_of(row)] = row

    @property
    def all(self) -> list[dict[str, str]]:
        """The rows as text, in the file's order."""
        return list(self._known.values())

    def find(self, row: Row) -> dict[str, str] | None:
        """Return the row with the same key, as text; None if there is none."""
        return self._known.get(self._key_of(row))

    def add(self, row: Row) -> dict[str, str]:
        """Append a row, and return it as text."""
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)
        text = {column: str(row[column]) for column in self._columns}
        self._known[self._key_of(row)] = text
        return text

    def _key_of(self, row: Row) -> tuple[str, ...]:
        return tuple(str(row[column]) for column in self._key)
