"""Models between the points of a front, where the two sides of a bound are joined by a line; evaluation only."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hamu_ray.config.sources.files import ConfigError, check_run_document
from hamu_ray.engine.resident import Resident
from hamu_ray.interpolation.line import Ends, Line
from hamu_ray.interpolation.search import EVALUATIONS, TOLERANCE, cross, inside
from hamu_ray.metrics.measured import Measures
from hamu_ray.results.folder import INTERPOLATED, MODEL_FILE
from hamu_ray.results.outcome import Outcome, Report, Verdict
from hamu_ray.results.pareto.summary import SweepSummary, summarise
from hamu_ray.results.provenance import labels_in
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import counted, describe, number, shown
from hamu_ray.selection.lines import Pair, folder_of, pairs
from hamu_ray.selection.rules import Bound, best, shortfall, shortfalls
from hamu_ray.selection.selected import Selection
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.progress import Phases, make_bars


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
    search = Between(sweep, folder, front, bounds, console)
    point = search.find()
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
    record = search.write(point)
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
    """The search for a model between two models of a front, on lines that cross the bounds."""

    sweep: SweepResult
    folder: Path
    """The sweep's."""
    front: Sequence[TrialRecord]
    """The front without the bounds."""
    bounds: Sequence[Bound]
    console: Console
    evaluated: int = 0
    lines: int = 0
    seconds: float = 0.0
    left_out: list[str] = field(default_factory=list)
    """Why lines were not searched."""

    def __post_init__(self) -> None:
        """Read what the sweep's result leaves out of the records; trials without a model are left out."""
        known = [self.sweep.source.record(trial.trial_id) or trial for trial in self.front]
        self.front = [trial for trial in known if trial.model_path]
        self.left_out += [f"trial {t.trial_id}: its model was not kept" for t in known if not t.model_path]
        if not self.front:
            raise ConfigError(
                f"{shown(self.folder)}: --interpolate needs models, and those of its front were not kept"
            )
        self._phases = Phases(self.console, make_bars(self.console))
        storage = folder_of(self.front[0]).parents[3]  # of sweeps/NAME/trials/ID
        self._resident = Resident(storage, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def summary(self) -> str:
        """How much was evaluated, in a line."""
        return (
            f"between  {counted(self.evaluated, 'model')} evaluated on {counted(self.lines, 'line')} that "
            f"cross{'es' * (self.lines == 1)} the bound{'s' * (len(self.bounds) > 1)}, in {self.seconds:.1f} s"
        )

    def find(self) -> Point | None:
        """Return the best point by the rules for trials; None if none is better than the sweep's trials."""
        began = time.monotonic()
        points: dict[str, Point] = {}
        for pair in pairs(self.front, self.bounds):
            with self.console.waiting(f"evaluating models on the way from {pair.words}"):
                points |= {point.record.trial_id: point for point in self._search(pair)}
        self.seconds = time.monotonic() - began
        known = self.sweep.summary
        records = (*known.trials, *(point.record for point in points.values()))
        # One that misses a bound on another metric may dominate those that meet it.
        kept = [record for record in records if shortfall(record, self.bounds) <= 0]
        found = best(summarise(kept, known.objectives, known.original, known.reference), self.bounds)
        return points.get(found.trial_id) if found else None

    def write(self, point: Point) -> TrialRecord:
        """Measure a point in full and write it to a run folder in the sweep's; return its record."""
        place = self.folder / INTERPOLATED / point.record.trial_id
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

    def _search(self, pair: Pair) -> Iterator[Point]:
        """Yield the models on a line that meet the bounds by the least: one for each end that misses some."""
        try:
            line = self._line(pair)
        except ValueError as error:
            self.left_out.append(f"{pair.words}: {error}")
            return
        metrics = frozenset(
            o.metric for o in (*self.sweep.summary.objectives, *(b.objective for b in self.bounds))
        )
        measured: dict[float, Measures] = {}

        def missing(at: float) -> list[float]:
            measured[at] = line.measure(at, metrics)
            return shortfalls(measured[at], self.bounds)

        meets = inside(missing, pair.missed) if pair.meets is None else pair.meets
        places = {meets}
        if meets is not None:
            places |= {cross(lambda at: max(missing(at)), meets, end) for end in pair.ends_that_miss}
        self.lines += 1
        self.evaluated += len(measured)
        for place in measured.keys() & places:
            yield Point(pair, place, record_of(pair, place, measured[place]))

    def _line(self, pair: Pair) -> Line:
        run = check_run_document(pair.second.configuration, f"trial {pair.second.trial_id}")
        first = None if pair.first is None else folder_of(pair.first)
        return Line(Ends(run, folder_of(pair.second), first), self._resident, self._show)

    def _show(self, report: Report) -> Verdict:
        """Announce the training of a base model that is missing in the storage."""
        self._phases.show("base models", "", report)
        return Verdict.GO_ON


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
