"""Rules for selecting a point of a front: the best in one objective that meets bounds on the others."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice

from hamu_ray.config.search import MetricBounds, Objective, directions
from hamu_ray.results.pareto.front import Interval, knee, non_dominated
from hamu_ray.results.pareto.summary import SweepSummary, summarise
from hamu_ray.results.trial import TrialRecord

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Bound:
    """A bound on a metric: a minimum if higher is better, a maximum if lower is better."""

    objective: Objective
    value: float

    def shortfall(self, value: float) -> float:
        """Return by how much a value misses the bound, zero or less if it meets it; infinity for NaN."""
        missing = self.value - value if self.objective.maximise else value - self.value
        return math.inf if math.isnan(missing) else missing

    def __str__(self) -> str:
        sign = ">=" if self.objective.maximise else "<="
        return f"{self.objective.metric} {sign} {self.value:g}"


def floor_of(summary: SweepSummary) -> list[Bound]:
    """Return the search's constraints as bounds."""
    found = []
    for metric, bounds in summary.constraints.items():
        if bounds.min is not None:
            found.append(Bound(Objective(metric=metric, mode="max"), bounds.min))
        if bounds.max is not None:
            found.append(Bound(Objective(metric=metric, mode="min"), bounds.max))
    return found


def in_force(summary: SweepSummary, asked: Sequence[Bound]) -> list[Bound]:
    """Return the requested bounds, and the search's constraints that they do not replace."""
    given = {bound.objective for bound in asked}
    return [*asked, *(bound for bound in floor_of(summary) if bound.objective not in given)]


def relaxed(summary: SweepSummary, bounds: Iterable[Bound]) -> SweepSummary:
    """Return the summary without the search's constraints in place of which there are bounds now.

    A bound replaces the constraint on the same side of the same metric: a minimum leaves a maximum as it is.
    """
    given = {bound.objective for bound in bounds}
    kept: dict[str, MetricBounds] = {}
    for bound in floor_of(summary):
        if bound.objective not in given:
            metric, side = bound.objective.metric, "min" if bound.objective.maximise else "max"
            known = kept.get(metric)
            sides = {} if known is None else known.model_dump()
            kept[metric] = MetricBounds.model_validate({**sides, side: bound.value})
    return summarise(summary.trials, summary.objectives, summary.original, summary.reference, kept)


def best(summary: SweepSummary, bounds: Sequence[Bound]) -> TrialRecord | None:
    """Return the selected trial of the front, or None if no point meets the bounds.

    It is the knee of the points that meet the bounds, in the objectives that have none; where only one has none, the
    best in it, and where all have one, the knee in all of them.
    """
    kept = [trial for trial in summary.front if shortfall(trial, bounds) <= 0]
    if not kept:
        return None
    if not bounds:
        return summary.knee
    bounded = {bound.objective.metric for bound in bounds}
    free = [objective for objective in summary.objectives if objective.metric not in bounded]
    free = free or list(summary.objectives)
    if len(free) == 1:
        return max(kept, key=lambda trial: better(free[0], trial.measures[free[0].metric]))
    points = [[trial.measures[objective.metric] for objective in free] for trial in kept]
    # Without the bounded objectives, some of them dominate others.
    left = [i for i, marked in enumerate(non_dominated(points, directions(free))) if marked]
    return kept[left[knee([points[i] for i in left], directions(free))]]


def nearest_miss(summary: SweepSummary, bounds: Sequence[Bound]) -> TrialRecord | None:
    """Return the front's trial that misses the bounds by the least; None if the front is empty."""
    return min(summary.front, key=lambda trial: shortfall(trial, bounds), default=None)


def shortfall(trial: TrialRecord, bounds: Iterable[Bound]) -> float:
    """Return by how much a trial misses the bound that it misses most, zero or less if it meets all."""
    return max(shortfalls(trial.measures, bounds), default=-math.inf)


def shortfalls(measures: Mapping[str, float], bounds: Iterable[Bound]) -> list[float]:
    """Return by how much metrics miss each bound, zero or less if they meet it."""
    return [bound.shortfall(measures.get(bound.objective.metric, math.nan)) for bound in bounds]


def better(objective: Objective, value: float) -> float:
    """Return the value, negated if lower is better."""
    return value if objective.maximise else -value


def neighbours(summary: SweepSummary, trial: TrialRecord) -> tuple[TrialRecord | None, TrialRecord | None]:
    """Return the adjacent points of the front: the worse and the better one in the first objective."""
    first = summary.objectives[0]
    here = better(first, trial.measures[first.metric])
    below = [t for t in summary.front if better(first, t.measures[first.metric]) < here]
    above = [t for t in summary.front if better(first, t.measures[first.metric]) > here]
    return (below[-1] if below else None), (above[0] if above else None)


def fresh_seeds(used: Iterable[int], number: int) -> list[int]:
    """Return the first unused seeds above all used ones, or the largest unused ones if none are left above."""
    taken = set(used)
    top = max(taken, default=0)
    candidates = chain(range(top + 1, LARGEST_SEED + 1), count())
    return list(islice((seed for seed in candidates if seed not in taken), number))


def verdict(bound: Bound, interval: Interval) -> str:
    """Return whether a bound holds over seeds: for the whole interval, only on average, or not."""
    edge = interval.low if bound.objective.maximise else interval.high
    if bound.shortfall(edge) <= 0:
        return "holds"
    return "holds only on average" if bound.shortfall(interval.mean) <= 0 else "does not hold"


def differences(summary: SweepSummary, trial: TrialRecord, other: Mapping[str, float]) -> tuple[float, ...]:
    """Return the gains in the objectives from switching to other metrics; a loss is negative."""
    return tuple(
        better(o, other.get(o.metric, math.nan)) - better(o, trial.measures[o.metric])
        for o in summary.objectives
    )
