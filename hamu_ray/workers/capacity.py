"""How many worker groups the cluster holds. A group may be spread over nodes; a worker may not."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ray

from hamu_ray.config.run import WorkersConfig

Resources = Mapping[str, float]
"""What a node has, or has left: ``CPU``, ``GPU`` and others by name."""

ON_THE_HEAD = {"node:__internal_head__": 0.0001}
"""For what only waits and hands on: it stays on the head, takes nothing from workers and keeps no node from leaving."""

ACCELERATOR = "accelerator_type:"
"""How the resource begins by which Ray marks a node's kind of GPU; a worker takes a thousandth of it."""

LOOK_SECONDS = 2.0
"""Between looks at the cluster."""

ROUNDING = 1e-6
"""Fractions of a CPU do not add up exactly."""


def usable_nodes() -> list[dict[str, Any]]:
    """Return the nodes that are in the cluster now and have no notice to leave it."""
    leaving = ray._private.state.state.get_draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def node_resources() -> list[Resources]:
    """Return the resources of those nodes."""
    return [node["Resources"] for node in usable_nodes()]


def bundle_of(workers: WorkersConfig) -> dict[str, float]:
    """Return the resources that Ray sets aside for one worker of a group."""
    bundle = {"CPU": workers.cpus}
    if workers.gpus:
        bundle["GPU"] = workers.gpus
    if workers.accelerator:
        bundle[f"{ACCELERATOR}{workers.accelerator}"] = 0.001
    return bundle


def described(workers: WorkersConfig) -> str:
    """Return what a group asks the cluster for, in words."""
    kind = f" ({workers.accelerator})" if workers.accelerator else ""
    return f"{workers.count} workers of {workers.cpus:g} CPU and {workers.gpus:g} GPU{kind}"


def groups_that_fit(workers: WorkersConfig, nodes: Iterable[Resources]) -> int:
    """Return how many groups of these workers the nodes hold at once."""
    return sum(_workers_on(node, workers) for node in nodes) // workers.count


def fit_together(groups: Sequence[WorkersConfig], nodes: Iterable[Resources]) -> bool:
    """Whether the nodes hold all of these groups at once, when the first node with room takes each worker."""
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
    """Return how many of the workers a node holds."""
    return int(min(node.get(name, 0.0) / amount for name, amount in bundle_of(workers).items()) + ROUNDING)
