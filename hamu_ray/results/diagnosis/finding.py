"""A line of what `hamu_ray.doctor` finds out, about a machine, a cluster, a model or data."""

from typing import NamedTuple


class Finding(NamedTuple):
    """A line of the command's output."""

    subject: str
    text: str
    is_problem: bool = False

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.subject:8} {'problem: ' if self.is_problem else ''}{self.text}"
