"""Statistics of the differences between methods: hypervolume per seed, confidence intervals and paired tests."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np
from scipy import stats

from hamu_ray.config.search import worst_corner
from hamu_ray.reports.analysis.problems import Problem, ReportTrial
from hamu_ray.results.pareto.front import Interval, mean_interval
from hamu_ray.results.pareto.summary import method_of
from hamu_ray.results.trial import Status

RESULTS = frozenset({Status.FINISHED, Status.INFEASIBLE, Status.COLLAPSED, Status.PRUNED})
"""Statuses that count as a result of the method; failed and interrupted trials do not."""

LEAST_FOR_WILCOXON = 6
"""Minimum number of pairs at which a signed-rank test can reach 0.05: its smallest two-sided p-value is 2 / 2^n."""

VARIANTS = "hamu"
"""Name prefix of the methods that are compared with all others."""


@dataclass(frozen=True)
class MethodVolume:
    """Hypervolume of a method, computed from the Pareto front of each seed."""

    method: str
    by_seed: dict[int, float]
    """0 if no trial of a seed reached a front. Seeds without a completed trial are left out."""
    fraction: float
    """Mean hypervolume divided by the area of the best box."""
    interval: Interval
    trials: int
    """Number of trials behind the hypervolume."""


@dataclass(frozen=True)
class Comparison:
    """Hypervolumes of two methods, paired by seed."""

    variant: str
    baseline: str
    pairs: int
    difference: Interval
    """Variant minus baseline."""
    p_value: float
    """Two-sided p-value of the paired t test; NaN if undefined."""
    wilcoxon: float
    """p-value of the signed-rank test; NaN with fewer than `LEAST_FOR_WILCOXON` pairs."""
    adjusted: float = field(default=math.nan)
    """p-value of the t test after Holm's correction over all comparisons."""


def volumes(problem: Problem) -> list[MethodVolume]:
    """Return the hypervolume of each method by seed, sorted by mean in descending order.

    That of a training with several unlearning seeds or searches is the mean over them: the front of all takes the best.
    Clones do not count.
    """
    found = []
    for method in problem.methods:
        ended = [
            m
            for m in problem.of_search
            if method_of(m.record) == method and not m.record.running and m.record.status in RESULTS
        ]
        if not ended:
            continue
        runs: dict[int, dict[tuple[int, int | None], list[ReportTrial]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for m in ended:
            runs[m.seed][m.record.configuration.get("seed", 0), m.search].append(m)
        by_seed = {
            seed: fmean(problem.of_trials(trials).hypervolume for trials in runs[seed].values())
            for seed in sorted(runs)
        }
        interval = mean_interval(list(by_seed.values()))
        box = _box(problem)
        fraction = interval.mean / box if box > 0 else math.nan
        found.append(MethodVolume(method, by_seed, fraction, interval, len(ended)))
    return sorted(found, key=lambda volume: (-volume.interval.mean, volume.method))


def _box(problem: Problem) -> float:
    """Return the area or volume between the worst and the best corner."""
    ends = zip(problem.summary.best_corner, worst_corner(problem.objectives), strict=True)
    return math.prod(abs(best - worst) for best, worst in ends)


def comparisons(found: Sequence[MethodVolume]) -> list[Comparison]:
    """Compare every HAMU variant with every other method that shares at least two seeds with it."""
    pairs = list(_comparisons(found))
    adjusted = holm([one.p_value for one in pairs])
    return [replace(one, adjusted=p) for one, p in zip(pairs, adjusted, strict=True)]


def _comparisons(found: Sequence[MethodVolume]) -> Iterator[Comparison]:
    for variant in (one for one in found if one.method.startswith(VARIANTS)):
        for baseline in (one for one in found if not one.method.startswith(VARIANTS)):
            seeds = variant.by_seed.keys() & baseline.by_seed.keys()
            if len(seeds) > 1:
                ours, theirs = ([one.by_seed[seed] for seed in sorted(seeds)] for one in (variant, baseline))
                yield _compare(variant.method, baseline.method, np.array(ours), np.array(theirs))


def _compare(variant: str, baseline: str, ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    gains = ours - theirs
    # The t test is undefined if all differences are equal.
    spread = np.ptp(gains) > 1e-12
    p_value = float(stats.ttest_rel(ours, theirs).pvalue) if spread else math.nan
    many = len(gains) >= LEAST_FOR_WILCOXON and np.any(gains != 0)
    wilcoxon = float(stats.wilcoxon(gains).pvalue) if many else math.nan
    return Comparison(variant, baseline, len(gains), mean_interval(gains), p_value, wilcoxon)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values after Holm's step-down correction (Holm 1979); NaN stays NaN and counts as no test.

    The i-th smallest of m p-values, counted from 0, is multiplied by m - i. The results are monotone and capped at 1.
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(order) - place)))
        adjusted[i] = highest
    return adjusted
