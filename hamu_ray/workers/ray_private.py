"""All uses of Ray that are not part of its public API, so that an upgrade of Ray can break only this file.

Each entry states its reason and the related Ray issue, if there is one. A test calls each of them against the installed
Ray.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray._common.constants import HEAD_NODE_RESOURCE_NAME
from ray._common.utils import RESOURCE_CONSTRAINT_PREFIX
from ray._private import ray_constants, services
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray._private.thirdparty import pynvml
from ray.actor import ActorHandle
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]  # made by protoc
from ray.experimental.internal_kv import _internal_kv_get

HEAD_NODE: Mapping[str, float] = {HEAD_NODE_RESOURCE_NAME: 0.0001}
"""Resources of an actor that must run on the head node.

Ray gives its head node the resource `node:__internal_head__` and uses it for its own actors, but documents no way to
select that node: https://github.com/ray-project/ray/issues/15930.
"""

ACCELERATOR = RESOURCE_CONSTRAINT_PREFIX
"""Prefix of the resource that marks a node's kind of GPU, such as `accelerator_type:A100`.

The option `accelerator_type` of tasks and actors is public, but placement group bundles take resources by name.
"""

ACCELERATOR_AMOUNT = 0.001
"""The amount that Ray's option `accelerator_type` requests."""

WORKER_HEALTH_CHECK = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
"""Environment variable: seconds without a response after which Ray Train considers a worker dead.

Ray mentions the variable only in an error message; the default is ten minutes.
"""

nvml: Any = pynvml
"""Ray's copy of NVIDIA's library for the state of GPUs (`nvidia-ml-py`), which every installation has.

`torch.cuda.utilization` needs it as a package, which Ray and torch do not install.
"""

LOST_ACTOR = (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError)
"""Errors of a call whose actor is dead."""

UNMANAGED_NODE = "node_"
"""Prefix of Ray's node type for a node that was not started by an autoscaler."""


ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable: 0 gives a node the address 127.0.0.1, on which its processes then listen alone.

Ray reads it when it is imported, and by default for macOS and Windows only; elsewhere its control store, raylet and
workers listen on all interfaces, and `ray.init` replaces a loopback address that it is given by the machine's own.
"""


def running_cluster() -> str | None:
    """Return the address of the cluster that `ray.init` joins on this machine, or None if it starts one.

    `ray.init(address="auto")` is no substitute: it joins any cluster of the machine, also those of other users.
    """
    address: str | None = services.canonicalize_bootstrap_address(None)  # type: ignore[arg-type]  # it takes None
    return address


def start_on_loopback(**options: Any) -> None:
    """Start a cluster of this machine alone: no other machine reaches its ports, no other user its files.

    Ray writes its token with the permissions of other files, and its session folders so that everyone can write there.
    """
    os.environ[ONE_MACHINE] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    token = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # a home that cannot be written
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ray.init(address="local", **options)
    node = ray._private.worker._global_node
    assert node is not None, "Ray has just started it"
    for path, mode in ((Path(node.get_session_dir_path()), 0o700), (token, 0o600)):
        with suppress(OSError):  # no token, or one that belongs to somebody else
            path.chmod(mode)


def ended_processes() -> list[str]:
    """Return the names of the processes of a cluster started by this process that should run and do not.

    Ray ends a driver from C++ when its raylet or the control store is gone, without an exception or a callback.
    """
    node = ray._private.worker._global_node
    return [] if node is None else [str(name) for name, _ in node.dead_processes()]


EXPECTED = re.compile(r"WARNING: \d+ PYTHON worker processes have been started")
"""Ray's message about more processes than cores, which several workers on a core are by intention.

https://github.com/ray-project/ray/issues/3644
"""


def log_printed_errors(logger: logging.Logger) -> None:
    """Send the errors of the cluster to a logger; what is no error here, as a warning.

    Ray prints them in the driver, even with `log_to_driver=False`.
    """

    def log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        text = "\n".join(data["lines"])
        logger.log(logging.WARNING if EXPECTED.match(text) else logging.ERROR, "%s", text)

    ray._private.worker.print_to_stdstream = log


def draining_nodes() -> dict[str, float]:
    """Return the ids of the draining nodes, which accept no new workers, and when they end: as Unix time, 0 if unknown.

    `ray.nodes()` has no such field, and the underlying call has no public form:
    https://github.com/ray-project/ray/pull/42982.
    """
    deadlines = ray._private.state.state.get_draining_nodes()
    return {node: milliseconds / 1000 for node, milliseconds in deadlines.items()}


def drain_this_node(message: str, deadline: float) -> bool:
    """Ask for the node of this process to be drained, because it ends at ``deadline`` (Unix time).

    Returns whether that was accepted. The command `ray drain-node` does the same; there is no public function.
    """
    worker: Any = ray._private.worker.global_worker
    node = ray.get_runtime_context().get_node_id()
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, _ = worker.gcs_client.drain_node(node, reason, message, int(deadline * 1000))
    return bool(accepted)


def pending_nodes() -> int | None:
    """Return how many nodes the autoscaler is starting, or None if the cluster has no autoscaler.

    There is no public API for the autoscaler's state: https://github.com/ray-project/ray/issues/37838. Both of its
    versions are in use: KubeRay runs v2, `ray up` runs v1.
    """
    if is_autoscaler_v2():
        status = get_cluster_status(ray.get_runtime_context().gcs_address)
        types = {node.ray_node_type_name for node in status.active_nodes + status.idle_nodes}
        pending = len(status.pending_nodes) + sum(launch.count for launch in status.pending_launches)
    else:
        report = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}").get("autoscaler_report") or {}
        types = set((report.get("node_type_mapping") or {}).values())
        present = {node["NodeID"] for node in ray.nodes()}
        pending = sum(node[0] not in present for node in report.get("pending_nodes") or ())
        pending += sum((report.get("pending_launches") or {}).values())
    return pending if any(not kind.startswith(UNMANAGED_NODE) for kind in types) else None


def this_actor() -> ActorHandle:
    """Return the handle of the calling actor.

    `RuntimeContext.current_actor` (https://github.com/ray-project/ray/issues/14899) is a property; Ray has deprecated
    similar properties in favour of methods, but this one has no method yet.
    """
    return ray.get_runtime_context().current_actor


def cluster_environment() -> dict[str, str]:
    """Return environment variables that identify this cluster if several run on one machine.

    Ray Train releases the resources of a dead worker group with Ray's state API, which discovers the cluster by itself
    and fails if there are several: https://github.com/ray-project/ray/issues/25639.
    """
    return {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}


def keep_credentials_out_of_tune() -> None:
    """Stop Tune from copying this process's AWS credentials into its trials' runtime environment.

    Ray logs runtime environments in plain text (https://github.com/ray-project/ray/issues/28276), and Tune has no
    option to exclude variables. Nodes have their own credentials.
    """
    from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE  # only the driver imports Tune

    ENV_VARS_TO_PROPAGATE.difference_update(
        {name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    )


def outlive_low_memory() -> None:
    """Let Tune treat an actor that Ray's memory monitor has killed like one that died for another reason.

    Ray raises `OutOfMemoryError` for its tasks, which is no `RayActorError`; Tune raises all other errors in the
    driver, and the sweep would end. Its trials are restarted instead, a limited number of times.
    """
    from ray.air.execution._internal import actor_manager  # only the driver imports Tune

    actor_manager.RayActorError = LOST_ACTOR  # type: ignore[misc, assignment]
