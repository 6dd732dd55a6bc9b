"""Models between the points of a front, where the two sides of a bound are joined by a line; evaluation only."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from hamu_ray.config.sources.files import ConfigError, check_run_document
from hamu_ray.engine.resident import Resident
from hamu_ray.interpolation.line import Ends, Line
from hamu_ray.interpolation.search import EVALUATIONS, TOLERANCE, cross
from hamu_ray.metrics.measured import Measures
from hamu_ray.results.folder import INTERPOLATED, MODEL_FILE
from hamu_ray.results.outcome import Outcome
from hamu_ray.results.pareto.summary import SweepSummary, summarise
from hamu_ray.results.provenance import labels_in
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import counted, describe, number, shown
from hamu_ray.selection.rules import Bound, best, shortfall, shortfall_of
from hamu_ray.selection.selected import Selection
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.terminal.console import Console

PROBLEM = ("data", "forget", "model", "training", "original", "reference")
"""Sections of a configuration that two models on one line share."""
FIRST = "original"
"""Name of the original model as an end."""


def select_between(
    sweep: SweepResult,
    folder: Path,
    summary: SweepSummary,
    front: Sequence[TrialRecord],
    bounds: Sequence[Bound],
    command: str,
    console: Console,
) -> Selection | None:
    """Return the model between others that is better than the trials of a front, after writing it to a run folder.

    The ``summary`` is of the trials that meet the bounds, the ``front`` is the one without bounds. Prints how many
    models were evaluated, and the trial that is selected otherwise. None if no model is better.

    Raises:
        ConfigError: There is no bound, or a model cannot be loaded.
    """
    if not bounds:
        raise ConfigError("--interpolate: give the bound to meet, such as --min retain_utility=0.9")
    search = Between(sweep, front, bounds)
    point = search.find(console)
    console.text(search.summary)
    for line in search.left_out:
        console.text(f"left out {line}", "dim")
    otherwise = best(summary, bounds)
    if point is None:
        console.text("between  no model is better than the trials")
        return None
    if otherwise is not None:
        measures = ", ".join(f"{o.metric} {number(otherwise.measures[o.metric])}" for o in summary.objectives)
        console.text(f"instead  of trial {otherwise.trial_id} {describe(otherwise.parameters)}: {measures}")
    record = search.write(point, folder)
    met_by = -shortfall(record, bounds)
    if met_by > TOLERANCE:
        console.text(
            f"bound    met by {number(met_by)}: none of the evaluated models on this line meets it by {TOLERANCE:g} or "
            f"less, as the metrics jump across it within {2.0**-EVALUATIONS:.2g} of the line"
        )
    between = {
        **point.as_document(),
        "met_by": met_by,
        "instead": otherwise and otherwise.trial_id,
        "evaluations": search.evaluated,
    }
    return Selection(summary, record, bounds, None, {}, between, command)


@dataclass(frozen=True)
class Pair:
    """Two models of which one meets the bounds and the other does not: the ends of a line."""

    first: TrialRecord | None
    """None: the original."""
    second: TrialRecord
    meets: float
    """Which end meets the bounds: 0 the first, 1 the second."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of both models."""
        return (self.first.trial_id if self.first else FIRST), self.second.trial_id

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """The trials whose models are ends."""
        return (self.second,) if self.first is None else (self.first, self.second)

    @property
    def words(self) -> str:
        """The names of both models in a sentence."""
        return (
            f"the original to trial {self.names[1]}"
            if self.first is None
            else "trial {} to trial {}".format(*self.names)
        )


@dataclass(frozen=True)
class Point:
    """A model between two others."""

    pair: Pair
    at: float
    record: TrialRecord
    """It as a trial; its costs are those of the runs behind it."""

    def as_document(self) -> dict[str, Any]:
        """Return how it is made, as plain data."""
        return {"ends": list(self.pair.names), "at": self.at}


@dataclass
class Between:
    """The search for a model between two models of a front, one of which meets the bounds."""

    sweep: SweepResult
    front: Sequence[TrialRecord]
    """The front without the bounds."""
    bounds: Sequence[Bound]
    evaluated: int = 0
    lines: int = 0
    seconds: float = 0.0
    left_out: list[str] = field(default_factory=list)
    """Why lines were not searched."""

    def __post_init__(self) -> None:
        """Read what the sweep's result leaves out of the records."""
        self.front = [self.sweep.source.record(trial.trial_id) or trial for trial in self.front]
        storage = folder_of(self.front[0]).parents[3]  # of sweeps/NAME/trials/ID
        self._resident = Resident(storage, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def summary(self) -> str:
        """How much was evaluated, in a line."""
        return (
            f"between  {counted(self.evaluated, 'model')} evaluated on {counted(self.lines, 'line')} that "
            f"cross{'es' * (self.lines == 1)} the bound, in {self.seconds:.1f} s"
        )

    def find(self, console: Console) -> Point | None:
        """Return the best point by the rules for trials; None if none is better than the sweep's trials."""
        began = time.monotonic()
        points = {}
        for pair in pairs(self.front, self.bounds):
            with console.waiting(f"evaluating models on the way from {pair.words}"):
                point = self._search(pair)
            if point is not None:
                points[point.record.trial_id] = point
        self.seconds = time.monotonic() - began
        known = self.sweep.summary
        records = (*known.trials, *(point.record for point in points.values()))
        # One that misses a bound on another metric may dominate those that meet it.
        kept = [record for record in records if shortfall(record, self.bounds) <= 0]
        found = best(summarise(kept, known.objectives, known.original, known.reference), self.bounds)
        return points.get(found.trial_id) if found else None

    def write(self, point: Point, folder: Path) -> TrialRecord:
        """Measure a point in full and write it to a run folder in the sweep's; return its record."""
        place = folder / INTERPOLATED / point.record.trial_id
        record = point.record
        line = self._line(point.pair)
        outcome = line.write(point.at, place, outcome_of(record))
        record = replace(
            record, measures=outcome.measures, model_path=str(place / MODEL_FILE), provenance=labels_in(place)
        )
        if (missing := shortfall(record, self.bounds)) > 0:
            raise ConfigError(
                f"{shown(place)}: measured again, it misses the bound by {missing:.2g}; the device computes other bits "
                "each time: ask for a little more"
            )
        return record

    def _search(self, pair: Pair) -> Point | None:
        try:
            line = self._line(pair)
        except ValueError as error:
            self.left_out.append(f"{pair.words}: {error}")
            return None
        metrics = frozenset(
            o.metric for o in (*self.sweep.summary.objectives, *(b.objective for b in self.bounds))
        )
        measured: dict[float, Measures] = {}

        def missing(at: float) -> float:
            measured[at] = line.measure(at, metrics)
            return shortfall_of(measured[at], self.bounds)

        place = cross(missing, pair.meets, 1 - pair.meets)
        self.lines += 1
        self.evaluated += len(measured)
        return None if place is None else Point(pair, place, record_of(pair, place, measured[place]))

    def _line(self, pair: Pair) -> Line:
        run = check_run_document(pair.second.configuration, f"trial {pair.second.trial_id}")
        first = None if pair.first is None else folder_of(pair.first)
        return Line(Ends(run, folder_of(pair.second), first), self._resident)


def pairs(front: Sequence[TrialRecord], bounds: Sequence[Bound]) -> Iterator[Pair]:
    """Yield the lines that cross the bounds: from the original to each point, and between neighbours."""

    def meets(measures: Mapping[str, float]) -> bool:
        return shortfall_of(measures, bounds) <= 0

    for trial in front:
        if meets(trial.original) != meets(trial.measures):
            yield Pair(None, trial, float(meets(trial.measures)))
    for first, second in pairwise(front):
        if meets(first.measures) != meets(second.measures) and problem_of(first) == problem_of(second):
            yield Pair(first, second, float(meets(second.measures)))


def problem_of(trial: TrialRecord) -> dict[str, Any]:
    """Return what two models on one line share: data, forget set, architecture and base models."""
    run = check_run_document(trial.configuration, f"trial {trial.trial_id}")
    return {**run.model_dump(mode="json", include=set(PROBLEM)), "seed": run.training_seed}


def record_of(pair: Pair, at: float, measures: Measures) -> TrialRecord:
    """Return a model between two others as a trial that is not on disk yet."""
    return replace(
        pair.second,
        trial_id=f"{'-'.join(pair.names)}-{at:g}",
        reason=f"weights {at:g} of the way from {pair.words}",
        measures=measures,
        model_path="",
        curve={},
        steps=sum(trial.steps for trial in pair.trials),
        unlearning_seconds=math.fsum(trial.unlearning_seconds for trial in pair.trials),
        gradient_computations=math.fsum(trial.gradient_computations for trial in pair.trials),
        steps_outside_guarantee=None,
    )


def outcome_of(record: TrialRecord) -> Outcome:
    """Return a record as the outcome of a run."""
    return Outcome(
        status=record.status,
        reason=record.reason,
        steps=record.steps,
        measures=record.measures,
        seconds=record.unlearning_seconds,
        gradient_computations=int(record.gradient_computations),
        reference_kind=record.reference_kind,
        reference_origin=record.reference_origin,
        nothing_to_forget=record.nothing_to_forget,
    )


def folder_of(trial: TrialRecord) -> StoragePath:
    """Return the folder of a trial's run."""
    return storage_path(trial.model_path).parent
