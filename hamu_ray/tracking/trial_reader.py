"""A trial's record from its run in MLflow: how it ended, what was sampled, what was measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hamu_ray.config.keys import keys_of_domain
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.metrics import names
from hamu_ray.results.outcome import Status
from hamu_ray.results.trial import TrialRecord
from hamu_ray.tracking.encoding import nested, value_of

if TYPE_CHECKING:
    from mlflow.entities import Run

COSTS = frozenset({*names.ENGINE, "trial_seconds"})
"""Metrics of a trial that say what it cost."""

DIAGNOSTICS = frozenset(
    {
        "step_retain_loss",
        "step_forget_loss",
        "retain_norm_before_clipping",
        "forget_norm_before_clipping",
        "retain_norm",
        "forget_norm",
        "gradient_dot",
        "gradient_cosine",
        "gradient_angle",
        "constraint",
        "infeasible_blocks",
        "stopping_margin",
        "hardness",
        "blocks_outside_radius",
        "largest_step_radii",
        "constraint_shortfall",
        "promised_retain_change",
        "promised_forget_change",
        "actual_retain_change",
        "actual_forget_change",
        "promise_kept",
        "radius_scale",
        "step_refused",
    }
)
"""Metrics of a trial that are of its steps, not of its model."""

UNMEASURED = frozenset({Status.FAILED, Status.INTERRUPTED})
"""How trials end that have no final measures: what was measured on the way is none."""

UNFINISHED = "not over: its sweep still runs, or its driver died"


@dataclass(frozen=True)
class ArchivedTrial:
    """A trial's record with what only its run says."""

    record: TrialRecord
    run_id: str
    running: bool
    """Not over, as far as the store knows; the record then counts as interrupted."""
    costs: dict[str, float]
    """Its costs by the names of their metrics; absent where they were not measured."""


def read_trial(run: "Run", document: Mapping[str, Any], config: SweepConfig | None) -> ArchivedTrial:
    """Return the record of a trial's run."""
    tags, metrics = run.data.tags, run.data.metrics
    flat = {name: value_of(text) for name, text in run.data.params.items()}
    status, running = _status(run)
    if status is Status.FAILED and not tags.get("reason"):
        tags = {**tags, "reason": "its run failed, and no reason was kept"}
    measured = {name: value for name, value in metrics.items() if is_measure(name)}
    record = TrialRecord(
        trial_id=tags["trial"],
        status=status,
        parameters=_sampled(flat, document, config),
        configuration=configuration_of(flat),
        measures={} if status in UNMEASURED else measured,
        reason=UNFINISHED if running else tags.get("reason", ""),
        model_path=tags.get("model_path", ""),
        steps=int(_number(metrics.get("steps"), 0.0)),
        unlearning_seconds=metrics.get("unlearning_seconds", math.nan),
        evaluation_seconds=metrics.get("evaluation_seconds", math.nan),
    )
    costs = {name: value for name, value in metrics.items() if name in COSTS and math.isfinite(value)}
    return ArchivedTrial(record, run.info.run_id, running, costs)


def is_measure(metric: str) -> bool:
    """Whether a trial's metric is of its model: no cost, no diagnostic of a step, nothing of the machine."""
    return metric not in COSTS and metric not in DIAGNOSTICS and "/" not in metric


def _status(run: "Run") -> tuple[Status, bool]:
    """Return how a trial ended, and whether it is not over."""
    told = run.data.tags.get("status", "")
    if told in set(Status):
        return Status(told), False
    if run.info.status == "FAILED":
        return Status.FAILED, False
    return Status.INTERRUPTED, True


def _sampled(
    flat: Mapping[str, Any], document: Mapping[str, Any], config: SweepConfig | None
) -> dict[str, Any]:
    """Return the values of the keys that the sweep varied and the trial's method reads."""
    present: dict[str, Any] = {}
    for path in document.get("space") or {}:
        values = [flat[key] for key in keys_of_domain(path) if key in flat]
        present |= {path: values[0]} if values else {}
    if config is None:
        return present
    return {path: value for path, value in present.items() if config.applies(path, present)}


def configuration_of(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's configuration from its flat parameters, without those that are there for the UI alone."""
    known = RunConfig.model_fields
    return nested({path: value for path, value in flat.items() if path.partition(".")[0] in known})


def _number(value: float | None, otherwise: float) -> float:
    return otherwise if value is None or not math.isfinite(value) else value
