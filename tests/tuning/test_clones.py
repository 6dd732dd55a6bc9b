"""A person starts trials from the models of others: the request, and what becomes of it in search and records."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from rich.console import Console

from hamu_ray.config.run import MODEL_FILE
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.folder import STUDY_FILE, SWEEP_FILE, read_records, write_record
from hamu_ray.results.live import LiveSweep
from hamu_ray.results.outcome import Outcome, Report, Status, StepPoint
from hamu_ray.results.pareto.summary import over_seeds, summarise
from hamu_ray.results.steering.clones import Clone, clone_of, read_clones, request_clone
from hamu_ray.results.sweep_folders import has_something_left, make_folder
from hamu_ray.results.trial import TrialRecord
from hamu_ray.selection.answer import group_of
from hamu_ray.steer import clone as request
from hamu_ray.storage import sha256_of_file
from hamu_ray.terminal.sweep_view import SweepView
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tuning.budget import ending
from hamu_ray.tuning.listener import SweepListener
from hamu_ray.tuning.plan import SweepPlan, plan_sweep
from hamu_ray.tuning.search import clones
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.search.study_log import StudyLog
from hamu_ray.tuning.trainable import CLONED_FROM, EVENTS, NUMBER, PARAMETERS, RUN, STATUS, run_of

SPACE = {"optimizer.learning_rate": {"loguniform": [1e-3, 1e-1]}}
METRICS = {"forget_quality": 0.5, "retain_utility": 0.9}
NAME = "digits-20260101-120000"


@pytest.fixture
def plan(tmp_path: Path) -> SweepPlan:
    """A sweep of two trials, in a folder, none of which has started."""
    document = {"storage": {"path": str(tmp_path)}, "space": SPACE, "search": {"samples": 2}}
    config = SweepConfig.model_validate(document)
    folder = tmp_path / "sweeps" / NAME
    make_folder(folder, config)
    return plan_sweep(config, folder)


def ended(plan: SweepPlan, number: int = 0) -> TrialRecord:
    """A finished trial with its model, and a point on its way."""
    name, parameters = f"{number:04d}", {"optimizer.learning_rate": 0.01}
    for folder in (plan.folder / "trials" / name, plan.folder / "trials" / f"{name}@4"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(folder.name.encode())
    record = TrialRecord(
        trial_id=name,
        status=Status.FINISHED,
        parameters=parameters,
        configuration=plan.config.resolve(parameters).model_dump(mode="json"),
        measures=dict(METRICS),
        model_path=str(plan.folder / "trials" / name / MODEL_FILE),
        steps=10,
        points=(StepPoint(4, METRICS),),
    )
    write_record(plan.folder, record)
    return record


def clone(plan: SweepPlan, number: int = 2, *changes: str) -> Clone:
    record = ended(plan)
    return clone_of(record, record, number, changes)


def test_a_clone_has_the_settings_of_its_trial_but_for_those_that_are_given(plan: SweepPlan) -> None:
    record = ended(plan)
    made = clone_of(record, record, 2, ["optimizer={name: adamw, learning_rate: 0.002}", "batch.forget=24"])
    model = plan.folder / "trials" / "0000" / MODEL_FILE
    assert made.run.start is not None
    assert made.run.start.model_dump() == {"path": str(model.parent), "sha256": sha256_of_file(model)}
    assert (made.run.optimizer.name, made.run.batch.forget) == ("adamw", 24)
    assert made.parameters == {
        "optimizer.learning_rate": 0.002,
        "optimizer.name": "adamw",
        "batch.forget": 24,
    }
    others = {"start": None, "optimizer": None, "batch": None}
    assert {**made.configuration, **others} == {**record.configuration, **others}


def test_a_clone_of_a_point_takes_its_model_and_all_steps(plan: SweepPlan) -> None:
    record = ended(plan)
    point = record.candidate("0000@4")
    assert point is not None
    made = clone_of(record, point, 2, ["duration={steps: 20}"])
    assert made.cloned_from == "0000@4"
    assert made.run.start is not None
    assert made.run.start.path.endswith("0000@4")
    assert made.run.stop.after_steps is None


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("forget.label=3", "--set forget.label: a clone shares it with its trial"),
        ("start.path=x", "--set start.path: a clone shares it with its trial"),
        ("optimizer.learning_rat=1", "clone of 0000: optimizer.learning_rat: unknown key"),
        ("seed.x=1", "--set seed.x: seed is a value, not a section"),
    ],
)
def test_what_cannot_differ(plan: SweepPlan, change: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        clone(plan, 2, change)
    assert str(caught.value).startswith(line)


def test_numbers_are_given_once(plan: SweepPlan) -> None:
    assert request_clone(plan.folder, clone(plan, 2))
    assert not request_clone(plan.folder, clone(plan, 2, "batch.forget=24"))
    assert request_clone(plan.folder, clone(plan, 3))
    assert read_clones(plan.folder) == [clone(plan, 2), clone(plan, 3)]
    damaged = plan.folder / "clone-0002.json"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert [each.number for each in read_clones(plan.folder)] == [3]


def test_the_search_hands_a_clone_out_once_and_does_not_learn_from_it(
    plan: SweepPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "POLL_SECONDS", 0.0)
    search = UnlearningSearch(plan, lambda: 1)
    first = search.suggest("a")
    assert first is not None
    made = clone(plan, 2, "batch.forget=24")
    request_clone(plan.folder, made)
    search.on_trial_complete("a", {**METRICS, STATUS: Status.FINISHED})
    given = search.suggest("b")
    assert given == {NUMBER: 2, PARAMETERS: made.parameters, RUN: made.configuration, CLONED_FROM: "0000"}
    assert run_of(given, plan).batch.forget == 24
    search.on_trial_complete("b", {"forget_quality": 1.0, "retain_utility": 1.0, STATUS: Status.FINISHED})
    second = search.suggest("c")
    assert second is not None
    assert second[NUMBER] == 1
    storage = JournalStorage(StudyLog(plan.folder / STUDY_FILE))
    (name,) = optuna.get_all_study_names(storage)
    values = [trial.values for trial in optuna.load_study(study_name=name, storage=storage).trials]
    assert values == [[0.5, 0.9], None]


def test_a_sweep_does_not_end_without_a_clone_while_its_storage_is_away(plan: SweepPlan) -> None:
    kept = [False]
    ended(plan, 1)
    request_clone(plan.folder, clone(plan, 2))
    search = UnlearningSearch(plan_sweep(plan.config, plan.folder), lambda: 1, lambda: kept[0])
    assert search.suggest("a") is None
    kept[0] = True
    given = search.suggest("a")
    assert given is not None
    assert given[NUMBER] == 2


def test_a_clone_that_has_not_ended_is_left_to_run(plan: SweepPlan) -> None:
    request_clone(plan.folder, clone(plan, 2))
    ended(plan, 1)
    outbox = Outbox(plan.folder)
    outbox.start_sweep(NAME, plan.config.whole)
    outbox.finish(NAME, Status.FINISHED)
    assert has_something_left(plan.folder)
    resumed = plan_sweep(plan.config, plan.folder)
    assert resumed.remaining == 0
    given = UnlearningSearch(resumed, lambda: 1).suggest("a")
    assert given is not None
    assert given[NUMBER] == 2
    run_by_driver(resumed, given)
    assert not has_something_left(plan.folder)
    search = UnlearningSearch(plan_sweep(plan.config, plan.folder), lambda: 1)
    assert search.suggest("a") == UnlearningSearch.FINISHED


class Calls:
    """Accepts every call to an actor."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: None)


def run_by_driver(plan: SweepPlan, given: dict[str, Any]) -> SweepListener:
    """What the driver hears of a trial from its start to its end."""
    view = SweepView(Console(quiet=True), plan.trials + len(plan.clones), plan.records, plan.objectives)
    driver = SweepListener(plan, Outbox(plan.folder), cast("Any", Calls()), view)
    trial = SimpleNamespace(trial_id="a", config=given)
    driver.on_trial_start(0, [], trial)
    events = [Report("unlearning", 4, 4, METRICS), Outcome(Status.FINISHED, "", 4, METRICS, 1.0, 8)]
    driver.on_trial_result(0, [], trial, {EVENTS: events})
    driver.on_trial_complete(0, [], trial)
    return driver


@pytest.mark.parametrize("is_known", [True, False])
def test_its_lineage_is_recorded_and_logged(plan: SweepPlan, is_known: bool) -> None:
    made = clone(plan, 2, "batch.forget=24")
    ended(plan, 1)
    if is_known:
        request_clone(plan.folder, made)
    plan = plan_sweep(plan.config, plan.folder)
    given = {NUMBER: 2, PARAMETERS: made.parameters, RUN: made.configuration, CLONED_FROM: "0000"}
    driver = run_by_driver(plan, given)
    assert (driver.view.total, driver.remaining()) == (3, 0)
    record = read_records(plan.folder)[-1]
    live = LiveSweep(plan.folder)
    (logged,) = live.update()
    for found in (record, logged):
        assert (found.cloned_from, found.parameters) == ("0000", made.parameters)
        assert found.configuration == made.configuration
    assert ending(plan, read_records(plan.folder), is_budget_spent=False) == (Status.FINISHED, "")
    assert live.result.expected == 3


def test_a_clone_is_no_repetition_of_its_trial_with_another_seed(plan: SweepPlan) -> None:
    trials = [replace(ended(plan), parameters={"seed": seed}) for seed in (41, 42)]
    cloned = replace(trials[0], trial_id="0002", cloned_from="0000", measures=dict.fromkeys(METRICS, 1.0))
    (group,) = over_seeds(summarise([*trials, cloned]))
    assert (group.trials, [interval.mean for interval in group.intervals]) == (2, [0.5, 0.9])
    assert group_of(summarise([*trials, cloned]), cloned) is None


def test_hours_of_clones_are_used_hours(tmp_path: Path) -> None:
    search = {"samples": 2, "gpu_hours": 1.0, "time_budget": 60.0}
    config = SweepConfig.model_validate(
        {
            "storage": {"path": str(tmp_path)},
            "space": SPACE,
            "workers": {"count": 1, "gpus": 1},
            "search": search,
        }
    )
    plan = plan_sweep(config, tmp_path)
    records = [replace(ended(plan, number), trial_seconds=1800.0) for number in (0, 2)]
    _, reason = ending(plan, records, is_budget_spent=True)
    assert reason.startswith("1 of search.gpu_hours 1 are used")
    assert reason.endswith("1 of 2 trials have run")


def test_the_command(plan: SweepPlan) -> None:
    def steer(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hamu_ray.steer", NAME, "clone", *arguments]
        return subprocess.run(command, cwd=plan.folder.parent, capture_output=True, text=True, check=False)

    (plan.folder / SWEEP_FILE).write_text(yaml.safe_dump(plan.config.whole))
    Outbox(plan.folder).start_sweep(NAME, plan.config.whole)
    ended(plan)
    with Lease(plan.folder):
        wrong = steer("1")
        line = "error: 0001: has not ended, or is no point of a trial; trials that have ended: 0000\n"
        assert (wrong.returncode, wrong.stderr) == (2, line)
        assert "0000@4 when a worker group is free" in steer("0@4", "--set", "batch.forget=24").stdout
    (made,) = read_clones(plan.folder)
    assert (made.number, made.cloned_from, made.run.batch.forget) == (2, "0000@4", 24)


def test_a_cost_among_the_objectives(plan: SweepPlan) -> None:
    """A clone's own cost is a part of what its model has cost, and would look better than every other trial's."""
    cost = {"metric": "gradient_computations", "mode": "min", "worst": 400}
    search = {"samples": 2, "objectives": [{"metric": "forget_quality"}, cost]}
    document = {**plan.config.whole, "search": search}
    (plan.folder / SWEEP_FILE).write_text(yaml.safe_dump(document))
    ended(plan)
    sweep = LiveSweep(plan.folder)
    sweep.update()
    with pytest.raises(ConfigError, match="clone 0000: gradient_computations is an objective of this sweep"):
        request(plan.folder, sweep, "0000", ())
    assert not read_clones(plan.folder)
