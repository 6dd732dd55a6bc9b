"""Fronts of three and four objectives, against their definitions."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.config.search import Objective
from hamu_ray.results.pareto.front import hypervolume, knee, non_dominated
from hamu_ray.results.pareto.rungs import ranked
from hamu_ray.results.pareto.summary import summarise
from hamu_ray.results.pareto.table import front_table
from hamu_ray.results.pareto.trajectory import kept_steps
from tests.made_records import record

CELLS = 4


@st.composite
def problems(draw):
    """Points on a coarse grid, so that ties and copies are common, and the direction of each objective."""
    number = draw(st.integers(3, 4))
    point = st.tuples(*[st.integers(0, CELLS)] * number)
    return draw(st.lists(point, max_size=8)), draw(st.tuples(*[st.booleans()] * number))


def flipped(points, maximise):
    """Return the points with the values to minimise counted from the other end."""
    return [tuple(v if up else CELLS - v for v, up in zip(point, maximise, strict=True)) for point in points]


def beats(one, other):
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@given(problems())
def test_non_dominated_points_by_the_definition(problem):
    points, maximise = problem
    expected = [not any(beats(other, point) for other in points) for point in points]
    assert non_dominated(flipped(points, maximise), maximise).tolist() == expected


@settings(max_examples=50)
@given(problems())
def test_hypervolume_is_the_number_of_unit_cells_below_a_point(problem):
    points, maximise = problem
    cells = product(range(CELLS), repeat=len(maximise))
    covered = sum(any(all(c < v for c, v in zip(cell, p, strict=True)) for p in points) for cell in cells)
    worst = tuple(0.0 if up else float(CELLS) for up in maximise)
    assert hypervolume(flipped(points, maximise), worst, maximise) == pytest.approx(covered)


def test_undefined_points_and_those_beyond_the_worst_corner_add_nothing():
    points, maximise = [(0.5, 0.5, 0.5)], (True, True, True)
    more = [(math.nan, 1, 1), (math.inf, 1, 1), (-1, 2, 2), (0, 1, 1), *points]
    assert hypervolume([*points, *more], (0, 0, 0), maximise) == pytest.approx(0.125)
    assert hypervolume([], (0, 0, 0), maximise) == 0


@given(problems().filter(lambda problem: problem[0]), st.floats(0.1, 10), st.randoms())
def test_knee_is_not_dominated_and_depends_on_neither_scale_nor_order(problem, scale, random):
    points, maximise = problem
    front = sorted({p for p in points if not any(beats(other, p) for other in points)})
    chosen = front[knee(front, (True,) * len(maximise))]
    assert chosen == front[knee(flipped(front, maximise), maximise)]
    spans = np.ptp(np.array(front), axis=0)
    gains = [
        sum((v - low) / (span or 1) for v, low, span in zip(p, np.min(front, axis=0), spans, strict=True))
        for p in front
    ]
    assert gains[front.index(chosen)] == pytest.approx(max(gains))
    scaled = [(p[0] * scale, *p[1:]) for p in front]
    assert gains[knee(scaled, (True,) * len(maximise))] == pytest.approx(max(gains))


@given(problems())
def test_ranks_are_those_of_the_fronts(problem):
    points, maximise = problem
    order = [points[i] for i in ranked(flipped(points, maximise), maximise)]
    assert all(not beats(later, one) for i, one in enumerate(order) for later in order[i:])


def test_kept_steps_of_three_objectives():
    points = {2: (0.9, 0.1, 0.1), 4: (0.1, 0.9, 0.1), 6: (0.1, 0.1, 0.9), 8: (0.1, 0.1, 0.1)}
    assert kept_steps(points, (True, True, True), 4) == [2, 4, 6]


OBJECTIVES = (
    Objective(metric="forget_quality"),
    Objective(metric="retain_utility"),
    Objective(metric="gradient_computations", mode="min", worst=400),
)


def test_summary_with_a_cost():
    trials = [
        record("a", 0.9, 0.9, measures={"gradient_computations": 300}),
        record("b", 0.8, 0.8, measures={"gradient_computations": 100}),
        record("c", 0.8, 0.8, measures={"gradient_computations": 200}),
        record("d", 1.0, 1.0),
    ]
    summary = summarise(trials, OBJECTIVES, {"retain_utility": 1.0})
    assert [trial.trial_id for trial in summary.front] == ["b", "a"]
    assert summary.hypervolume == pytest.approx(0.81 * 100 + 0.64 * 300 - 0.64 * 100)
    assert summary.best_corner == (1.0, 1.0, 0.0)
    assert summary.hypervolume_share == pytest.approx(summary.hypervolume / 400)
    table = front_table(summary)
    assert table.header[3:6] == ["forget quality", "retain utility", "gradient computations"]
    assert [row[5] for row in table.rows] == ["100", "300"]
