"""Messages between trials, slots and workers."""

from collections.abc import Mapping
from dataclasses import dataclass

from hamu_ray.config.run import RunConfig as UnlearningRun
from hamu_ray.results.outcome import Failure, Outcome, Report
from hamu_ray.results.pareto.trajectory import Keeping


@dataclass(frozen=True)
class Job:
    """A run for a slot's workers."""

    trial: str
    run: UnlearningRun
    folder: str
    attempts: int
    """The job fails once its workers have died this many times."""
    keeping: Keeping | None = None
    """Which models on its way are kept; see `hamu_ray.engine.unlearn`."""
    pauses: tuple[int, ...] = ()
    """Steps at which it stops to be continued by another job; see `hamu_ray.engine.unlearn`."""


@dataclass(frozen=True)
class Started:
    """Workers have started a job."""

    nodes: tuple[str, ...]
    """The nodes of the workers, each as address and Ray node id: ``10.0.0.3/4f2a...``."""


@dataclass(frozen=True)
class SystemSample:
    """System metrics of a node on which a job runs."""

    node: str
    """Its address and Ray node id, as in `Started`."""
    metrics: Mapping[str, float]
    """By the names that MLflow gives them, without a prefix."""


Event = Report | Started | SystemSample | Outcome | Failure
"""An event of a job. Events are passed on in order; the last one is an Outcome or a Failure."""
