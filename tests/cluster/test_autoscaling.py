"""Sweeps submitted as jobs to a cluster that scales: nodes come, vanish and go, and every trial is done once."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from hamu_ray.results.folder import read_records
from hamu_ray.results.outcome import Status
from hamu_ray.results.trial import TrialRecord
from tests.cluster.fake_cluster import FakeCluster
from tests.sweep_processes import write_space

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 60
LENGTH = {
    "duration": {"steps": STEPS},
    "checkpoint": {"every_steps": 5},
    "evaluation": {"every_steps": 30, "subset": 100},
    "stop": {"collapse_ratio": None},
}
PAIR = {"count": 2, "cpus": 1.0}
"""It fills one node."""


@pytest.fixture(scope="module")
def scaling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    cluster = FakeCluster(tmp_path_factory.mktemp("scaling"))
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage for all sweeps, so that base models are trained once."""
    return tmp_path_factory.mktemp("shared")


def sweep(folder: Path, storage: Path, samples: int, workers: dict[str, Any] = PAIR, **length: Any) -> Path:
    """Write a search space of twice as many trials as samples."""
    search = {"samples": samples, "concurrent": 2, "retries": 3}
    return write_space(folder, str(storage), search, workers=workers, **{**LENGTH, **length})


def records_of(space: Path) -> list[TrialRecord]:
    (folder,) = (space.parent / "runs" / "sweeps").glob("tiny-*")
    return read_records(folder)


def assert_all_done_once(space: Path, trials: int) -> list[TrialRecord]:
    """Every trial finished, on a node, with each of its steps once in MLflow; return their records."""
    records = records_of(space)
    assert [record.trial_id for record in records] == [f"{number:04d}" for number in range(trials)]
    assert {record.status for record in records} <= {Status.FINISHED, Status.COLLAPSED}
    client = MlflowClient(tracking_uri=f"sqlite:///{space.parent}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("hamu_ray")
    assert experiment is not None
    runs = {
        r.data.tags["trial"]: r
        for r in client.search_runs([experiment.experiment_id])
        if "trial" in r.data.tags
    }
    assert sorted(runs) == [record.trial_id for record in records]
    for record in records:
        run = runs[record.trial_id]
        steps = Counter(m.step for m in client.get_metric_history(run.info.run_id, "gradient_cosine"))
        assert steps == Counter(range(1, record.steps + 1)), "every step once"
        assert record.nodes
        assert run.data.tags["node"] == ", ".join(record.nodes)
    return records


def checkpointed(space: Path, storage: Path, step: int = 10) -> list[str]:
    """The trials that are under way and have a checkpoint of that step or later."""
    found = set()
    for folder in (space.parent / "runs" / "sweeps").glob("tiny-*"):
        files = (storage / "sweeps" / folder.name / "trials").glob("*/checkpoints/*/step-*")
        found = {file.parents[2].name for file in files if int(file.stem[5:]) >= step}
        found -= {record.trial_id for record in read_records(folder)}
    return sorted(found)


def has_workers(raylet: psutil.Process) -> bool:
    """Whether a group's workers are on a node."""
    try:
        return any("RayTrainWorker" in " ".join(child.cmdline()) for child in raylet.children())
    except psutil.Error:
        return False


def test_nobody_submits_without_the_token(scaling: FakeCluster) -> None:
    refused = scaling.job("list", RAY_AUTH_MODE="disabled")
    assert refused.returncode != 0
    assert "auth" in (refused.stdout + refused.stderr).lower()


def test_what_no_node_can_hold_is_refused_and_so_is_a_path_of_the_job_alone(
    scaling: FakeCluster, shared: Path, tmp_path: Path
) -> None:
    space = sweep(tmp_path, shared, 1, {**PAIR, "gpus": 1.0})
    scaling.submit("gpus", space)
    scaling.submit("relative", space, "--set", "storage.path=runs")
    log = scaling.wait_for("relative", "FAILED")
    assert "error:" in log.splitlines()[-1]
    assert "storage.path: runs would lie in the job's own folder" in log
    log = scaling.wait_for("gpus", "FAILED")
    assert "2 workers of 1 CPU and 1 GPU do not fit" in log.splitlines()[-1]
    assert "autoscaler brings no more" in log
    job = scaling.ask("gpus")
    assert job["end_time"] - job["start_time"] < 90_000, "a minute, and what it takes to start Python"
    assert not scaling.raylets()


def test_nodes_come_for_the_trials_and_go_after_them(
    scaling: FakeCluster, shared: Path, tmp_path: Path
) -> None:
    space = sweep(tmp_path, shared, 2)
    scaling.submit("scales", space)
    most = 0

    def over() -> bool:
        nonlocal most
        most = max(most, len(scaling.raylets()))
        return scaling.status("scales") not in ("PENDING", "RUNNING")

    scaling.until(over, "the sweep ends", 400)
    log = scaling.wait_for("scales", "SUCCEEDED")
    assert "waiting for nodes" in log
    assert most >= 2
    records = assert_all_done_once(space, 4)
    nodes = {node for record in records for node in record.nodes}
    assert len(nodes) >= 2, "two trials at a time are on two nodes"
    assert all(f"/{node[-6:]}" in log for node in nodes)
    scaling.until(lambda: not scaling.raylets(), "the nodes go", 120)


def test_trials_go_on_where_nodes_vanish(scaling: FakeCluster, shared: Path, tmp_path: Path) -> None:
    """One is killed, another told to leave."""
    space = sweep(tmp_path, shared, 1, duration={"steps": 16 * STEPS})
    scaling.submit("vanishing", space)

    def two_at_work() -> dict[str, psutil.Process] | None:
        at_work = {node: raylet for node, raylet in scaling.raylets().items() if has_workers(raylet)}
        return at_work if len(at_work) == 2 and len(checkpointed(space, shared)) == 2 else None

    both = scaling.until(two_at_work, "two trials run on two nodes", 400)
    killed, drained = both
    os.kill(both[killed].pid, signal.SIGKILL)
    assert scaling.drain(drained).returncode == 0
    scaling.wait_for("vanishing", "SUCCEEDED", 500)
    for record in assert_all_done_once(space, 2):
        assert len(record.nodes) > 1, "each went on elsewhere"
        assert record.nodes[0].endswith((killed, drained))


def test_a_stopped_job_is_resumed(scaling: FakeCluster, shared: Path, tmp_path: Path) -> None:
    space = sweep(tmp_path, shared, 1, duration={"steps": 8 * STEPS})
    scaling.submit("stopped", space)
    scaling.until(lambda: checkpointed(space, shared), "checkpoints", 400)
    scaling.job("stop", "stopped")
    scaling.wait_for("stopped", "STOPPED")
    before = records_of(space)
    assert len(before) < 2
    scaling.until(lambda: not scaling.trial_processes(), "trials, slots and workers end")
    scaling.submit("resumed", space, "--resume")
    scaling.wait_for("resumed", "SUCCEEDED", 400)
    assert assert_all_done_once(space, 2)[: len(before)] == before
