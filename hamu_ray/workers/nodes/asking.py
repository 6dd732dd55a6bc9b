"""Short functions on a node of choice, and actors that other processes wait for: what they import may be missing.

Ray unpacks a job's files anew when a node joins that shares their folder, as do the nodes of `cluster/local.yaml`,
which are processes of one machine. An import at that moment fails, and Ray keeps the failure in the process for good.
So another process imports again.
"""

from collections.abc import Callable
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ATTEMPTS = 5
"""Processes that try to import before an import counts as impossible."""


def ask_node(node: str, function: Callable[..., Any], *arguments: Any) -> ray.ObjectRef:
    """Call a function on a node, by its Ray node id. The function raises nothing: a `RuntimeError` is Ray's own."""
    process_of_its_own: Any = ray.remote(max_calls=1)
    remote = process_of_its_own(function).options(
        num_cpus=0,
        max_retries=ATTEMPTS - 1,
        retry_exceptions=[RuntimeError],
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    reference: ray.ObjectRef = remote.remote(*arguments)
    return reference


def start_ready(start: Callable[[], ActorHandle]) -> ActorHandle:
    """Start an actor and wait until it is ready. After `ATTEMPTS` failures, its first call raises `ActorDiedError`."""
    for _ in range(ATTEMPTS - 1):
        actor = start()
        try:
            ray.get(actor.__ray_ready__.remote())
            return actor
        except ray.exceptions.ActorDiedError:
            continue
    return start()
