"""Sweeps from Python: the same engine, slots, tracking and report as the command's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import torch
import yaml
from mlflow import MlflowClient
from safetensors.torch import load_file

from hamu_ray import sweep
from hamu_ray.config.sources.files import load_run
from hamu_ray.engine.resident import Resident
from hamu_ray.results.folder import SWEEP_FILE, read_outcome
from hamu_ray.tracking.reader import MlflowReader
from tests.api.made_tasks import SHORT, classification, closeness, inputs, regression
from tests.engine.cheap_runs import done

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hamu_ray import sweep
x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
part = lambda a, b: TensorDataset(x[a:b], x[a:b, :3].argmax(1))
build = lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
result = sweep(model=build, retain=part(0, 200), forget=part(200, 240), test=part(240, 300),
               methods=["hamu-u", "npo"], trials=2,
               settings={"duration.steps": 5, "training.epochs": 4, "search.concurrent": 1})
result.front.best(min_retain_utility=0.1).save("unlearned/")
"""


def test_twelve_lines_sweep_an_own_module(tmp_path: Path) -> None:
    """In a process of its own, whose functions no worker can import."""
    assert len(SCRIPT.strip().splitlines()) <= 12
    script = tmp_path / "own.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, check=True, timeout=300)
    assert {path.name for path in (tmp_path / "unlearned").iterdir()} >= {"model.safetensors", "README.md"}
    (folder,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert (folder / "report.html").is_file()
    # The command goes the same way: it runs a trial of this sweep again, to the same weights.
    run = next((folder / "trials").glob("*/run.yaml"))
    command = [sys.executable, "-m", "hamu_ray.unlearn", str(run), "--output", str(tmp_path / "again")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    one, again = (load_file(folder / "model.safetensors") for folder in (run.parent, tmp_path / "again"))
    assert all(torch.equal(again[name], tensor) for name, tensor in one.items())


def one_worker_gives_these_numbers(trials: Path, folder: Path) -> None:
    """Run a trial of each method again, in this process alone: equal up to the order of additions."""
    resident = Resident(folder / "alone", torch.device("cpu"))
    runs = [load_run(path, ["workers.count=1"]) for path in sorted(trials.glob("*/run.yaml"))]
    for method in ("hamu-q", "gdiff"):
        at = next(number for number, run in enumerate(runs) if run.method.name == method)
        alone = done(runs[at], resident, folder / "again" / method)
        trial = sorted(trials.iterdir())[at]
        together = load_file(trial / "model.safetensors")
        for name, tensor in alone.weights.items():
            torch.testing.assert_close(tensor, together[name], rtol=1e-5, atol=1e-6)
        outcome = read_outcome(trial)
        assert outcome is not None
        for name in ("forget_loss", "retain_loss", "test_closeness"):
            assert alone.outcome.measures[name] == pytest.approx(outcome.measures[name], rel=1e-4)


def test_an_own_loss_and_metric_from_objective_to_report(tmp_path: Path) -> None:
    short = {key: value for key, value in SHORT.items() if key != "optimizer.learning_rate"}
    result = sweep(
        **regression(),
        methods=["hamu-q", "gdiff"],
        trials=4,
        storage=tmp_path,
        settings={
            **short,
            "search.concurrent": 1,
            "workers.count": 2,
            "search.objectives": [
                {"metric": "forget_quality"},
                {"metric": f"test_{closeness.__name__}"},
            ],
        },
    )
    assert torch.cuda.is_initialized() is False
    assert len(result.trials) == 4
    assert {trial.status for trial in result.trials} == {"finished"}
    best = result.front.best(min_test_closeness=0.0)
    assert best.metrics["test_closeness"] == best.metrics["retain_utility"]
    with pytest.raises(ValueError, match="no point of the front keeps test_closeness >= 2; the nearest has"):
        result.front.best(min_test_closeness=2)
    with pytest.raises(
        ValueError, match="min_accuracy: is no bound on an objective; take min_forget_quality or"
    ):
        result.front.best(min_accuracy=0.5)
    assert "closeness" in (result.folder / "report.html").read_text()
    document = yaml.safe_load((result.folder / SWEEP_FILE).read_text())
    assert document["data"]["metrics"] == ["closeness"]
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (read,) = MlflowReader.open(uri, tmp_path).sweeps("hamu_ray")
    assert read.summary.front == result.result.summary.front
    assert MlflowClient(uri).search_experiments(filter_string="name = 'hamu_ray'")
    one_worker_gives_these_numbers(result.folder / "trials", tmp_path)
    batch = inputs()[:2]
    assert best.load()(batch, batch.abs().amax(1)).shape == (2, 2)


def test_a_sweep_that_cannot_be_is_refused_before_it_starts(tmp_path: Path) -> None:
    for arguments, line in (
        ({"trials": 3}, "trials: must be a multiple of the number of methods"),
        ({"methods": ["hamu-x", "ft"], "trials": 2}, "unknown method 'hamu-x'"),
        ({"space": {"optimizer.rate": {"uniform": [0, 1]}}}, "space.optimizer.rate: unknown key"),
    ):
        with pytest.raises(ValueError, match=line):
            sweep(**classification(), storage=tmp_path, **arguments)
    assert not (tmp_path / "sweeps").exists()
