"""The hypervolume of a search by the gradients that it computed, over its repetitions with other search seeds."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
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

Repetitions = Sequence[Sequence[Sequence[TrialRecord]]]
"""Of each repetition, the trials of each of its sweeps and seeds of the models, in the order of their numbers."""


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
    models within a search count their mean if there are several searches, and so do sweeps with the same seeds.
    """
    found = []
    for method in problem.methods:
        searches: dict[str, dict[tuple[int, str, tuple[str, str]], list[TrialRecord]]] = {}
        for trial in problem.of_search:
            if method_of(trial.record) == method and not math.isnan(trial.record.gradient_computations):
                runs = searches.setdefault(search_of(trial), defaultdict(list))
                runs[trial.search_seed, trial.seeds, trial.sweep.key].append(trial.record)
        for runs in searches.values():
            several = len({search for search, _, _ in runs}) > 1
            repeated: dict[object, list[list[TrialRecord]]] = defaultdict(list)
            for (search, seeds, _), records in runs.items():
                repeated[search if several else seeds].append(records)
            letters = (records[0].trial_id.partition(".")[0] for records in runs.values())
            names = tuple(dict.fromkeys(letters)) if len(searches) > 1 else ()
            points = _points(problem, list(repeated.values()))
            found.append(VolumeCurve(method, names, len(repeated), points))
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


def _points(problem: Problem, repeated: Repetitions) -> tuple[tuple[float, Interval], ...]:
    shared = min(len(records) for runs in repeated for records in runs)
    every = 1 + shared // MOST_POINTS
    points = []
    for number in reversed(range(shared, 0, -every)):
        first = [[records[:number] for records in runs] for runs in repeated]
        volumes = [fmean(_volume(problem, records) for records in runs) for runs in first]
        gradients = [
            math.fsum(t.gradient_computations for t in records) for runs in first for records in runs
        ]
        points.append((fmean(gradients), mean_interval(volumes)))
    return tuple(points)


def _volume(problem: Problem, trials: Sequence[TrialRecord]) -> float:
    """Return the hypervolume of the front of these trials and their points."""
    candidates = (candidate for trial in trials for candidate in trial.candidates)
    points = [problem.summary.point(c.measures) for c in candidates if problem.summary.may_be_on_front(c)]
    return hypervolume(points, worst_corner(problem.objectives), directions(problem.objectives))
