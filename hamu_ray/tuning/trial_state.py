"""The driver's state of a trial, and the record that is made of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hamu_ray.config.run import RunConfig
from hamu_ray.results.folder import MODEL_FILE, TRIALS
from hamu_ray.results.outcome import Failure, Outcome, Status
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.provenance import labels_in
from hamu_ray.results.trial import TrialRecord
from hamu_ray.storage import StoragePath
from hamu_ray.tracking.outbox import SentState


@dataclass
class TrialState:
    """The driver's state of a running trial."""

    name: str
    parameters: dict[str, Any]
    run: RunConfig
    sent: SentState
    """What is already in the outbox."""
    curve: dict[int, Point] = field(default_factory=dict)
    """The objectives by step."""
    began: float = field(default_factory=time.monotonic)
    """When it started or was continued, on the monotonic clock."""
    seconds: float = 0.0
    """Seconds until its last pause."""
    before: Outcome | None = None
    """How it had ended at the rung from which it was continued."""
    evaluated: float = 0.0
    """Seconds of evaluation until then; those of steps are in every outcome."""
    bases: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metrics of the original model and of the reference."""
    end: Outcome | Failure | None = None
    cloned_from: str = ""
    """The trial from whose model it started; empty if it is not a clone."""
    search_seed: int | None = None
    """The seed of the search that proposed it; None for a clone."""


def make_record(state: TrialState, results: StoragePath, metrics: Sequence[str] = ()) -> TrialRecord:
    """Return a trial's record; a trial that has not ended is recorded as interrupted.

    Costs that are among the objectives, whose ``metrics`` are given, are metrics of the trial, too.
    """
    record = TrialRecord(
        trial_id=state.name,
        status=Status.INTERRUPTED,
        parameters=state.parameters,
        configuration=state.run.model_dump(mode="json"),
        original=state.bases.get("original", {}),
        reference=state.bases.get("reference", {}),
        curve=state.curve,
        nodes=state.sent.nodes,
        reason="the sweep ended before the trial",
        cloned_from=state.cloned_from,
        search_seed=state.search_seed,
    )
    match state.end:
        case Failure(reason):
            return replace(record, status=Status.FAILED, reason=reason)
        case Outcome() as end:
            return replace(
                record,
                status=end.status,
                reason=end.reason,
                measures=end.with_costs(metrics),
                points=end.points,
                steps=end.steps,
                unlearning_seconds=end.seconds,
                evaluation_seconds=end.evaluation_seconds,
                reference_kind=end.reference_kind,
                reference_origin=end.reference_origin,
                nothing_to_forget=end.nothing_to_forget,
                provenance=labels_in(results / TRIALS / state.name),
                gradient_computations=float(end.gradient_computations),
                exchange_bytes=end.exchange_bytes,
                steps_outside_guarantee=end.steps_outside_guarantee,
                model_path=str(results / TRIALS / state.name / MODEL_FILE),
            )
    return record


def record_of_waiting(state: TrialState, results: StoragePath) -> TrialRecord:
    """Return the record of a trial that waits at a rung when its driver ends: it has not ended."""
    at = f" at step {state.end.steps}" if isinstance(state.end, Outcome) else ""
    record = make_record(replace(state, end=None), results)
    return replace(record, reason=f"waits at its rung{at}", trial_seconds=state.seconds, running=True)
