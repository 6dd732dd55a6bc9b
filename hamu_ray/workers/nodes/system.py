"""System metrics of a worker's node, by the names that MLflow gives them."""

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import psutil

from hamu_ray.workers.messages import SystemSample
from hamu_ray.workers.ray_private import nvml

logger = logging.getLogger(__name__)

SECONDS = 30.0
"""Least time between two samples."""
FIRST_SECONDS = 0.1
"""Time that the CPU is watched for a job's first sample; later ones have the mean since the one before."""


class SystemMetrics:
    """Samples of this node, while a job asks for them."""

    def __init__(self, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Sample nothing yet; ``node`` is its address and Ray node id."""
        self._node = node
        self._clock = clock
        self.begin(False)

    def begin(self, wanted: bool) -> None:
        """Begin a job; its first sample is due at once, if it wants any."""
        self._wanted, self._next = wanted, -math.inf
        self._watch: float | None = FIRST_SECONDS

    def due(self) -> SystemSample | None:
        """Return a sample if one is due."""
        now = self._clock()
        if not self._wanted or now < self._next:
            return None
        watch, self._watch, self._next = self._watch, None, now + SECONDS
        try:
            return SystemSample(self._node, {**host(watch), **gpus()})
        except Exception:  # the heartbeat that carries the sample must not end with it
            logger.exception("no system metrics of this node")
            self._wanted = False
            return None


def host(watch: float | None = None) -> dict[str, float]:
    """Return memory in use, and CPU utilization in the next ``watch`` seconds, or since the thread's last call."""
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(watch),
        "system_memory_usage_megabytes": memory.used / 1e6,
        "system_memory_usage_percentage": 100 * memory.used / memory.total,
    }


def gpus() -> dict[str, float]:
    """Return utilization, memory and power of the node's NVIDIA GPUs, as far as they report them; empty without any."""
    found: dict[str, float] = {}
    for number, gpu in enumerate(_gpus()):
        with suppress(nvml.NVMLError):
            memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
            found[f"gpu_{number}_memory_usage_megabytes"] = memory.used / 1e6
            found[f"gpu_{number}_memory_usage_percentage"] = 100 * memory.used / memory.total
        with suppress(nvml.NVMLError):  # a part of a GPU (MIG) has none
            found[f"gpu_{number}_utilization_percentage"] = nvml.nvmlDeviceGetUtilizationRates(gpu).gpu
        with suppress(nvml.NVMLError):
            found[f"gpu_{number}_power_usage_watts"] = nvml.nvmlDeviceGetPowerUsage(gpu) / 1000
    return found


@cache
def _gpus() -> list[Any]:
    """Return the node's GPUs, also those of other processes; none without a driver."""
    with suppress(nvml.NVMLError):
        nvml.nvmlInit()
        return [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    return []
