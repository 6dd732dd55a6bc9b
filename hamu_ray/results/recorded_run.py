"""A run as recorded by tracking, and its conversion to a trial record or a sweep result.

The readers of a sweep's folder and of MLflow both use `RecordedRun`, so that their results are equal.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.key_paths import flatten, nested
from hamu_ray.config.sources.keys import keys_of_domain
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.metrics import names
from hamu_ray.metrics.attacks.names import DURABILITY
from hamu_ray.metrics.table import BASES, COSTS, SWEEP, TRIAL_SECONDS, is_model_metric, own_metrics
from hamu_ray.results.outcome import Status, StepPoint
from hamu_ray.results.sweep_result import SweepResult, SweepSource, finite_or_nan, objectives_of
from hamu_ray.results.trial import TrialRecord

UNMEASURED = frozenset({Status.FAILED, Status.INTERRUPTED})
"""Statuses without final metrics: earlier measurements are not final."""

PROVENANCE_TAG = "provenance."
"""Prefix of the tags that contain the labels of a trial's provenance."""

POINT_TAG = "point."
"""Prefix of the tags that contain the metrics of a trial's points, by their steps."""

AUDITED_TAG = "audited."
"""Prefix of the tags that contain the numbers of the audits of a trial's points, by their steps."""

TOTAL_STEPS = "total_steps"
"""Tag with the number of steps that a trial takes, unless it ends early."""

PAUSED_AT = "paused_at"
"""Tag with the step of the rung at which a trial waits; empty once it is continued."""

CLONED_FROM, CLONE_PARAMETERS = "cloned_from", "clone_parameters"
"""Tags of a clone: the trial from whose model it started, and its parameters, some of which the space may not have."""

SEARCH_SEED = "search_seed"
"""Tag with the seed of the search that proposed a trial."""

UNFINISHED = "not ended: its sweep is running, or its driver was killed"


def provenance_tags(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that contain the labels of a trial's provenance."""
    return {f"{PROVENANCE_TAG}{name}": text for name, text in labels.items()}


def clone_tags(cloned_from: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a clone; none of another trial."""
    return {CLONED_FROM: cloned_from, CLONE_PARAMETERS: json.dumps(dict(parameters))} if cloned_from else {}


def point_tags(points: Iterable[StepPoint]) -> dict[str, str]:
    """Return the tags that contain the points of a trial."""
    return {
        f"{POINT_TAG}{point.step}": json.dumps(
            {**point.measures, names.STEPS_OUTSIDE_GUARANTEE: point.steps_outside_guarantee}
        )
        for point in points
    }


def points_in(tags: Mapping[str, str]) -> tuple[StepPoint, ...]:
    """Return the points of a trial from its tags, in order of their steps."""
    found = {name.removeprefix(POINT_TAG): text for name, text in tags.items() if name.startswith(POINT_TAG)}
    points = []
    for step in sorted(found, key=int):
        measures = json.loads(found[step])
        outside = measures.pop(names.STEPS_OUTSIDE_GUARANTEE, None)
        points.append(StepPoint(int(step), measures, outside))
    return tuple(points)


def audited_tag(step: int, metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the tag that contains what an audit found for a trial's point."""
    return {f"{AUDITED_TAG}{step}": json.dumps(dict(metrics))}


@dataclass(frozen=True)
class RecordedRun:
    """A run in the tracking store or in the outbox."""

    name: str
    """The trial's or the sweep's."""
    parameters: Mapping[str, Any]
    """Values by key path."""
    metrics: Mapping[str, float]
    """The last value of each."""
    tags: Mapping[str, str]
    running: bool
    """Whether it was started or restarted and has not ended since."""
    began: float = math.nan
    """Seconds since the epoch."""
    ended: float = math.nan
    models: frozenset[str] = frozenset()
    """The names of the models that the outbox lists."""


@dataclass
class RunBuilder:
    """A run while the calls of an outbox are being read."""

    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    running: bool = False
    step: int = 0
    """The last step of which diagnostics were read."""
    times: list[float] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    _logged: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Step and time of each metric's value: the last one in this order counts, as in MLflow."""

    def apply(self, call: str, arguments: dict[str, Any]) -> None:
        """Apply one call."""
        if call in ("start_sweep", "start_trial"):
            self.running = True
            self.tags.pop(PAUSED_AT, None)  # of an earlier driver
            if not self.parameters:  # a restarted run keeps its parameters and tags
                self.parameters = flatten(arguments["parameters"])
                self._tag(arguments)
        elif call == "log_metrics":
            self._log(arguments["metrics"], arguments.get("step", 0), arguments.get("time_ms", 0))
        elif call == "log_history":
            self.step = arguments["steps"][-1]
            self.times.append(arguments.get("time_ms", 0) / 1000)
        elif call == "set_tags":
            self._tag(arguments)
        elif call == "log_model":
            self.models.add(arguments["name"])
        elif call == "finish":
            self.running = False
            self._tag({"tags": {"status": arguments["status"], "reason": arguments.get("reason", "")}})
            self._tag(arguments)

    def _tag(self, arguments: dict[str, Any]) -> None:
        self.tags |= {name: str(value) for name, value in (arguments.get("tags") or {}).items()}

    def _log(self, metrics: dict[str, float], step: int, time_ms: int) -> None:
        self.times.append(time_ms / 1000)
        for name, value in metrics.items():
            if (step, time_ms) >= self._logged.get(name, (0, 0)):
                self._logged[name] = step, time_ms
                self.metrics[name] = finite_or_nan(value)

    def recorded(self, name: str) -> RecordedRun:
        """Return the state of the run after the calls."""
        began = self.times[0] if self.times else math.nan
        ended = self.times[-1] if self.times else math.nan
        models = frozenset(self.models)
        return RecordedRun(name, self.parameters, self.metrics, self.tags, self.running, began, ended, models)


def record_of(run: RecordedRun, document: Mapping[str, Any], config: SweepConfig | None) -> TrialRecord:
    """Convert a trial's run to a record; the sweep's configuration is given as plain data and validated."""
    tag = run.tags.get("status", "")
    over = tag in set(Status)
    status = Status(tag) if over else Status.INTERRUPTED
    reason = run.tags.get("reason", "") if over else UNFINISHED
    if status is Status.FAILED and not reason:
        reason = "its run failed, and no reason was kept"
    own = own_metrics(document)
    measures = {name: value for name, value in run.metrics.items() if name in own or is_model_metric(name)}
    measures |= durability_of(run)
    costs = {name: finite_or_nan(run.metrics.get(name)) for name in COSTS}
    if measures:  # costs that are objectives are metrics of the trial, too
        measures |= {o.metric: costs[o.metric] for o in objectives_of(document) if o.metric in costs}
    outside = costs[names.STEPS_OUTSIDE_GUARANTEE]
    nodes = run.tags.get("node", "")
    return TrialRecord(
        trial_id=run.name,
        status=status,
        parameters=_sampled(run, document, config),
        cloned_from=run.tags.get(CLONED_FROM, ""),
        search_seed=int(run.tags[SEARCH_SEED]) if SEARCH_SEED in run.tags else None,
        configuration=configuration_of(run.parameters),
        measures={} if status in UNMEASURED else measures,
        reason=reason,
        model_path=run.tags.get("model_path", ""),
        nodes=nodes.split(", ") if nodes else [],
        reference_kind=run.tags.get("reference", ""),
        reference_origin=run.tags.get("reference_origin", ""),
        nothing_to_forget=run.tags.get("nothing_to_forget", ""),
        provenance={
            tag.removeprefix(PROVENANCE_TAG): text
            for tag, text in run.tags.items()
            if tag.startswith(PROVENANCE_TAG)
        },
        points=durable_points(points_in(run.tags), run),
        steps=int(run.metrics.get("steps", 0)),
        unlearning_seconds=costs[names.UNLEARNING_SECONDS],
        evaluation_seconds=costs[names.EVALUATION_SECONDS],
        gradient_computations=costs[names.GRADIENT_COMPUTATIONS],
        exchange_bytes=costs[names.EXCHANGE_BYTES],
        trial_seconds=costs[TRIAL_SECONDS],
        steps_outside_guarantee=None if math.isnan(outside) else int(outside),
        running=not over,
    )


def durability_of(run: RecordedRun | None) -> dict[str, float]:
    """Return what an audit logged about how lasting a trial's model has forgotten; empty without one."""
    return _durability_in(run.metrics if run else {})


def durable_points(points: Sequence[StepPoint], run: RecordedRun | None) -> tuple[StepPoint, ...]:
    """Return the points of a trial with their durability, where an audit logged it."""
    tags = run.tags if run else {}
    found = {point.step: json.loads(tags.get(f"{AUDITED_TAG}{point.step}", "{}")) for point in points}
    return tuple(
        replace(point, measures={**point.measures, **_durability_in(found[point.step])}) for point in points
    )


def _durability_in(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name == DURABILITY}


def result_of(
    run: RecordedRun,
    trials: Iterable[TrialRecord],
    document: Mapping[str, Any],
    experiment: str,
    source: SweepSource,
) -> SweepResult:
    """Return the result of a sweep from its own run and the records of its trials."""
    of_bases = {base: _with_prefix(run.metrics, f"{base}.") for base in BASES}
    return SweepResult(
        name=run.name,
        experiment=experiment,
        document=document,
        trials=tuple(sorted(trials, key=lambda trial: trial.trial_id)),
        original=of_bases["original"],
        reference=of_bases["reference"],
        metrics={name: value for name, value in run.metrics.items() if name in SWEEP},
        running=run.running,
        reason="" if run.running else run.tags.get("reason", ""),
        began=_time(run.tags, "began", run.began),
        ended=math.nan if run.running else _time(run.tags, "ended", run.ended),
        source=source,
    )


def configuration_of(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's configuration from its flat parameters, without those that are only UI labels."""
    known = RunConfig.model_fields
    return nested({path: value for path, value in flat.items() if path.partition(".")[0] in known})


def _sampled(run: RecordedRun, document: Mapping[str, Any], config: SweepConfig | None) -> dict[str, Any]:
    """Return the values of the keys that the sweep varied and the trial's method uses, or those of a clone."""
    if CLONE_PARAMETERS in run.tags:
        return dict(json.loads(run.tags[CLONE_PARAMETERS]))
    flat = run.parameters
    present: dict[str, Any] = {}
    for path in document.get("space") or {}:
        values = [flat[key] for key in keys_of_domain(path) if key in flat]
        present |= {path: values[0]} if values else {}
    if config is None:
        return present
    return {path: value for path, value in present.items() if config.applies(path, present)}


def _with_prefix(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def _time(tags: Mapping[str, str], tag: str, otherwise: float) -> float:
    """Return the time recorded by the driver; sweeps of earlier versions have none."""
    return float(tags[tag]) if tag in tags else otherwise
