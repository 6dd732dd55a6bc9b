"""The Tune searcher: which trial runs next, a new one, a promotion or a clone."""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from ray.tune.search import Searcher

from hamu_ray.config.space import Scalar
from hamu_ray.results.outcome import Status
from hamu_ray.tuning.plan import SweepPlan
from hamu_ray.tuning.search.clones import CloneQueue
from hamu_ray.tuning.search.promotions import Promotions
from hamu_ray.tuning.search.studies import Studies
from hamu_ray.tuning.trainable import NUMBER, PARAMETERS, PASSED, PAUSED, POINTS, STATUS


class UnlearningSearch(Searcher):
    """Hands out the trials of a sweep in the order of their numbers, promotions and clones before new ones.

    A trial's hyperparameters are drawn in the study of its cell (`Studies`) when it is handed out.
    """

    def __init__(
        self,
        plan: SweepPlan,
        limit: Callable[[], int],
        is_kept: Callable[[], bool] = lambda: True,
        affordable: Callable[[], float] = lambda: math.inf,
        on_give_up: Callable[[int], None] = lambda number: None,
        spent: Callable[[], Collection[int]] = lambda: (),
    ) -> None:
        """Open the studies in the sweep's folder, or create them.

        Args:
            plan: the sweep's.
            limit: returns how many trials may run at once.
            is_kept: copies the folder to the storage, and returns whether it is there. A trial starts only then, so
                that what it writes and what was drawn for it are not lost separately.
            affordable: returns how many more trials the budget of GPU hours allows.
            on_give_up: ends a trial that waits at a rung, by its number.
            spent: returns the cells of which no trial may start now, as their methods have used their seconds.
        """
        super().__init__()
        self._plan = plan
        self._limit = limit
        self._is_kept = is_kept
        self.is_budget_spent = False
        """Whether a budget ended the search before all trials were started, and those that may be were continued."""
        self._affordable = affordable
        self._on_give_up = on_give_up
        self._spent = spent
        self._promotions = Promotions(plan)
        self._clones = CloneQueue(plan)
        self._is_over = False
        self._deadline = math.inf
        """When the budget of time is spent, on the monotonic clock; known once a trial has started."""
        self._running: dict[str, int] = {}
        self._points: dict[int, Sequence[Mapping[str, float]]] = {}
        """Metrics of the points of trials that wait at a rung, by their numbers."""
        self.studies = Studies(plan)
        self._waiting = deque(n for n in range(plan.trials) if not self.studies.has_ended(n))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot be pickled: Tune pickles the searcher into its own checkpoint, which is never read."""
        driver = ("_is_kept", "_affordable", "_on_give_up", "_spent")
        return {**self.__dict__, **dict.fromkeys(driver)}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's number and hyperparameters; a trial that is promoted comes before new ones.

        None while the limit is reached, the storage does not respond, or the running trials may use up the budgets;
        `FINISHED` once the budget of time, when running trials go on, or of GPU hours is spent, and when no trial or
        clone is left that the seconds of the methods allow.
        """
        affordable = self._affordable() >= 1
        if not affordable and self._running:
            return None
        if not affordable or time.monotonic() > self._deadline:
            return self._finish()
        for hopeless in self._promotions.hopeless:
            self._give_up(hopeless)
        if len(self._running) >= self._limit():
            return None
        spent = self._spent()
        number = next((n for n in self._waiting if self._plan.positions[n][1] not in spent), None)
        is_last = number is None and not self._running
        if (clone := self._clones.next(at_once=is_last)) is not None:
            if not self._is_kept():
                return None
            return {**self._start(trial_id, clone.number, clone.parameters), **self._clones.take(clone)}
        if (promoted := self._promotions.promote(spent)) is not None:
            continued, passed = promoted
            return {**self._start(trial_id, continued, self.studies.parameters(continued)), PASSED: passed}
        if number is None:
            return None if self._running else self._finish()
        parameters = self.studies.parameters(number)
        if not self._is_kept():
            return None
        self._waiting.remove(number)
        return self._start(trial_id, number, parameters)

    def _start(self, trial_id: str, number: int, parameters: dict[str, Scalar]) -> dict[str, Any]:
        self._running[trial_id] = number
        budget = self._plan.config.search.time_budget or math.inf
        self._deadline = min(self._deadline, time.monotonic() + budget)
        return {NUMBER: number, PARAMETERS: parameters}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Record a trial's end, or its arrival at a rung. Tune repeats the call if a callback fails after it."""
        if trial_id not in self._running:
            return
        found = {} if error or result is None else result
        number, status = self._running.pop(trial_id), found.get(STATUS, Status.FAILED)
        if not self._plan.is_own(number):
            return  # the search does not learn from a clone, whose start is another
        points = found.get(POINTS, ())
        if paused := found.get(PAUSED, 0):
            self._points[number] = points
            self._promotions.arrive(number, paused, found)
        else:
            self._promotions.end(number, status, found)
            self.studies.end(number, status, found, points)

    def close(self) -> None:
        """End the trials that wait at rungs in vain: all, unless the search was interrupted or a budget ended it."""
        if not self._is_over:
            return
        self.is_budget_spent = bool(self._waiting) or self._promotions.promote() is not None
        for number in () if self.is_budget_spent else self._promotions.waiting:
            self._give_up(number)

    def _finish(self) -> dict[str, Any]:
        self._is_over = True
        return cast("dict[str, Any]", Searcher.FINISHED)  # Tune's annotation leaves it out

    def _give_up(self, number: int) -> None:
        """End a trial that waits at a rung; without points, its study counts it as pruned."""
        self._promotions.give_up(number)
        self.studies.end(number, Status.PRUNED, {}, self._points.pop(number, ()))
        self._on_give_up(number)

    def save(self, checkpoint_path: str) -> None:
        """No-op: the studies and the records contain the state."""

    def restore(self, checkpoint_path: str) -> None:
        """No-op: a resumed sweep restores its search from the studies and the records."""
