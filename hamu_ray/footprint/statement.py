"""The memory of runs as lines of a dry run, with a verdict."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError, first_line
from hamu_ray.footprint.cases import Case, with_fewer_workers
from hamu_ray.footprint.compute.gpus import GPUS
from hamu_ray.footprint.device import USABLE, Device, device_of
from hamu_ray.footprint.estimate import Estimator
from hamu_ray.footprint.machine import Machine, this_machine
from hamu_ray.footprint.parts import Footprint
from hamu_ray.footprint.trace import Tracers
from hamu_ray.results.diagnosis.finding import Finding

TRAINING = "training"
PHASES = ("unlearning", TRAINING)
"""Phases of runs, the last first; those that train no base models have one."""

GB = 1e9


@dataclass(frozen=True)
class Worst:
    """The run of a sweep that needs the most in a phase."""

    run: RunConfig
    footprint: Footprint
    estimator: Estimator

    @property
    def load(self) -> float:
        """Bytes that a worker needs, relative to what it can use if that is known."""
        return self.footprint.total / (self.estimator.share if self.estimator.device else 1)


class Unknown(Exception):
    """The memory of a run cannot be estimated; the message is the reason, in one line."""


class Devices:
    """The memory of runs on the devices of their workers. What was traced once is known."""

    def __init__(
        self,
        machine: Machine | None,
        device: str | None,
        concurrent: int | None,
        tracers: Tracers | None = None,
    ) -> None:
        """Estimate nothing yet; for the arguments see `state_memory`, without a machine the workers are elsewhere."""
        self._machine, self._device, self._concurrent = machine, device, concurrent
        self._tracers = tracers or Tracers()

    def worst(self, cases: Iterable[Case]) -> dict[str, Worst]:
        """Return the run that needs the most in each phase.

        Raises:
            ConfigError: The given device is not known.
            Unknown: The memory cannot be estimated.
        """
        worst: dict[str, Worst] = {}
        for run, forecast in (smaller for case in cases for smaller in with_fewer_workers(*case)):
            placed = device_of(run.workers, self._machine, self._device, self._concurrent)
            estimator = Estimator(placed, forecast, self._tracers)
            try:
                found = [Worst(run, footprint, estimator) for footprint in estimator.footprints(run)]
                for phase, each in zip(PHASES, reversed(found), strict=False):
                    if phase not in worst or each.load > worst[phase].load:
                        worst[phase] = each
            except Exception as error:  # the code of models may raise anything on fake tensors
                raise Unknown(first_line(error)) from error
        return worst


def state_memory(
    cases: Iterable[Case],
    *,
    source: str | None = None,
    device: str | None = None,
    concurrent: int | None = 1,
    machine: Machine | None = None,
    elsewhere: bool = False,
    tracers: Tracers | None = None,
) -> Iterator[Finding]:
    """Yield lines on the memory of a worker in each phase, of the run that needs the most.

    ``source`` is the runs' file, for errors; ``device`` is given on the command line; ``concurrent`` is the number of
    runs at the same time, None: as many as fit the cores of the machine, by default this one. ``elsewhere``: workers
    run on the nodes of a cluster, of which only what the configuration or the command line says is known. ``tracers``
    keep what is traced, for others that are given them.

    Raises:
        ConfigError: A run cannot fit the device; one line with the setting that would make it fit.
    """
    place = None if elsewhere else machine or this_machine()
    try:
        worst = Devices(place, device, concurrent, tracers).worst(cases)
    except Unknown as error:
        yield Finding("memory", f"not known: {error}")
        return
    for each in reversed(worst.values()):
        yield from lines_of(each.footprint)
    yield from verdict(max(worst.values(), key=lambda each: each.load), source)


def lines_of(footprint: Footprint) -> Iterator[Finding]:
    """Yield the memory of a worker by part."""
    trained = "" if footprint.trained == footprint.parameters else f", of which {footprint.trained:,} change"
    text = f"{size(footprint.total)} per worker, {footprint.phase} ({footprint.parameters:,} parameters{trained})"
    yield Finding("memory", text)
    parts = {**footprint.held, footprint.largest.name: footprint.largest.size}
    for name, part in parts.items():
        yield Finding("", f"{size(part):>8}  {name}")


def verdict(worst: Worst, source: str | None) -> Iterator[Finding]:
    """Yield whether the run that needs the most fits its device.

    Raises:
        ConfigError: It does not.
    """
    device, needed = worst.estimator.device, worst.footprint.total
    if device is None:
        kinds = f", or the GPU of the workers: {', '.join(GPUS)}" if worst.run.workers.gpus else ", of a node"
        yield Finding(
            "", f"no verdict: nothing is known of the workers' device; give --device-memory 80GB{kinds}"
        )
        return
    room = room_of(device)
    if worst.estimator.fits(worst.footprint):
        yield Finding("", f"fits in {room}")
        return
    one = device.workers // worst.run.workers.count
    runs = int(USABLE * device.memory / needed / worst.run.workers.count)
    remedy = (
        worst.estimator.remedy(worst.run)
        if device.is_gpu or not 0 < runs < one
        else {"search.concurrent": runs}
    )
    advice = " and ".join(f"{key}: {json.dumps(value)}" for key, value in (remedy or {}).items())
    workers = worst.run.workers
    among = (
        f" on {workers.count} workers (workers.min_count: {workers.min_count})" if workers.min_count else ""
    )
    raise ConfigError(
        f"{f'{source}: ' if source else ''}{worst.footprint.phase}{among} needs {size(needed)} of memory, more than "
        f"{room}; " + (f"set {advice}" if advice else "use devices with more memory")
    )


def room_of(device: Device) -> str:
    """Return what a worker can use of a device as text."""
    among = f", which {device.workers} workers share" if device.workers > 1 else ""
    return f"{size(device.share)} for a worker: {USABLE:.0%} of the {size(device.memory)} of {device.name}{among}"


def size(count: float) -> str:
    """Return a number of bytes as text."""
    return f"{count / GB:.1f} GB" if count >= GB / 10 else f"{count / 1e6:.1f} MB"
