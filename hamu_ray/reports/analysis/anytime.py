"""The hypervolume of a search by the gradients that it computed, over its repetitions with other search seeds."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hamu_ray.config.search import directions, worst_corner
from hamu_ray.reports.analysis.problems import Problem, ReportTrial
from hamu_ray.results.pareto.front import Interval, hypervolume, mean_interval
from hamu_ray.results.pareto.summary import method_of
from hamu_ray.results.trial import BOOKKEEPING, TrialRecord

MOST_POINTS = 200
"""Maximum number of points of a curve."""

Search = tuple[tuple[str, str], int | None]
"""A sweep, and the seed of one of its searches where it has several."""

Repetitions = Mapping[Search, Sequence[Sequence[TrialRecord]]]
"""By search, the trials of each seed of the models, in the order of their numbers."""


@dataclass(frozen=True)
class VolumeCurve:
    """The hypervolume of a method's front during its search."""

    method: str
    sweeps: tuple[str, ...]
    """The letters of the sweeps that it is over, where the report has several searches; otherwise empty."""
    repetitions: int
    """Searches that differ in their seed alone; where there is one, the seeds of the models."""
    points: tuple[tuple[float, Interval], ...]
    """Gradients computed so far, and the hypervolume over the repetitions, after each trial."""


def volume_curves(problem: Problem) -> list[VolumeCurve]:
    """Return the hypervolume by gradients computed, for each method and search whose trials know their number.

    Trials are in the order of their numbers. The curve ends with the repetition of the fewest trials. Seeds of the
    models within a search count their mean if there are several searches.
    """
    found = []
    for method in problem.methods:
        searches: dict[str, dict[Search, dict[str, list[TrialRecord]]]] = {}
        for trial in problem.of_search:
            if method_of(trial.record) == method and not math.isnan(trial.record.gradient_computations):
                of_search = searches.setdefault(search_of(trial), {})
                search = trial.sweep.key, trial.search
                seeds = of_search.setdefault(search, defaultdict(list))
                seeds[trial.seeds].append(trial.record)
        for by_search in searches.values():
            runs = {search: list(by_seed.values()) for search, by_seed in by_search.items()}
            letters = [records[0][0].trial_id.partition(".")[0] for records in runs.values()]
            number = len(runs) if len(runs) > 1 else len(next(iter(runs.values())))
            names = tuple(dict.fromkeys(letters)) if len(searches) > 1 else ()
            found.append(VolumeCurve(method, names, number, _points(problem, runs)))
    return found


def search_of(trial: ReportTrial) -> str:
    """Return what the searches of two sweeps share if they differ in nothing but their seeds."""
    document: dict[str, Any] = {
        key: value for key, value in trial.sweep.document.items() if key not in BOOKKEEPING
    }
    search = {
        key: value for key, value in (document.get("search") or {}).items() if key not in ("seed", "repeats")
    }
    return json.dumps({**document, "search": search}, sort_keys=True, default=str)


def _points(problem: Problem, runs: Repetitions) -> tuple[tuple[float, Interval], ...]:
    shared = min(len(records) for seeds in runs.values() for records in seeds)
    every = 1 + shared // MOST_POINTS
    points = []
    for number in reversed(range(shared, 0, -every)):
        first = [[records[:number] for records in seeds] for seeds in runs.values()]
        volumes = [[_volume(problem, records) for records in seeds] for seeds in first]
        units = [fmean(of_sweep) for of_sweep in volumes] if len(volumes) > 1 else volumes[0]
        gradients = [
            math.fsum(t.gradient_computations for t in records) for seeds in first for records in seeds
        ]
        points.append((fmean(gradients), mean_interval(units)))
    return tuple(points)


def _volume(problem: Problem, trials: Sequence[TrialRecord]) -> float:
    """Return the hypervolume of the front of these trials and their points."""
    candidates = (candidate for trial in trials for candidate in trial.candidates)
    points = [problem.summary.point(c.measures) for c in candidates if problem.summary.may_be_on_front(c)]
    return hypervolume(points, worst_corner(problem.objectives), directions(problem.objectives))
