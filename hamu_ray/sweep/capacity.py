"""How many worker groups the cluster holds. A group may be spread over nodes; a worker may not."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence

import ray

from hamu_ray.config.run import WorkersConfig
from hamu_ray.config.sweep import SweepConfig

Resources = Mapping[str, float]
"""What a node has, or has left: ``CPU``, ``GPU`` and others by name."""

LOOK_SECONDS = 2.0
"""Between looks at the cluster."""

ROUNDING = 1e-6
"""Fractions of a CPU do not add up exactly."""


def node_resources() -> list[Resources]:
    """Return the resources of the nodes that are in the cluster now."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def groups_of(sweep: SweepConfig) -> list[WorkersConfig]:
    """Return the different groups of workers that a sweep's trials run on."""
    found: list[WorkersConfig] = []
    for run in sweep.variants("workers."):
        if run.workers not in found:
            found.append(run.workers)
    return found


def groups_that_fit(workers: WorkersConfig, nodes: Iterable[Resources]) -> int:
    """Return how many groups of these workers the nodes hold at once."""
    return sum(_workers_on(node, workers) for node in nodes) // workers.count


def fit_together(groups: Sequence[WorkersConfig], nodes: Iterable[Resources]) -> bool:
    """Whether the nodes hold all of these groups at once, when the first node with room takes each worker."""
    left = [{"CPU": node.get("CPU", 0.0), "GPU": node.get("GPU", 0.0)} for node in nodes]
    for workers in groups:
        for _ in range(workers.count):
            node = next((node for node in left if _workers_on(node, workers)), None)
            if node is None:
                return False
            node["CPU"] -= workers.cpus
            node["GPU"] -= workers.gpus
    return True


class Places:
    """How many trials may run at once: what the cluster holds now, so that more run when nodes join."""

    def __init__(self, sweep: SweepConfig) -> None:
        """Count groups of the sweep's workers (of its smallest, where they vary), up to the configured number."""
        self._groups = groups_of(sweep)
        self._most = sweep.search.concurrent
        self._counted = 0
        self._looked = -math.inf

    def __call__(self) -> int:
        """Return the number; it is one at least, which then waits for the nodes."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            nodes = node_resources()
            fits = max(groups_that_fit(workers, nodes) for workers in self._groups)
            self._counted = max(1, min(fits, self._most or fits))
        return self._counted


def _workers_on(node: Resources, workers: WorkersConfig) -> int:
    """Return how many of the workers a node holds."""
    fits = [node.get("CPU", 0.0) / workers.cpus]
    if workers.gpus:
        fits.append(node.get("GPU", 0.0) / workers.gpus)
    return int(min(fits) + ROUNDING)
