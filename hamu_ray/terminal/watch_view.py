"""The view of a sweep from another shell: how far it is, its running trials and the front so far."""

import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live

from hamu_ray.config.sources.document import first_line
from hamu_ray.results.live import LiveSweep
from hamu_ray.results.pareto.table import front_table
from hamu_ray.results.trial import Status
from hamu_ray.results.wording import describe
from hamu_ray.terminal.front import rendered
from hamu_ray.terminal.progress import is_watched
from hamu_ray.terminal.sweep_progress import SweepProgress
from hamu_ray.terminal.sweep_view import texts
from hamu_ray.terminal.trial_rows import TrialRows

POLL_SECONDS = 2.0
"""Pause between two readings of the sweep's files, as long as that between two copies into the storage."""


class WatchView:
    """The view. On a terminal it is redrawn; elsewhere it is printed, then each trial that ends, and the view again."""

    def __init__(self, console: Console, sweep: LiveSweep) -> None:
        """Read the sweep, and print nothing."""
        self.console, self.sweep = console, sweep
        result = sweep.result
        self.progress = SweepProgress(result.expected or 0, result.objectives, result.constraints)
        self.rows = TrialRows(console, self.progress)
        self._obstacle = ""
        for record in sweep.update():
            self.progress.end(record)
        self._refresh()

    def follow(self, pause: Callable[[float], None] = time.sleep) -> None:
        """Show the sweep until it ends."""
        if is_watched(self.console):
            with Live(console=self.console, get_renderable=self.drawn, refresh_per_second=2, transient=True):
                self._follow(pause)
        else:
            self.print()
            self._follow(pause)
        self.print()

    def print(self) -> None:
        """Print the view once."""
        for line in self._lines():
            self.console.print(line, soft_wrap=True, markup=False)
        for front in self._front:
            self.console.print(front)

    def drawn(self) -> RenderableType:
        """Return the view."""
        return Group("", *texts(self._lines()), *self._front)

    def _follow(self, pause: Callable[[float], None]) -> None:
        while self.sweep.status is None:
            pause(POLL_SECONDS)
            try:
                ended = self.sweep.update()
            except Exception as error:  # fsspec's file systems raise many unrelated types
                self._obstacle = first_line(error)
                continue
            self._obstacle = ""
            for record in ended:
                self.rows.end(record)
            self._refresh()

    def _refresh(self) -> None:
        """Take over what is new in the sweep."""
        sweep, progress = self.sweep, self.progress
        progress.began, progress.first_step, progress.before = sweep.began, sweep.first_step, sweep.before
        self._running = sweep.running
        progress.steps = {trial.name: trial.step for trial in self._running if not trial.paused}
        progress.paused = {trial.name for trial in self._running if trial.paused}
        summary = sweep.result.summary
        self._front = [rendered(front_table(summary))] if summary.front else []

    def _lines(self) -> Iterator[str]:
        status = self.sweep.status
        yield f"watching     {self.sweep.folder.name}"
        if self._obstacle:
            yield f"cannot be read, trying again: {self._obstacle}"
        yield from self.progress.lines(self.sweep.written if status else time.time(), status or "")
        yield from (f"ended early  {line}" for line in self.progress.lines_of_reasons())
        for trial in self._running if status is None else ():
            of = f"step {trial.step} of {trial.total_steps}" if trial.total_steps else "loading"
            state = "waiting" if trial.paused else "running"
            yield f"{state:<13}{trial.name} {describe(trial.parameters)}: {of}"
        if status is Status.INTERRUPTED:
            yield "interrupted; its command with --resume goes on"
