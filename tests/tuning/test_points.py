"""Points of trials in a sweep's results: front, tables, selection, report, MLflow and search know them."""

import json
import math
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml
from rich.console import Console

from hamu_ray import select
from hamu_ray.certificate.evidence import read_evidence
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.reports.make import leave_report
from hamu_ray.results.diagnosis.diagnose import diagnose
from hamu_ray.results.folder import MODEL_FILE, RUN_FILE, SWEEP_FILE, TRIALS, read_records, trial_name
from hamu_ray.results.outcome import Status, Verdict
from hamu_ray.results.pareto.table import front_table
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_folders import make_folder, new_folder
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
from hamu_ray.tuning.trainable import EVENTS, NUMBER, PARAMETERS, POINTS, STATUS
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
