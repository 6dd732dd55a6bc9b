"""How far a sweep is, as lines of text: trials, time, best values and the hypervolume."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hamu_ray.config.search import MetricBounds, Objective
from hamu_ray.results.pareto.summary import method_of, summarise
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import counted, duration, number, without_numbers, words

HEIGHTS = "▁▂▃▄▅▆▇█"
CURVE = 24
"""Maximum number of characters of a curve."""


def sparkline(values: Sequence[float], width: int = CURVE) -> str:
    """Return a curve as one character per value, from the lowest to the highest; longer ones are thinned out."""
    if not values:
        return ""
    if len(values) > width:
        values = [values[round(at * (len(values) - 1) / (width - 1))] for at in range(width)]
    low, span = min(values), max(values) - min(values)
    steps = len(HEIGHTS) - 1
    return "".join(HEIGHTS[round((value - low) / span * steps) if span else 0] for value in values)


@dataclass
class SweepProgress:
    """The progress of a sweep. All times are readings of one clock, in seconds.

    Only trials that meet the search's constraints count as its best, and for the hypervolume.
    """

    total: int
    objectives: tuple[Objective, ...]
    constraints: Mapping[str, MetricBounds] = field(default_factory=dict)
    began: float = 0.0
    """When the driver started."""
    first_step: float = math.nan
    """When the first of the driver's trials reported a step."""
    before: int = 0
    """Number of trials that ended under earlier drivers of the sweep."""
    records: list[TrialRecord] = field(default_factory=list)
    """The trials that have ended, in order."""
    steps: dict[str, int] = field(default_factory=dict)
    """The last reported step of each running trial."""
    paused: set[str] = field(default_factory=set)
    """The trials that wait at a rung."""
    front: tuple[TrialRecord, ...] = ()
    curve: list[float] = field(default_factory=list)
    """The hypervolume after each trial."""
    reasons: Counter[tuple[Status, str]] = field(default_factory=Counter)
    """How often trials ended early, by status and by reason without its numbers."""
    examples: dict[tuple[Status, str], str] = field(default_factory=dict)
    """The first reason of each kind."""

    @property
    def ended(self) -> int:
        """The number of trials that have ended."""
        return len(self.records)

    def start(self, records: Sequence[TrialRecord]) -> None:
        """Begin with the trials that ended under earlier drivers."""
        self.records, self.before = list(records), len(records)
        if records:
            self._add(records)

    def step(self, trial: str, step: int, now: float) -> None:
        """Note the step of a running trial."""
        if math.isnan(self.first_step):
            self.first_step = now
        self.paused.discard(trial)
        self.steps[trial] = step

    def pause(self, trial: str) -> None:
        """Note that a trial waits at a rung."""
        self.steps.pop(trial, None)
        self.paused.add(trial)

    def end(self, record: TrialRecord) -> str:
        """Note the end of a trial; return its reason if it ended early and is the first with such a reason."""
        self.records.append(record)
        self.steps.pop(record.trial_id, None)
        self.paused.discard(record.trial_id)
        self._add([record])
        if record.status is Status.FINISHED or not record.reason:
            return ""
        key = (record.status, without_numbers(record.reason))
        self.reasons[key] += 1
        is_first = key not in self.examples
        self.examples.setdefault(key, record.reason)
        return record.reason if is_first else ""

    def _add(self, records: Sequence[TrialRecord]) -> None:
        known = [replace(trial, points=()) for trial in self.front]  # its points are trials of the front
        summary = summarise([*known, *records], self.objectives, constraints=self.constraints)
        self.front = summary.front
        self.curve.append(summary.hypervolume)

    def lines(self, now: float, state: str = "") -> Iterator[str]:
        """Yield the lines; ``state`` is how the sweep ended, empty while it runs."""
        if math.isnan(self.first_step) and self.ended == self.before and not state:
            waited = _whole(now - self.began)
            yield f"sweep        waiting for workers and for the original and the reference, {waited}"
        else:
            counts = Counter(record.status for record in self.records)
            others = [
                f"{counts[status]} {status}"
                for status in Status
                if counts[status] and status is not Status.FINISHED
            ]
            running = state or f"{len(self.steps)} running"
            others = [f"{len(self.paused)} waiting at rungs"] * bool(self.paused) + others
            yield f"sweep        {', '.join([f'{self.ended}/{self.total} trials', running, *others])}"
        elapsed = now - self.first_step
        if elapsed > 0:
            left = "" if state else f", {self._remaining(elapsed)} left"
            rate = f", {self._gradients / elapsed:.1f} gradients per second" * bool(self._gradients)
            yield f"time         {_whole(elapsed)}{left}{rate}"
        yield from self._best()
        if self.curve:
            yield f"hypervolume  {number(self.curve[-1])} {sparkline(self.curve)}"

    def lines_of_reasons(self, at_least: int = 1) -> Iterator[str]:
        """Yield how often trials ended early and why, for reasons that occurred so often."""
        for (status, pattern), count in self.reasons.most_common():
            if count >= at_least:
                yield f"{counted(count, 'trial')} {status}: {self.examples[status, pattern]}"

    def _best(self) -> Iterator[str]:
        for objective in self.objectives:
            if self.front:  # which has the best value of each objective
                choose = max if objective.maximise else min
                best = choose(self.front, key=lambda trial: trial.measures[objective.metric])
                value = number(best.measures[objective.metric])
                yield f"best         {words(objective.metric)} {value} ({method_of(best)})"

    @property
    def _gradients(self) -> float:
        """Gradients computed since the driver started; a running trial counts two per step."""
        ended = [t.gradient_computations for t in self.records[self.before :]]
        return sum(filter(math.isfinite, ended)) + 2 * sum(self.steps.values())

    def _remaining(self, elapsed: float) -> str:
        done = self.ended - self.before
        if not done:
            return "unknown time"
        return "about " + _whole(elapsed / done * (self.total - self.ended))


def _whole(seconds: float) -> str:
    """Return a time in whole seconds or more, which does not flicker."""
    return f"{seconds:.0f} s" if seconds < 120 else duration(seconds)
