"""Sizes of worker groups where the cluster has lost the room for all of a run's workers (`workers.min_count`)."""

import math
import time
from collections.abc import Callable, Iterable, Sequence

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.nodes.capacity import Resources, groups_that_fit


class Elasticity:
    """Whether a run waits for all of its workers, or goes on with fewer: nodes that left may still come back."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``patience``: for how many seconds the nodes must have been too few before runs go on with fewer workers."""
        self._patience = patience
        self._clock = clock
        self._fitted: dict[WorkersConfig, float] = {}

    def watch(self, groups: Iterable[WorkersConfig], nodes: Sequence[Resources]) -> None:
        """Take note of the groups that the nodes can hold now; called at short intervals."""
        for workers in set(groups):
            if groups_that_fit(workers, nodes):
                self._fitted[workers] = self._clock()

    def sizes(self, workers: WorkersConfig, nodes: Sequence[Resources]) -> list[WorkersConfig]:
        """Return the groups that a run may have on these nodes, the largest first.

        If the nodes can hold all of its workers, it waits until others have left the room for them. What they could
        not hold from the start is not waited for: a sweep has done so before.
        """
        self.watch([workers], nodes)
        lacking = self._clock() - self._fitted.get(workers, -math.inf)
        return workers.sizes() if lacking >= self._patience else [workers]
