"""Tune callback that stops the trials that a person wants stopped (`hamu_ray.steer`)."""

import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.actor import ActorHandle

from hamu_ray.results.folder import trial_name
from hamu_ray.results.outcome import Verdict
from hamu_ray.results.steering.stops import remove_stop_request, stop_requests
from hamu_ray.tuning.trainable import NUMBER, PAUSED

POLL_SECONDS = 1.0
"""Pause between two readings of the requests."""


class Steering(tune.Callback):
    """The callback. A request holds until its trial ends: one that waits for a slot is stopped once it has one.

    So is one that reached a rung before it was stopped, if it is continued.
    """

    def __init__(self, folder: Path, pool: ActorHandle) -> None:
        """Read the requests in a sweep's folder; the pool cancels jobs."""
        self._folder, self._pool = folder, pool
        self._read = 0.0

    def __reduce__(self) -> tuple:
        """Pickle as nothing: Tune pickles its callbacks into its own checkpoint, which is never read."""
        return tune.Callback, ()

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        """Stop the trials that are to be stopped; those that do not run are left alone."""
        if time.monotonic() - self._read >= POLL_SECONDS:
            self._read = time.monotonic()
            for trial in stop_requests(self._folder):
                self._pool.cancel.remote(trial, Verdict.STOP)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Remove the request of a trial that has ended, and does not wait at a rung."""
        if not trial.last_result.get(PAUSED):
            remove_stop_request(self._folder, trial_name(trial.config[NUMBER]))
