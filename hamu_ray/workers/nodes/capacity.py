"""Number of worker groups that fit the cluster. A group may span nodes, a worker may not."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.ray_private import ACCELERATOR, ACCELERATOR_AMOUNT, draining_nodes

Resources = Mapping[str, float]
"""Resources of a node by Ray's names for them: ``CPU``, ``GPU`` and custom ones."""

POLL_SECONDS = 2.0
"""Interval between reads of the cluster state."""

CLOSE_SECONDS = 5.0
"""Time limit for a last read of the cluster state."""

ROUNDING = 1e-6
"""Tolerance for sums of fractional CPUs."""


def usable_nodes() -> list[dict[str, Any]]:
    """Return the nodes that are alive and not being drained, in the format of `ray.nodes`."""
    draining = draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]


def node_resources() -> list[Resources]:
    """Return the total resources of each usable node."""
    return [node["Resources"] for node in usable_nodes()]


def bundle_of(workers: WorkersConfig) -> dict[str, float]:
    """Return the resources that one worker of a group reserves."""
    bundle = {"CPU": workers.cpus}
    if workers.gpus:
        bundle["GPU"] = workers.gpus
    if workers.accelerator:
        bundle[f"{ACCELERATOR}{workers.accelerator}"] = ACCELERATOR_AMOUNT
    return bundle


def describe_workers(workers: WorkersConfig) -> str:
    """Describe a group's resources in words."""
    kind = f" ({workers.accelerator})" if workers.accelerator else ""
    return f"{workers.count} workers of {workers.cpus:g} CPU and {workers.gpus:g} GPU{kind}"


def groups_that_fit(workers: WorkersConfig, nodes: Iterable[Resources]) -> int:
    """Return how many groups of these workers the nodes can hold at once."""
    return sum(_workers_on(node, workers) for node in nodes) // workers.count


def fit_together(groups: Sequence[WorkersConfig], nodes: Iterable[Resources]) -> bool:
    """Return whether the nodes can hold all of these groups at once, with first-fit placement of workers."""
    left = [dict(node) for node in nodes]
    for workers in groups:
        for _ in range(workers.count):
            node = next((node for node in left if _workers_on(node, workers)), None)
            if node is None:
                return False
            for name, amount in bundle_of(workers).items():
                node[name] -= amount
    return True


def _workers_on(node: Resources, workers: WorkersConfig) -> int:
    """Return how many of the workers a node can hold."""
    return int(min(node.get(name, 0.0) / amount for name, amount in bundle_of(workers).items()) + ROUNDING)


class ConcurrencyLimit:
    """Maximum number of concurrent trials: as many as groups fit the cluster, updated as nodes come and go."""

    def __init__(self, groups: Sequence[WorkersConfig], most: int | None) -> None:
        """Count groups of the smallest kind, up to ``most`` (None: no limit)."""
        self._groups = groups
        self._most = most
        self._count = 0
        self._counted_at = -math.inf

    def __call__(self) -> int:
        """Return the limit. It is at least 1, so that a trial that does not fit yet waits for nodes."""
        if time.monotonic() - self._counted_at > POLL_SECONDS:
            self._counted_at = time.monotonic()
            nodes = node_resources()
            fits = max(groups_that_fit(workers, nodes) for workers in self._groups)
            self._count = max(1, min(fits, self._most or fits))
        return self._count


@dataclass
class GpuTime:
    """How long the cluster's nodes had GPUs, used or not."""

    seconds: float = 0.0
    """Sum over all GPUs."""


def cluster_gpus() -> float:
    """Return the number of GPUs of the cluster's nodes."""
    return float(ray.cluster_resources().get("GPU", 0.0))


@contextmanager
def gpu_time(gpus: Callable[[], float] = cluster_gpus, interval: float = POLL_SECONDS) -> Iterator[GpuTime]:
    """Within, measure how long the cluster has GPUs: ``gpus`` is asked for their number at an interval in seconds."""
    time_of, closing = GpuTime(), threading.Event()

    def measure() -> None:
        last = time.monotonic()
        ends = False
        while not ends:
            ends = closing.wait(interval)
            now = time.monotonic()
            try:
                time_of.seconds += gpus() * (now - last)
            except Exception:  # the cluster has died, which others report
                return
            last = now

    thread = threading.Thread(target=measure, name="gpu-time", daemon=True)
    thread.start()
    try:
        yield time_of
    finally:
        closing.set()
        thread.join(CLOSE_SECONDS)
