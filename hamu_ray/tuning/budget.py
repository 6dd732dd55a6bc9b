"""The budgets of a sweep: the GPU hours that its trials have used, how many more may start, and how it ended."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import counted
from hamu_ray.tuning.plan import SweepPlan

HOUR = 3600.0


@dataclass(frozen=True)
class RunningTrial:
    """A trial that uses GPUs."""

    began: float
    gpus: float


class GpuBudget:
    """The limit `search.gpu_hours`: a trial may start if the expected GPU time stays within.

    The running trials and the next ones are expected to take the mean of those that have ended. Until one has ended,
    trials start as long as less than the limit is used. Trials of earlier drivers count by their records.
    """

    def __init__(
        self, hours: float | None, records: Iterable[TrialRecord], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create the budget of a sweep with the records of the trials that have ended. None: no limit."""
        self._limit = math.inf if hours is None else hours * HOUR
        self._clock = clock
        self._ended: list[float] = []
        self._running: dict[str, RunningTrial] = {}
        for record in records:
            workers = WorkersConfig.model_validate(record.configuration.get("workers", {}))
            if math.isfinite(record.trial_seconds):
                self._ended.append(record.trial_seconds * gpus_of(workers))

    def start(self, trial: str, workers: WorkersConfig) -> None:
        """Count a trial from now on."""
        self._running[trial] = RunningTrial(self._clock(), gpus_of(workers))

    def end(self, trial: str, seconds: float) -> None:
        """Count a trial that has ended after so many seconds."""
        self._ended.append(seconds * self._running.pop(trial).gpus)

    @property
    def hours(self) -> float:
        """GPU hours that trials have used."""
        return math.fsum([*self._ended, *map(self._used_by, self._running.values())]) / HOUR

    def affordable(self) -> float:
        """Return how many more trials may start; infinite without a limit, or while no trial has ended."""
        ended = math.fsum(self._ended)
        expected = ended / len(self._ended) if self._ended else 0.0
        left = self._limit - ended - sum(max(self._used_by(r), expected) for r in self._running.values())
        if left <= 0:
            return 0
        return left // expected if expected and left < math.inf else math.inf

    def _used_by(self, trial: RunningTrial) -> float:
        return (self._clock() - trial.began) * trial.gpus


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
    hours, seconds = plan.config.search.gpu_hours, plan.config.search.time_budget
    budget = GpuBudget(hours, records)
    if hours is not None and (seconds is None or budget.affordable() < 1):
        used = f"{budget.hours:.3g} of search.gpu_hours {hours:g} are used, and another trial may exceed it"
        return Status.FINISHED, f"{used}: {ran}"
    return Status.FINISHED, f"search.time_budget of {seconds:g} s is spent: {ran}"
