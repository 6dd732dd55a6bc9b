"""Statistical tests between methods against hand-computed and brute-force values."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.reports.analysis.anytime import volume_curves
from hamu_ray.reports.analysis.comparison import (
    Comparison,
    MethodVolume,
    comparisons,
    holm,
    volumes,
)
from hamu_ray.reports.analysis.importance import importances
from hamu_ray.reports.analysis.problems import Problem, problems_of
from hamu_ray.results.pareto.front import Interval, hypervolume, mean_interval
from hamu_ray.results.pareto.summary import method_of
from hamu_ray.results.sweep_result import SweepResult

NAN = math.nan
P_VALUES = st.lists(st.floats(0, 1), max_size=5)


def volume(method: str, *values: float) -> MethodVolume:
    return MethodVolume(method, dict(enumerate(values)), NAN, Interval(NAN, NAN, NAN), len(values))


@settings(max_examples=60)
@given(P_VALUES)
def test_holm_is_the_closed_bonferroni_test(p_values: list[float]) -> None:
    """An adjusted p-value is the largest Bonferroni p-value over all sets of hypotheses that contain it."""
    for i, adjusted in enumerate(holm(p_values)):
        sets = (
            chosen
            for size in range(1, len(p_values) + 1)
            for chosen in itertools.combinations(range(len(p_values)), size)
            if i in chosen
        )
        closed = max(min(1.0, len(chosen) * min(p_values[k] for k in chosen)) for chosen in sets)
        assert adjusted == pytest.approx(closed)


def test_undefined_p_values_are_no_tests() -> None:
    assert holm([0.01, NAN, 0.02]) == pytest.approx([0.02, NAN, 0.02], nan_ok=True)


def test_each_variant_against_each_baseline() -> None:
    found = comparisons(
        [volume("hamu-q", 0.9, 0.8, 0.85), volume("hamu-u", 0.7, 0.6), volume("ga", 0.5, 0.5, 0.4)]
    )
    assert [(one.variant, one.baseline, one.pairs) for one in found] == [
        ("hamu-q", "ga", 3),
        ("hamu-u", "ga", 2),
    ]
    gains = np.array([0.4, 0.3, 0.45])
    t = gains.mean() / (gains.std(ddof=1) / math.sqrt(3))
    # Student's t with two degrees of freedom has a closed form.
    assert found[0].p_value == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert found[0].difference.mean == pytest.approx(gains.mean())
    assert math.isnan(found[0].wilcoxon), "three pairs cannot reach 0.05"


def test_wilcoxon_where_enough_seeds_permit_it() -> None:
    ours, theirs = [0.9 + 0.01 * i for i in range(6)], [0.5 - 0.01 * i for i in range(6)]
    (one,) = comparisons([volume("hamu-q", *ours), volume("ga", *theirs)])
    assert one.wilcoxon == pytest.approx(2 / 2**6), "all signs alike: two of all 2^n are as extreme"


def test_differences_that_do_not_vary_are_not_tested() -> None:
    (one,) = comparisons([volume("hamu-q", 0.5, 0.5), volume("ga", 0.0, 0.0)])
    assert math.isnan(one.p_value)
    assert math.isnan(one.adjusted)
    assert isinstance(one, Comparison)


def test_nothing_to_compare() -> None:
    assert comparisons([volume("hamu-q", 0.5, 0.6), volume("hamu-u", 0.5, 0.4)]) == []
    assert comparisons([volume("hamu-q", 0.5), volume("ga", 0.5)]) == []


def test_volumes_are_of_each_seeds_own_trials(study: SweepResult) -> None:
    (problem,) = problems_of([study])
    found = volumes(problem)
    assert [one.interval.mean for one in found] == sorted((one.interval.mean for one in found), reverse=True)
    for one in found:
        for seed, value in one.by_seed.items():
            points = [
                problem.summary.point(m.record.measures)
                for m in problem.trials
                if (method_of(m.record), m.seed, m.ended) == (one.method, seed, "finished")
            ]
            assert value == pytest.approx(hypervolume(points))


def test_a_curve_is_the_volume_after_each_trial_of_the_seeds(study: SweepResult) -> None:
    problem = with_gradients(study)
    curves = volume_curves(problem)
    assert [one.method for one in curves] == [m for m in problem.methods if m != "ft"], "ft's are unknown"
    for one in curves:
        trials = [m for m in problem.trials if method_of(m.record) == one.method]
        seeds = {m.seeds: [t for t in trials if t.seeds == m.seeds] for m in trials}
        shortest = min(map(len, seeds.values()))
        assert len(one.points) == shortest
        for number, (gradients, area) in enumerate(one.points, start=1):
            assert gradients == 10 * number
            expected = [problem.of_trials(of_seed[:number]).hypervolume for of_seed in seeds.values()]
            assert area == pytest.approx(mean_interval(expected), nan_ok=True)
        assert (one.repetitions, one.sweeps) == (len(seeds), ())


def test_sweeps_that_differ_in_the_search_s_seed_are_repetitions(study: SweepResult) -> None:
    """Each is a search of its own: its trials do not add to another's front."""
    trials = [
        replace(trial, gradient_computations=10.0) for trial in study.trials if method_of(trial) == "hamu-q"
    ]
    search = study.document.get("search") or {}

    def sweep(name: str, least: float, **changes: Any) -> SweepResult:
        lower = [
            replace(t, measures={**t.measures, "forget_quality": least}) if t.measures else t for t in trials
        ]
        document = {**study.document, "search": {**search, **changes}}
        return replace(study, name=name, document=document, trials=tuple(lower))

    repeated = [sweep("one", 0.2, seed=0), sweep("two", 0.4, seed=1)]
    (curve,) = volume_curves(problems_of(repeated)[0])
    alone = [volume_curves(problems_of([each])[0])[0] for each in repeated]
    assert (curve.repetitions, curve.sweeps) == (2, ())
    for (gradients, volume), *others in zip(curve.points, *(one.points for one in alone), strict=True):
        assert gradients == others[0][0]
        assert volume == pytest.approx(mean_interval([each.mean for _, each in others]))
    curves = volume_curves(problems_of([*repeated, sweep("three", 0.3, algorithm="random")])[0])
    assert [one.sweeps for one in curves] == [("A", "B"), ("C",)]


def test_searches_of_one_sweep_are_repetitions_as_sweeps_of_their_own_are(study: SweepResult) -> None:
    trials = [
        replace(trial, gradient_computations=10.0, trial_id=f"{number:04d}", search_seed=number % 2)
        for number, trial in enumerate(t for t in study.trials if method_of(t) == "hamu-q")
    ]
    search = study.document.get("search") or {}

    def sweep(name: str, *seeds: int) -> SweepResult:
        changed = {**search, "seed": seeds[0], "repeats": len(seeds)}
        of_seeds = tuple(trial for trial in trials if trial.search_seed in seeds)
        return replace(study, name=name, document={**study.document, "search": changed}, trials=of_seeds)

    (whole,), (apart,) = problems_of([sweep("whole", 0, 1)]), problems_of([sweep("a", 0), sweep("b", 1)])
    (curve,), (expected,) = volume_curves(whole), volume_curves(apart)
    assert (curve.repetitions, curve.points) == (2, expected.points)
    (again,) = problems_of([sweep("whole", 0, 1), sweep("a", 0), sweep("again", 1)])
    assert volume_curves(again) == [curve], "the same searches, done again, are no further repetitions"
    (found,) = volumes(whole)
    alone = [volumes(problems_of([sweep("alone", seed)])[0])[0].by_seed for seed in (0, 1)]
    assert found.by_seed == {
        seed: pytest.approx((alone[0][seed] + alone[1][seed]) / 2) for seed in found.by_seed
    }


def test_clones_do_not_count_for_their_methods(study: SweepResult) -> None:
    """A person gave them another start, perhaps the model of another method, and steps beyond the budget."""
    problem = with_gradients(study)
    sweep = problem.trials[0].sweep
    best = next(t for t in sweep.trials if t.measures and method_of(t) == "hamu-q")
    perfect = {**best.measures, "forget_quality": 1.0, "retain_utility": 1.0}
    configuration = {**best.configuration, "start": {"path": "trials/0000"}}
    cloned = replace(best, trial_id="9999", measures=perfect, configuration=configuration, cloned_from="0000")
    (other,) = problems_of([replace(sweep, trials=(*sweep.trials, cloned))])
    assert other.summary.hypervolume > problem.summary.hypervolume, "it is on the front"
    assert volumes(other) == volumes(problem)
    assert volume_curves(other) == volume_curves(problem)
    assert importances(other) == importances(problem)


def with_gradients(study: SweepResult) -> Problem:
    """The study's problem, in which every trial but those of ft computed ten gradients."""
    trials = tuple(
        replace(trial, gradient_computations=math.nan if method_of(trial) == "ft" else 10.0)
        for trial in study.trials
    )
    (problem,) = problems_of([replace(study, trials=trials)])
    return problem
