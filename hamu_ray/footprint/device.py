"""The device that a run's workers compute on, with its memory."""

import re
from dataclasses import dataclass

from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.footprint.compute.gpus import GPUS
from hamu_ray.footprint.machine import Machine

USABLE = 0.95
"""Fraction of a device's memory that workers can use: the rest is for drivers, fragmentation and other processes."""

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(GB|GiB)", re.IGNORECASE)


@dataclass(frozen=True)
class Device:
    """A GPU, or a host on whose CPUs workers compute."""

    name: str
    memory: float
    """In bytes."""
    workers: int
    """Number of workers that use it at the same time."""
    is_gpu: bool

    @property
    def share(self) -> float:
        """Bytes that each of its workers can use."""
        return USABLE * self.memory / self.workers


def device_of(
    workers: WorkersConfig, machine: Machine | None, given: str | None = None, runs: int | None = None
) -> Device | None:
    """Return the device of a run's workers; None if nothing is known of it.

    Without a ``given`` device, it is ``workers.accelerator``, or the GPUs or the host of the ``machine`` that they run
    on; None: a cluster's nodes, of which a host is taken to have the workers of one run. ``runs`` is the largest number
    of runs at the same time; None: as many as the machine has cores for.

    Raises:
        ConfigError: A device is given that is neither a size nor a known GPU.
    """
    on_gpus = workers.gpus > 0
    sharing = int(1 / workers.gpus) if 0 < workers.gpus < 1 else 1
    if given is not None:
        if (found := SIZE.fullmatch(given.strip())) and float(found[1]) > 0:
            unit = 2**30 if found[2].lower() == "gib" else 1e9
            memory, name = float(found[1]) * unit, "the given device"
        elif given in GPUS:
            memory, name, on_gpus = GPUS[given].memory * 1e9, given, True
        else:
            raise ConfigError(
                f"--device-memory {given}: must be a size such as 80GB, or one of {', '.join(GPUS)}; "
                f"{nearest(given, GPUS)}"
            )
        if on_gpus:
            return Device(name, memory, sharing, True)
        return Device(name, memory, _on_host(workers, machine, runs), False)
    if not on_gpus and machine is not None:
        return Device("this host", machine.memory, _on_host(workers, machine, runs), False)
    if on_gpus and workers.accelerator in GPUS:
        return Device(workers.accelerator, GPUS[workers.accelerator].memory * 1e9, sharing, True)
    if machine is not None and machine.gpus:
        smallest = min(machine.gpus, key=lambda gpu: gpu.memory)
        return Device(smallest.name, smallest.memory, sharing, True)
    return None


def _on_host(workers: WorkersConfig, machine: Machine | None, runs: int | None) -> int:
    """Return how many workers compute on a host at the same time."""
    if machine is None:
        return workers.count
    fit = max(1, int(machine.cores / (workers.count * workers.cpus)))
    return workers.count * min(fit, runs or fit)
