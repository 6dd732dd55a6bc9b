"""The installed Ray has all that this project uses beyond its public API. A failure means that Ray has changed."""

import ast
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import hamu_ray

PACKAGE = Path(hamu_ray.__file__).parent
PRIVATE = re.compile(
    r"\bray\.(\w+\.)*_(?!_version__)\w|internal_kv|autoscaler\.v2|class_cache|ENV_VARS_TO_PROPAGATE|current_actor|__internal_head__"
    r"|accelerator_type:|HEALTH_CHECK_TIMEOUT_S|__autoscaling"
)


def test_one_file_alone_uses_what_is_private() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if PRIVATE.search(code_of(path))
    }
    assert found == {"workers/ray_private.py"}


def code_of(path: Path) -> str:
    """Return a file's code without comments and docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                part
                for part in body
                if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ] or [ast.Pass()]
    return ast.unparse(tree)


@pytest.mark.ray
def test_the_head_node_has_the_resource_that_is_asked_for(cluster: None) -> None:
    import ray

    from hamu_ray.workers.ray_private import HEAD_NODE

    heads = [node for node in ray.nodes() if HEAD_NODE.keys() <= node["Resources"].keys()]
    assert len(heads) == 1
    assert (
        ray.get(ray.remote(lambda: os.getpid()).options(num_cpus=0, resources=dict(HEAD_NODE)).remote()) > 0
    )


def test_a_kind_of_gpu_is_a_resource_of_that_name_and_amount() -> None:
    from ray._common.utils import resources_from_ray_options

    from hamu_ray.workers.ray_private import ACCELERATOR, ACCELERATOR_AMOUNT

    resources = resources_from_ray_options({"accelerator_type": "A100"})
    assert resources == {f"{ACCELERATOR}A100": ACCELERATOR_AMOUNT}


def test_ray_train_reads_the_variable_of_its_health_check(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train.v2._internal.constants import get_env_vars_to_propagate

    from hamu_ray.workers.ray_private import WORKER_HEALTH_CHECK

    monkeypatch.setenv(WORKER_HEALTH_CHECK, "123")
    assert get_env_vars_to_propagate()[WORKER_HEALTH_CHECK] == "123"


@pytest.mark.ray
def test_no_node_drains_and_no_autoscaler_runs_in_a_cluster_of_one_machine(cluster: None) -> None:
    from hamu_ray.workers.ray_private import draining_nodes, pending_nodes

    assert draining_nodes() == {}
    assert pending_nodes() is None


DRAIN = """
import ray, time
from hamu_ray.workers.ray_private import drain_this_node, draining_nodes, start_on_loopback

class Busy:
    def drain(self, deadline):
        return drain_this_node("taken", deadline), draining_nodes(), ray.get_runtime_context().get_node_id()

start_on_loopback(num_cpus=1, include_dashboard=False)
deadline = time.time() + 60
accepted, draining, node = ray.get(ray.remote(num_cpus=1)(Busy).remote().drain.remote(deadline))
assert accepted
assert draining.keys() == {node}
assert abs(draining[node] - deadline) < 0.01
print("drained")
"""


@pytest.mark.ray
def test_a_node_drains_itself_with_a_deadline(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DRAIN],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.stdout.endswith("drained\n"), ended.stderr


@pytest.mark.ray
@pytest.mark.parametrize("scales", [True, False])
def test_the_report_of_the_first_autoscaler_is_read(cluster: None, scales: bool) -> None:
    """Written as the autoscaler's monitor writes it."""
    import json
    from dataclasses import asdict

    import ray
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.autoscaler._private.autoscaler import AutoscalerSummary
    from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_put

    from hamu_ray.workers.ray_private import UNMANAGED_NODE, pending_nodes

    here = ray.nodes()[0]["NodeID"]
    summary = AutoscalerSummary(
        active_nodes={"head": 1},
        idle_nodes={},
        pending_nodes=[(here, "worker", "up"), ("other", "worker", "setting-up")],
        pending_launches={"worker": 2},
        failed_nodes=[],
        node_type_mapping={"10.0.0.1": "head" if scales else f"{UNMANAGED_NODE}1"},
    )
    written = json.dumps({"autoscaler_report": asdict(summary)}).encode()
    _internal_kv_put(DEBUG_AUTOSCALING_STATUS, written, overwrite=True)
    try:
        assert pending_nodes() == (3 if scales else None)
    finally:
        _internal_kv_del(DEBUG_AUTOSCALING_STATUS)


@pytest.mark.ray
def test_the_second_autoscaler_answers(cluster: None) -> None:
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    from hamu_ray.workers.ray_private import UNMANAGED_NODE

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    (node,) = status.active_nodes + status.idle_nodes
    assert node.ray_node_type_name.startswith(UNMANAGED_NODE), "no autoscaler started it"
    assert sum(launch.count for launch in status.pending_launches) + len(status.pending_nodes) == 0


@pytest.mark.ray
def test_an_actor_knows_itself_and_a_process_its_cluster(cluster: None) -> None:
    import ray
    from ray.util.state import list_actors

    from hamu_ray.workers.ray_private import cluster_environment, this_actor

    class Echo:
        def itself(self) -> Any:
            return this_actor()

        def number(self) -> int:
            return 5

    actor: Any = ray.remote(Echo).options(num_cpus=0).remote()
    assert ray.get(ray.get(actor.itself.remote()).number.remote()) == 5
    address = cluster_environment()["RAY_ADDRESS"]
    assert re.fullmatch(r"[\w.]+:\d+", address)
    assert list_actors is not None


def test_ray_has_a_library_for_the_state_of_gpus() -> None:
    from hamu_ray.workers.ray_private import nvml

    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return  # there is no driver here
    for number in range(nvml.nvmlDeviceGetCount()):
        assert nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(number)).total


def test_tune_copies_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    from hamu_ray.workers.ray_private import keep_credentials_out_of_tune

    copied = set(class_cache.ENV_VARS_TO_PROPAGATE)
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", class_cache.ENV_VARS_TO_PROPAGATE)
    assert {name for name in copied if name.startswith("AWS_")}, "it is still needed"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    keep_credentials_out_of_tune()
    remote = class_cache._ActorClassCache().get(type("Trainable", (), {}))
    environment = remote._default_options["runtime_env"]["env_vars"]
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert environment["PL_DISABLE_FORK"] == "1", "Tune's own variables stay"


@pytest.mark.ray
def test_tune_outlives_the_memory_monitor(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune's error of a call whose actor Ray has killed for its memory, which would end the driver."""
    import ray
    from ray.air.execution import FixedResourceManager, ResourceRequest
    from ray.air.execution._internal import actor_manager
    from ray.exceptions import OutOfMemoryError, RayActorError

    from hamu_ray.workers.ray_private import outlive_low_memory

    # A sweep in this process has done it before.
    monkeypatch.setattr(actor_manager, "RayActorError", RayActorError)

    class Idle:
        def wait(self) -> None:
            threading.Event().wait()

    manager = actor_manager.RayActorManager(resource_manager=FixedResourceManager({"CPU": 0.1}))
    lost: list[Exception] = []
    actor = manager.add_actor(
        Idle, {}, ResourceRequest([{"CPU": 0.1}]), on_error=lambda actor, error: lost.append(error)
    )
    while not manager.num_live_actors:
        manager.next(timeout=10)
    manager.schedule_actor_task(actor, "wait")
    task = next(iter(manager._actor_task_events._tracked_futures.values()))[1]
    killed = OutOfMemoryError("1 worker was killed due to the node running low on memory")
    with pytest.raises(RuntimeError, match="unexpected exception"):
        task(killed)
    outlive_low_memory()
    task(killed)
    assert lost == [killed]
    assert not manager.num_live_actors
    assert ray.is_initialized()
