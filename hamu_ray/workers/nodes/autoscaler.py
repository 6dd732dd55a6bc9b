"""Requests to the autoscaler, as placement groups: a pending placement group makes it start nodes."""

import time
from collections.abc import Callable

from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.nodes.capacity import POLL_SECONDS, bundle_of, describe_workers, usable_nodes
from hamu_ray.workers.ray_private import pending_nodes


def request_room(workers: WorkersConfig) -> PlacementGroup:
    """Request resources for a worker group with a placement group, for which an autoscaler starts nodes."""
    return placement_group([bundle_of(workers)] * workers.count, strategy="PACK")


def is_ready(request: PlacementGroup) -> bool:
    """Return whether the requested resources have been reserved."""
    return bool(placement_group_table(request).get("state") == "CREATED")


def wait_for_room(
    workers: WorkersConfig, patience: float, log: Callable[[str], None]
) -> PlacementGroup | None:
    """Wait until the resources of a worker group are available.

    Returns the placement group that reserves them, which the caller removes, or None if no node joined or was starting
    for ``patience`` seconds.
    """
    request = request_room(workers)
    logged, seen, deadline = None, None, time.monotonic() + patience
    while not request.wait(POLL_SECONDS):
        pending = pending_nodes()
        state = (pending, len(usable_nodes()))
        if pending or state != seen:
            seen, deadline = state, time.monotonic() + patience
        if time.monotonic() > deadline:
            remove_placement_group(request)
            return None
        if pending != logged:
            logged = pending
            none = f"none are starting: no capacity, a quota, or no node type fits; gives up after {patience:g} s"
            log(
                f"waiting for nodes: {describe_workers(workers)}; {f'{pending} are starting' if pending else none}"
            )
    return request
