"""The limit on a sweep's GPU hours."""

import math
from pathlib import Path

import pytest

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.preflight import check_sweep
from hamu_ray.results.outcome import Status
from hamu_ray.results.trial import TrialRecord
from hamu_ray.tuning.budget import HOUR, Budgets
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.trainable import NUMBER, STATUS

PAIR = WorkersConfig(count=2, gpus=1.0)


class Clock:
    """Hours, as seconds."""

    hours = 0.0

    def __call__(self) -> float:
        return self.hours * HOUR


def record(number: int, hours: float, workers: WorkersConfig = PAIR) -> TrialRecord:
    configuration = {"workers": workers.model_dump(mode="json")}
    return TrialRecord(f"{number:04d}", Status.FINISHED, {}, configuration, trial_seconds=hours * HOUR)


def sweep_of(**search: object) -> SweepConfig:
    space = {"optimizer.learning_rate": {"grid": [0.1, 0.2, 0.3]}}
    return SweepConfig.model_validate(
        {"space": space, "workers": {"count": 2, "gpus": 1.0}, "search": search}
    )


def budgets(hours: float | None, *records: TrialRecord, clock: Clock | None = None) -> Budgets:
    return Budgets(plan_sweep(sweep_of(gpu_hours=hours), Path("none")), records, clock or Clock())


def test_trials_start_while_the_expected_hours_are_within_the_limit() -> None:
    clock = Clock()
    budget = budgets(10.0, record(0, 1.0), record(1, 0.5), clock=clock)
    assert budget.gpus.used == pytest.approx(3.0 * HOUR)
    assert budget.affordable() == 4, "1.5 GPU hours each"
    budget.start("0002", PAIR)
    assert budget.affordable() == 3, "it is expected to take what the others took"
    clock.hours = 2.0
    assert budget.gpus.used == pytest.approx(7.0 * HOUR)
    assert budget.affordable() == 2, "it takes longer"
    budget.end("0002", 2.0 * HOUR, HOUR)
    assert budget.affordable() == 1, "so may the next one: 7/3 GPU hours"
    budget.start("0003", PAIR)
    assert budget.affordable() == 0


def test_until_a_trial_has_ended_only_what_was_used_counts() -> None:
    clock = Clock()
    budget = budgets(1.0, clock=clock)
    assert budget.affordable() == math.inf
    budget.start("0000", PAIR)
    assert budget.affordable() == math.inf
    clock.hours = 0.5
    assert budget.affordable() == 0


def test_without_a_limit_or_without_gpus_every_trial_starts() -> None:
    assert budgets(None, record(0, 1e6)).affordable() == math.inf
    assert budgets(1.0, record(0, 1e6, WorkersConfig(count=2))).affordable() == math.inf


def test_a_search_waits_for_running_trials_and_then_ends(tmp_path: Path) -> None:
    """Those that end sooner than expected may leave hours for another one."""
    affordable = 1.0
    search = UnlearningSearch(plan_sweep(sweep_of(), tmp_path), lambda: 9, affordable=lambda: affordable)
    first = search.suggest("a")
    assert isinstance(first, dict)
    affordable = 0.0
    assert search.suggest("b") is None
    affordable = 1.0
    second = search.suggest("b")
    assert isinstance(second, dict)
    assert [first[NUMBER], second[NUMBER]] == [0, 1]
    affordable = 0.0
    for trial in "ab":
        result = {"forget_quality": 0.5, "retain_utility": 0.5, STATUS: Status.FINISHED}
        search.on_trial_complete(trial, result)
    assert search.suggest("c") == UnlearningSearch.FINISHED


def test_a_limit_on_gpus_that_no_worker_has_is_refused() -> None:
    config = sweep_of(gpu_hours=2).model_copy(update={"workers": WorkersConfig(count=2)})
    with pytest.raises(
        ConfigError, match=r"^s.yaml: search.gpu_hours: 2, but no worker has a GPU; give workers.gpus"
    ):
        check_sweep(config, "s.yaml")
