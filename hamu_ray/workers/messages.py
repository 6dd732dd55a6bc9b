"""What trials, slots and workers send each other."""

from dataclasses import dataclass

from hamu_ray.config.run import RunConfig as UnlearningRun
from hamu_ray.results.outcome import Failure, Outcome, Report
from hamu_ray.results.pruning import ReferenceCurves


@dataclass(frozen=True)
class Job:
    """A run that a slot is to do."""

    trial: str
    run: UnlearningRun
    folder: str
    attempts: int
    """How often it may be tried: so many deaths of its workers make it failed."""
    rivals: ReferenceCurves | None = None
    """Whom to beat; None lets the run go to its end."""


@dataclass(frozen=True)
class Started:
    """A job has been taken up by workers on these nodes, each an address and Ray's id of it: ``10.0.0.3/4f2a...``."""

    nodes: tuple[str, ...]


Event = Report | Started | Outcome | Failure
"""What a slot tells of a job, in order; an Outcome or a Failure comes last."""
