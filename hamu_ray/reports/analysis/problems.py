"""Trials grouped by unlearning problem, and by configuration across seeds."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from string import ascii_uppercase
from typing import Any

from hamu_ray.config.search import MetricBounds, Objective
from hamu_ray.config.sources.key_paths import SEEDS
from hamu_ray.reports.analysis.identity import problem_key, recipe, titles_of
from hamu_ray.results.pareto.front import Interval, mean_interval
from hamu_ray.results.pareto.summary import (
    SweepSummary,
    mean_measures,
    method_of,
    settings_of,
    summarise,
    units,
)
from hamu_ray.results.sweep_result import SweepResult, shared_constraints
from hamu_ray.results.trial import BOOKKEEPING, Status, TrialRecord, point_name


@dataclass(frozen=True)
class ReportTrial:
    """A trial in a report."""

    sweep: SweepResult
    name_in_sweep: str
    """The trial id within its sweep."""
    record: TrialRecord
    """The trial's record, under a `trial_id` that is unique in the report."""
    seed: int
    """The seed of the trial's independent unit: the run's seed; the training seed where the problem has several."""

    @property
    def seeds(self) -> str:
        """The run's seed as text, after its training seed if it has one of its own."""
        training = (self.record.configuration.get("training") or {}).get("seed")
        return ", ".join(
            str(one) for one in (training, self.record.configuration.get("seed", 0)) if one is not None
        )

    @property
    def search_seed(self) -> int:
        """The seed of the search that proposed it."""
        known = self.record.search_seed
        return int((self.sweep.document.get("search") or {}).get("seed", 0)) if known is None else known

    @property
    def search(self) -> int | None:
        """The same where its sweep repeats the search, otherwise None."""
        repeats = (self.sweep.document.get("search") or {}).get("repeats", 1)
        return self.record.search_seed if repeats > 1 else None

    @property
    def candidates(self) -> "list[ReportTrial]":
        """The trial itself, and its points as trials of their own."""
        names = [self.name_in_sweep, *(point_name(self.name_in_sweep, p.step) for p in self.record.points)]
        return [
            replace(self, name_in_sweep=name, record=replace(record, points=()))
            for name, record in zip(names, self.record.candidates, strict=True)
        ]

    @property
    def ended(self) -> str:
        """The status, or `running`."""
        return "running" if self.record.running else str(self.record.status)


@dataclass(frozen=True)
class SeedGroup:
    """Finished trials with equal configurations except for the seed."""

    trials: tuple[ReportTrial, ...]
    """Sorted by seed."""
    record: TrialRecord
    """One record for the whole group: metrics averaged over seeds, under a common name."""
    intervals: tuple[Interval, ...]
    """Mean and 95 % confidence interval of each objective over seeds; the interval is NaN for a single seed."""
    seeds: tuple[int, ...]

    @property
    def method(self) -> str:
        """The method's name."""
        return method_of(self.record)

    @property
    def settings(self) -> dict[str, Any]:
        """The sampled hyperparameters, without method and seed."""
        return settings_of(self.record, without_seeds=True)

    def interval(self, metric: str) -> Interval:
        """Return the mean and confidence interval of a metric over the seeds."""
        return mean_interval([m.get(metric, math.nan) for m in _by_seed(self.trials).values()])


@dataclass(frozen=True)
class Problem:
    """Trials that can be compared: same models, same data, same objectives."""

    title: str
    """What distinguishes it from the report's other problems, or a short description if it is the only one."""
    trials: tuple[ReportTrial, ...]
    objectives: tuple[Objective, ...]
    groups: tuple[SeedGroup, ...]
    original: Mapping[str, float]
    reference: Mapping[str, float]
    constraints: Mapping[str, MetricBounds]
    """The constraints of the search that all of its sweeps share."""

    @cached_property
    def summary(self) -> SweepSummary:
        """Summary of the groups' means, and of the trials that belong to no group."""
        others = [replace(m.record, points=()) for m in self.trials if m.record.trial_id not in self._grouped]
        records = [*(c.record for c in self.groups), *others]
        return self._summarise(records)

    @cached_property
    def front(self) -> tuple[SeedGroup, ...]:
        """The groups on the Pareto front, from the worst to the best first objective."""
        return tuple(self._named[trial.trial_id] for trial in self.summary.front)

    @cached_property
    def of_search(self) -> tuple[ReportTrial, ...]:
        """The trials that the search proposed: without clones, for which a method has another start and more steps."""
        return tuple(trial for trial in self.trials if not trial.record.cloned_from)

    @property
    def knee(self) -> SeedGroup | None:
        """The group at the knee of the front."""
        return self._named[self.summary.knee.trial_id] if self.summary.knee else None

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that were tried, sorted."""
        return tuple(sorted({method_of(m.record) for m in self.trials}))

    @cached_property
    def knees(self) -> dict[str, SeedGroup]:
        """The knee of each method's own front; methods without a knee are left out."""
        found = {}
        for method in self.methods:
            knee = self.of_method(method).knee
            if knee is not None:
                found[method] = self._named[knee.trial_id]
        return found

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all trials, sorted."""
        return tuple(sorted({m.seed for m in self.trials}))

    @property
    def shared_training(self) -> int | None:
        """The training seed of all trials if it is one of its own and their seeds differ, otherwise None."""
        trainings = {(m.record.configuration.get("training") or {}).get("seed") for m in self.trials}
        return trainings.pop() if len(trainings) == 1 and len(self.seeds) > 1 else None

    def of_method(self, method: str) -> SweepSummary:
        """Return the summary of one method's groups."""
        return self._summarise([c.record for c in self.groups if c.method == method])

    def of_trials(self, trials: Iterable[ReportTrial]) -> SweepSummary:
        """Return the summary of individual trials, without averaging over seeds."""
        return self._summarise([m.record for m in trials])

    def _summarise(self, records: Sequence[TrialRecord]) -> SweepSummary:
        return summarise(records, self.objectives, self.original, self.reference, self.constraints)

    @cached_property
    def _named(self) -> dict[str, SeedGroup]:
        return {c.record.trial_id: c for c in self.groups}

    @cached_property
    def _grouped(self) -> frozenset[str]:
        return frozenset(m.record.trial_id for c in self.groups for m in c.trials)


def letters(sweeps: Sequence[SweepResult]) -> dict[tuple[str, str], str]:
    """Return a short name for each sweep by its key: A, B, ..., or an empty string for a single sweep."""
    if len(sweeps) == 1:
        return {sweeps[0].key: ""}
    many = len(sweeps) > len(ascii_uppercase)
    return {s.key: f"S{i + 1}" if many else ascii_uppercase[i] for i, s in enumerate(sweeps)}


def problems_of(sweeps: Sequence[SweepResult]) -> list[Problem]:
    """Group the trials of sweeps into problems, in order of first occurrence."""
    names = letters(sweeps)
    grouped: dict[str, list[ReportTrial]] = defaultdict(list)
    for sweep in sweeps:
        for record in sweep.trials:
            name = names[sweep.key]
            trial_id = f"{name}.{record.trial_id}" if name else record.trial_id
            trial = ReportTrial(sweep, record.trial_id, replace(record, trial_id=trial_id), 0)
            grouped[problem_key(record.configuration, sweep.objectives)].append(trial)
    for key, trials in grouped.items():
        seeds = units([trial.record for trial in trials])
        grouped[key] = [replace(trial, seed=seed) for trial, seed in zip(trials, seeds, strict=True)]
    firsts = [trials[0] for trials in grouped.values()]
    titles = titles_of([(first.record.configuration, first.sweep.objectives) for first in firsts])
    return [
        _problem(title, trials, len(grouped) == 1)
        for title, trials in zip(titles, grouped.values(), strict=True)
    ]


def _problem(title: str, trials: Sequence[ReportTrial], alone: bool) -> Problem:
    objectives = trials[0].sweep.objectives
    original, reference = bases_of(trials, alone)
    return Problem(
        title=title,
        trials=tuple(trials),
        objectives=objectives,
        groups=tuple(_groups([one for trial in trials for one in trial.candidates], objectives)),
        original=original,
        reference=reference,
        constraints=shared_constraints([trial.sweep for trial in trials]),
    )


def bases_of(trials: Sequence[ReportTrial], alone: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean metrics of the original and the reference models over the seeds of a problem.

    They are read from the record of one trial per seed. If no record was kept, the sweep's own means are used, provided
    that the sweep has no other problems.
    """
    found: list[TrialRecord] = []
    for seed in sorted({m.seed for m in trials}):
        for trial in [m for m in trials if m.seed == seed and m.record.status is not Status.FAILED][:1]:
            record = trial.sweep.source.record(trial.name_in_sweep)
            found += [record] if record else []
    original = mean_measures([record.original for record in found])
    reference = mean_measures([record.reference for record in found])
    if not alone:
        return original, reference
    sweeps = {m.sweep.key: m.sweep for m in trials}.values()
    return (
        original or mean_measures([dict(sweep.original) for sweep in sweeps]),
        reference or mean_measures([dict(sweep.reference) for sweep in sweeps]),
    )


def _groups(trials: Iterable[ReportTrial], objectives: tuple[Objective, ...]) -> Iterator[SeedGroup]:
    """Yield the groups of finished trials with finite objectives."""
    groups: dict[str, list[ReportTrial]] = defaultdict(list)
    for trial in trials:
        values = [trial.record.measures.get(objective.metric, math.nan) for objective in objectives]
        if trial.record.status is Status.FINISHED and all(map(math.isfinite, values)):
            run = {k: v for k, v in trial.record.configuration.items() if k not in BOOKKEEPING}
            run["training"] = recipe(run)
            groups[json.dumps(run, sort_keys=True, default=str)].append(trial)
    for group in groups.values():
        group.sort(key=lambda m: (m.seed, m.record.trial_id))
        seeds = _by_seed(group)
        points = [[values[objective.metric] for values in seeds.values()] for objective in objectives]
        yield SeedGroup(
            trials=tuple(group),
            record=_as_one(group, list(seeds.values())),
            intervals=tuple(map(mean_interval, points)),
            seeds=tuple(seeds),
        )


def _by_seed(trials: Iterable[ReportTrial]) -> dict[int, dict[str, float]]:
    """Return metrics by seed, averaged over trials that share a seed."""
    groups: dict[int, list[dict[str, float]]] = defaultdict(list)
    for trial in trials:
        groups[trial.seed].append(trial.record.measures)
    return {seed: mean_measures(measures) for seed, measures in groups.items()}


def _as_one(trials: Sequence[ReportTrial], by_seed: Sequence[dict[str, float]]) -> TrialRecord:
    """Average several trials into one record, named after the first and the number of others."""
    first, more = trials[0].record, len(trials) - 1
    if not more:
        return first
    records = [m.record for m in trials]
    seconds = [record.unlearning_seconds for record in records]
    outside = [n for record in records if (n := record.steps_outside_guarantee) is not None]
    return replace(
        first,
        trial_id=f"{first.trial_id} +{more}",
        parameters={key: value for key, value in first.parameters.items() if key not in SEEDS},
        measures=mean_measures(by_seed),
        reason=f"mean over {len(by_seed)} seeds" if len(by_seed) > 1 else f"mean of {more + 1} trials",
        unlearning_seconds=math.fsum(seconds) / len(seconds),
        steps_outside_guarantee=sum(outside) if outside else None,  # None unless all are guaranteed
    )
