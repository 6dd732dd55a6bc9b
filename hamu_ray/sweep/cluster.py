"""Joining the Ray cluster that is there, or starting one on this machine."""

import logging
import os
from collections.abc import Sequence

import ray

from hamu_ray.config.files import ConfigError
from hamu_ray.config.run import WorkersConfig
from hamu_ray.sweep.capacity import groups_that_fit, node_resources

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # reports on the way have no objectives yet
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Unless set otherwise: nothing calls home, and the terminal shows what this project says."""


def connect(groups: Sequence[WorkersConfig]) -> None:
    """Connect to a cluster that can hold each of these groups of workers.

    Raises:
        ConfigError: It cannot hold one of them.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    for workers in groups:
        if groups_that_fit(workers, node_resources()) == 0:
            resources = ray.cluster_resources()
            raise ConfigError(
                f"workers: {workers.count} workers of {workers.cpus:g} CPU and {workers.gpus:g} GPU do not fit the "
                f"cluster's {resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU; "
                "lower workers.count, workers.cpus or workers.gpus"
            )
