"""A search with rungs: trials arrive, are continued or given up, and the studies learn how they ended."""

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import (
    REPORTS_FILE,
    STUDY_FILE,
    TRIALS,
    read_records,
    trial_name,
    write_record,
)
from hamu_ray.results.outcome import Report, Status, dump_reports
from hamu_ray.results.trial import TrialRecord
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.tuning.search.promotions import Promotions
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.search.study_log import StudyLog
from hamu_ray.tuning.trainable import NUMBER, PARAMETERS, PASSED, PAUSED, STATUS

SAMPLES, STEPS = 9, (10, 30)
CONFIG = SweepConfig.model_validate(
    {
        "duration": {"steps": 90},
        "space": {
            "method.name": {"grid": ["hamu-q", "gdiff"]},
            "optimizer.learning_rate": {"uniform": [0.01, 1.0]},
        },
        "search": {"samples": SAMPLES, "scheduler": {"steps": list(STEPS)}},
    }
)


class Driver:
    """A driver of the search, two trials at a time; trials with a higher learning rate are better."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.search = UnlearningSearch(
            plan_sweep(CONFIG, folder), lambda: 2, on_give_up=lambda number: self.write(number, Status.PRUNED)
        )
        self.running: dict[str, dict[str, Any]] = {}
        self.at: dict[int, int] = {}
        self.rates: dict[int, float] = {}
        self.stretches: list[tuple[int, int]] = []

    def point(self, number: int, step: int) -> tuple[float, float]:
        return self.rates[number] * step / 90, self.rates[number]

    def write(self, number: int, status: Status) -> None:
        curve = {step: self.point(number, step) for step in (*STEPS, 90) if step <= self.at[number]}
        last = dict(zip(("forget_quality", "retain_utility"), curve[self.at[number]], strict=True))
        record = TrialRecord(
            trial_name(number), status, {}, {}, measures=last, curve=curve, steps=self.at[number]
        )
        write_record(self.folder, record)

    def run(self, stretches: int = 1000) -> bool:
        """Run so many stretches between rungs; return whether the search is over."""
        rng = random.Random(0)
        for count in range(1000):
            while (given := self.search.suggest(f"{count}-{len(self.running)}")) is not None:
                if given == Searcher.FINISHED:
                    for trial in sorted(self.running):
                        self.end_one(trial)
                    self.search.close()
                    return True
                self.running[f"{count}-{len(self.running)}"] = given
                self.rates[given[NUMBER]] = given[PARAMETERS]["optimizer.learning_rate"]
            if count == stretches:
                return False
            self.end_one(rng.choice(sorted(self.running)))
        raise AssertionError("the search does not end")

    def end_one(self, trial: str) -> None:
        given = self.running.pop(trial)
        number, passed = given[NUMBER], given.get(PASSED, 0)
        step = next((step for step in STEPS if step > passed), 90)
        self.at[number] = step
        self.stretches.append((number, step))
        first, second = self.point(number, step)
        values = {"forget_quality": first, "retain_utility": second}
        paused = {PAUSED: step, STATUS: Status.PRUNED} if step < 90 else {PAUSED: 0, STATUS: Status.FINISHED}
        self.search.on_trial_complete(trial, {**values, **paused})
        if step == 90:
            self.write(number, Status.FINISHED)


def states(folder: Path) -> dict[TrialState, int]:
    storage = JournalStorage(StudyLog(folder / STUDY_FILE))
    studies = [
        optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)
    ]
    found = [trial.state for study in studies for trial in study.get_trials()]
    return {state: found.count(state) for state in found}


def check_end(folder: Path) -> None:
    records = read_records(folder)
    assert [int(record.trial_id) for record in records] == list(range(2 * SAMPLES)), "every trial once"
    finished = [int(record.trial_id) for record in records if record.status is Status.FINISHED]
    for cell in (0, 1):
        best = max((r for r in records if int(r.trial_id) % 2 == cell), key=lambda r: r.curve[STEPS[0]])
        assert int(best.trial_id) in finished, "the best of each cell reaches the end"
    assert len(finished) < SAMPLES
    assert states(folder) == {
        TrialState.COMPLETE: len(finished),
        TrialState.PRUNED: 2 * SAMPLES - len(finished),
    }


def test_the_best_are_continued(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    assert driver.run()
    check_end(tmp_path)
    assert len(set(driver.stretches)) == len(driver.stretches), "no stretch twice"
    for number, step in driver.stretches:
        before = [each for each, at in driver.stretches if at == step]
        assert number in before
        assert step == 10 or (number, 10) in driver.stretches


def test_a_resumed_search_knows_its_rungs(tmp_path: Path) -> None:
    """Trials that waited have no record: they arrive again, at once, and their places are judged anew."""
    assert not Driver(tmp_path).run(stretches=12)
    earlier = {record.trial_id for record in read_records(tmp_path)}
    driver = Driver(tmp_path)
    assert driver.run()
    check_end(tmp_path)
    assert earlier
    assert not {trial_name(number) for number, _ in driver.stretches} & earlier, "no trial that has ended"


def test_hopeless_trials_end_before_the_others(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.run(stretches=20)
    assert any(record.status is Status.PRUNED for record in read_records(tmp_path))
    assert TrialState.PRUNED in states(tmp_path), "and the proposals know of them"


@pytest.mark.parametrize("stretches", [3, 12, 24, 33, 40])
def test_trials_that_wait_when_a_budget_is_spent_are_left_for_later(
    stretches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path)
    driver.run(stretches)
    monkeypatch.setattr(driver.search, "_deadline", -1.0)
    assert driver.run(), "running ones end at their next rung"
    is_something_left = len(read_records(tmp_path)) < 2 * SAMPLES
    assert driver.search.is_budget_spent == is_something_left
    if is_something_left:
        assert Driver(tmp_path).run()
    check_end(tmp_path)


def test_rungs_that_a_trial_passed_under_an_earlier_driver_count_it(tmp_path: Path) -> None:
    """Of nine trials three had been continued before the interruption, and no other is now."""
    config = CONFIG.model_copy(update={"storage": CONFIG.storage.model_copy(update={"path": str(tmp_path)})})
    plan = plan_sweep(config, tmp_path / "sweep")
    promotions, numbers = Promotions(plan), range(0, 2 * SAMPLES, 2)
    for rank, number in enumerate(numbers):
        first, second = ({"forget_quality": step - rank, "retain_utility": 1.0} for step in STEPS)
        if rank < 3:
            folder = plan.results / TRIALS / trial_name(number)
            folder.mkdir(parents=True)
            reports = [
                Report("unlearning", step, 90, at) for step, at in zip(STEPS, (first, second), strict=True)
            ]
            (folder / REPORTS_FILE).write_bytes(dump_reports(reports))
        promotions.arrive(number, *((STEPS[1], second) if rank < 3 else (STEPS[0], first)))
    assert promotions.promote() == (0, STEPS[1])
    assert promotions.promote() is None
