"""The terminal view of a sweep: a line for every trial that ends, and below them one live view of the whole."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from hamu_ray.config.search import MetricBounds, Objective, missed
from hamu_ray.results.outcome import Report
from hamu_ray.results.pareto.summary import SweepSummary, method_of, summarise
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import counted, describe, duration, number, short, without_numbers, words
from hamu_ray.terminal.progress import Phases, is_watched, make_bars

STYLES = {Status.FINISHED: "green", Status.INTERRUPTED: "yellow", Status.PRUNED: "yellow"}
HEIGHTS = "▁▂▃▄▅▆▇█"
CURVE = 24
"""Maximum number of characters of a curve."""

DESCRIBED = 44
"""Width of a trial's description where no terminal limits it."""

NARROWEST, WIDEST = 12, 60
"""Minimum and maximum width of a trial's description on a terminal."""

STATUS_WIDTH = max(len(status) for status in Status)


def sparkline(values: Sequence[float], width: int = CURVE) -> str:
    """Return a curve as one character per value, from the lowest to the highest; longer ones are thinned out."""
    if not values:
        return ""
    if len(values) > width:
        values = [values[round(at * (len(values) - 1) / (width - 1))] for at in range(width)]
    low, span = min(values), max(values) - min(values)
    steps = len(HEIGHTS) - 1
    return "".join(HEIGHTS[round((value - low) / span * steps) if span else 0] for value in values)


class SweepView:
    """The view. Lines are also printed to logs; the live view is drawn only where a person watches."""

    def __init__(
        self,
        console: Console,
        total: int,
        records: Sequence[TrialRecord],
        objectives: tuple[Objective, Objective],
        constraints: Mapping[str, MetricBounds] | None = None,
    ) -> None:
        """Create the view of a sweep of `total` trials, of which those with `records` have already ended.

        Only trials that meet the search's constraints count as its best, and for the hypervolume.
        """
        self.console = console
        self.total = total
        self.records = list(records)
        self.objectives = objectives
        self.constraints = constraints or {}
        self.several_nodes = False
        """Whether each line includes the nodes of its trial."""
        self._bars = make_bars(console)
        self._phases = Phases(console, self._bars)
        self._steps: dict[str, int] = {}
        """The last reported step of each running trial."""
        self._began = time.monotonic()
        self._first_step = math.nan
        self._before = len(self.records)
        self._curve = [self._summary.hypervolume] if self.records else []
        self._reasons: Counter[tuple[Status, str]] = Counter()
        self._examples: dict[tuple[Status, str], str] = {}
        self._named = False
        self._live = Live(
            console=console,
            get_renderable=self._drawn,
            refresh_per_second=4,
            transient=True,
        )

    @property
    def ended(self) -> int:
        """The number of trials that have ended."""
        return len(self.records)

    def __enter__(self) -> "SweepView":
        """Start drawing."""
        if is_watched(self.console):
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing, and print how often trials ended early and why."""
        self._live.stop()
        for (status, pattern), count in self._reasons.most_common():
            if count > 1:
                reason = self._examples[status, pattern]
                self._print(f"{counted(count, 'trial')} {status}: {reason}", style="dim")

    def show(self, trial_id: str, parameters: Mapping[str, Any], report: Report) -> None:
        """Show the progress of a trial."""
        if report.phase == "unlearning":
            if math.isnan(self._first_step):
                self._first_step = time.monotonic()
            self._steps[trial_id] = report.step
        self._phases.show(trial_id, describe(parameters), report)

    def end(self, record: TrialRecord) -> None:
        """Print the outcome of a trial, and its reason if it did not finish and is the first with such a reason."""
        self.records.append(record)
        self._steps.pop(record.trial_id, None)
        self._phases.end(record.trial_id)
        self._curve.append(self._summary.hypervolume)
        if not self._named:
            self._named = True
            for line in self._header():
                self._print(line, style="dim")
        self._print_row(record)
        if record.status is not Status.FINISHED and record.reason:
            key = (record.status, without_numbers(record.reason))
            self._reasons[key] += 1
            if key not in self._examples:
                self._examples[key] = record.reason
                self._print(f"{'':{self._margin}}{record.status}: {record.reason}", style="dim")

    def _print_row(self, record: TrialRecord) -> None:
        values = [number(record.measures.get(o.metric, math.nan)) for o in self.objectives]
        row = Text(f"{self.ended:>{len(str(self.total))}}/{self.total}", "dim")
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

    def _print(self, line: str, style: str) -> None:
        """Print a line; on a terminal it continues below without breaking a word."""
        self.console.print(Text(line, style), soft_wrap=not self.console.is_terminal)

    @property
    def _margin(self) -> int:
        """Width of a row's number."""
        return 2 * len(str(self.total)) + 3

    @property
    def _widths(self) -> list[int]:
        """Widths of the objectives' columns: of a number, or of the longest word of the title."""
        return [max(7, *map(len, words(o.metric).split())) for o in self.objectives]

    @property
    def _described(self) -> int:
        """Width of a trial's description: what the other columns leave."""
        if not self.console.is_terminal:
            return DESCRIBED
        others = self._margin + sum(self._widths) + 2 * len(self._widths) + 2 + STATUS_WIDTH
        return max(NARROWEST, min(WIDEST, self.console.width - others - 1))

    def _header(self) -> Iterator[str]:
        """Yield the lines with the columns' titles, a word per line."""
        titles = [words(o.metric).split() for o in self.objectives]
        height = max(map(len, titles))
        for row in range(height):
            cells = [([""] * (height - len(title)) + title)[row] for title in titles]
            name = "trial" if row == height - 1 else ""
            line = f"{'':{self._margin}}{name:<{self._described}}" + "".join(
                f"  {cell:>{width}}" for cell, width in zip(cells, self._widths, strict=True)
            )
            yield f"{line}  {'status' if row == height - 1 else ''}".rstrip()

    @property
    def _summary(self) -> SweepSummary:
        return summarise(self.records, self.objectives, constraints=self.constraints)

    def _drawn(self) -> RenderableType:
        """Return the live view."""
        lines = [self._line_of_progress(), *self._lines_of_results()]
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        return Group("", *texts, self._bars.get_renderable())

    def _line_of_progress(self) -> str:
        if math.isnan(self._first_step) and self.ended == self._before:
            waited = _whole(time.monotonic() - self._began)
            return f"sweep        waiting for workers and for the original and the reference, {waited}"
        counts = Counter(record.status for record in self.records)
        others = [
            f"{counts[status]} {status}"
            for status in Status
            if counts[status] and status is not Status.FINISHED
        ]
        parts = [f"{self.ended}/{self.total} trials", f"{len(self._steps)} running", *others]
        return f"sweep        {', '.join(parts)}"

    def _lines_of_results(self) -> Iterator[str]:
        elapsed = time.monotonic() - self._first_step
        if elapsed > 0:
            rate = f"{self._gradients / elapsed:.1f} gradients per second"
            yield f"time         {_whole(elapsed)}, {self._remaining(elapsed)} left, {rate}"
        finished = [
            record
            for record in self.records
            if record.status is Status.FINISHED and not missed(self.constraints, record.measures)
        ]
        for objective in self.objectives:
            known = [t for t in finished if math.isfinite(t.measures.get(objective.metric, math.nan))]
            if known:
                choose = max if objective.maximise else min
                best = choose(known, key=lambda trial: trial.measures[objective.metric])
                value = number(best.measures[objective.metric])
                yield f"best         {words(objective.metric)} {value} ({method_of(best)})"
        if self._curve:
            yield f"hypervolume  {number(self._curve[-1])} {sparkline(self._curve)}"

    @property
    def _gradients(self) -> float:
        """Gradients computed since the view began; a running trial counts two per step."""
        ended = [t.gradient_computations for t in self.records[self._before :]]
        return sum(filter(math.isfinite, ended)) + 2 * sum(self._steps.values())

    def _remaining(self, elapsed: float) -> str:
        done = self.ended - self._before
        if not done:
            return "unknown time"
        return "about " + _whole(elapsed / done * (self.total - self.ended))


def _whole(seconds: float) -> str:
    """Return a time in whole seconds or more, which does not flicker."""
    return f"{seconds:.0f} s" if seconds < 120 else duration(seconds)
