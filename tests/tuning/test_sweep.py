"""The main command in real processes: killed, interrupted, resumed; no result is lost or duplicated."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.torch import load_file

from hamu_ray.config.sources.files import load_run
from hamu_ray.metrics.table import COSTS
from hamu_ray.results.durable.sealed import read_sealed, write_sealed
from hamu_ray.results.folder import HARDNESS_FILE, MODEL_FILE, RUN_FILE, read_records
from hamu_ray.results.items import ITEMS_FILE
from hamu_ray.results.outcome import Status
from hamu_ray.results.pareto.summary import method_of
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import TrialRecord
from hamu_ray.tracking.reader import MlflowReader
from tests.sweep_processes import log_of, ray_processes, start, wait_until, write_space

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

DOCUMENT = Path(__file__).parents[2] / "docs" / "mlflow.md"
TRIALS = 4
STEPS = 60
SEARCH = {"samples": TRIALS // 2, "concurrent": 1}
LENGTH = {
    "duration": {"steps": STEPS},
    "checkpoint": {"every_steps": 5},
    "evaluation": {"every_steps": 20, "subset": 100},
    "batch": {"retain": 16, "forget": 16},
}

VICTIMS = {"0000": "ImplicitFunc", "0001": "Slot", "0002": "Pool", "0003": "RayTrainWorker"}
"""Which process is killed during which trial: Tune's trial actor, a slot, the pool, a worker."""


def folder_of(space: Path) -> Path:
    (folder,) = (space.parent / "runs" / "sweeps").glob("tiny-*")
    return folder


def records_of(space: Path) -> dict[str, TrialRecord]:
    return {record.trial_id: record for record in read_records(folder_of(space))}


def tracked(space: Path) -> tuple[Run, list[Run]]:
    """The runs of the sweep and of its trials."""
    client = MlflowClient(tracking_uri=f"sqlite:///{space.parent}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("hamu_ray")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    return parent, [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def assert_every_step_is_tracked_once(space: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{space.parent}/runs/mlflow.db")
    records = records_of(space)
    parent, children = tracked(space)
    assert parent.info.status == "FINISHED"
    assert sorted(run.data.tags["trial"] for run in children) == sorted(records)
    for run in children:
        record = records[run.data.tags["trial"]]
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "gradient_cosine")]
        assert sorted(steps) == list(range(1, STEPS + 1)), "every step once"
        evaluated = [metric.step for metric in client.get_metric_history(run.info.run_id, "forget_quality")]
        assert sorted(evaluated) == list(record.curve), "every evaluation once"
        if record.status is Status.FINISHED:
            assert run.info.status == "FINISHED"
            assert run.data.metrics["forget_quality"] == record.measures["forget_quality"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed sweep, with its results."""
    folder = tmp_path_factory.mktemp("undisturbed")
    space = write_space(folder, str(folder / "runs"), SEARCH, **LENGTH)
    assert start(space).wait(timeout=900) == 0, log_of(space).read_text()
    return space


@pytest.fixture
def space(undisturbed: Path, tmp_path: Path) -> Path:
    """The same sweep before its start, with its base models."""
    shutil.copytree(undisturbed.parent / "runs" / "models", tmp_path / "runs" / "models")
    return write_space(tmp_path, str(tmp_path / "runs"), SEARCH, **LENGTH)


def assert_same_results(space: Path, undisturbed: Path) -> None:
    """Parameters, metrics and weights of all trials are bitwise identical."""
    expected, found = records_of(undisturbed), records_of(space)
    assert sorted(found) == sorted(expected)
    for trial, record in found.items():
        assert record.parameters == expected[trial].parameters
        assert record.measures == pytest.approx(expected[trial].measures, abs=0, rel=0, nan_ok=True)
        weights = [load_file(Path(r.model_path).with_name(MODEL_FILE)) for r in (record, expected[trial])]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def is_under_way(results: Path, trial: str) -> bool:
    """Whether a trial has a checkpoint of step 10 or later; it may have ended."""
    checkpoints = results.glob(f"*/trials/{trial}/checkpoints/*/step-*.safetensors")
    over = any(results.glob(f"*/trials/{trial}/outcome.json"))
    return over or any(int(path.stem.removeprefix("step-")) >= 10 for path in checkpoints)


def test_an_undisturbed_sweep_leaves_its_front(undisturbed: Path) -> None:
    folder = folder_of(undisturbed)
    assert_every_step_is_tracked_once(undisturbed)
    assert 0 <= tracked(undisturbed)[0].data.metrics["hypervolume"] <= 1
    assert 1 <= len(pd.read_csv(folder / "front.csv")) <= TRIALS
    for name in ("front.png", "front.html", "trials.csv", "report.html"):
        assert (folder / name).stat().st_size > 0
    on_front = pd.read_csv(folder / "front.csv", dtype={"trial_id": str})["trial_id"]
    measured = {path.parent.name for path in folder.glob(f"trials/*/{ITEMS_FILE}")}
    assert measured == set(on_front), "single examples are measured on the front alone"
    for path in folder.glob("trials/*/run.yaml"):
        load_run(path)  # runs as it is


def test_printed_commands_run_as_printed(undisturbed: Path, tmp_path: Path) -> None:
    lines = log_of(undisturbed).read_text().splitlines()
    printed = dict(line.split(maxsplit=1) for line in lines if len(line.split()) > 1)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    again = [*shlex.split(printed["knee"]), "--output", str(tmp_path / "again")]
    user_interface = [shlex.split(printed["UI"])[0], "--version"]
    for command in (again, user_interface):
        subprocess.run(command, cwd=undisturbed.parent, env=environment, check=True, capture_output=True)
    assert (tmp_path / "again" / MODEL_FILE).is_file()


def test_results_are_the_same_whichever_process_dies(space: Path, undisturbed: Path) -> None:
    driver = start(space)
    results = space.parent / "runs" / "sweeps"
    for trial, victim in VICTIMS.items():
        wait_until(lambda trial=trial: is_under_way(results, trial), driver, space)
        os.kill(ray_processes(victim, driver.pid)[-1].pid, signal.SIGKILL)
    assert driver.wait(timeout=900) == 0, log_of(space).read_text()
    assert_same_results(space, undisturbed)
    assert_every_step_is_tracked_once(space)


def test_interrupted_killed_and_resumed_nothing_is_there_twice(space: Path, undisturbed: Path) -> None:
    results = space.parent / "runs" / "sweeps"
    driver = start(space)
    wait_until(lambda: list(results.glob("*/trials/0000/record.json")), driver, space)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=600) == 130, log_of(space).read_text()
    text = log_of(space).read_text()
    assert "--resume" in text.splitlines()[-1]
    assert "Traceback" not in text
    assert (folder_of(space) / "front.png").exists()
    assert tracked(space)[0].data.tags["status"] == "interrupted"

    driver = start(space, "--resume")
    wait_until(lambda: is_under_way(results, "0002"), driver, space)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = records_of(space)
    assert 1 < len(before) < TRIALS

    assert start(space, "--resume").wait(timeout=900) == 0, log_of(space).read_text()
    after = records_of(space)
    assert before.items() <= after.items(), "finished trials are not run again"
    assert len(after) == TRIALS
    assert_every_step_is_tracked_once(space)
    expected = records_of(undisturbed)["0000"]
    assert after["0000"].measures == pytest.approx(expected.measures, abs=0, rel=0, nan_ok=True)


def test_a_spent_time_budget_ends_the_search_and_no_trial(tmp_path: Path) -> None:
    space = write_space(tmp_path, str(tmp_path / "runs"), {**SEARCH, "time_budget": 1}, **LENGTH)
    assert start(space).wait(timeout=900) == 0, log_of(space).read_text()
    (record,) = records_of(space).values()
    assert record.trial_id == "0000"
    assert record.status is not Status.INTERRUPTED
    assert record.steps == STEPS
    tags = tracked(space)[0].data.tags
    reason = f"search.time_budget of 1 s is spent: 1 of {TRIALS} trials have run"
    assert (tags["status"], tags["reason"]) == ("finished", reason)
    assert reason in log_of(space).read_text()
    assert read_sweep(folder_of(space)).reason == reason


def test_its_folder_and_mlflow_give_the_same_result(undisturbed: Path) -> None:
    folder = read_sweep(folder_of(undisturbed))
    reader = MlflowReader.open(f"sqlite:///{undisturbed.parent}/runs/mlflow.db", undisturbed.parent)
    (found,) = reader.sweeps(folder.experiment, folder.name)
    for each in fields(SweepResult):
        if each.compare:
            values = [getattr(sweep, each.name) for sweep in (folder, found)]
            texts = [json.dumps(value, sort_keys=True, default=asdict) for value in values]
            assert texts[0] == texts[1], each.name
    for trial in folder.trials:
        constrained = method_of(trial).startswith("hamu")
        assert set(trial.costs) == set(COSTS) - (set() if constrained else {"steps_outside_guarantee"})
        assert (trial.guaranteed is not None) == constrained
        for metric in ("forget_quality", "step_retain_loss"):
            history = folder.source.history(trial.trial_id, metric)
            assert history
            assert history == found.source.history(trial.trial_id, metric)
        for name in (RUN_FILE, HARDNESS_FILE):
            assert folder.source.file(trial.trial_id, name) == found.source.file(trial.trial_id, name)


def test_documented_searches_find_what_they_say(undisturbed: Path) -> None:
    filters = re.findall(
        r"\| `{1,2}((?:tags|metrics|params)\..+?)`{1,2} \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    assert len(filters) > 8
    client = MlflowClient(tracking_uri=f"sqlite:///{undisturbed.parent}/runs/mlflow.db")
    found = {
        text: {run.data.tags.get("trial") for run in client.search_runs(["1"], text)} for text in filters
    }
    records = records_of(undisturbed)
    finished = {name for name, record in records.items() if record.status is Status.FINISHED}
    front = set(pd.read_csv(folder_of(undisturbed) / "front.csv", dtype={"trial_id": str})["trial_id"])
    assert found["tags.on_front = 'true'"] == front
    assert len(found["tags.knee = 'true'"]) == 1
    assert found["tags.kind = 'trial' and tags.status != 'finished'"] == records.keys() - finished
    assert found["params.seed = '41'"] == {*records, None}, "the sweep's own run has no tag trial"
    assert found["params.rho = '0.0'"] == records.keys()
    assert found["tags.method = 'hamu-q' and metrics.retain_utility > 0.9"] == {
        name
        for name, record in records.items()
        if record.parameters["method.name"] == "hamu-q" and record.measures["retain_utility"] > 0.9
    }


def moved(text: str, space: Path, folder: Path) -> str:
    return text.replace(str(space.parent), str(folder))


def test_a_selected_point_is_confirmed_with_fresh_seeds(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed.parent / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("tune-*"))
    (folder,) = (tmp_path / "runs" / "sweeps").iterdir()
    (folder / "sweep.yaml").write_text(moved((folder / "sweep.yaml").read_text(), undisturbed, tmp_path))
    for path in folder.rglob("*.json"):
        write_sealed(path, json.loads(moved(json.dumps(read_sealed(path)), undisturbed, tmp_path)))
    command = [sys.executable, "-m", "hamu_ray.select", str(folder), "--confirm", "2", "--json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    again = document["confirmation"]
    records = read_records(Path(again["sweep"]))
    assert again["seeds"] == [record.configuration["seed"] for record in records] == [42, 43]
    assert again["finished"] == len(records)
    for place, objective in enumerate(document["objectives"]):
        values = [record.measures[objective["metric"]] for record in records]
        assert again["intervals"][place]["mean"] == pytest.approx(sum(values) / len(values))
    for record in records:
        assert record.configuration["optimizer"] == records[0].configuration["optimizer"]
        assert record.original != records_of(undisturbed)["0000"].original, "trained with its own seed"
