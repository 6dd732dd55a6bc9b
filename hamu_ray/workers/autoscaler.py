"""Requests to the cluster's autoscaler, as placement groups: a pending one makes it start nodes and costs nothing."""

import time
from collections.abc import Callable

from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from hamu_ray.config.run import WorkersConfig
from hamu_ray.workers.capacity import POLL_SECONDS, bundle_of, describe_workers, usable_nodes
from hamu_ray.workers.ray_private import pending_nodes

PATIENCE_SECONDS = 25.0
"""An autoscaler decides every few seconds; one that starts no node for this long has none to start."""


def request_room(workers: WorkersConfig) -> PlacementGroup:
    """Request room for a worker group; an autoscaler starts the nodes that this placement group needs."""
    return placement_group([bundle_of(workers)] * workers.count, strategy="PACK")


def is_ready(request: PlacementGroup) -> bool:
    """Return whether the requested room has been reserved."""
    return bool(placement_group_table(request).get("state") == "CREATED")


def wait_for_room(workers: WorkersConfig, log: Callable[[str], None]) -> PlacementGroup | None:
    """Wait until there is room for a worker group.

    Returns the placement group that reserves it, which the caller removes; None when no node is being started.
    """
    request = request_room(workers)
    logged, seen, deadline = None, None, time.monotonic() + PATIENCE_SECONDS
    while not request.wait(POLL_SECONDS):
        pending = pending_nodes()
        state = (pending, len(usable_nodes()))
        if pending or state != seen:
            seen, deadline = state, time.monotonic() + PATIENCE_SECONDS
        if time.monotonic() > deadline:
            remove_placement_group(request)
            return None
        if pending != logged:
            logged = pending
            log(f"waiting for nodes: {describe_workers(workers)}; {pending or 'none'} are starting")
    return request
