"""The main command in real processes: a whole sweep, killed in the middle and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from hamu_ray.config.files import load_run
from hamu_ray.sweep.records import read_records
from tests.runs import small_run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

TRIALS = 4


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    document: dict[str, Any] = small_run(
        folder / "runs",
        name="tiny",
        duration={"steps": 20},
        checkpoint={"every_steps": 10},
        workers={"count": 2, "cpus": 0.5},
    )
    document["space"] = {
        "method.name": {"grid": ["hamu-q", "gdiff"]},
        "optimizer.learning_rate": {"loguniform": [1e-3, 1e-1]},
        "method.constraint_ratio": {"uniform": [0.05, 0.5]},
    }
    document["search"] = {"samples": TRIALS // 2, "concurrent": 1}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def start(space: Path, *options: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (space.parent / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hamu_ray.tune", str(space), *options],
            cwd=space.parent,
            env=environment,
            stdout=log,
            stderr=log,
        )


def test_a_killed_sweep_is_resumed_and_nothing_is_there_twice(space: Path) -> None:
    driver = start(space)
    sweeps = space.parent / "runs" / "sweeps"
    deadline = time.monotonic() + 180
    while not list(sweeps.glob("tiny-*/trials/*/record.json")):
        assert driver.poll() is None, (space.parent / "log").read_text()
        assert time.monotonic() < deadline, (space.parent / "log").read_text()
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    (folder,) = sweeps.glob("tiny-*")
    before = {record.trial_id: record for record in read_records(folder)}
    assert 0 < len(before) < TRIALS

    assert start(space, "--resume").wait(timeout=200) == 0, (space.parent / "log").read_text()
    after = {record.trial_id: record for record in read_records(folder)}
    assert len(after) == TRIALS
    assert before.items() <= after.items(), "finished trials are not run again"

    client = MlflowClient(tracking_uri=f"sqlite:///{space.parent}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("hamu_ray")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.data.tags["trial"] for run in children) == sorted(after)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert 0 <= parent.data.metrics["hypervolume"] <= 1
    for run in children:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "gradient_cosine")]
        assert sorted(steps) == list(range(1, 21)), "every step once"
        assert run.data.metrics["forget_quality"] == after[run.data.tags["trial"]].measures["forget_quality"]

    front = pd.read_csv(folder / "front.csv")
    assert 1 <= len(front) <= TRIALS
    for name in ("front.png", "front.html", "trials.csv"):
        assert (folder / name).stat().st_size > 0
    for path in folder.glob("trials/*/run.yaml"):
        load_run(path)  # runs as it is
