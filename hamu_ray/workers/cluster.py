"""Connect to the running Ray cluster, or start one on this machine."""

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from hamu_ray.config.search import WAIT_FOR_NODES
from hamu_ray.config.sources.document import first_line
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.nodes.autoscaler import wait_for_room
from hamu_ray.workers.nodes.capacity import describe_workers, groups_that_fit, node_resources
from hamu_ray.workers.nodes.shared_storage import check_shared
from hamu_ray.workers.ray_private import ended_processes, pending_nodes, running_cluster, start_on_loopback

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # only a trial's last result has the objectives
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Default environment variables: no telemetry, and no terminal output from Ray."""


RESPONSE_SECONDS = 10.0
"""Time limit for a cluster's address to accept a connection."""


VITAL = ("raylet", "gcs_server")
"""Processes of a cluster without which Ray ends the driver."""

WATCH_SECONDS = 0.5


@contextmanager
def connected(
    groups: Sequence[WorkersConfig],
    storage: str,
    log: Callable[[str], None],
    patience: float = WAIT_FOR_NODES,
    again: str = "the same command goes on",
) -> Iterator[None]:
    """Within, this process is connected to a cluster that can hold each worker group and whose nodes share the storage.

    Waits for nodes if there is an autoscaler, and logs what it is waiting for; gives up if no node joins or is starting
    for ``patience`` seconds. A process that was connected before, such as a notebook's, stays connected. If a cluster
    that was started here dies, the process ends with one line, in which ``again`` describes how to continue.

    Raises:
        ConfigError: The cluster cannot hold one of the groups, or a node does not share the storage.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    connects = not ray.is_initialized()
    if connects:
        join_or_start(log)
    over = threading.Event()
    watch = threading.Thread(target=end_with_cluster, args=(over, again), name="cluster", daemon=True)
    try:
        if connects:
            watch.start()
        check_cluster(groups, storage, log, patience)
        yield
    finally:
        over.set()
        if connects:
            ray.shutdown()


def end_with_cluster(over: threading.Event, again: str) -> None:
    """End this process with one line when the cluster that it started dies; Ray would end it within seconds.

    Everything that has ended is on disk by then.
    """
    while not over.wait(WATCH_SECONDS):
        ended = [name for name in ended_processes() if name in VITAL]
        if ended and not over.wait(WATCH_SECONDS):  # not because it is being shut down
            line = f"error: Ray has stopped: its {ended[0]} ended; see its logs in {ray_logs()}; {again}"
            print(line, file=sys.stderr, flush=True)
            os._exit(1)


def check_cluster(
    groups: Sequence[WorkersConfig], storage: str, log: Callable[[str], None], patience: float
) -> None:
    """Check that the cluster can hold each of these worker groups, now or once it has grown; see `connected`."""
    reserved = []
    try:
        for workers in sorted(groups, key=lambda group: group.count, reverse=True):
            if groups_that_fit(workers, node_resources()) == 0:
                reserved += reserve_new_nodes(workers, log, patience)
        check_shared(storage)
    finally:
        for placement in reserved:
            remove_placement_group(placement)


def join_or_start(log: Callable[[str], None]) -> None:
    """Join the running cluster, or start one that this machine alone can reach.

    Raises:
        ConfigError: Ray cannot start, or the cluster does not respond.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        log("RAY_AUTH_MODE is disabled: whoever reaches the cluster's ports can run code in it")
    address = cluster_address()
    if address is not None:
        check_responds(address)
    try:
        if address is None:
            start_on_loopback(**options)
        else:
            ray.init(**options)
    except Exception as error:  # Ray raises many unrelated types when a process of it does not come up
        raise ConfigError(
            f"Ray cannot start: {first_line(error)}; see its logs in {ray_logs()}, or set RAY_ADDRESS"
        ) from error


def cluster_address() -> str | None:
    """Return the address of the cluster that this process would join; None if it would start one."""
    address = os.environ.get("RAY_ADDRESS") or running_cluster()
    return None if address == "local" else address


def check_responds(address: str) -> None:
    """Check that something listens at a cluster's address; Ray itself waits for minutes and then ends the process.

    Raises:
        ConfigError: Nothing does.
    """
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not port.isdigit():
        return  # a name for which Ray looks the address up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=RESPONSE_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"RAY_ADDRESS: no Ray cluster responds at {address}: {error.strerror or error}; start it, or set "
            "RAY_ADDRESS=local for a cluster on this machine"
        ) from error


def ray_logs() -> str:
    """Return the folder where Ray keeps its logs on this machine."""
    return str(Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "session_latest" / "logs")


def reserve_new_nodes(
    workers: WorkersConfig, log: Callable[[str], None], patience: float
) -> list[PlacementGroup]:
    """Wait for the autoscaler to start nodes for a worker group; return the placement group that reserves them.

    Without one, the nodes at least hold as many workers as its runs may go on with.

    Raises:
        ConfigError: There is no autoscaler, or it does not start such nodes.
    """
    scales = pending_nodes() is not None
    if scales and (placement := wait_for_room(workers, patience, log)):
        return [placement]
    nodes = node_resources()
    fewer = next((size for size in workers.sizes() if groups_that_fit(size, nodes)), None)
    if fewer is not None:
        log(
            f"{describe_workers(workers)} do not fit the cluster: runs start with {fewer.count}, see workers.min_count"
        )
        return []
    resources = ray.cluster_resources()
    waited = (
        f", and its autoscaler started no more nodes for {patience:g} s (search.wait_for_nodes)"
        if scales
        else ""
    )
    raise ConfigError(
        f"workers: {describe_workers(workers)} do not fit the cluster's {resources.get('CPU', 0):g} CPU and "
        f"{resources.get('GPU', 0):g} GPU{waited}; "
        "lower workers.count, workers.cpus or workers.gpus, or allow fewer with workers.min_count"
    )
