"""Pruning as a Tune scheduler: trials that are far worse than finished ones in all objectives are stopped early."""

from dataclasses import replace
from typing import Any

from ray.actor import ActorHandle
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from hamu_ray.results.folder import trial_name
from hamu_ray.results.outcome import Failure, Outcome, Report, Verdict
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.pareto.pruning import Curve, ReferenceCurves, curve_of, curve_to_beat
from hamu_ray.tuning.trainable import EVENTS, NUMBER


class PruningScheduler(FIFOScheduler):
    """Starts trials in order, and cancels the job of a trial that is worse than a finished one at the same step.

    The cancelled run ends at its next report with the status ``pruned``, so that the trial writes its record and its
    worker group stays warm. Tune's own decision STOP would kill the trial's process before that. A run that ends before
    the cancellation arrives keeps its status.
    """

    def __init__(self, reference: ReferenceCurves, pool: ActorHandle) -> None:
        """Compare with these curves, and with those of trials that finish later."""
        super().__init__()
        self._reference = reference
        self._pool = pool
        self._curves: dict[str, dict[int, Point]] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Compare a trial's new evaluations; always lets Tune continue the trial."""
        name = trial_name(trial.config[NUMBER])
        for event in result.get(EVENTS, ()):
            match event:
                case Report(phase="unlearning"):
                    curve = self._curves.setdefault(name, {})
                    curve |= curve_of([event], self._reference.metrics)
                    if self._reference.beat(event.step, event.measures):
                        self._pool.cancel.remote(name, Verdict.PRUNE)
                case Outcome() | Failure():
                    self._add(curve_to_beat(event, self._curves.pop(name, {})))
        return str(TrialScheduler.CONTINUE)

    def _add(self, curve: Curve | None) -> None:
        """Add a curve to compare trials with."""
        if curve:
            self._reference = replace(self._reference, curves=(*self._reference.curves, curve))
