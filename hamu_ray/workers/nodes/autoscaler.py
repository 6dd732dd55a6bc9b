"""Requests to the autoscaler, as placement groups: a pending placement group makes it start nodes."""

import time
from collections.abc import Callable, Sequence

from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.nodes.capacity import (
    POLL_SECONDS,
    bundle_of,
    describe_workers,
    fit_together,
    node_resources,
    usable_nodes,
)
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


class RoomRequests:
    """The requests for room for worker groups that have not started yet."""

    def __init__(self, workers: WorkersConfig) -> None:
        """Request nothing yet; every request will be for a group of these workers."""
        self._workers = workers
        self._requests: list[PlacementGroup] = []

    def update(self, wanted: int, present: Sequence[WorkersConfig]) -> None:
        """Request room for as many groups, if there is an autoscaler, beside those that are present.

        A fulfilled request keeps its node until a group uses it. It is withdrawn before new groups start, because Ray
        serves older requests first.
        """
        if wanted and pending_nodes() is None:
            wanted = 0
        ready = [request for request in self._requests if is_ready(request)]
        held = ready[: self._room_for(len(ready), present)]
        kept = [*held, *(request for request in self._requests if request not in ready)][:wanted]
        for request in self._requests:
            if request not in kept:
                remove_placement_group(request)
        self._requests = kept
        if len(held) == len(ready):
            self._requests += [request_room(self._workers) for _ in range(wanted - len(kept))]

    def _room_for(self, most: int, present: Sequence[WorkersConfig]) -> int:
        """Return how many more groups fit the cluster, up to ``most``."""
        nodes = node_resources()
        fits = (n for n in range(most, 0, -1) if fit_together([*present, *[self._workers] * n], nodes))
        return next(fits, 0)
