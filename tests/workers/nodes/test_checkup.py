"""What the doctor says about a cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.workers.nodes import checkup
from hamu_ray.workers.nodes.checkup import check_up, describe_node, look


def doctor(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hamu_ray.doctor", "--cluster", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_cluster_that_works(cluster: None, tmp_path: Path) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    MlflowTracker.open(None, "hamu_ray", tmp_path / "runs")
    ended = doctor(tmp_path, RAY_ADDRESS=address, HAMU_RAY_STORAGE=str(tmp_path / "runs"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = {line.split()[0]: line for line in ended.stdout.splitlines()}
    assert list(lines) == ["ray", "node", "storage", "mlflow"]
    assert f"{ray.__version__} at {address}" in lines["ray"]
    assert f"torch {torch.__version__}" in lines["node"]
    assert lines["storage"].endswith("runs: written and read by 1 node")
    assert "experiment 'hamu_ray' can be written" in lines["mlflow"]
    assert not list((tmp_path / "runs").glob(".doctor*"))


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_what_does_not_work_is_a_line_each(cluster: None, tmp_path: Path) -> None:
    import ray

    (tmp_path / "file").write_text("")
    ended = doctor(
        tmp_path,
        RAY_ADDRESS=ray.get_runtime_context().gcs_address,
        HAMU_RAY_STORAGE=str(tmp_path / "file" / "runs"),
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )
    assert ended.returncode == 1
    problems = [line for line in ended.stdout.splitlines() if "problem: " in line]
    assert [line.split()[0] for line in problems] == ["storage", "mlflow"]
    assert "Traceback" not in ended.stderr


def test_nothing_is_created(tmp_path: Path) -> None:
    ended = doctor(tmp_path, RAY_ADDRESS="local")
    assert "mlflow.db: does not exist yet; the first sweep creates it" in ended.stdout
    assert not list(tmp_path.iterdir())


def test_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(checkup, "running_cluster", lambda: None)
    (finding,) = check_up(str(tmp_path))
    assert finding.is_problem
    assert finding.text.startswith("no cluster runs on this machine; set RAY_ADDRESS")


def test_a_cluster_of_its_own_is_not_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setattr(checkup, "join_or_start", lambda _: pytest.fail("started a cluster"))
    (finding,) = check_up(str(tmp_path))
    assert finding.is_problem
    assert finding.text.startswith(
        "RAY_ADDRESS=local starts a cluster; set RAY_ADDRESS to the address of one"
    )


def test_a_cluster_that_does_not_respond(tmp_path: Path) -> None:
    (finding,) = check_up(str(tmp_path))  # tests without Ray have an address at which nothing listens
    assert finding.is_problem
    assert finding.text.startswith("RAY_ADDRESS: no Ray cluster responds at ")


def test_gpus_that_torch_cannot_use() -> None:
    found = {"torch": "2.9.0", "cuda": "13.0", "gpus": 0, "driver": "570.1"}
    finding = describe_node("10.0.0.4/abc123: 48 CPU, 4 GPU", 4.0, found)
    assert finding.is_problem
    assert finding.text == (
        "10.0.0.4/abc123: 48 CPU, 4 GPU; torch 2.9.0 for CUDA 13.0, driver 570.1: torch can use 0 of the GPUs; update "
        "the driver or torch"
    )
    assert not describe_node("", 4.0, {**found, "gpus": 4}).is_problem
    assert describe_node("", 0.0, {"error": "ModuleNotFoundError: No module named 'torch'"}).is_problem


def test_a_node_is_looked_at() -> None:
    found = look()
    assert found["torch"] == torch.__version__
    assert found["gpus"] == torch.cuda.device_count()
