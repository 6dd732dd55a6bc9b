"""Promotions of rungs, compared with the definitions computed without the package's functions."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.results.pareto.front import Directions, Point
from hamu_ray.results.pareto.rungs import MARGIN, Rung, Rungs, ranked

coarse = st.integers(0, 6).map(lambda value: value / 6)
undefined = st.sampled_from([(math.nan, 0.5), (0.5, math.inf), (math.nan, math.nan)])
points_of = st.lists(st.one_of(st.tuples(coarse, coarse), st.tuples(coarse, coarse), undefined), max_size=9)
directions = st.tuples(st.booleans(), st.booleans())


def is_finite(point: Point) -> bool:
    return all(map(math.isfinite, point))


def signed(point: Point, maximise: Directions) -> Point:
    first, second = (value if up else -value for value, up in zip(point, maximise, strict=True))
    return first, second


def dominates(one: Point, other: Point, maximise: Directions) -> bool:
    a, b = signed(one, maximise), signed(other, maximise)
    return is_finite(one) and is_finite(other) and a[0] >= b[0] and a[1] >= b[1] and a != b


def area(points: list[Point], corner: Point) -> float:
    """The area above a corner that points dominate, as a sum of cells between all their coordinates."""
    xs, ys = (sorted({corner[axis], *(point[axis] for point in points)}) for axis in (0, 1))
    cells = itertools.product(itertools.pairwise(xs), itertools.pairwise(ys))
    covered = (
        (right - left) * (top - bottom)
        for (left, right), (bottom, top) in cells
        if any(x >= right and y >= top for x, y in points)
    )
    return math.fsum(covered)


def oracle(points: list[Point], maximise: Directions) -> list[int]:
    """Peel fronts; within one, sort by the area that is lost without the point."""
    left = [i for i, point in enumerate(points) if is_finite(point)]
    signs = [signed(points[i], maximise) for i in left]
    lows = [min(column) for column in zip(*signs, strict=True)]
    spans = [max(column) - min(column) or 1.0 for column in zip(*signs, strict=True)]
    order: list[int] = []
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i], maximise) for j in left)]
        unit = {
            i: tuple(
                (value - low) / span
                for value, low, span in zip(signed(points[i], maximise), lows, spans, strict=True)
            )
            for i in front
        }
        corner = (-MARGIN, -MARGIN)
        whole = area([*unit.values()], corner)
        loss = {i: round(whole - area([unit[j] for j in front if j != i], corner), 9) for i in front}
        order += sorted(front, key=lambda i: (-loss[i], i))
        left = [i for i in left if i not in front]
    return order + [i for i, point in enumerate(points) if not is_finite(point)]


@settings(max_examples=150, deadline=None)
@given(points_of, directions)
def test_the_order_is_that_of_the_definition(points: list[Point], maximise: Directions) -> None:
    assert ranked(points, maximise) == oracle(points, maximise)


@settings(max_examples=80, deadline=None)
@given(points_of, directions, st.sampled_from([0.25, 8.0]), st.integers(-3, 3))
def test_scales_do_not_matter(points: list[Point], maximise: Directions, scale: float, offset: int) -> None:
    moved = [(first * scale + offset, second) for first, second in points]
    assert ranked(moved, maximise) == ranked(points, maximise)


@settings(max_examples=80, deadline=None)
@given(points_of, directions)
def test_whatever_dominates_comes_first(points: list[Point], maximise: Directions) -> None:
    place = {trial: at for at, trial in enumerate(ranked(points, maximise))}
    for i, j in itertools.permutations(range(len(points)), 2):
        if dominates(points[i], points[j], maximise):
            assert place[i] < place[j]


@settings(max_examples=80, deadline=None)
@given(points_of, st.integers(2, 4), directions)
def test_promotions_are_those_of_the_rule(points: list[Point], reduction: int, maximise: Directions) -> None:
    """After each arrival, the best of the top that has not been promoted yet, as long as there is one."""
    rung, promoted = Rung(), set()
    for trial, point in enumerate(points):
        rung.points[trial] = point
        while (found := rung.promotable(reduction, maximise)) is not None:
            arrived = points[: trial + 1]
            top = [i for i in oracle(arrived, maximise)[: len(arrived) // reduction] if is_finite(points[i])]
            assert found == next(i for i in top if i not in promoted)
            promoted.add(found)
            rung.closed.add(found)
        top = oracle(points[: trial + 1], maximise)[: (trial + 1) // reduction]
        assert {i for i in top if is_finite(points[i])} <= promoted


@settings(max_examples=150, deadline=None)
@given(points_of, points_of, st.integers(2, 4), directions)
def test_who_waits_in_vain_is_never_promoted(
    now: list[Point], later: list[Point], reduction: int, maximise: Directions
) -> None:
    rung = Rung(points=dict(enumerate(now)))
    hopeless = set(rung.hopeless(len(now) + len(later), reduction, maximise))
    for trial, point in enumerate(later, start=len(now)):
        rung.points[trial] = point
        while (found := rung.promotable(reduction, maximise)) is not None:
            assert found not in hopeless
            rung.closed.add(found)


@pytest.mark.parametrize("seed", range(20))
def test_a_study_with_rungs_ends(seed: int) -> None:
    """Trials arrive, end early or in full, in any order; each ends once, and one in nine reaches the end."""
    rng, total = random.Random(seed), 27
    rungs = Rungs((10, 30), 3, (True, False), total)
    fresh, running, ended = list(range(total)), {}, set()
    while fresh or running or (next_one := rungs.promote()) is not None:
        if not fresh and not running:
            running[next_one[0]] = next_one[1]
        for trial in rungs.hopeless():
            rungs.give_up(trial)
            ended.add(trial)
        while len(running) < 4:
            promoted = rungs.promote()
            if promoted is None and not fresh:
                break
            trial, passed = promoted or (fresh.pop(0), 0)
            assert trial not in ended
            running[trial] = passed
        trial = rng.choice(sorted(running))
        passed, point = running.pop(trial), (rng.random(), rng.random())
        if passed == 30 or rng.random() < 0.1:
            rungs.end(trial, point if passed == 30 or rng.random() < 0.5 else (math.nan, math.nan))
            ended.add(trial)
        else:
            rungs.arrive(trial, 10 if passed == 0 else 30, point)
    for trial in rungs.waiting:
        rungs.give_up(trial)
        ended.add(trial)
    assert ended == set(range(total))
    assert rungs.waiting == rungs.hopeless() == {}


def test_the_highest_rung_comes_first() -> None:
    rungs = Rungs((10, 30), 2, (True, True), 8)
    for trial in range(4):
        rungs.arrive(trial, 10, (trial, trial))
    assert rungs.promote() == (3, 10)
    assert rungs.promote() == (2, 10)
    assert rungs.promote() is None
    rungs.arrive(3, 30, (3.0, 3.0))
    rungs.arrive(2, 30, (2.0, 9.0))
    for trial in (4, 5):
        rungs.arrive(trial, 10, (9.0, 9.0))
    assert rungs.promote() in ((2, 30), (3, 30))
    assert rungs.waiting.keys() >= {0, 1}


def test_a_trial_that_ended_early_stands_at_the_rungs_that_it_did_not_need() -> None:
    rungs = Rungs((10, 30), 2, (True, True), 4)
    rungs.arrive(0, 10, (0.5, 0.5))
    rungs.end(1, (0.9, 0.9))
    assert rungs.promote() is None, "the best one of two has ended"
    rungs.end(2, (math.nan, math.nan))
    rungs.arrive(3, 10, (0.1, 0.1))
    assert rungs.promote() == (0, 10), "the second of four"
