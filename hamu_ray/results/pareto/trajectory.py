"""The steps of a run that may be points of a front. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hamu_ray.results.pareto.front import Directions, Point, hypervolume, non_dominated
from hamu_ray.results.pareto.rungs import MARGIN, ranked

MOST = 4
"""How many models a trial keeps with `search.points_per_trial: auto`."""


@dataclass(frozen=True)
class Keeping:
    """Which models of a run are kept (`search.points_per_trial`)."""

    metrics: Sequence[str]
    """Names of the objectives."""
    maximise: Directions
    most: int | None
    """How many at most; None: `MOST` of a small model, none of a large one."""

    def point(self, measures: Mapping[str, float]) -> Point:
        """Return the values of the objectives, NaN if missing."""
        return tuple(float(measures.get(metric, np.nan)) for metric in self.metrics)


def kept_steps(points: Mapping[int, Point], maximise: Directions, most: int) -> list[int]:
    """Return the steps to keep, ascending: of the non-dominated ones those that alone dominate the largest hypervolume.

    Of equal points, the earliest is kept.
    """
    steps = sorted(points)
    first = [step for i, step in enumerate(steps) if points[step] not in [points[s] for s in steps[:i]]]
    marks = non_dominated([points[step] for step in first], maximise)
    front = [step for step, marked in zip(first, marks, strict=True) if marked]
    order = ranked([points[step] for step in front], maximise)
    return sorted(front[i] for i in order[:most])


def best_addition(points: Sequence[Point], known: Sequence[Point], maximise: Directions) -> int:
    """Return the index of the finite point that adds most to the hypervolume of known ones; of equal ones, the first.

    If none adds anything, it is the one with the largest hypervolume of its own.
    """
    worst = reference_point(points, maximise)
    whole = hypervolume(known, worst, maximise)
    gains = [
        (
            round(hypervolume([*known, point], worst, maximise) - whole, 12),
            hypervolume([point], worst, maximise),
        )
        for point in points
    ]
    return max(range(len(points)), key=lambda i: (gains[i], -i))


def reference_point(points: Sequence[Point], maximise: Directions) -> Point:
    """Return a point for hypervolumes that no point lies beyond: 0 to maximise, 1 to minimise where that is so.

    Otherwise, for metrics that are not fractions, it is worse than all points by a part of their range.
    """
    pairs = zip(zip(*points, strict=True), maximise, strict=True)
    return tuple(_worse_than(values, higher) for values, higher in pairs)


def _worse_than(values: Sequence[float], maximise: bool) -> float:
    margin = MARGIN * (max(values) - min(values) or 1.0)
    if maximise:
        return 0.0 if min(values) >= 0 else min(values) - margin
    return 1.0 if max(values) <= 1 else max(values) + margin
