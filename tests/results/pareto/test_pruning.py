"""Which trials are far enough behind to be pruned."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.results.pareto.pruning import ReferenceCurves

VALUES = st.floats(0, 1)
POINTS = st.tuples(VALUES, VALUES)


def rivals(*curves: dict[int, tuple[float, float]], margin: float = 0.1, grace: int = 0) -> ReferenceCurves:
    return ReferenceCurves(("quality", "loss"), (True, False), margin, grace, curves)


def measures(point: tuple[float, float]) -> dict[str, float]:
    return {"quality": point[0], "loss": point[1], "other": 0.5}


def test_only_the_same_step_counts() -> None:
    assert rivals({10: (0.9, 0.1)}).beat(10, measures((0.5, 0.5)))
    assert not rivals({20: (0.9, 0.1)}).beat(10, measures((0.5, 0.5)))


@pytest.mark.parametrize(
    ("rival", "beaten"), [((0.9, 0.1), True), ((0.9, 0.45), False), ((0.55, 0.1), False), ((0.2, 0.9), False)]
)
def test_both_objectives_must_be_behind_by_more_than_the_margin(
    rival: tuple[float, float], beaten: bool
) -> None:
    assert rivals({10: rival}).beat(10, measures((0.5, 0.5))) is beaten


def test_one_rival_has_to_be_better_in_both() -> None:
    assert not rivals({10: (1.0, 0.5)}, {10: (0.5, 0.0)}).beat(10, measures((0.5, 0.5)))


def test_every_trial_has_its_grace() -> None:
    assert not rivals({10: (1.0, 0.0)}, grace=11).beat(10, measures((0.0, 1.0)))


@pytest.mark.parametrize("point", [(math.nan, 1.0), (0.0, math.nan)])
def test_undefined_metrics_are_never_worse(point: tuple[float, float]) -> None:
    assert not rivals({10: (1.0, 0.0)}).beat(10, measures(point))
    assert not rivals({10: (1.0, 0.0)}).beat(10, {"quality": 0.0})


@given(own=POINTS, others=st.lists(POINTS, max_size=5), margin=st.floats(0.01, 0.5))
def test_it_is_the_definition(
    own: tuple[float, float], others: list[tuple[float, float]], margin: float
) -> None:
    expected = any(quality - own[0] > margin and -(loss - own[1]) > margin for quality, loss in others)
    assert rivals(*({5: other} for other in others), margin=margin).beat(5, measures(own)) is expected


@given(own=POINTS, other=POINTS)
def test_nobody_beats_one_that_beats_him(own: tuple[float, float], other: tuple[float, float]) -> None:
    assert not (rivals({5: other}).beat(5, measures(own)) and rivals({5: own}).beat(5, measures(other)))
