"""A line for every trial that ends, below a header, and the reason of the first that ends early in such a way."""

import math
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import describe, number, short, words
from hamu_ray.terminal.sweep_progress import SweepProgress

STYLES = {Status.FINISHED: "green", Status.INTERRUPTED: "yellow", Status.PRUNED: "yellow"}

DESCRIBED = 44
"""Width of a trial's description where no terminal limits it."""

NARROWEST, WIDEST = 12, 60
"""Minimum and maximum width of a trial's description on a terminal."""

STATUS_WIDTH = max(len(status) for status in Status)


class TrialRows:
    """Prints the lines of a sweep's trials."""

    def __init__(self, console: Console, progress: SweepProgress) -> None:
        """Print to a console; each trial is also noted in the progress."""
        self.console, self.progress = console, progress
        self.several_nodes = False
        """Whether each line includes the nodes of its trial."""
        self._named = False

    def end(self, record: TrialRecord) -> None:
        """Print the outcome of a trial, and its reason if it did not finish and is the first with such a reason."""
        reason = self.progress.end(record)
        if not self._named:
            self._named = True
            for line in self._header():
                self.print(line)
        self._print_row(record)
        if reason:
            self.print(f"{'':{self._margin}}{record.status}: {reason}")

    def print(self, line: str, style: str = "dim") -> None:
        """Print a line; on a terminal it continues below without breaking a word."""
        self.console.print(Text(line, style), soft_wrap=not self.console.is_terminal)

    def _print_row(self, record: TrialRecord) -> None:
        values = [number(record.measures.get(o.metric, math.nan)) for o in self.progress.objectives]
        total = self.progress.total
        row = Text(f"{self.progress.ended:>{len(str(total))}}/{total}", "dim")
        name = describe(record.parameters)
        if self.console.is_terminal and len(name) > self._described:
            name = name[: self._described - 1] + "…"
        row.append(f"  {name:<{self._described}}", "none")
        for value, width in zip(values, self._widths, strict=True):
            row.append(f"  {value:>{width}}", "none")
        row.append(f"  {record.status}", STYLES.get(record.status, "red"))
        if self.several_nodes:
            row.append(f"  on {', '.join(map(short, record.nodes))}", "dim")
        self.console.print(row, soft_wrap=True)

    @property
    def _margin(self) -> int:
        """Width of a row's number."""
        return 2 * len(str(self.progress.total)) + 3

    @property
    def _widths(self) -> list[int]:
        """Widths of the objectives' columns: of a number, or of the longest word of the title."""
        return [max(7, *map(len, words(o.metric).split())) for o in self.progress.objectives]

    @property
    def _described(self) -> int:
        """Width of a trial's description: what the other columns leave."""
        if not self.console.is_terminal:
            return DESCRIBED
        others = self._margin + sum(self._widths) + 2 * len(self._widths) + 2 + STATUS_WIDTH
        return max(NARROWEST, min(WIDEST, self.console.width - others - 1))

    def _header(self) -> Iterator[str]:
        """Yield the lines with the columns' titles, a word per line."""
        titles = [words(o.metric).split() for o in self.progress.objectives]
        height = max(map(len, titles))
        for row in range(height):
            cells = [([""] * (height - len(title)) + title)[row] for title in titles]
            name = "trial" if row == height - 1 else ""
            line = f"{'':{self._margin}}{name:<{self._described}}" + "".join(
                f"  {cell:>{width}}" for cell, width in zip(cells, self._widths, strict=True)
            )
            yield f"{line}  {'status' if row == height - 1 else ''}".rstrip()
