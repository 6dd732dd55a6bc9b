"""The result of a sweep as plain data: the same object from a sweep's folder and from MLflow."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from pydantic import ValidationError

from hamu_ray.config.search import DEFAULT_OBJECTIVES, MetricBounds, Objective
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import trials_of
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.pareto.summary import SweepSummary, summarise
from hamu_ray.results.trial import TrialRecord


class SweepSource(Protocol):
    """The source of a sweep, for data that are read one trial at a time."""

    @property
    def address(self) -> str:
        """The folder or the tracking URI, without credentials."""
        ...

    def record(self, trial: str) -> TrialRecord | None:
        """Return the record that the driver wrote at the end of a trial, or None if it was not kept."""
        ...

    def history(self, trial: str, metric: str) -> dict[int, float]:
        """Return the values of a metric by step; empty if it was not logged."""
        ...

    def file(self, trial: str, name: str) -> bytes | None:
        """Return the content of a file of a trial's run, or None if it was not kept."""
        ...

    def run_id(self, trial: str) -> str:
        """Return the id of a trial's run in MLflow; empty if it has none."""
        ...

    def rerun_command(self, trial: str) -> str:
        """Return the shell command that runs a trial's configuration again."""
        ...


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has ended or is still running.

    The records of its trials contain neither the metrics of their base models nor curves: `source` reads them, one
    trial at a time.
    """

    name: str
    experiment: str
    """The name of its MLflow experiment."""
    document: Mapping[str, Any]
    """The resolved configuration as plain data."""
    trials: tuple[TrialRecord, ...]
    """In order of their names."""
    original: Mapping[str, float]
    """Mean metrics of the original models; empty without one."""
    reference: Mapping[str, float]
    """Mean metrics of the retain-only references; empty without one."""
    metrics: Mapping[str, float]
    """The sweep's own numbers, of `hamu_ray.metrics.table.SWEEP`."""
    running: bool
    """Whether it has not ended."""
    reason: str
    """Why it ended with trials left to run; empty if it has none."""
    began: float
    """Seconds since the epoch; NaN if unknown."""
    ended: float
    """Seconds since the epoch; NaN while it runs."""
    source: SweepSource = field(compare=False, repr=False)

    @cached_property
    def config(self) -> SweepConfig | None:
        """The validated configuration; None if this version's schema rejects it."""
        try:
            return SweepConfig.model_validate(self.document)
        except ValidationError:
            return None

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of the sweep."""
        return objectives_of(self.document)

    @property
    def constraints(self) -> dict[str, MetricBounds]:
        """The constraints of the search, by metric."""
        given = (self.document.get("search") or {}).get("constraints") or {}
        return {metric: MetricBounds.model_validate(bounds) for metric, bounds in given.items()}

    @property
    def key(self) -> tuple[str, str]:
        """Its identity among sweeps: experiment and name."""
        return self.experiment, self.name

    @property
    def expected(self) -> int | None:
        """The number of trials of the configuration, and of clones so far; None if it is unknown."""
        clones = sum(bool(trial.cloned_from) for trial in self.trials)
        return trials_of(self.config) + clones if self.config else None

    @cached_property
    def summary(self) -> SweepSummary:
        """The Pareto front of the trials, and everything that tables of it show."""
        return summarise(self.trials, self.objectives, self.original, self.reference, self.constraints)


def objectives_of(document: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Return the objectives of a sweep's configuration as plain data."""
    given = (document.get("search") or {}).get("objectives")
    return tuple(map(Objective.model_validate, given)) if given else DEFAULT_OBJECTIVES


def shared_constraints(sweeps: Iterable[SweepResult]) -> dict[str, MetricBounds]:
    """Return the constraints that all of these sweeps have; there must be at least one sweep."""
    first, *others = {sweep.key: sweep.constraints for sweep in sweeps}.values()
    return {
        metric: bounds
        for metric, bounds in first.items()
        if all(other.get(metric) == bounds for other in others)
    }


def objective_curve(source: SweepSource, trial: str, objectives: Sequence[Objective]) -> dict[int, Point]:
    """Return the objectives of a trial at the steps where all were logged."""
    histories = [source.history(trial, objective.metric) for objective in objectives]
    steps = set.intersection(*map(set, histories)) if histories else ()
    return {step: tuple(history[step] for history in histories) for step in sorted(steps)}


def finite_or_nan(value: float | None) -> float:
    """Convert an optional number to a float: NaN if it is missing or infinite."""
    return value if value is not None and math.isfinite(value) else math.nan
