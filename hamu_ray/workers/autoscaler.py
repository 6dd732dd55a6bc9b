"""What an autoscaler, where there is one, can bring: asked for by placement groups, which cost nothing to hold."""

import json
import time
from collections.abc import Callable

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from hamu_ray.config.run import WorkersConfig
from hamu_ray.workers.capacity import LOOK_SECONDS, bundle_of, described, usable_nodes

PATIENCE_SECONDS = 25.0
"""An autoscaler that has started no node for so long has none to start: it decides every few seconds."""

UNMANAGED = "node_"
"""How Ray names the type of a node that no autoscaler started."""


def nodes_on_their_way() -> int | None:
    """Return how many nodes the autoscaler is starting, or None where the cluster has no autoscaler."""
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2():
        status = get_cluster_status(ray.get_runtime_context().gcs_address)
        types = {node.ray_node_type_name for node in status.active_nodes + status.idle_nodes}
        coming = len(status.pending_nodes) + sum(launch.count for launch in status.pending_launches)
    else:
        said = json.loads(_internal_kv_get("__autoscaling_status") or "{}").get("autoscaler_report") or {}
        types = set((said.get("node_type_mapping") or {}).values())
        here = {node["NodeID"] for node in ray.nodes()}
        coming = sum(node[0] not in here for node in said.get("pending_nodes") or ())
        coming += sum((said.get("pending_launches") or {}).values())
    return coming if any(not kind.startswith(UNMANAGED) for kind in types) else None


def ask_for(workers: WorkersConfig) -> PlacementGroup:
    """Ask for room for a group of workers: an autoscaler starts the nodes that this placement group needs."""
    return placement_group([bundle_of(workers)] * workers.count, strategy="PACK")


def is_there(claim: PlacementGroup) -> bool:
    """Whether there is room for what was asked for."""
    return bool(placement_group_table(claim).get("state") == "CREATED")


def room_for(workers: WorkersConfig, say: Callable[[str], None]) -> PlacementGroup | None:
    """Wait for the nodes that a group of workers needs; return what keeps them, or None when none are brought."""
    claim = ask_for(workers)
    told, last, patience = None, None, time.monotonic() + PATIENCE_SECONDS
    while not claim.wait(LOOK_SECONDS):
        coming = nodes_on_their_way()
        now = (coming, len(usable_nodes()))
        if coming or now != last:
            last, patience = now, time.monotonic() + PATIENCE_SECONDS
        if time.monotonic() > patience:
            remove_placement_group(claim)
            return None
        if coming != told:
            told = coming
            say(f"waiting for nodes: {described(workers)}; {coming or 'none'} on their way")
    return claim
