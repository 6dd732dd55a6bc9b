"""Asynchronous successive halving with several objectives: which trials are continued beyond a rung.

After Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), where a trial is promoted as soon
as it is among the best ``1 / reduction`` of those that have reached its rung. With several objectives, trials are
ranked by non-dominated sorting, and within a front by their exclusive hypervolume, as in SMS-EMOA (Beume et al., 2007).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hamu_ray.results.pareto.front import Directions, Point, hypervolume, non_dominated

MARGIN = 0.1
"""How far the reference point of hypervolumes is beyond the worst values of a rung, as a fraction of their range."""


def ranked(points: Sequence[Point], maximise: Directions) -> list[int]:
    """Return the indices of points, best first; of equally good ones, the earliest. Undefined points come last.

    The order does not depend on the scales of the objectives.
    """
    values = np.asarray(points, dtype=float).reshape(-1, len(maximise))
    left = [i for i in range(len(points)) if np.isfinite(values[i]).all()]
    undefined = [i for i in range(len(points)) if i not in set(left)]
    if not left:
        return undefined
    spans = np.ptp(values[left], axis=0)
    scaled = (values - values[left].min(axis=0)) / np.where(spans > 0, spans, 1.0)
    worst = tuple(-MARGIN if each else 1 + MARGIN for each in maximise)
    order: list[int] = []
    while left:
        marks = non_dominated(scaled[left], maximise)
        front = [i for i, marked in zip(left, marks, strict=True) if marked]
        gains = dict(zip(front, _contributions(scaled[front], worst, maximise), strict=True))
        order += sorted(front, key=lambda i: (-gains[i], i))
        left = [i for i in left if i not in gains]
    return order + undefined


def _contributions(front: np.ndarray, worst: Point, maximise: Directions) -> list[float]:
    """Return the hypervolume that each point alone dominates, rounded so that equal ones are equal."""
    whole = hypervolume(front, worst, maximise)
    return [
        round(whole - hypervolume(np.delete(front, i, axis=0), worst, maximise), 12)
        for i in range(len(front))
    ]


@dataclass
class Rung:
    """The trials that have reached a step, with their objectives there."""

    points: dict[int, Point] = field(default_factory=dict)
    """By the trials' numbers, in order of arrival."""
    closed: set[int] = field(default_factory=set)
    """Trials that no longer wait here: they were promoted, or have ended."""

    @property
    def waiting(self) -> list[int]:
        """The trials that wait for a promotion, in order of arrival."""
        return [trial for trial in self.points if trial not in self.closed]

    def promotable(self, reduction: int, maximise: Directions) -> int | None:
        """Return the best waiting trial among the best ``1 / reduction`` of all, or None."""
        trials = list(self.points)
        top = ranked(list(self.points.values()), maximise)[: len(trials) // reduction]
        best = (trials[i] for i in top if np.isfinite(self.points[trials[i]]).all())
        return next((trial for trial in best if trial not in self.closed), None)

    def hopeless(self, most: int, reduction: int, maximise: Directions) -> list[int]:
        """Return the waiting trials that will not be promoted, whatever the others that arrive, ``most`` in all.

        A trial that dominates another always ranks before it, so that as many of these as there are promotions decide.
        """
        if not self.points:
            return []
        values = np.asarray(list(self.points.values()), dtype=float) * np.where(maximise, 1.0, -1.0)
        is_defined = np.isfinite(values).all(axis=1)
        others = values[is_defined]
        as_good = (others[:, None] >= values[None]).all(axis=2)
        better = (others[:, None] > values[None]).any(axis=2)
        in_vain = ~is_defined | ((as_good & better).sum(axis=0) >= most // reduction)
        return [
            trial
            for trial, hopeless in zip(self.points, in_vain, strict=True)
            if hopeless and trial not in self.closed
        ]


class Rungs:
    """The rungs of one study. Trials are given by their numbers."""

    def __init__(self, steps: Sequence[int], reduction: int, maximise: Directions, trials: int) -> None:
        """Create empty rungs.

        Args:
            steps: the step of each rung, ascending.
            reduction: one in so many trials is promoted.
            maximise: for each objective, whether higher is better.
            trials: how many trials the study has in all.
        """
        self.steps = tuple(steps)
        self.reduction, self.maximise, self.trials = reduction, maximise, trials
        self._rungs = [Rung() for _ in steps]
        self._nobody_to_promote = self._nobody_hopeless = True
        """Whether this is known since the last trial arrived or ended: a search asks far more often."""

    def missing(self, trial: int, step: int) -> list[int]:
        """Return the steps of the rungs before a step at which a trial is not known."""
        rungs = zip(self.steps, self._rungs, strict=True)
        return [at for at, rung in rungs if at < step and trial not in rung.points]

    def arrive(self, trial: int, step: int, point: Point) -> None:
        """A trial has reached a rung, where it waits; it has passed those before."""
        self._nobody_to_promote = self._nobody_hopeless = False
        for at, rung in zip(self.steps, self._rungs, strict=True):
            if at < step and trial in rung.points:
                rung.closed.add(trial)
            if at == step:
                rung.points[trial] = point

    def end(self, trial: int, point: Point) -> None:
        """A trial has ended: its result stands for it at the rungs that it did not need; undefined, at the next."""
        self._nobody_to_promote = self._nobody_hopeless = False
        for rung in self._rungs:
            rung.closed.add(trial)
            if trial not in rung.points:
                rung.points[trial] = point
                if not all(map(math.isfinite, point)):
                    return

    def give_up(self, trial: int) -> None:
        """A trial is not promoted any more."""
        for rung in self._rungs:
            rung.closed.add(trial)

    def promote(self) -> tuple[int, int] | None:
        """Return the trial to continue and the step at which it waited, of the highest rung first; or None."""
        if self._nobody_to_promote:
            return None
        for step, rung in reversed([*zip(self.steps, self._rungs, strict=True)]):
            trial = rung.promotable(self.reduction, self.maximise)
            if trial is not None:
                rung.closed.add(trial)
                return trial, step
        self._nobody_to_promote = True
        return None

    def hopeless(self) -> Mapping[int, int]:
        """Return the trials that wait in vain (`Rung.hopeless`), with the step at which they do."""
        if self._nobody_hopeless:
            return {}
        found = {
            trial: step
            for step, rung in zip(self.steps, self._rungs, strict=True)
            for trial in rung.hopeless(self.trials, self.reduction, self.maximise)
        }
        self._nobody_hopeless = not found
        return found

    @property
    def waiting(self) -> Mapping[int, int]:
        """The trials that wait for a promotion, with the step at which they do."""
        return {
            trial: step for step, rung in zip(self.steps, self._rungs, strict=True) for trial in rung.waiting
        }
