"""Published studies: the rows of docs/study, and the search spaces whose trials they are."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from hamu_ray.config.schema import Section
from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.sources.shipped import shipped_files, space_path
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.reproduce.columns import COLUMNS, SEARCH

FOLDER = "docs/study"


class StudyFile(Section):
    """`NAME.yaml` beside the rows `NAME.csv`: what was run."""

    spaces: tuple[str, ...] = Field(strict=False, min_length=1)
    """Search spaces, by path or by the name of a shipped one; a request each."""
    set: tuple[str, ...] = Field(default=(), strict=False)
    """Changes to all of them, such as `preset=small`."""


@dataclass(frozen=True)
class Published:
    """A study with its rows."""

    path: Path
    """Its file."""
    file: StudyFile
    rows: Sequence[Mapping[str, str]]

    @property
    def name(self) -> str:
        """The name of its files."""
        return self.path.stem

    @cached_property
    def requests(self) -> tuple[str, ...]:
        """The names of its search spaces, as the rows have them."""
        return tuple(dict.fromkeys(row["space"] for row in self.rows))

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods of its searches."""
        return tuple(dict.fromkeys(row["method"] for row in self.rows if row["purpose"] == SEARCH))

    def seeds(self, request: str) -> tuple[int, ...]:
        """Return the seeds of a request's searches."""
        found = {
            int(row["search_seed"])
            for row in self.rows
            if (row["space"], row["purpose"]) == (request, SEARCH)
        }
        return tuple(sorted(found))

    def methods_of(self, request: str, seed: int) -> tuple[str, ...]:
        """Return the methods of a request's search; not every method needs to have one with every seed."""
        search = (request, SEARCH, str(seed))
        found = (row for row in self.rows if (row["space"], row["purpose"], row["search_seed"]) == search)
        return tuple(dict.fromkeys(row["method"] for row in found))

    def configs(self, seed: int, changes: Sequence[str] = ()) -> dict[str, SweepConfig]:
        """Return the sweep of each request with a seed of the search and further changes; raises `ConfigError`."""
        overrides = [*self.file.set, *changes, f"search.seed={seed}", "search.repeats=1"]
        found = [load_sweep(space_path(space), overrides) for space in self.file.spaces]
        return {config.name: config for config in found}


def published(given: str) -> Published:
    """Return a study by the name of a shipped one, such as `study/digits`, or by the path of its file.

    Raises:
        ConfigError: There is none, or its file or its table is not a study's.
    """
    known = {f"study/{name}": path for name, path in shipped_files(FOLDER).items()}
    path = known.get(given, Path(given))
    if not path.is_file():
        raise ConfigError(f"{given}: no such study; {nearest(given, known)}")
    try:
        file = StudyFile.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"{path}: not a study ({found}); name its search spaces in spaces") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    table = path.with_suffix(".csv")
    if not table.is_file():
        raise ConfigError(f"{table}: the study's table is missing; put it beside {path.name}")
    with table.open(newline="") as text:
        reader = csv.DictReader(text)
        rows = list(reader)
    if missing := set(COLUMNS) - set(reader.fieldnames or ()):
        raise ConfigError(f"{table}: not a study's table, it lacks the columns {', '.join(sorted(missing))}")
    return Published(path, file, rows)
