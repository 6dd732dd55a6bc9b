"""The driver's callback: what it recorded of a trial is known to the next driver of the sweep."""

import json
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import OUTBOX_FILE, read_records
from hamu_ray.results.live import LiveSweep
from hamu_ray.results.outcome import Outcome, Report, Status
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_folders import make_folder
from hamu_ray.terminal.sweep_view import SweepView
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tuning.listener import SweepListener
from hamu_ray.tuning.plan import SweepPlan, plan_sweep
from hamu_ray.tuning.trainable import EVENTS, NUMBER, PARAMETERS
from hamu_ray.workers.messages import Started, SystemSample
from tests.faults.made_sweep import sweep_config

TRIAL = SimpleNamespace(trial_id="a", config={NUMBER: 0, PARAMETERS: {"optimizer.learning_rate": 0.01}})
"""A Tune trial, as far as callbacks read it."""


def listener(plan: SweepPlan, *events: Any) -> SweepListener:
    """A new driver's callback, after these events of the trial."""
    view = SweepView(Console(quiet=True), plan.trials, [], plan.objectives)
    pool: Any = None  # asked only when trials end
    found = SweepListener(plan, Outbox(plan.folder), pool, view)
    found.on_trial_start(0, [], TRIAL)
    for event in events:
        found.on_trial_result(0, [], TRIAL, {EVENTS: [event]})
    return found


def test_a_trial_that_ended_without_a_driver_has_its_nodes(tmp_path: Path) -> None:
    config = sweep_config(tmp_path)
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    nodes = ("10.0.0.3/4f2a", "10.0.0.4/77aa")
    listener(plan, Started(nodes), Started(nodes[:1]))
    (record,) = listener(plan, Report("unlearning", 1, 4)).interrupt()
    assert record.nodes == list(nodes)
    (record,) = listener(plan, Started(("10.0.0.5/0001",))).interrupt()
    assert record.nodes == [*nodes, "10.0.0.5/0001"]


def test_the_number_of_steps_is_recorded_once(tmp_path: Path) -> None:
    config = sweep_config(tmp_path)
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    for _ in range(2):  # the second time by the next driver
        listener(plan, Report("unlearning", 1, 4), Report("unlearning", 2, 4))
    live = LiveSweep(plan.folder)
    live.update()
    assert [(trial.name, trial.total_steps) for trial in live.running] == [("0000", "4")]
    assert (plan.folder / OUTBOX_FILE).read_text().count('"total_steps"') == 1


def test_samples_of_nodes_are_system_metrics(tmp_path: Path) -> None:
    """Numbered throughout, also by the next driver; evaluations and the trial's record know nothing of them."""
    config = sweep_config(tmp_path)
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    first, second = "10.0.0.3/4f2a", "10.0.0.4/77aa"
    cpu = "cpu_utilization_percentage"
    evaluation = Report("unlearning", 0, 4, {"forget_quality": 0.5})
    listener(plan, Started((first,)), SystemSample(first, {cpu: 12.5}), evaluation)
    both = Started((first, second))
    driver = listener(
        plan, both, SystemSample(first, {cpu: 50.0}), SystemSample(second, {cpu: 75.0}), evaluation
    )
    records = [json.loads(line) for line in (plan.folder / OUTBOX_FILE).read_text().splitlines()]
    logged = [record["arguments"] for record in records if record.get("call") == "log_metrics"]
    assert [(one["metrics"], one["step"]) for one in logged] == [
        ({f"system/{cpu}": 12.5}, 0),
        ({"forget_quality": 0.5}, 0),
        ({f"system/10.0.0.3/{cpu}": 50.0}, 1),
        ({f"system/10.0.0.4/{cpu}": 75.0}, 2),
    ]
    (record,) = driver.interrupt()
    assert not any(name.startswith("system/") for name in record.measures)


class Calls:
    """Accepts every call to an actor."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: None)


def test_a_trial_that_waits_at_a_rung_has_not_ended(tmp_path: Path) -> None:
    config = sweep_config(tmp_path)
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    waits = Outcome(Status.PRUNED, "not continued", 2, {"forget_quality": 0.5}, 1.0, 4, paused=True)
    driver = listener(plan, Report("unlearning", 2, 4), waits)
    driver.pool = cast("Any", Calls())
    live = LiveSweep(plan.folder)

    driver.on_trial_complete(0, [], TRIAL)
    live.update()
    assert ([trial.paused for trial in live.running], live.ended) == ([True], {})
    driver.on_trial_start(0, [], SimpleNamespace(**{**vars(TRIAL), "trial_id": "b"}))
    live.update()
    assert ([trial.paused for trial in live.running], driver.paused) == ([False], {})
    driver.running["a"] = driver.running.pop("b")
    driver.running["a"].end = waits
    driver.on_trial_complete(0, [], TRIAL)

    assert not read_records(plan.folder)
    (interrupted,) = driver.interrupt()
    assert (interrupted.status, interrupted.measures) == (Status.INTERRUPTED, {}), "--resume judges it anew"
    assert (interrupted.running, interrupted.reason) == (True, "waits at its rung at step 2")


def test_a_stretch_under_an_earlier_driver_counts_for_the_budget(tmp_path: Path) -> None:
    """It is replayed at once."""
    config = sweep_config(tmp_path)
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    end = Outcome(Status.FINISHED, "", 4, {}, 80.0, 8, evaluation_seconds=20.0)
    driver = listener(plan, end)
    driver.pool = cast("Any", Calls())
    driver.on_trial_complete(0, [], TRIAL)
    (record,) = read_records(plan.folder)
    assert record.trial_seconds == 100.0


def test_a_cost_that_is_an_objective_is_a_metric_of_its_trial(tmp_path: Path) -> None:
    made = sweep_config(tmp_path).model_dump(mode="json")
    cost = {"metric": "gradient_computations", "mode": "min", "worst": 100}
    made["search"]["objectives"] = [{"metric": "forget_quality"}, cost, {"metric": "retain_utility"}]
    config = SweepConfig.model_validate(made)
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    metrics = {"forget_quality": 0.5, "retain_utility": 0.9}
    driver = listener(
        plan, Report("unlearning", 4, 4, metrics), Outcome(Status.FINISHED, "", 4, metrics, 1.0, 8)
    )
    driver.pool = cast("Any", Calls())
    driver.on_trial_complete(0, [], TRIAL)
    live = LiveSweep(plan.folder)
    (logged,) = live.update()
    (record,) = read_records(plan.folder)
    assert record.measures == logged.measures == {**metrics, "gradient_computations": 8.0}
    for summary in (live.result.summary, read_sweep(plan.folder).summary):
        assert summary.hypervolume == pytest.approx(0.5 * 0.9 * (100 - 8))


def test_a_trial_that_is_given_up_has_its_metrics(tmp_path: Path) -> None:
    config = sweep_config(tmp_path)
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    waits = Outcome(Status.PRUNED, "not continued", 2, {"forget_quality": 0.5}, 1.0, 4, paused=True)
    driver = listener(plan, waits)
    driver.pool = cast("Any", Calls())
    driver.on_trial_complete(0, [], TRIAL)
    driver.give_up(0)
    (record,) = read_records(plan.folder)
    assert (record.status, record.reason, record.steps) == (Status.PRUNED, "not continued", 2)
    assert record.measures == {"forget_quality": 0.5}
    assert (driver.paused, driver.interrupt()) == ({}, [])


def test_the_seconds_of_a_trial_that_is_continued_count_once(tmp_path: Path) -> None:
    config = sweep_config(tmp_path)
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    waits = Outcome(Status.PRUNED, "waits", 2, {}, 5.0, 4, evaluation_seconds=1.0, paused=True)
    driver = listener(plan, Report("unlearning", 2, 4), waits)
    driver.pool = cast("Any", Calls())
    driver.usage.began = driver.running["a"].began = time.monotonic() - 100
    driver.on_trial_complete(0, [], TRIAL)
    driver.on_trial_start(0, [], TRIAL)
    driver.running["a"].began -= 100
    end = Outcome(Status.FINISHED, "", 4, {}, 8.0, 8, evaluation_seconds=2.0)
    driver.on_trial_result(0, [], TRIAL, {EVENTS: [end]})
    driver.on_trial_complete(0, [], TRIAL)
    assert driver.usage.worked == 5.0 + 1.0 + 3.0 + 2.0
    (record,) = read_records(plan.folder)
    assert (record.unlearning_seconds, record.evaluation_seconds) == (8.0, 3.0)


def test_rungs_beyond_a_run_whose_length_is_in_epochs_are_named(tmp_path: Path) -> None:
    sections = {
        "duration": {"epochs": 2},
        "search": {"samples": 27, "scheduler": {"kind": "rungs", "steps": [2, 4, 9]}},
    }
    config = SweepConfig.model_validate({**sweep_config(tmp_path).whole, **sections})
    plan = plan_sweep(config, tmp_path / "sweep")
    make_folder(plan.folder, config)
    console = Console(file=StringIO(), width=200)
    driver = listener(plan)
    driver.view = SweepView(console, plan.trials, [], plan.objectives)
    for trial in ("a", "b"):
        driver.on_trial_start(0, [], SimpleNamespace(**{**vars(TRIAL), "trial_id": trial}))
        driver.on_trial_result(0, [], SimpleNamespace(trial_id=trial), {EVENTS: [Report("unlearning", 1, 4)]})
    line = "search.scheduler.steps: 4 and 9 without effect, as a trial has 4 steps; make duration.epochs"
    assert cast("StringIO", console.file).getvalue().count(line) == 1
