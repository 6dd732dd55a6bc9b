"""A budget of seconds for each method: `search.budget.seconds`."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.tune.search import Searcher
from rich.console import Console

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.results.folder import trial_name, write_record
from hamu_ray.results.outcome import Outcome, Status
from hamu_ray.results.steering.clones import Clone, request_clone
from hamu_ray.results.sweep_folders import resumed_keys
from hamu_ray.results.trial import TrialRecord
from hamu_ray.terminal.sweep_view import SweepView
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tuning.budget import Budgets, ending
from hamu_ray.tuning.listener import SweepListener
from hamu_ray.tuning.plan import SweepPlan, plan_sweep
from hamu_ray.tuning.run import groups_to_start
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.trainable import EVENTS, NUMBER, PARAMETERS, PASSED, PAUSED, STATUS

SPACE = {
    "method.name": {"grid": ["hamu-q", "ft"]},
    "forget.rho": {"grid": [0.0, 0.5]},
    "optimizer.learning_rate": {"loguniform": [1e-3, 0.1]},
}
SECONDS = {"hamu-q": 2.0, "ft": 1.0}
"""Of a trial of each method."""
WORKERS = WorkersConfig()


def plan_of(folder: Path, seconds: float = 12.0, **search: object) -> SweepPlan:
    given = {"samples": 20, "budget": {"seconds": seconds}, **search}
    return plan_sweep(SweepConfig.model_validate({"space": SPACE, "search": given}), folder)


def run(plan: SweepPlan, at_once: int = 1) -> list[TrialRecord]:
    """Run trials until the search is over, so many at once; return the records of all."""
    budgets = Budgets(plan, plan.records, clock=lambda: 0.0)
    search = UnlearningSearch(plan, lambda: at_once, affordable=budgets.gpus.affordable, spent=budgets.spent)
    running: list[dict] = []
    records = [*plan.records]
    while True:
        given = search.suggest(str(len(records) + len(running)))
        if given is not None and given != Searcher.FINISHED:
            budgets.start(trial_name(given[NUMBER]), WORKERS)
            running.append({**given, "id": str(len(records) + len(running))})
            continue
        if not running:
            assert given == Searcher.FINISHED
            search.close()
            return records
        ended = running.pop(0)
        method = ended[PARAMETERS]["method.name"]
        measures = {"forget_quality": 0.5, "retain_utility": 0.5}
        record = TrialRecord(
            trial_name(ended[NUMBER]),
            Status.FINISHED,
            ended[PARAMETERS],
            {"method": {"name": method}},
            measures,
            unlearning_seconds=0.75 * SECONDS[method],
            evaluation_seconds=0.25 * SECONDS[method],
            trial_seconds=10 * SECONDS[method],
        )
        budgets.end(record.trial_id, record.trial_seconds, SECONDS[method])
        write_record(plan.folder, record)
        records.append(record)
        search.on_trial_complete(ended["id"], {**measures, STATUS: Status.FINISHED})


def methods(records: list[TrialRecord]) -> Counter[str]:
    return Counter(record.parameters["method.name"] for record in records)


@pytest.mark.parametrize("at_once", [1, 3])
def test_methods_get_equal_seconds_and_a_larger_budget_goes_on(tmp_path: Path, at_once: int) -> None:
    """A method's cells share its seconds, and what the training of base models takes is nobody's."""
    plan = plan_of(tmp_path)
    records = run(plan, at_once)
    assert methods(records) == {"hamu-q": 6, "ft": 12}
    reason = "12 s of each method, search.budget.seconds, are used, and another trial may exceed it: 18 of 80 trials"
    status, found = ending(plan, records, is_budget_spent=True)
    assert (status, found) == (Status.FINISHED, f"{reason} have run")

    larger = plan_of(tmp_path, seconds=16.0)
    assert resumed_keys(larger.config.whole) == resumed_keys(plan.config.whole)
    assert methods(run(larger, at_once)) == {"hamu-q": 8, "ft": 16}
    numbers = [record.trial_id for record in plan_of(tmp_path).records]
    assert len(set(numbers)) == 24


def test_a_cell_has_at_most_its_samples(tmp_path: Path) -> None:
    records = run(plan_of(tmp_path, samples=4))
    assert methods(records) == {"hamu-q": 6, "ft": 8}


def test_each_search_has_the_budget(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, seconds=6.0, repeats=2)
    found = Counter((r.parameters["method.name"], plan.search_seed(int(r.trial_id))) for r in run(plan))
    assert found == {(method, seed): 6 / SECONDS[method] for method in SECONDS for seed in (0, 1)}


def test_what_does_not_count(tmp_path: Path) -> None:
    """Clones, and trials that failed before their seconds were known."""
    plan = plan_of(tmp_path)
    failed = TrialRecord("0000", Status.FAILED, {}, {})
    clone = replace(failed, trial_id=trial_name(plan.trials), unlearning_seconds=1e6, evaluation_seconds=0.0)
    budgets = Budgets(plan, [failed, clone])
    assert (budgets.affordable(), budgets.spent()) == (math.inf, frozenset())
    budgets.start(clone.trial_id, WORKERS)
    budgets.end(clone.trial_id, 1e6, 1e6)
    assert budgets.affordable() == math.inf


def test_a_clone_runs_though_the_seconds_are_used(tmp_path: Path) -> None:
    """Whether it is asked for while the last trials run, or left of a driver that was killed."""
    plan = plan_of(tmp_path, seconds=1.0, samples=2)
    records = run(plan)
    last = replace(records[-1], parameters={}, configuration={}, trial_id=trial_name(plan.trials))
    request_clone(tmp_path, Clone(plan.trials, "0000", {}, {"method": {"name": "ft"}}))
    budgets = Budgets(plan, records)
    search = UnlearningSearch(plan, lambda: 1, affordable=budgets.gpus.affordable, spent=budgets.spent)
    given = search.suggest("a")
    assert given is not None
    assert given[NUMBER] == plan.trials
    search.on_trial_complete("a", {STATUS: Status.FINISHED})
    assert search.suggest("b") == Searcher.FINISHED

    resumed = plan_of(tmp_path, seconds=1.0, samples=2)
    budgets = Budgets(resumed, records)
    assert (budgets.affordable(), len(groups_to_start(resumed))) == (1, 1)
    budgets.start(last.trial_id, WORKERS)
    assert budgets.affordable() == 0
    assert Budgets(resumed, [*records, last]).affordable() == 0


def test_a_method_without_seconds_waits_at_its_rung(tmp_path: Path) -> None:
    """With a larger budget its best trial goes on; the other method's does now."""
    scheduler = {"reduction": 2, "steps": [5]}
    plan = plan_of(tmp_path, samples=2, scheduler=scheduler)
    spent: set[int] = set()
    search = UnlearningSearch(plan, lambda: 9, spent=lambda: spent)
    for number in range(plan.trials):
        assert search.suggest(str(number)) is not None
    for number in range(plan.trials):
        arrived = {"forget_quality": 0.1 * number, "retain_utility": 0.5, PAUSED: 5}
        search.on_trial_complete(str(number), {**arrived, STATUS: Status.PRUNED})
    spent |= {cell for cell, values in enumerate(plan.cells) if values["method.name"] == "ft"}
    handed = [search.suggest(f"{i} again") for i in range(3)]
    assert [given and (given[PARAMETERS]["method.name"], given[PASSED]) for given in handed] == [
        ("hamu-q", 5),
        ("hamu-q", 5),
        None,
    ]
    spent.clear()
    given = search.suggest("larger")
    assert given is not None
    assert (given[PARAMETERS]["method.name"], given[PASSED]) == ("ft", 5)


def test_trials_that_wait_at_rungs_leave_slots_to_those_that_the_seconds_allow(tmp_path: Path) -> None:
    """Without slots, an autoscaler would take the nodes away from trials that may start."""
    scheduler = {"reduction": 2, "steps": [5]}
    plan = plan_of(tmp_path, samples=20, scheduler=scheduler)
    asked: list[int] = []
    pool = SimpleNamespace(set_remaining=SimpleNamespace(remote=asked.append))
    view = SweepView(Console(quiet=True), plan.trials, [], plan.objectives)
    driver = SweepListener(plan, Outbox(plan.folder), cast("Any", pool), view)
    for number in range(20):
        parameters = {**plan.cells[plan.positions[number][1]], "optimizer.learning_rate": 0.01}
        trial = SimpleNamespace(trial_id=str(number), config={NUMBER: number, PARAMETERS: parameters})
        driver.on_trial_start(0, [], trial)
        measures = {"forget_quality": 0.5, "retain_utility": 0.5}
        waits = Outcome(
            Status.INTERRUPTED, "", 5, measures, seconds=1.0, gradient_computations=10, paused=True
        )
        driver.on_trial_result(0, [], trial, {EVENTS: [waits]})
        driver.on_trial_complete(0, [], trial)
    assert asked[-1] == 4, "each method has used 10 s of its 12"
