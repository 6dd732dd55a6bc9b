"""Giving up trials that others have left far behind, both objectives looked at."""

from collections.abc import Mapping
from dataclasses import dataclass

from hamu_ray.sweep.front import Directions, Point

Curve = Mapping[int, Point]
"""A trial's two objectives at each step where it was evaluated."""


@dataclass(frozen=True)
class Rivals:
    """Finished trials, which a running one is held against. Plain data: it travels with the job."""

    metrics: tuple[str, str]
    maximise: Directions
    margin: float
    grace_steps: int
    curves: tuple[Curve, ...] = ()

    def beat(self, step: int, measures: Mapping[str, float]) -> bool:
        """Whether one of them was better by more than the margin in both objectives at this very step.

        A measure that is missing or NaN is beaten by nobody: what it means is for other rules to say.
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
