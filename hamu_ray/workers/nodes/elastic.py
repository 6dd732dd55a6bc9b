"""Sizes of worker groups where the cluster has lost the room for all of a run's workers (`workers.min_count`)."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.nodes.capacity import groups_that_fit

Node = Mapping[str, Any]
"""A usable node, in the format of `ray.nodes`."""


class Elasticity:
    """Whether a run waits for all of its workers, or goes on with fewer: nodes that left may still come back."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``patience`` is for how many seconds no node may have come, gone or been starting before runs use fewer."""
        self._patience = patience
        self._clock = clock
        self._seen: frozenset[str] | None = None
        self._changed = -math.inf

    def watch(self, nodes: Sequence[Node], starting: int = 0) -> None:
        """Take note of the usable nodes, and of how many are starting.

        The first ones are no change: a sweep has waited for them before it starts.
        """
        seen = frozenset(node["NodeID"] for node in nodes)
        if starting or self._seen not in (None, seen):
            self._changed = self._clock()
        self._seen = seen

    def sizes(self, workers: WorkersConfig, nodes: Sequence[Node]) -> list[WorkersConfig]:
        """Return the groups that a run may have on these nodes, the largest first.

        If the nodes can hold all of its workers, it waits until others have left the room for them.
        """
        self.watch(nodes)
        settled = self._clock() - self._changed >= self._patience
        fits = groups_that_fit(workers, [node["Resources"] for node in nodes])
        return workers.sizes() if settled and not fits else [workers]
