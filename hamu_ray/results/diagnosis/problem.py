"""A damaged or missing file, and what follows from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hamu_ray.results.durable.sealed import Damaged, read_sealed
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, rename

SUFFIX = ".damaged"
"""Suffix of the name of a file that has been set aside."""


@dataclass(frozen=True)
class Problem:
    """A file that is damaged or missing."""

    path: StoragePath
    what: str
    """What is wrong with it."""
    consequence: str
    """What is lost, and what makes up for it."""
    aside: Sequence[StoragePath] = ()
    """Files that a repair sets aside, as far as they exist."""
    reruns: str = ""
    """Name of the trial that `--resume` runs again after the repair."""
    mend: Callable[[], None] | None = None
    """A further part of the repair, after the files have been set aside."""

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.what}; {self.consequence}"


def set_aside(path: StoragePath) -> None:
    """Rename a file; an earlier one with that name is replaced."""
    rename(path, path.with_name(path.name + SUFFIX))


def sealed_problem(path: StoragePath, consequence: str) -> Problem | None:
    """Return the problem of a JSON file with a digest; None if it is intact, or does not exist."""
    try:
        read_sealed(path)
    except FileNotFoundError:
        return None
    except Damaged:
        return Problem(path, "damaged", consequence, [path])
    return None
