"""Pruning: trials that are far worse than finished ones in all objectives."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hamu_ray.results.outcome import Failure, Outcome, Report, Status
from hamu_ray.results.pareto.front import Directions, Point

Curve = Mapping[int, Point]
"""A trial's objectives at each step where it was evaluated."""


@dataclass(frozen=True)
class ReferenceCurves:
    """The curves of finished trials, with which running trials are compared."""

    metrics: Sequence[str]
    maximise: Directions
    margin: float
    grace_steps: int
    curves: tuple[Curve, ...] = ()

    def beat(self, step: int, measures: Mapping[str, float]) -> bool:
        """Return whether one of them was better by more than the margin in all objectives at the same step.

        A missing or NaN metric is never considered worse; other rules handle it.
        """
        if step < self.grace_steps or any(metric not in measures for metric in self.metrics):
            return False
        signs = [1.0 if maximise else -1.0 for maximise in self.maximise]
        mine = [measures[metric] for metric in self.metrics]
        return any(
            all(
                sign * (theirs - own) > self.margin
                for sign, theirs, own in zip(signs, curve[step], mine, strict=True)
            )
            for curve in self.curves
            if step in curve
        )


def curve_of(reports: Iterable[Report], metrics: Sequence[str]) -> dict[int, Point]:
    """Return a run's objectives at the steps where they were evaluated."""
    return {
        report.step: tuple(report.measures[metric] for metric in metrics)
        for report in reports
        if report.phase == "unlearning" and report.measures.keys() >= {*metrics}
    }


def curve_to_beat(end: Outcome | Failure, curve: Curve) -> Curve | None:
    """Return a trial's curve if other trials are compared with it: only if it finished."""
    return curve if isinstance(end, Outcome) and end.status is Status.FINISHED else None
