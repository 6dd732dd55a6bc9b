"""The rungs of a sweep (`search.scheduler`): which trials wait there, which are continued, and which are given up."""

import math
from collections.abc import Collection, Mapping

from hamu_ray.config.search import directions
from hamu_ray.results.durable.sealed import Damaged
from hamu_ray.results.folder import TRIALS, read_reports, trial_name
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.pareto.pruning import curve_of
from hamu_ray.results.pareto.rungs import Rungs
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.tuning.plan import SweepPlan


class Promotions:
    """The rungs of each cell of the grids, so that methods do not compete; none without `search.scheduler`.

    Trials are given by their numbers in the sweep.
    """

    def __init__(self, plan: SweepPlan) -> None:
        """Create the rungs, with the trials that have ended before."""
        self._plan = plan
        scheduler = plan.config.search.scheduler
        maximise = directions(plan.objectives)
        self._cells = (
            [Rungs(scheduler.steps, scheduler.reduction, maximise, samples) for samples in plan.samples]
            if scheduler is not None
            else []
        )
        for record in plan.own_records if self._cells else ():
            self._recall(record)

    def arrive(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        """A trial waits at the rung of a step.

        Under an earlier driver it may have passed others, which count it with its metrics there.
        """
        rungs, point = self._rungs(number), self._point(metrics)
        missing = rungs.missing(number, step)
        curve = self._curve(number) if missing else {}
        for earlier in missing:
            rungs.arrive(number, earlier, curve.get(earlier, point))
        rungs.arrive(number, step, point)

    def end(self, number: int, status: Status, metrics: Mapping[str, float]) -> None:
        """A trial has ended."""
        if self._cells:
            point = self._point(metrics if status == Status.FINISHED else {})
            self._rungs(number).end(number, point)

    def give_up(self, number: int) -> None:
        """A trial is not continued."""
        self._rungs(number).give_up(number)

    def promote(self, closed: Collection[int] = ()) -> tuple[int, int] | None:
        """Return a trial to continue, and the step at which it waited, not in closed cells; None if there is none."""
        rungs = (rungs for cell, rungs in enumerate(self._cells) if cell not in closed)
        return next((found for each in rungs if (found := each.promote()) is not None), None)

    @property
    def hopeless(self) -> list[int]:
        """The trials that wait in vain, whatever the trials that are still to come."""
        return [number for rungs in self._cells for number in rungs.hopeless()]

    @property
    def waiting(self) -> list[int]:
        """All trials that wait."""
        return [number for rungs in self._cells for number in rungs.waiting]

    def _recall(self, record: TrialRecord) -> None:
        number = int(record.trial_id)
        rungs = self._rungs(number)
        for step in rungs.steps:
            if step in record.curve and step <= record.steps:
                rungs.arrive(number, step, record.curve[step])
        if record.status is Status.PRUNED:
            rungs.give_up(number)
        else:
            self.end(number, record.status, record.measures)

    def _curve(self, number: int) -> Mapping[int, Point]:
        """Return what a trial that waits has reported, by step; empty if that cannot be read."""
        try:
            return curve_of(
                read_reports(self._plan.results / TRIALS / trial_name(number)), self._plan.metrics
            )
        except (Damaged, FileNotFoundError):
            return {}

    def _rungs(self, number: int) -> Rungs:
        _, cell = self._plan.positions[number]
        return self._cells[cell]

    def _point(self, metrics: Mapping[str, float]) -> Point:
        return tuple(float(metrics.get(metric, math.nan)) for metric in self._plan.metrics)
