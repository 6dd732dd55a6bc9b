"""Joining the Ray cluster that is there, or starting one on this machine."""

import logging
import os
from collections.abc import Sequence

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group
from rich.console import Console

from hamu_ray.config.files import ConfigError
from hamu_ray.config.run import WorkersConfig
from hamu_ray.workers.autoscaler import nodes_on_their_way, room_for
from hamu_ray.workers.capacity import described, groups_that_fit, node_resources
from hamu_ray.workers.shared_storage import check_shared

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # reports on the way have no objectives yet
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Unless set otherwise: nothing calls home, and the terminal shows what this project says."""


def connect(groups: Sequence[WorkersConfig], storage: str, console: Console) -> None:
    """Connect to a cluster that can hold each of these groups of workers and shares the storage.

    Where the nodes are not there and an autoscaler can bring them, this waits until they have come.

    Raises:
        ConfigError: It cannot hold one of the groups, or a node has a storage of its own.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    claims = []
    try:
        for workers in sorted(groups, key=lambda group: group.count, reverse=True):
            if groups_that_fit(workers, node_resources()) == 0:
                claims.append(nodes_brought_for(workers, console))
        check_shared(storage)
    finally:
        for claim in claims:
            remove_placement_group(claim)


def nodes_brought_for(workers: WorkersConfig, console: Console) -> PlacementGroup:
    """Return what keeps nodes for a group of workers that the nodes of now cannot hold.

    Raises:
        ConfigError: Nothing brings such nodes.
    """
    scales = nodes_on_their_way() is not None
    if scales and (claim := room_for(workers, lambda text: console.print(text, soft_wrap=True))):
        return claim
    resources = ray.cluster_resources()
    raise ConfigError(
        f"workers: {described(workers)} do not fit the cluster's {resources.get('CPU', 0):g} CPU and "
        f"{resources.get('GPU', 0):g} GPU{', and its autoscaler brings no more' if scales else ''}; "
        "lower workers.count, workers.cpus or workers.gpus"
    )
