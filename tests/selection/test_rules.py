"""The selected point against an exhaustive search over all trials."""

import math
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.config.search import Objective
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.pareto.front import Interval
from hamu_ray.results.pareto.summary import SweepSummary, summarise
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import Status
from hamu_ray.selection.answer import check_new_models
from hamu_ray.selection.rules import (
    LARGEST_SEED,
    Bound,
    best,
    differences,
    fresh_seeds,
    nearest_miss,
    neighbours,
    shortfall,
    verdict,
)
from tests.made_records import record

METRICS = ("forget_quality", "retain_utility")

values = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0, math.nan])
trials = st.lists(
    st.tuples(values, values, st.sampled_from([Status.FINISHED] * 4 + [Status.COLLAPSED])), max_size=12
)
modes = st.tuples(st.sampled_from(["max", "min"]), st.sampled_from(["max", "min"]))


def summary_of(points: list, directions: tuple[str, str]) -> SweepSummary:
    records = [record(f"{i:02d}", x, y, status=status) for i, (x, y, status) in enumerate(points)]
    first, second = (
        Objective.model_validate({"metric": metric, "mode": mode})
        for metric, mode in zip(METRICS, directions, strict=True)
    )
    return summarise(records, (first, second))


def oriented(summary: SweepSummary, trial) -> tuple[float, float]:
    """Both objectives, oriented so that higher is better."""
    first, second = (trial.measures[o.metric] * (1 if o.mode == "max" else -1) for o in summary.objectives)
    return first, second


def candidates(summary: SweepSummary) -> list:
    """All trials that may be selected, including dominated ones."""
    return [
        trial
        for trial in summary.trials
        if trial.status is Status.FINISHED and all(math.isfinite(trial.measures[m]) for m in METRICS)
    ]


THREE = (*(Objective(metric=metric) for metric in METRICS), Objective(metric="steps", mode="min", worst=9))


@given(st.lists(st.tuples(values, values, st.integers(0, 8)), max_size=12), st.floats(0, 1))
def test_bounds_on_two_of_three_objectives_leave_the_third(points, value):
    trials = [record(f"{i:02d}", x, y, measures={"steps": n}) for i, (x, y, n) in enumerate(points)]
    bounds = [Bound(objective, value) for objective in THREE[:2]]
    allowed = [t for t in trials if all(t.measures[metric] >= value for metric in METRICS)]
    chosen = best(summarise(trials, THREE), bounds)
    assert (chosen is None) == (not allowed)
    if chosen is not None:
        assert chosen.measures["steps"] == min(trial.measures["steps"] for trial in allowed)


def test_a_bound_on_one_of_three_objectives_takes_the_knee_of_the_others():
    trials = [
        record("a", 1.0, 0.1, measures={"steps": 1}),
        record("b", 0.8, 0.8, measures={"steps": 2}),
        record("c", 0.1, 1.0, measures={"steps": 3}),
        record("d", 0.9, 0.9, measures={"steps": 9}),
    ]
    chosen = best(summarise(trials, THREE), [Bound(THREE[2], 5)])
    assert chosen is not None
    assert chosen.trial_id == "b"


def test_a_trial_that_another_beats_in_all_objectives_without_a_bound_is_no_knee_of_them():
    trials = [
        record("a", 1.0, 0.5, measures={"steps": 5}),
        record("b", 0.5, 0.45, measures={"steps": 1}),
        record("c", 0.2, 0.1, measures={"steps": 0}),
    ]
    chosen = best(summarise(trials, THREE), [Bound(THREE[2], 5)])
    assert chosen is not None
    assert chosen.trial_id == "a"


@given(trials, modes, st.sampled_from([0, 1]), st.floats(-0.2, 1.2))
def test_one_bound_takes_the_best_of_the_other_objective(points, directions, bounded, value):
    summary = summary_of(points, directions)
    bound = Bound(summary.objectives[bounded], value)
    sign = 1 if directions[bounded] == "max" else -1
    kept = [t for t in candidates(summary) if oriented(summary, t)[bounded] >= sign * value]
    chosen = best(summary, [bound])
    assert (chosen is None) == (not kept)
    if chosen is not None:
        assert chosen in kept
        assert chosen in summary.front
        free = 1 - bounded
        assert oriented(summary, chosen)[free] == max(oriented(summary, t)[free] for t in kept)
        # and none that is as good in it meets the bound by more
        equals = [t for t in kept if oriented(summary, t)[free] == oriented(summary, chosen)[free]]
        assert oriented(summary, chosen)[bounded] == max(oriented(summary, t)[bounded] for t in equals)


@given(trials, modes, st.floats(0, 1), st.floats(0, 1))
def test_two_bounds_are_both_met_if_possible(points, directions, first, second):
    summary = summary_of(points, directions)
    bounds = [Bound(o, v) for o, v in zip(summary.objectives, (first, second), strict=True)]
    limits = [v * (1 if o.maximise else -1) for o, v in zip(summary.objectives, (first, second), strict=True)]
    kept = [
        t
        for t in candidates(summary)
        if all(x >= limit for x, limit in zip(oriented(summary, t), limits, strict=True))
    ]
    chosen = best(summary, bounds)
    assert (chosen is None) == (not kept)
    assert chosen is None or (chosen in kept and chosen in summary.front)


@given(trials, modes)
def test_without_a_bound_it_is_the_knee(points, directions):
    summary = summary_of(points, directions)
    assert best(summary, []) == summary.knee


@given(trials, modes, st.sampled_from([0, 1]))
def test_the_nearest_miss_has_the_best_value_there_is(points, directions, bounded):
    summary = summary_of(points, directions)
    impossible = Bound(summary.objectives[bounded], 2.0 if directions[bounded] == "max" else -1.0)
    closest = nearest_miss(summary, [impossible])
    everyone = [oriented(summary, t)[bounded] for t in candidates(summary)]
    assert (closest is None) == (not everyone)
    if closest is not None:
        assert shortfall(closest, [impossible]) > 0
        assert oriented(summary, closest)[bounded] == max(everyone)


@given(trials, modes)
def test_neighbours_gain_one_objective_and_pay_the_other(points, directions):
    summary = summary_of(points, directions)
    for trial in summary.front:
        here = oriented(summary, trial)[0]
        others = sorted({oriented(summary, t)[0] for t in summary.front})
        below, above = neighbours(summary, trial)
        assert (below is None) == (here == others[0])
        assert (above is None) == (here == others[-1])
        if below is not None:
            assert oriented(summary, below)[0] == others[others.index(here) - 1]
            first, second = differences(summary, trial, below.measures)
            assert first < 0 < second
        if above is not None:
            assert oriented(summary, above)[0] == others[others.index(here) + 1]
            first, second = differences(summary, trial, above.measures)
            assert second < 0 < first


@given(st.sets(st.integers(0, LARGEST_SEED) | st.integers(LARGEST_SEED - 5, LARGEST_SEED)), st.integers(0, 9))
def test_fresh_seeds_are_seeds_that_nobody_used(used, number):
    seeds = fresh_seeds(used, number)
    assert len(seeds) == len(set(seeds)) == number
    assert not used & set(seeds)
    assert all(0 <= seed <= LARGEST_SEED for seed in seeds)


def test_new_seeds_are_above_used_ones():
    assert fresh_seeds([41, 43, 42], 2) == [44, 45]
    assert fresh_seeds([LARGEST_SEED, 1], 2) == [0, 2]


@pytest.mark.parametrize(
    ("interval", "mode", "words"),
    [
        (Interval(0.9, 0.85, 0.95), "max", "holds"),
        (Interval(0.82, 0.7, 0.94), "max", "holds only on average"),
        (Interval(0.7, 0.6, 0.9), "max", "does not hold"),
        (Interval(0.9, math.nan, math.nan), "max", "holds only on average"),
        (Interval(math.nan, math.nan, math.nan), "max", "does not hold"),
        (Interval(0.7, 0.65, 0.75), "min", "holds"),
        (Interval(0.79, 0.7, 0.9), "min", "holds only on average"),
        (Interval(0.9, 0.7, 1.1), "min", "does not hold"),
    ],
)
def test_whether_a_bound_holds(interval, mode, words):
    assert verdict(Bound(Objective(metric="x", mode=mode), 0.8), interval) == words


def test_bounds_are_spelt_as_inequalities():
    assert str(Bound(Objective(metric="retain_utility"), 0.9)) == "retain_utility >= 0.9"
    assert str(Bound(Objective(metric="avg_gap", mode="min"), 0.05)) == "avg_gap <= 0.05"


def test_lines_between_trials_have_no_costs():
    search = {"objectives": [each.model_dump() for each in (THREE[0], THREE[2])]}
    document = {"search": search}
    sweep = SweepResult("x", "x", document, (), {}, {}, {}, False, "", 0.0, 0.0, cast("Any", None))
    with pytest.raises(ConfigError, match="--interpolate: models between trials have no steps of their own"):
        check_new_models(sweep, [], interpolate=True)
    check_new_models(sweep, [], interpolate=False)
