"""The index of a bundle of reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamu_ray.reports.analysis.problems import Problem
from hamu_ray.reports.page import advice
from hamu_ray.reports.page.origins import SweepRow
from hamu_ray.reports.page.page import now, style, template


@dataclass(frozen=True)
class Entry:
    """A sweep in the index."""

    row: SweepRow
    problems: Sequence[Problem]
    report: str
    """Path of its report, relative to the index."""
    picture: str | None
    """Path of its front as PNG, relative to the index; None if there is none."""

    @property
    def answers(self) -> list[str]:
        """The first sentence of the report, for each problem."""
        return [advice.headline(problem) for problem in self.problems]


def render_index(entries: Sequence[Entry], title: str, together: Path | None) -> str:
    """Render the index, with a link to the report on all of them ``together`` if there is one."""
    return template("index.html").render(
        title=title, entries=entries, together=together, style=style(), made=now()
    )
