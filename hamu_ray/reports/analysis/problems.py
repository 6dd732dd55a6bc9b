"""Trials grouped by the problem that they solve, and by configurations that are equal except for the seed."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from string import ascii_uppercase
from typing import Any

from hamu_ray.config.search import Objective
from hamu_ray.config.sources.key_paths import flatten
from hamu_ray.results.front import Interval, mean_interval
from hamu_ray.results.summary import SweepSummary, mean_measures, method_of, settings_of, summarise
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import Status, TrialRecord

PROBLEM_SECTIONS = ("data", "forget", "model", "training", "original", "reference")
"""Sections of a run that define the forget set and the model: trials that differ here are not compared."""

BOOKKEEPING = frozenset({"name", "seed", "workers", "storage", "tracking", "checkpoint"})
"""Sections of a run that do not change a configuration."""


@dataclass(frozen=True)
class Member:
    """A trial among those of a report."""

    sweep: SweepResult
    trial: str
    """Its name within the sweep."""
    record: TrialRecord
    """Under a name that is unique in the report."""

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.record.configuration.get("seed", 0))

    @property
    def ended(self) -> str:
        """The status, or `running`."""
        return "running" if self.record.running else str(self.record.status)


@dataclass(frozen=True)
class Configuration:
    """Finished trials that are equal except for their seeds."""

    members: tuple[Member, ...]
    """By seed."""
    record: TrialRecord
    """One record for all of them: means over seeds, under a common name."""
    intervals: tuple[Interval, Interval]
    """Mean and 95 % interval of the two objectives over seeds; no interval where there is one seed."""
    seeds: tuple[int, ...]

    @property
    def method(self) -> str:
        """The method's name."""
        return method_of(self.record)

    @property
    def settings(self) -> dict[str, Any]:
        """The sampled hyperparameters other than the method and the seed."""
        return settings_of(self.record, without_seed=True)

    def interval(self, measure: str) -> Interval:
        """Return the mean and interval of a metric over the seeds."""
        return mean_interval([m.get(measure, math.nan) for m in _by_seed(self.members).values()])


@dataclass(frozen=True)
class Problem:
    """Trials that can be compared: the same models, the same data, the same objectives."""

    title: str
    """What sets it apart from the report's other problems; what it is about where there is one."""
    members: tuple[Member, ...]
    objectives: tuple[Objective, Objective]
    configurations: tuple[Configuration, ...]
    original: Mapping[str, float]
    reference: Mapping[str, float]

    @cached_property
    def summary(self) -> SweepSummary:
        """The front of the configurations' means, and the trials that are on no front."""
        others = [m.record for m in self.members if m.record.trial_id not in self._grouped]
        records = [*(c.record for c in self.configurations), *others]
        return self._summarise(records)

    @cached_property
    def front(self) -> tuple[Configuration, ...]:
        """The configurations on the front, from the worst to the best first objective."""
        return tuple(self._named[trial.trial_id] for trial in self.summary.front)

    @property
    def knee(self) -> Configuration | None:
        """The configuration at the front's knee."""
        return self._named[self.summary.knee.trial_id] if self.summary.knee else None

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods that were tried, by name."""
        return tuple(sorted({method_of(m.record) for m in self.members}))

    @cached_property
    def knees(self) -> dict[str, Configuration]:
        """The knee of each method's own front; methods that have none are left out."""
        found = {}
        for method in self.methods:
            knee = self.of_method(method).knee
            if knee is not None:
                found[method] = self._named[knee.trial_id]
        return found

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all trials."""
        return tuple(sorted({m.seed for m in self.members}))

    def of_method(self, method: str) -> SweepSummary:
        """Return the summary of one method's configurations."""
        return self._summarise([c.record for c in self.configurations if c.method == method])

    def of_trials(self, members: Iterable[Member]) -> SweepSummary:
        """Return the summary of some trials, each on its own."""
        return self._summarise([m.record for m in members])

    def _summarise(self, records: Sequence[TrialRecord]) -> SweepSummary:
        return summarise(records, self.objectives, self.original, self.reference)

    @cached_property
    def _named(self) -> dict[str, Configuration]:
        return {c.record.trial_id: c for c in self.configurations}

    @cached_property
    def _grouped(self) -> frozenset[str]:
        return frozenset(m.record.trial_id for c in self.configurations for m in c.members)


def letters(sweeps: Sequence[SweepResult]) -> dict[tuple[str, str], str]:
    """Return a short name for each sweep by its key: A, B, ..., or an empty one for a single sweep."""
    if len(sweeps) == 1:
        return {sweeps[0].key: ""}
    many = len(sweeps) > len(ascii_uppercase)
    return {s.key: f"S{i + 1}" if many else ascii_uppercase[i] for i, s in enumerate(sweeps)}


def problems_of(sweeps: Sequence[SweepResult]) -> list[Problem]:
    """Return the problems of sweeps, in order of first occurrence."""
    names = letters(sweeps)
    grouped: dict[str, list[Member]] = defaultdict(list)
    for sweep in sweeps:
        for record in sweep.trials:
            name = names[sweep.key]
            trial_id = f"{name}.{record.trial_id}" if name else record.trial_id
            member = Member(sweep, record.trial_id, replace(record, trial_id=trial_id))
            grouped[_problem_key(member)].append(member)
    titles = _titles([members[0] for members in grouped.values()])
    return [
        _problem(title, members, len(grouped) == 1)
        for title, members in zip(titles, grouped.values(), strict=True)
    ]


def about(member: Member) -> str:
    """Return a trial's problem in a few words, such as `digits, class 0 forgotten, resnet20`."""
    run = member.record.configuration
    data, forget, model = (run.get(section) or {} for section in ("data", "forget", "model"))
    match forget.get("kind"):
        case "class":
            what = f"class {forget.get('label')} forgotten"
            if forget.get("rho"):
                what += f" (rho {forget['rho']:g})"
        case "random":
            what = f"a random {forget.get('share', 0):.0%} forgotten"
        case "split":
            what = f"split {forget.get('split')} forgotten"
        case _:
            what = "a listed part forgotten"
    return ", ".join(str(part) for part in (data.get("name"), what, model.get("name")) if part)


def _problem_key(member: Member) -> str:
    run = member.record.configuration
    about = {section: run.get(section) for section in PROBLEM_SECTIONS}
    return json.dumps(
        [about, [one.model_dump() for one in member.sweep.objectives]], sort_keys=True, default=str
    )


def _titles(firsts: Sequence[Member]) -> list[str]:
    """Name problems by the keys in which they differ."""
    if len(firsts) == 1:
        return [about(firsts[0])]
    flats = [
        flatten({section: m.record.configuration.get(section) or {} for section in PROBLEM_SECTIONS})
        for m in firsts
    ]
    keys = dict.fromkeys(key for flat in flats for key in flat)
    differ = [key for key in keys if len({json.dumps(flat.get(key), default=str) for flat in flats}) > 1]
    titles = []
    for first, flat in zip(firsts, flats, strict=True):
        values = [f"{key} = {flat[key]}" for key in differ if key in flat]
        metrics = " and ".join(objective.metric for objective in first.sweep.objectives)
        titles.append(", ".join(values) or f"{about(first)}: {metrics}")
    return titles


def _problem(title: str, members: Sequence[Member], alone: bool) -> Problem:
    objectives = members[0].sweep.objectives
    original, reference = bases_of(members, alone)
    return Problem(
        title=title,
        members=tuple(members),
        objectives=objectives,
        configurations=tuple(_configurations(members, objectives)),
        original=original,
        reference=reference,
    )


def bases_of(members: Sequence[Member], alone: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean measures of the original and reference models, over the seeds of a problem's trials.

    They are read from the record of one trial per seed. Where records were not kept, the sweep's own means are used,
    unless it had other problems as well.
    """
    found: list[TrialRecord] = []
    for seed in sorted({m.seed for m in members}):
        for member in [m for m in members if m.seed == seed and m.record.status is not Status.FAILED][:1]:
            record = member.sweep.source.record(member.trial)
            found += [record] if record else []
    original = mean_measures([record.original for record in found])
    reference = mean_measures([record.reference for record in found])
    if not alone:
        return original, reference
    sweeps = {m.sweep.key: m.sweep for m in members}.values()
    return (
        original or mean_measures([dict(sweep.original) for sweep in sweeps]),
        reference or mean_measures([dict(sweep.reference) for sweep in sweeps]),
    )


def _configurations(
    members: Iterable[Member], objectives: tuple[Objective, Objective]
) -> Iterator[Configuration]:
    """Yield the configurations of finished trials with finite objectives."""
    groups: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        values = [member.record.measures.get(objective.metric, math.nan) for objective in objectives]
        if member.record.status is Status.FINISHED and all(map(math.isfinite, values)):
            run = {k: v for k, v in member.record.configuration.items() if k not in BOOKKEEPING}
            groups[json.dumps(run, sort_keys=True, default=str)].append(member)
    for group in groups.values():
        group.sort(key=lambda m: (m.seed, m.record.trial_id))
        seeds = _by_seed(group)
        points = [[values[objective.metric] for values in seeds.values()] for objective in objectives]
        yield Configuration(
            members=tuple(group),
            record=_as_one(group, list(seeds.values())),
            intervals=(mean_interval(points[0]), mean_interval(points[1])),
            seeds=tuple(seeds),
        )


def _by_seed(members: Iterable[Member]) -> dict[int, dict[str, float]]:
    """Return the measures for each seed, the means of trials that share one."""
    groups: dict[int, list[dict[str, float]]] = defaultdict(list)
    for member in members:
        groups[member.seed].append(member.record.measures)
    return {seed: mean_measures(measures) for seed, measures in groups.items()}


def _as_one(members: Sequence[Member], by_seed: Sequence[dict[str, float]]) -> TrialRecord:
    """Return a record of several trials' means, named by the first and how many more there are."""
    first, more = members[0].record, len(members) - 1
    if not more:
        return first
    records = [m.record for m in members]
    seconds = [record.unlearning_seconds for record in records]
    outside = [n for record in records if (n := record.steps_outside_guarantee) is not None]
    return replace(
        first,
        trial_id=f"{first.trial_id} +{more}",
        parameters={key: value for key, value in first.parameters.items() if key != "seed"},
        measures=mean_measures(by_seed),
        reason=f"mean over {len(by_seed)} seeds" if len(by_seed) > 1 else f"mean of {more + 1} trials",
        unlearning_seconds=math.fsum(seconds) / len(seconds),
        steps_outside_guarantee=sum(outside) if outside else None,  # not guaranteed unless all of them are
    )
