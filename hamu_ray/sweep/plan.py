"""What a sweep is to do, worked out once from its configuration."""

import math
import time
from collections.abc import Sequence

from hamu_ray.config.run import WorkersConfig
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.pruning import ReferenceCurves
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.workers.capacity import LOOK_SECONDS, groups_that_fit, node_resources


def rivals_of(config: SweepConfig, before: Sequence[TrialRecord]) -> ReferenceCurves | None:
    """Return whom trials are held against at the start, or None where none is to be pruned."""
    if config.search.pruning is None:
        return None
    first, second = config.search.objectives
    return ReferenceCurves(
        metrics=(first.metric, second.metric),
        maximise=(first.mode == "max", second.mode == "max"),
        margin=config.search.pruning.margin,
        grace_steps=config.search.pruning.grace_steps,
        curves=tuple(record.curve for record in before if record.status is Status.FINISHED and record.curve),
    )


def groups_of(sweep: SweepConfig) -> list[WorkersConfig]:
    """Return the different groups of workers that a sweep's trials run on."""
    found: list[WorkersConfig] = []
    for run in sweep.variants("workers."):
        if run.workers not in found:
            found.append(run.workers)
    return found


class ConcurrencyLimit:
    """How many trials may run at once: what the cluster holds now, so that more run when nodes join."""

    def __init__(self, sweep: SweepConfig) -> None:
        """Count groups of the sweep's workers (of its smallest, where they vary), up to the configured number."""
        self._groups = groups_of(sweep)
        self._most = sweep.search.concurrent
        self._counted = 0
        self._looked = -math.inf

    def __call__(self) -> int:
        """Return the number; it is one at least, which then waits for the nodes."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            nodes = node_resources()
            fits = max(groups_that_fit(workers, nodes) for workers in self._groups)
            self._counted = max(1, min(fits, self._most or fits))
        return self._counted
