"""The result of a sweep as plain data: the same object from a sweep's folder and from MLflow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from pydantic import ValidationError

from hamu_ray.config.search import DEFAULT_OBJECTIVES, Objective
from hamu_ray.config.sweep import SweepConfig, trials_of
from hamu_ray.results.front import Point
from hamu_ray.results.summary import SweepSummary, summarise
from hamu_ray.results.trial import TrialRecord


class SweepSource(Protocol):
    """Where a sweep was read from, for what is read one trial at a time."""

    @property
    def address(self) -> str:
        """The folder or the tracking URI, without credentials."""
        ...

    def record(self, trial: str) -> TrialRecord | None:
        """Return the record that the driver wrote at the end of a trial, or None where it was not kept."""
        ...

    def history(self, trial: str, metric: str) -> dict[int, float]:
        """Return the values of a metric by step; empty where it was not logged."""
        ...

    def file(self, trial: str, name: str) -> bytes | None:
        """Return the content of a file of a trial's run, or None where it was not kept."""
        ...

    def run_id(self, trial: str) -> str:
        """Return the id of a trial's run in MLflow; empty where it has none."""
        ...

    def rerun_command(self, trial: str) -> str:
        """Return the shell command that runs a trial's configuration again."""
        ...


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has ended or still runs.

    The records of its trials have neither the metrics of their base models nor curves: `source` reads those, for one
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
    began: float
    """Seconds since the epoch; NaN where unknown."""
    ended: float
    """NaN while it runs."""
    source: SweepSource = field(compare=False, repr=False)

    @cached_property
    def config(self) -> SweepConfig | None:
        """The validated configuration; None where this version's schema refuses it."""
        try:
            return SweepConfig.model_validate(self.document)
        except ValidationError:
            return None

    @property
    def objectives(self) -> tuple[Objective, Objective]:
        """The objectives of the sweep."""
        given = (self.document.get("search") or {}).get("objectives")
        if not given:
            return DEFAULT_OBJECTIVES
        first, second = (Objective.model_validate(one) for one in given)
        return first, second

    @property
    def key(self) -> tuple[str, str]:
        """Its identity among sweeps: the experiment and the name."""
        return self.experiment, self.name

    @property
    def expected(self) -> int | None:
        """The number of trials that the configuration asks for; None where it is not known."""
        return trials_of(self.config) if self.config else None

    @cached_property
    def summary(self) -> SweepSummary:
        """The Pareto front of the trials, and everything that tables of it show."""
        return summarise(self.trials, self.objectives, self.original, self.reference)


def objective_curve(source: SweepSource, trial: str, objectives: Sequence[Objective]) -> dict[int, Point]:
    """Return the two objectives of a trial at the steps where both were logged."""
    first, second = (source.history(trial, objective.metric) for objective in objectives)
    return {step: (first[step], second[step]) for step in sorted(first) if step in second}


def finite_or_nan(value: float | None) -> float:
    """Return a number that may be missing as a float: NaN where it is missing or infinite."""
    return value if value is not None and math.isfinite(value) else math.nan
