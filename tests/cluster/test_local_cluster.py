"""A real cluster from `cluster/local.yaml`, with both versions of Ray's autoscaler: a head that requires a token, jobs
submitted as documented, and sweeps whose nodes join, die and are removed while every trial runs exactly once.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from mlflow import MlflowClient

from hamu_ray.results.folder import read_records
from hamu_ray.results.outcome import Status
from hamu_ray.results.reader import read_outbox
from hamu_ray.results.trial import TrialRecord
from tests.cluster.fake_cluster import FakeCluster, has_title
from tests.sweep_processes import write_space

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

STEPS = 160
LENGTH = {
    "duration": {"steps": STEPS},
    "checkpoint": {"every_steps": 5},
    "evaluation": {"every_steps": STEPS // 2, "subset": 100},
    "batch": {"retain": 16, "forget": 16},
    "stop": {"collapse_ratio": None},
}
PAIR = {"count": 2, "cpus": 1.0}
"""Fills one node."""


@contextmanager
def running(folder: Path, autoscaler: int) -> Iterator[FakeCluster]:
    cluster = FakeCluster(folder, autoscaler)
    try:
        yield cluster
    finally:
        left = cluster.close()
    assert not left, "trials, slots and workers end with the head"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    with running(tmp_path_factory.mktemp("cluster"), autoscaler=2) as cluster:
        yield cluster


@pytest.fixture
def first_autoscaler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    """As `cluster/local.yaml` starts it; `ray up` too."""
    with running(tmp_path_factory.mktemp("first"), autoscaler=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage for all sweeps, so that base models are trained once."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def impossible(cluster: FakeCluster, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that requests GPUs, which no node has; it fails while other tests run."""
    space = sweep(tmp_path_factory.mktemp("impossible"), shared, 1, {**PAIR, "gpus": 1.0})
    cluster.sweep("impossible", space, "--set", "search.wait_for_nodes=20")
    return "impossible"


def sweep(folder: Path, storage: Path, samples: int, workers: dict[str, Any] = PAIR, **changes: Any) -> Path:
    """Write a search space with twice as many trials as samples, with changed sections."""
    search = {"samples": samples, "concurrent": 2, "retries": 3} | changes.pop("search", {})
    return write_space(folder, str(storage), search, workers=workers, **{**LENGTH, **changes})


def records_of(space: Path) -> list[TrialRecord]:
    (folder,) = (space.parent / "runs" / "sweeps").glob("tiny-*")
    return read_records(folder)


def assert_all_done_once(space: Path, trials: int) -> list[TrialRecord]:
    """Check that every trial finished, on a node, with each of its steps once in MLflow; return their records."""
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


def under_way(space: Path, storage: Path) -> dict[str, int]:
    """The trials that have a checkpoint and have not ended, with the step of the newest checkpoint."""
    found: dict[str, int] = {}
    for folder in (space.parent / "runs" / "sweeps").glob("tiny-*"):
        trials = storage / "sweeps" / folder.name / "trials"
        for file in trials.glob("*/checkpoints/*/step-*.safetensors"):
            trial, step = file.parents[2], int(file.stem.removeprefix("step-"))
            if not (trial / "outcome.json").exists():
                found[trial.name] = max(step, found.get(trial.name, 0))
    return found


def places_of(space: Path) -> dict[str, str]:
    """The nodes on which the trials of a sweep ran last, by what their workers have said."""
    folders = (space.parent / "runs" / "sweeps").glob("tiny-*")
    tags = {name: run.tags for folder in folders for name, run in read_outbox(folder).items()}
    return {name: tags[name]["node"].rpartition("/")[2] for name in tags if "node" in tags[name]}


def has_workers(raylet: psutil.Process) -> bool:
    """Whether a group's workers are on a node."""
    try:
        children = raylet.children()
    except psutil.Error:
        return False
    return any(has_title(child, "ray::RayTrainWorker") for child in children)


@pytest.mark.usefixtures("impossible")
def test_strangers_are_turned_away(cluster: FakeCluster) -> None:
    url = f"{cluster.url}/api/jobs/"
    for headers, code in (({}, 401), ({"Authorization": "Bearer of-nothing"}, 403)):
        with pytest.raises(HTTPError) as error:
            urlopen(Request(url, headers=headers), timeout=60)
        assert error.value.code == code


def test_nobody_submits_without_the_token(cluster: FakeCluster) -> None:
    refused = cluster.job("list", RAY_AUTH_MODE="disabled")
    assert refused.returncode != 0
    assert "auth" in (refused.stdout + refused.stderr).lower()


@pytest.mark.parametrize("upload", [("--working-dir", "."), ()])
def test_the_documented_line_runs_as_it_stands(upload: tuple[str, ...], cluster: FakeCluster) -> None:
    tune = ["python", "-m", "hamu_ray.tune", "search_spaces/digits.yaml"]
    done = cluster.job("submit", *upload, "--", *tune, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"path: {cluster.environment['HAMU_RAY_STORAGE']}" in done.stdout


def test_a_failed_job_reports_its_exit_code_and_last_lines(cluster: FakeCluster) -> None:
    tune = ["python", "-m", "hamu_ray.tune", "search_spaces/digits.yaml", "--set", "seeed=1"]
    done = cluster.job("submit", "--working-dir", ".", "--", *tune)
    assert done.returncode == 1
    assert "exit code 2" in done.stdout + done.stderr
    assert "seeed: unknown key; did you mean seed?" in done.stdout


def test_a_path_of_the_job_alone_is_refused(cluster: FakeCluster, shared: Path, tmp_path: Path) -> None:
    cluster.sweep("relative", sweep(tmp_path, shared, 1), "--set", "storage.path=runs")
    log = cluster.wait_for("relative", "FAILED")
    assert "error:" in log.splitlines()[-1]
    assert "storage.path: runs would be in the job's own folder" in log


def test_what_no_node_can_hold_is_refused(cluster: FakeCluster, impossible: str) -> None:
    log = cluster.wait_for(impossible, "FAILED")
    assert "waiting for nodes: 2 workers of 1 CPU and 1 GPU; none are starting: no capacity, a quota, " in log
    assert "2 workers of 1 CPU and 1 GPU do not fit" in log.splitlines()[-1]
    assert "autoscaler started no more nodes for 20 s (search.wait_for_nodes)" in log
    assert not cluster.raylets()


def test_nodes_join_for_trials_and_trials_survive_lost_nodes(
    cluster: FakeCluster, shared: Path, tmp_path: Path
) -> None:
    """One of the working nodes is lost, then the cloud announces that it takes another one."""
    space = sweep(tmp_path, shared, 3)
    cluster.sweep("vanishing", space)
    most = 0

    def at_work(before: Mapping[str, int]) -> tuple[set[str], set[str]]:
        """The nodes with a trial that has gone on since then and is far from its end, and those with workers."""
        nonlocal most
        assert cluster.status("vanishing") in ("PENDING", "RUNNING"), cluster.ask("vanishing/logs")["logs"]
        raylets, places = cluster.raylets(), places_of(space)
        most = max(most, len(raylets))
        going = {t for t, step in under_way(space, shared).items() if before.get(t, 0) < step < 0.6 * STEPS}
        with_workers = {node for node in raylets if has_workers(raylets[node])}
        return with_workers & {places[trial] for trial in going if trial in places}, with_workers

    lost = min(cluster.until(lambda: at_work({})[0], "a node to be lost"))
    before = under_way(space, shared)
    cluster.lose(lost)

    def all_at_work() -> set[str]:
        """The nodes with workers, while each has a trial that is far from its end."""
        going, with_workers = at_work(before)
        return going if going == with_workers else set()

    working = cluster.until(all_at_work, "a node to be taken")
    cluster.cloud.take(instances=1)
    (taken,) = cluster.until(lambda: working - cluster.raylets().keys(), "the node is drained, and ends")
    log = cluster.wait_for("vanishing", "SUCCEEDED")
    records = assert_all_done_once(space, 6)
    assert most >= 2, "two trials at a time ask for two nodes"
    left = {node.rpartition("/")[2] for record in records for node in record.nodes[:-1]}
    assert {lost, taken} <= left, "their trials went on elsewhere"
    assert all(f"/{node[-6:]}" in log for record in records for node in record.nodes)
    cluster.until(lambda: not cluster.raylets(), "the nodes go")


def test_two_jobs_are_submitted_together(cluster: FakeCluster, shared: Path, tmp_path: Path) -> None:
    """Two people submit the same checkout at once: its upload, the nodes and the storage are shared."""
    spaces = {name: tmp_path / name for name in ("first", "second")}
    for name, folder in spaces.items():
        spaces[name] = sweep(folder, shared, 1, search={"concurrent": 1}, duration={"steps": 20})
    with ThreadPoolExecutor() as people:
        list(people.map(cluster.sweep, spaces, spaces.values()))
    for name, space in spaces.items():
        cluster.wait_for(name, "SUCCEEDED")
        assert_all_done_once(space, 2)


def test_a_stopped_job_is_resumed_and_nodes_go_after_the_last_trial(
    first_autoscaler: FakeCluster, shared: Path, tmp_path: Path
) -> None:
    cluster, space = first_autoscaler, sweep(tmp_path, shared, 1)
    cluster.sweep("stopped", space)
    cluster.until(lambda: under_way(space, shared), "checkpoints")
    cluster.job("stop", "stopped")
    log = cluster.wait_for("stopped", "STOPPED")
    assert "interrupted; to resume, repeat the command with --resume" in log.splitlines()[-1]
    (folder,) = (space.parent / "runs" / "sweeps").glob("tiny-*")
    assert {"front.png", "trials.csv", "report.html"} <= {path.name for path in folder.iterdir()}
    assert (shared / "sweeps" / folder.name / "report.html").exists(), "everything is in the storage"
    before = records_of(space)
    assert len(before) < 2
    cluster.until(lambda: not cluster.trial_processes(), "trials, slots and workers end")
    cluster.sweep("resumed", space, "--resume", "auto")
    log = cluster.wait_for("resumed", "SUCCEEDED")
    assert assert_all_done_once(space, 2)[: len(before)] == before
    (share,) = re.findall(r"(\d+)% of it in steps", log)
    assert 0 < int(share) <= 100, "a stopped driver's work is not that of the next"
    cluster.until(lambda: not cluster.raylets(), "the nodes go")
