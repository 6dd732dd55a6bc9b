"""The clones that a search hands out beside its own trials."""

import time
from typing import Any

from hamu_ray.results.steering.clones import Clone, read_clones
from hamu_ray.tuning.plan import SweepPlan
from hamu_ray.tuning.trainable import CLONED_FROM, RUN

POLL_SECONDS = 1.0
"""Pause between two readings of the requests."""


class CloneQueue:
    """The clones of a sweep that have neither ended nor been handed out."""

    def __init__(self, plan: SweepPlan) -> None:
        """Begin with the requests in the sweep's folder."""
        self._folder = plan.folder
        self._known = {int(record.trial_id) for record in plan.records}
        self._read = -POLL_SECONDS

    def next(self, at_once: bool) -> Clone | None:
        """Return the next one, or None; without ``at_once``, requests are read once a second at most."""
        if not at_once and time.monotonic() - self._read < POLL_SECONDS:
            return None
        for clone in read_clones(self._folder):
            if clone.number not in self._known:
                return clone
        self._read = time.monotonic()
        return None

    def take(self, clone: Clone) -> dict[str, Any]:
        """Hand one out; return what its Tune configuration has besides its number and parameters."""
        self._known.add(clone.number)
        return {RUN: clone.configuration, CLONED_FROM: clone.cloned_from}
