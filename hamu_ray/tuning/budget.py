"""The budgets of a sweep: the time that its trials have used, how many more may start, and how it ended."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hamu_ray.config.trials import methods_of
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.results.folder import trial_name
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import counted
from hamu_ray.tuning.plan import SweepPlan

HOUR = 3600.0

Clock = Callable[[], float]


@dataclass(frozen=True)
class RunningTrial:
    """A trial that uses a budget."""

    began: float
    weight: float


class TimeBudget:
    """A limit on the seconds of trials, each with a weight: a trial may start if the expected time stays within.

    The running trials and the next ones are expected to take the mean of those that have ended. Until one has ended,
    trials start as long as less than the limit is used.
    """

    def __init__(self, limit: float = math.inf, clock: Clock = time.monotonic) -> None:
        """Create a budget that nothing was taken from."""
        self._limit = limit
        self._clock = clock
        self._ended: list[float] = []
        self._running: dict[str, RunningTrial] = {}

    def start(self, trial: str, weight: float = 1.0) -> None:
        """Count a trial from now on."""
        self._running[trial] = RunningTrial(self._clock(), weight)

    def end(self, trial: str, seconds: float) -> None:
        """Count a trial that has ended after so many seconds; unknown ones (NaN) count as none."""
        self.add(seconds * self._running.pop(trial).weight)

    def add(self, seconds: float) -> None:
        """Count the seconds, times its weight, of a trial that has ended; unknown ones (NaN) count as none."""
        self._ended.append(0.0 if math.isnan(seconds) else seconds)

    @property
    def used(self) -> float:
        """Seconds that trials have used, times their weights."""
        return math.fsum([*self._ended, *map(self._used_by, self._running.values())])

    def affordable(self) -> float:
        """Return how many more trials may start; infinite without a limit, or while no trial has ended."""
        ended = math.fsum(self._ended)
        expected = ended / len(self._ended) if self._ended else 0.0
        left = self._limit - ended - sum(max(self._used_by(r), expected) for r in self._running.values())
        if left <= 0:
            return 0
        return left // expected if expected and left < math.inf else math.inf

    def _used_by(self, trial: RunningTrial) -> float:
        return (self._clock() - trial.began) * trial.weight


class Budgets:
    """The limits `search.gpu_hours` of all trials, and `search.budget.seconds` of those of each method in each search.

    GPU hours are those from a trial's start to its end, seconds those of its steps and evaluations. Trials of earlier
    drivers count by their records. Clones use GPU hours, and nothing of what a method has for its search.
    """

    def __init__(
        self, plan: SweepPlan, records: Sequence[TrialRecord], clock: Clock = time.monotonic
    ) -> None:
        """Create the budgets of a sweep with the records of the trials that have ended."""
        hours, budget = plan.config.search.gpu_hours, plan.config.search.budget
        self._plan = plan
        self.gpus = TimeBudget(math.inf if hours is None else hours * HOUR, clock)
        self._methods: dict[object, TimeBudget] = {}
        """Of each method in each search. Empty without a limit."""
        self._cells: list[TimeBudget] = []
        """The same by cell."""
        ended = {record.trial_id for record in records}
        self._clones = {trial_name(clone.number) for clone in plan.clones} - ended
        """Those that have not started."""
        if budget is not None and budget.seconds is not None:
            searched = zip(methods_of(plan.config, plan.cells), plan.seeds, strict=True)
            for key in searched:
                self._cells.append(self._methods.setdefault(key, TimeBudget(budget.seconds, clock)))
        for record in records:
            workers = WorkersConfig.model_validate(record.configuration.get("workers", {}))
            if math.isfinite(record.trial_seconds):
                self.gpus.add(record.trial_seconds * gpus_of(workers))
            for one in self._of(record.trial_id):
                one.add(record.unlearning_seconds + record.evaluation_seconds)

    def start(self, trial: str, workers: WorkersConfig) -> None:
        """Count a trial from now on."""
        self.gpus.start(trial, gpus_of(workers))
        self._clones.discard(trial)
        for one in self._of(trial):
            one.start(trial)

    def end(self, trial: str, seconds: float, worked: float) -> None:
        """Count a trial that has ended after so many seconds, some of them in steps and evaluations."""
        self.gpus.end(trial, seconds)
        for one in self._of(trial):
            one.end(trial, worked)

    def affordable(self) -> float:
        """Return how many more trials may start, clones too; infinite without a limit, or while none is known."""
        own = sum(one.affordable() for one in self._methods.values()) if self._methods else math.inf
        return min(self.gpus.affordable(), own + len(self._clones))

    def spent(self) -> frozenset[int]:
        """Return the cells of which no trial may start, because their methods have used their seconds."""
        spent = [one for one in self._methods.values() if one.affordable() < 1]
        return frozenset(cell for cell, one in enumerate(self._cells) if one in spent)

    def _of(self, trial: str) -> list[TimeBudget]:
        """Return the budget of the method that a trial is of; none without a limit, or of a clone."""
        number = int(trial)
        is_limited = bool(self._cells) and self._plan.is_own(number)
        return [self._cells[self._plan.positions[number][1]]] if is_limited else []


def gpus_of(workers: WorkersConfig) -> float:
    """Return the GPUs of a worker group."""
    return workers.count * workers.gpus


def ending(plan: SweepPlan, records: Sequence[TrialRecord], is_budget_spent: bool) -> tuple[Status, str]:
    """Return how a sweep has ended, and why where trials are left to run.

    A sweep whose budget of time or GPU hours is spent has finished, unless one of its running trials was interrupted.
    Trials that wait at rungs are left to run, too.
    """
    waiting = sum(record.running for record in records)
    if sum(record.status is Status.INTERRUPTED for record in records) > waiting:
        return Status.INTERRUPTED, ""
    own = sum(plan.is_own(int(record.trial_id)) for record in records)
    if own - waiting == plan.trials:
        return Status.FINISHED, ""
    if not is_budget_spent:
        return Status.INTERRUPTED, ""
    ran = f"{own - waiting} of {counted(plan.trials, 'trial')} have run"
    if waiting:
        ran += f", and {waiting} wait{'s' * (waiting == 1)} at a rung"
    return Status.FINISHED, f"{_spent(plan, records)}: {ran}"


def _spent(plan: SweepPlan, records: Sequence[TrialRecord]) -> str:
    """Return which budget is spent, where one is; of several, one that forbids another trial."""
    search, budgets = plan.config.search, Budgets(plan, records)
    hours, seconds = search.gpu_hours, search.budget.seconds if search.budget else None
    ended = {int(record.trial_id) for record in records if not record.running}
    left = {cell for number, (_, cell) in enumerate(plan.positions) if number not in ended}
    reasons = []
    if search.time_budget is not None:
        reasons.append(f"search.time_budget of {search.time_budget:g} s is spent")
    if seconds is not None and (not reasons or left <= budgets.spent()):
        reasons.append(
            f"{seconds:g} s of each method, search.budget.seconds, are used, and another trial may exceed it"
        )
    if hours is not None and (not reasons or budgets.gpus.affordable() < 1):
        used = budgets.gpus.used / HOUR
        reasons.append(f"{used:.3g} of search.gpu_hours {hours:g} are used, and another trial may exceed it")
    return reasons[-1]
