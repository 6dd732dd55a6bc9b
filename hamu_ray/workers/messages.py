"""Messages between trials, slots and workers."""

from dataclasses import dataclass

from hamu_ray.config.run import RunConfig as UnlearningRun
from hamu_ray.results.outcome import Failure, Outcome, Report


@dataclass(frozen=True)
class Job:
    """A run for a slot's workers."""

    trial: str
    run: UnlearningRun
    folder: str
    attempts: int
    """The job fails when its workers have died this many times."""


@dataclass(frozen=True)
class Started:
    """Workers have started a job."""

    nodes: tuple[str, ...]
    """Where they run, each an address and Ray's id of the node: ``10.0.0.3/4f2a...``."""


Event = Report | Started | Outcome | Failure
"""What a slot passes on about a job, in order; the last event is an Outcome or a Failure."""
