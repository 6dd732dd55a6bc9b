"""The driver's view of a sweep: a line for every trial that ends, and below them one live view of the whole."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from hamu_ray.config.search import MetricBounds, Objective
from hamu_ray.results.outcome import Report
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import describe
from hamu_ray.terminal.progress import Phases, is_watched, make_bars
from hamu_ray.terminal.sweep_progress import SweepProgress
from hamu_ray.terminal.trial_rows import TrialRows


class SweepView:
    """The view. Lines are also printed to logs; the live view is drawn only where a person watches."""

    def __init__(
        self,
        console: Console,
        total: int,
        records: Sequence[TrialRecord],
        objectives: tuple[Objective, ...],
        constraints: Mapping[str, MetricBounds] | None = None,
    ) -> None:
        """Create the view of a sweep of `total` trials, of which those with `records` have already ended.

        Only trials that meet the search's constraints count as its best, and for the hypervolume.
        """
        self.console = console
        self.progress = SweepProgress(total, objectives, constraints or {}, began=time.monotonic())
        self.progress.start(records)
        self.rows = TrialRows(console, self.progress)
        self._bars = make_bars(console)
        self._phases = Phases(console, self._bars)
        self._live = Live(
            console=console,
            get_renderable=self._drawn,
            refresh_per_second=4,
            transient=True,
        )

    @property
    def total(self) -> int:
        """The number of trials."""
        return self.progress.total

    @property
    def ended(self) -> int:
        """The number of trials that have ended."""
        return self.progress.ended

    def __enter__(self) -> "SweepView":
        """Start drawing."""
        if is_watched(self.console):
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing, and print how often trials ended early and why."""
        self._live.stop()
        for line in self.progress.lines_of_reasons(at_least=2):
            self.rows.print(line)

    def show(self, trial_id: str, parameters: Mapping[str, Any], report: Report) -> None:
        """Show the progress of a trial."""
        if report.phase == "unlearning":
            self.progress.step(trial_id, report.step, time.monotonic())
        self._phases.show(trial_id, describe(parameters), report)

    def pause(self, trial_id: str) -> None:
        """Show that a trial waits at a rung."""
        self._phases.end(trial_id)
        self.progress.pause(trial_id)

    def end(self, record: TrialRecord) -> None:
        """Print the outcome of a trial, and its reason if it did not finish and is the first with such a reason."""
        self._phases.end(record.trial_id)
        self.rows.end(record)

    def _drawn(self) -> RenderableType:
        """Return the live view."""
        return Group("", *texts(self.progress.lines(time.monotonic())), self._bars.get_renderable())


def texts(lines: Iterable[str]) -> list[Text]:
    """Return lines that are cut at the edge of the terminal."""
    return [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
