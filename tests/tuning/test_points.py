"""Points of trials in a sweep's results: front, tables, selection, report, MLflow and search know them."""

import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml
from rich.console import Console

from hamu_ray import select
from hamu_ray.certificate.evidence import read_evidence
from hamu_ray.config.sources.files import load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.reports.make import leave_report
from hamu_ray.results.diagnosis.diagnose import diagnose
from hamu_ray.results.folder import (
    KEPT,
    MODEL_FILE,
    OUTBOX_FILE,
    RUN_FILE,
    SWEEP_FILE,
    TRIALS,
    read_records,
    trial_name,
)
from hamu_ray.results.outcome import Status, Verdict
from hamu_ray.results.pareto.summary import summary_of
from hamu_ray.results.pareto.table import front_table
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_folders import make_folder, new_folder
from hamu_ray.results.trial import trial_of
from hamu_ray.results.wording import counted
from hamu_ray.terminal.sweep_view import SweepView
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tracking.reader import MlflowReader
from hamu_ray.tuning.finish import leave_result
from hamu_ray.tuning.listener import SweepListener
from hamu_ray.tuning.plan import SweepPlan, plan_sweep
from hamu_ray.tuning.run import start_tracking
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.trainable import EVENTS, NUMBER, PARAMETERS, PAUSED, POINTS, STATUS
from tests.runs import small_run

RATES = (0.06, 0.15)


class Calls:
    """Accepts every call to an actor."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: None)


def run_trials(plan: SweepPlan, outbox: Outbox) -> None:
    """Run the trials one after another in this process, heard by the driver's callback."""
    view = SweepView(Console(quiet=True), plan.trials, [], plan.objectives)
    driver = SweepListener(plan, outbox, cast("Any", Calls()), view)
    resident = Resident(plan.storage, torch.device("cpu"))
    for number, rate in enumerate(RATES):
        parameters = {"optimizer.learning_rate": rate}
        trial = SimpleNamespace(trial_id=str(number), config={NUMBER: number, PARAMETERS: parameters})
        driver.on_trial_start(0, [], trial)
        reports: list = []

        def hear(report: Any, reports: list = reports) -> Verdict:
            reports.append(report)
            return Verdict.GO_ON

        folder = plan.results / TRIALS / trial_name(number)
        end = unlearn(plan.config.resolve(parameters), resident, Alone(), folder, hear, (), plan.keeping)
        driver.on_trial_result(0, [], trial, {EVENTS: [*reports, end]})
        driver.on_trial_complete(0, [], trial)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("storage")
    sections = {
        "name": "pointed",
        "method": {"name": "gdiff", "constraint_ratio": None},
        "evaluation": {"every_steps": 1, "every_epochs": None},
        "space": {"optimizer.learning_rate": {"choice": list(RATES)}},
        "search": {"samples": len(RATES), "points_per_trial": 3},
    }
    config = SweepConfig.model_validate(small_run(storage, **sections))
    folder = new_folder(config, storage)
    plan = plan_sweep(config, folder)
    make_folder(folder, config)
    outbox = Outbox(folder)
    start_tracking(plan, outbox)
    run_trials(plan, outbox)
    leave_result(plan, outbox, read_records(folder), Status.FINISHED)
    tracker = MlflowTracker.open(f"sqlite:///{storage}/mlflow.db", "points", storage)
    delivery = Delivery(folder, tracker, tracker.store)
    delivery.send()
    assert not delivery.refused
    leave_report(folder, tracker, delivery.runs[plan.name])
    return folder


def test_points_are_on_the_front_and_in_the_tables(sweep: Path) -> None:
    summary = read_sweep(sweep).summary
    names = [trial.trial_id for trial in summary.front]
    points = [name for name in names if "@" in name]
    assert points
    ends = {trial.trial_id: summary.point(trial.measures) for trial in summary.trials}
    assert set(ends) == {"0000", "0001"}, "they are no trials"
    assert summary.hypervolume > 0
    for name in points:
        assert read_evidence(sweep / TRIALS / name).outcome.steps == int(name.partition("@")[2])
        assert name in (sweep / "front.csv").read_text()
    for trial in summary.candidates:
        assert f"\n{trial.trial_id}," in (sweep / "trials.csv").read_text()
    title = front_table(summary).title
    assert f"of 2 trials and {counted(len(summary.candidates) - 2, 'point')} on their way, hyper" in title
    assert points[0] in (sweep / "report.html").read_text()


def test_mlflow_has_the_same_points(sweep: Path) -> None:
    storage = sweep.parents[1]
    (tracked,) = MlflowReader.open(f"sqlite:///{storage}/mlflow.db", storage).sweeps("points")
    found = read_sweep(sweep)
    assert [trial.points for trial in tracked.trials] == [trial.points for trial in found.trials]
    assert (
        [trial.search_seed for trial in tracked.trials]
        == [trial.search_seed for trial in found.trials]
        == [0, 0]
    )
    assert [trial.trial_id for trial in tracked.summary.front] == [t.trial_id for t in found.summary.front]
    point = next(trial for trial in found.summary.front if "@" in trial.trial_id)
    record = tracked.source.record(point.trial_id)
    assert record is not None
    assert record == found.source.record(point.trial_id)
    assert record.original, "with the metrics of the original"
    command = tracked.source.rerun_command(point.trial_id)
    assert command.endswith(
        f"{point.trial_id.replace('@', '-')} --set stop.after_steps={point.steps} --set stop.rewind=null"
    )
    history = tracked.source.history(point.trial_id, "retain_utility")
    assert max(history) <= point.steps


def test_mlflow_lists_all_models_of_the_front(sweep: Path) -> None:
    """Those on a trial's way, too, each with its step and its metrics there."""
    storage = sweep.parents[1]
    tracker = MlflowTracker.open(f"sqlite:///{storage}/mlflow.db", "points", storage)
    found = tracker._client.search_logged_models(
        [tracker.experiment_id], filter_string="tags.on_front = 'true' and metrics.retain_utility > 0"
    )
    front = {trial.trial_id: trial for trial in read_sweep(sweep).summary.front}
    assert {model.tags["trial"] for model in found} == set(front)
    for model in found:
        trial = front[model.tags["trial"]]
        assert model.name == f"{sweep.name}-{trial.trial_id}"
        assert model.tags["model_path"] == trial.model_path
        metrics = {one.key: one.value for one in model.metrics}
        measures = {name: value for name, value in trial.measures.items() if math.isfinite(value)}
        assert metrics.items() >= measures.items()
        assert {one.step for one in model.metrics} == {trial.steps}
        (output,) = [
            one
            for one in tracker._client.get_run(model.source_run_id).outputs.model_outputs
            if one.model_id == model.model_id
        ]
        assert output.step == trial.steps
    knees = [model.tags["trial"] for model in found if model.tags["knee"] == "true"]
    knee = read_sweep(sweep).summary.knee
    assert knee is not None
    assert knees == [knee.trial_id]


def test_a_point_that_a_resumed_sweep_takes_off_the_front_is_marked(sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / sweep.name
    shutil.copytree(sweep, folder)
    (config, records), outbox = (load_sweep(folder / SWEEP_FILE), read_records(folder)), Outbox(folder)
    point = next(each for each in summary_of(config, records).front if "@" in each.trial_id)
    best = {"forget_quality": 1.0, "retain_utility": 1.0}
    others = [record for record in records if record.trial_id != trial_of(point.trial_id)]
    better = [replace(record, measures={**record.measures, **best}) for record in others]
    kept = [record for record in records if record not in others]
    leave_result(plan_sweep(config, folder), outbox, [*kept, *better], Status.FINISHED)
    lines = [json.loads(line) for line in (folder / OUTBOX_FILE).read_text().splitlines()]
    calls = [line["arguments"] for line in lines if line["call"] == "log_model"]
    tags = [call["tags"]["on_front"] for call in calls if call["tags"]["trial"] == point.trial_id]
    assert tags == ["true", "false"]


def test_points_of_a_trial_that_was_given_up_at_a_rung_are_candidates(tmp_path: Path) -> None:
    """For the front, and for the search, which would otherwise count the trial as pruned."""
    document = small_run(
        tmp_path,
        method={"name": "gdiff", "constraint_ratio": None},
        evaluation={"every_steps": 1, "every_epochs": None},
        space={"optimizer.learning_rate": {"choice": list(RATES)}},
        search={"samples": 2, "points_per_trial": 2, "scheduler": {"reduction": 2, "steps": [3]}},
    )
    config = SweepConfig.model_validate(document)
    folder = new_folder(config, tmp_path)
    plan = plan_sweep(config, folder)
    make_folder(folder, config)
    driver = SweepListener(
        plan, Outbox(folder), cast("Any", Calls()), SweepView(Console(quiet=True), 2, [], plan.objectives)
    )
    search = UnlearningSearch(plan, lambda: 2, on_give_up=driver.give_up)
    given = {name: search.suggest(name) for name in "ab"}
    for name, one in given.items():
        assert one is not None
        trial = SimpleNamespace(trial_id=name, config=one)
        driver.on_trial_start(0, [], trial)
        place = plan.results / TRIALS / trial_name(one[NUMBER])
        run, resident = config.resolve(one[PARAMETERS]), Resident(plan.storage, torch.device("cpu"))
        end = unlearn(run, resident, Alone(), place, lambda report: Verdict.GO_ON, (3,), plan.keeping)
        driver.on_trial_result(0, [], trial, {EVENTS: [end]})
        driver.on_trial_complete(0, [], trial)
        points = [point.measures for point in end.points]
        result = {**end.measures, STATUS: end.status, PAUSED: 3, POINTS: points}
        search.on_trial_complete(name, result)
    continued = search.suggest("c")
    assert continued is not None
    (number,) = {0, 1} - {continued[NUMBER]}
    (record,) = read_records(folder)
    assert (record.trial_id, record.status, record.steps) == (trial_name(number), Status.PRUNED, 3)
    assert [point.step for point in record.points][-1] == 3, "its model at the rung is one"
    assert not (plan.results / TRIALS / record.trial_id / KEPT).exists()
    front = summary_of(config, [record]).front
    assert front
    for point in front:
        assert point.trial_id.startswith(f"{record.trial_id}@")
        assert Path(point.model_path).is_file()
        assert point.reason.endswith(", which was pruned: not continued from its rung at step 3")
    told = search.studies.study(0).trials[number]
    values = [plan.keeping.point(point.measures) for point in record.points] if plan.keeping else []
    assert tuple(told.values) in values


def test_a_point_is_selected_and_made_again(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    point = next(trial for trial in read_sweep(sweep).summary.front if "@" in trial.trial_id)
    floor = point.measures["retain_utility"]
    monkeypatch.setattr(sys, "argv", ["select", str(sweep), "--json", "--min", f"retain_utility={floor!r}"])
    assert select.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trial"] == point.trial_id
    assert found["configuration"] == str(sweep / TRIALS / point.trial_id / RUN_FILE)
    assert found["original"]
    assert found["hardness"]


def test_a_damaged_point_makes_its_trial_run_again(sweep: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sweeps" / sweep.name
    shutil.copytree(sweep, copy)
    document = yaml.safe_load((copy / SWEEP_FILE).read_text())
    document["storage"]["path"] = str(tmp_path)
    (copy / SWEEP_FILE).write_text(yaml.safe_dump(document))
    (place,) = (copy / TRIALS).glob("0000@*")
    (place / MODEL_FILE).write_bytes(b"damaged")
    (problem,) = [each for each in diagnose(copy).problems if each.path == place / MODEL_FILE]
    assert problem.reruns == "0000"
    folders = {path.parent.name for path in problem.aside}
    assert folders == {"0000", place.name}, "record and outcome of the trial, too"


def test_the_search_learns_of_the_best_point(tmp_path: Path) -> None:
    """Of what adds most to the others' hypervolume, also where the trial collapsed in the end."""
    document = {
        "space": {"optimizer.learning_rate": {"loguniform": [1e-3, 0.1]}},
        "search": {"samples": 9, "points_per_trial": 2, "constraints": {"retain_utility": {"min": 0.2}}},
    }
    config = SweepConfig.model_validate(document)
    search = UnlearningSearch(plan_sweep(config, tmp_path), lambda: 9)
    names = ("forget_quality", "retain_utility")
    nothing = (math.nan, math.nan)
    trials = [
        ((0.5, 0.5), [(0.4, 0.9), (0.6, 0.6)], Status.FINISHED, (0.4, 0.9)),
        ((0.5, 0.5), [(0.4, 0.9), (0.6, 0.55)], Status.FINISHED, (0.6, 0.55)),
        (nothing, [(0.3, 0.3), (0.9, 0.1)], Status.COLLAPSED, (0.3, 0.3)),
        (nothing, [], Status.COLLAPSED, None),
    ]
    for number, (end, points, status, _) in enumerate(trials):
        assert search.suggest(str(number)) is not None
        found = {
            **dict(zip(names, end, strict=True)),
            STATUS: status,
            POINTS: [dict(zip(names, point, strict=True)) for point in points],
        }
        search.on_trial_complete(str(number), found)
    values = [trial.values and tuple(trial.values) for trial in search.studies.study(0).trials[: len(trials)]]
    assert values == [expected for *_, expected in trials]
