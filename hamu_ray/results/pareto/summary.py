"""The summary of a sweep: its Pareto front, knee, hypervolume, and means over seeds."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from hamu_ray.config.search import (
    DEFAULT_OBJECTIVES,
    MetricBounds,
    Objective,
    directions,
    missed,
    worst_corner,
)
from hamu_ray.config.sources.key_paths import SEED, SEEDS, TRAINING_SEED
from hamu_ray.config.space import METHOD_NAME
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.metrics.table import metric_of
from hamu_ray.results.outcome import NO_REFERENCE
from hamu_ray.results.pareto.front import (
    Interval,
    Point,
    hypervolume,
    hypervolume_share,
    knee,
    mean_interval,
    non_dominated,
)
from hamu_ray.results.trial import Status, TrialRecord


@dataclass(frozen=True)
class SweepSummary:
    """A sweep's trials and their Pareto front.

    Only finished trials with finite objectives that meet the search's constraints can be on it, and points of trials
    (`TrialRecord.points`), whatever became of their trials later.
    """

    objectives: tuple[Objective, ...]
    trials: tuple[TrialRecord, ...]
    """All trials, in the given order."""
    front: tuple[TrialRecord, ...]
    """Sorted along the front, from the worst to the best first objective."""
    knee: TrialRecord | None
    hypervolume: float
    hypervolume_share: float
    """As a fraction of the box up to `best_corner`."""
    best_corner: Point
    original: Mapping[str, float] = field(default_factory=dict)
    """The original model's metrics; empty without one."""
    reference: Mapping[str, float] = field(default_factory=dict)
    """The retain-only reference's metrics; empty without one."""
    constraints: Mapping[str, MetricBounds] = field(default_factory=dict)
    """The search's constraints, by metric."""

    @property
    def candidates(self) -> list[TrialRecord]:
        """All trials, each followed by its points as records of their own."""
        return [candidate for trial in self.trials for candidate in trial.candidates]

    def may_be_on_front(self, trial: TrialRecord) -> bool:
        """Whether a trial finished and meets the constraints."""
        return trial.status is Status.FINISHED and not self.missed(trial)

    def missed(self, trial: TrialRecord) -> list[str]:
        """Return the constraints that a finished trial does not meet; empty for other trials."""
        return missed(self.constraints, trial.measures) if trial.status is Status.FINISHED else []

    @property
    def outside_constraints(self) -> int:
        """The number of finished trials that do not meet the constraints."""
        return sum(bool(self.missed(trial)) for trial in self.trials)

    @property
    def bounds(self) -> str:
        """The constraints as text, such as `retain_utility >= 0.9`; empty without any."""
        return " and ".join(
            f"{metric} {bound}" for metric, each in self.constraints.items() for bound in each.violations(0.0)
        )

    @property
    def counts(self) -> dict[Status, int]:
        """The number of trials by status, including zeros."""
        counted = Counter(trial.status for trial in self.trials)
        return {status: counted[status] for status in Status}

    @property
    def reference_origins(self) -> tuple[str, ...]:
        """Descriptions of the origins of the trials' references, without duplicates."""
        return tuple(dict.fromkeys(t.reference_origin for t in self.trials if t.reference_origin))

    @property
    def missing_references(self) -> tuple[str, ...]:
        """Descriptions of what stands for the references of trials without one, to continue `The reference`."""
        missing = (t.reference_origin for t in self.trials if t.reference_kind in NO_REFERENCE)
        return tuple(dict.fromkeys(missing))

    @property
    def nothing_to_forget(self) -> tuple[str, ...]:
        """The distinct explanations of trials whose original model did not know the forget set."""
        return tuple(dict.fromkeys(t.nothing_to_forget for t in self.trials if t.nothing_to_forget))

    def point(self, measures: Mapping[str, float]) -> Point:
        """Return the values of the objectives, NaN if missing."""
        return tuple(float(measures.get(objective.metric, math.nan)) for objective in self.objectives)

    def place(self, trial: TrialRecord) -> str:
        """Return `knee`, `front` or an empty string."""
        if self.knee is not None and trial.trial_id == self.knee.trial_id:
            return "knee"
        return "front" if any(trial.trial_id == other.trial_id for other in self.front) else ""


@dataclass(frozen=True)
class SeedGroup:
    """Finished trials that differ only in their seeds."""

    method: str
    parameters: dict[str, Any]
    trials: int
    intervals: tuple[Interval, ...]
    """Mean and 95 % interval of each objective."""


def summarise(
    records: Iterable[TrialRecord],
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES,
    original: Mapping[str, float] | None = None,
    reference: Mapping[str, float] | None = None,
    constraints: Mapping[str, MetricBounds] | None = None,
) -> SweepSummary:
    """Return the summary of a sweep, which may still be running and need not have a finished trial.

    The hypervolume is between the worst corner (`Objective.worst_value`) and the best corner: 1 (0 to minimise), or the
    original model's value for metrics with `Metric.original_is_best`, such as `retain_utility`.

    Args:
        records: the sweep's trials.
        objectives: the sweep's objectives.
        original: metrics of the original model.
        reference: metrics of the retain-only reference.
        constraints: the search's constraints.
    """
    trials, original, constraints = tuple(records), dict(original or {}), dict(constraints or {})
    candidates = (candidate for trial in trials for candidate in trial.candidates)
    finished = [t for t in candidates if t.status is Status.FINISHED and not missed(constraints, t.measures)]
    measures = [[float(t.measures.get(o.metric, math.nan)) for o in objectives] for t in finished]
    maximise = directions(objectives)
    on_front = [i for i, marked in enumerate(non_dominated(measures, maximise)) if marked]
    signs = [1.0 if each else -1.0 for each in maximise]
    on_front.sort(
        key=lambda i: ([s * v for s, v in zip(signs, measures[i], strict=True)], finished[i].trial_id)
    )
    front, points = tuple(finished[i] for i in on_front), [measures[i] for i in on_front]
    worst = worst_corner(objectives)
    best = tuple(_best(objective, original) for objective in objectives)
    return SweepSummary(
        objectives=objectives,
        trials=trials,
        front=front,
        knee=front[knee(points, maximise)] if front else None,
        hypervolume=hypervolume(points, worst, maximise),
        hypervolume_share=hypervolume_share(points, best, worst, maximise),
        best_corner=best,
        original=original,
        reference=dict(reference or {}),
        constraints=constraints,
    )


def method_of(trial: TrialRecord) -> str:
    """Return the name of a trial's method, sampled or fixed."""
    configured = trial.configuration.get("method", {})
    return str(trial.parameters.get(METHOD_NAME, configured.get("name", "unknown")))


def settings_of(trial: TrialRecord, without_seeds: bool = False) -> dict[str, Any]:
    """Return the sampled hyperparameters other than the method (and the seeds)."""
    left_out = {METHOD_NAME, *(SEEDS if without_seeds else ())}
    return {key: value for key, value in trial.parameters.items() if key not in left_out}


def units(trials: Sequence[TrialRecord]) -> list[int]:
    """Return the seed of each trial's independent unit: intervals are over units.

    It is the training seed where trials have several, because unlearnings of one training share its models; otherwise
    it is the seed.
    """
    trainings = [
        trial.parameters.get(TRAINING_SEED, (trial.configuration.get("training") or {}).get("seed"))
        for trial in trials
    ]
    seeds = [trial.parameters.get(SEED, trial.configuration.get(SEED, 0)) for trial in trials]
    nested = len({one for one in trainings if one is not None}) > 1
    return [
        int(training if nested and training is not None else seed)
        for training, seed in zip(trainings, seeds, strict=True)
    ]


def over_seeds(summary: SweepSummary) -> list[SeedGroup]:
    """Return means of the objectives over seeds, for each configuration that finished with at least two seeds.

    Clones, whose start is another, are left out.
    """
    groups: dict[tuple[str, str], list[tuple[int, TrialRecord]]] = defaultdict(list)
    for unit, trial in zip(units(summary.trials), summary.trials, strict=True):
        varies = not trial.parameters.keys().isdisjoint(SEEDS)
        if trial.status is Status.FINISHED and varies and not trial.cloned_from:
            settings = sorted(settings_of(trial, without_seeds=True).items())
            groups[method_of(trial), repr(settings)].append((unit, trial))
    found = []
    for (method, _), trials in groups.items():
        if len(trials) > 1:
            of_units: dict[int, list[Point]] = defaultdict(list)
            for unit, trial in trials:
                of_units[unit].append(summary.point(trial.measures))
            means = [list(map(fmean, zip(*points, strict=True))) for points in of_units.values()]
            intervals = tuple(map(mean_interval, zip(*means, strict=True)))
            found.append(
                SeedGroup(method, settings_of(trials[0][1], without_seeds=True), len(trials), intervals)
            )
    return found


def _best(objective: Objective, original: Mapping[str, float]) -> float:
    metric = metric_of(objective.metric)
    kept = metric is not None and metric.original_is_best
    known = float(original.get(objective.metric, math.nan)) if kept else math.nan
    return known if math.isfinite(known) else float(objective.maximise)


def summary_of(config: SweepConfig, records: Sequence[TrialRecord]) -> SweepSummary:
    """Return the summary of a sweep, with the mean metrics of its original and reference models."""
    return summarise(
        records,
        config.search.objectives,
        mean_measures([record.original for record in records]),
        mean_measures([record.reference for record in records]),
        config.search.constraints,
    )


def mean_measures(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the models that have it; they may differ between seeds or splits."""
    present = [measures for measures in measured if measures]
    names = {name: None for measures in present for name in measures}
    means = {}
    for name in names:
        values = [measures[name] for measures in present if name in measures]
        means[name] = math.fsum(values) / len(values)
    return means
