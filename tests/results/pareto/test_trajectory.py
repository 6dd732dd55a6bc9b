"""Which steps of a run are kept, against an exhaustive search."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.results.outcome import StepPoint
from hamu_ray.results.pareto.front import hypervolume
from hamu_ray.results.pareto.trajectory import best_addition, kept_steps
from hamu_ray.results.trial import Status, TrialRecord

fractions = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
values = st.one_of(fractions, st.just(math.nan))
points = st.lists(st.tuples(values, values), max_size=8)
directions = st.tuples(st.booleans(), st.booleans())


def better(one, other, maximise) -> bool:
    signs = [1 if each else -1 for each in maximise]
    pairs = [(sign * a, sign * b) for sign, a, b in zip(signs, one, other, strict=True)]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@given(points, directions, st.integers(1, 9))
def test_those_that_no_other_dominates(found, maximise, most):
    curve = {2 * step: point for step, point in enumerate(found, start=1)}
    finite = {step: point for step, point in curve.items() if all(map(math.isfinite, point))}
    expected = [
        step
        for step, point in finite.items()
        if not any(better(other, point, maximise) for other in finite.values())
        and point not in [finite[earlier] for earlier in finite if earlier < step]
    ]
    kept = kept_steps(curve, maximise, most)
    assert kept == sorted(set(kept))
    assert set(kept) <= set(expected)
    assert len(kept) == min(most, len(expected))


@given(points, directions, st.integers(1, 3))
def test_what_was_dropped_on_the_way_never_matters_where_all_fit(found, maximise, seed):
    """Kept one by one, as a run does, or at once: the same front."""
    curve = dict(enumerate(found, start=1))
    kept: dict = {}
    for step, point in curve.items():
        kept = {**kept, step: point}
        kept = {each: kept[each] for each in kept_steps(kept, maximise, 9)}
    assert list(kept) == kept_steps(curve, maximise, 9)


def test_of_many_the_ones_that_alone_dominate_much_are_kept():
    curve = {1: (0.0, 1.0), 2: (0.5, 0.8), 3: (0.51, 0.79), 4: (1.0, 0.0)}
    assert kept_steps(curve, (True, True), 3) in ([1, 2, 4], [1, 3, 4])


@given(st.lists(st.tuples(fractions, fractions), min_size=1, max_size=8), points)
def test_the_best_addition_adds_most(found, known):
    chosen = best_addition(found, known, (True, True))
    volumes = [hypervolume([*known, point]) for point in found]
    assert volumes[chosen] == pytest.approx(max(volumes))


@pytest.mark.parametrize("shift", [0.0, 3.0, -3.0])
def test_the_best_addition_does_not_depend_on_the_range_of_a_metric(shift):
    """A loss to minimise may be above 1, a log p-value to maximise below 0: none of them was better than the corner."""
    found = [(2.0 + shift, 0.1), (1.2 + shift, 0.8), (1.0 + shift, 0.2)]
    assert best_addition(found, [], (False, True)) == 1
    assert best_addition(found, [(1.1 + shift, 0.9)], (False, True)) == 2
    assert best_addition([(-one, other) for one, other in found], [], (True, True)) == 1


def test_the_points_of_a_trial_as_records():
    points = [StepPoint(4, {"forget_quality": 0.5, "retain_utility": 0.75})]
    trial = TrialRecord(
        "0003",
        Status.COLLAPSED,
        {"optimizer.learning_rate": 0.1},
        {"stop": {"criterion": True, "rewind": "held_out"}},
        reason="retain perplexity",
        model_path="s3://bucket/0003/sweeps/a/trials/0003/model.safetensors",
        points=points,
        steps=16,
        gradient_computations=32.0,
        steps_outside_guarantee=3,
    )
    whole, point = trial.candidates
    assert whole is trial
    assert (point.trial_id, point.status, point.steps) == ("0003@4", Status.FINISHED, 4)
    assert point.model_path == "s3://bucket/0003/sweeps/a/trials/0003@4/model.safetensors"
    assert point.configuration == {"stop": {"criterion": True, "after_steps": 4, "rewind": None}}
    assert point.reason == "step 4 of trial 0003, which collapsed later: retain perplexity"
    assert (point.gradient_computations, point.steps_outside_guarantee) == (8.0, None)
    found = trial.candidate("0003@4")
    assert found is not None
    assert found.steps == 4
    assert trial.candidate("0003@8") is None
