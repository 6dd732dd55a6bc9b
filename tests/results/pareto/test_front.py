import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from hamu_ray.results.pareto.front import (
    hypervolume,
    hypervolume_share,
    knee,
    mean_interval,
    non_dominated,
)

NAN, INF = math.nan, math.inf

# Few distinct values, so that ties and copies are common.
coarse_points = st.lists(st.tuples(*[st.integers(0, 6).map(lambda n: n / 6)] * 2), max_size=12)
fine_points = st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=1, max_size=12)
directions = st.tuples(st.booleans(), st.booleans())


def flipped(points, maximise):
    return [tuple(v if up else -v for v, up in zip(p, maximise, strict=True)) for p in points]


class TestNonDominated:
    def test_by_hand(self):
        points = [(0.9, 0.5), (0.5, 0.9), (0.5, 0.5), (0.7, 0.7), (0.9, 0.4), (0.2, 0.9)]
        assert non_dominated(points).tolist() == [True, True, False, True, False, False]

    def test_minimising_an_objective(self):
        points = [(0.9, 0.1), (0.9, 0.2), (0.5, 0.0)]
        assert non_dominated(points, (True, False)).tolist() == [True, False, True]

    def test_copies_are_all_kept(self):
        assert non_dominated([(1, 1), (1, 1), (0, 1)]).tolist() == [True, True, False]

    def test_non_finite_points_are_not_on_the_front_and_dominate_none(self):
        points = [(NAN, 1), (INF, INF), (0.1, 0.1), (1, -INF)]
        assert non_dominated(points).tolist() == [False, False, True, False]

    def test_nothing(self):
        assert non_dominated([]).tolist() == []

    def test_wrong_shape_is_named(self):
        with pytest.raises(ValueError, match=r"shape \(n, 2\), found \(1, 3\)"):
            non_dominated([(1, 2, 3)])

    @given(coarse_points, directions)
    def test_against_the_definition(self, points, maximise):
        def beats(a, b):
            pairs = list(zip(a, b, strict=True))
            return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)

        expected = [not any(beats(other, point) for other in points) for point in points]
        assert non_dominated(flipped(points, maximise), maximise).tolist() == expected


class TestHypervolume:
    def test_by_hand(self):
        # 0.4 x 0.9, then 0.3 more of width at 0.6, then 0.2 more at 0.1
        assert hypervolume([(0.4, 0.9), (0.7, 0.6), (0.9, 0.1)]) == pytest.approx(0.36 + 0.18 + 0.02)

    def test_share_of_the_box_up_to_the_original(self):
        assert hypervolume_share([(0.5, 0.8)], best_corner=(1, 0.8)) == pytest.approx(0.5)
        assert hypervolume_share([(1, 0.9)], best_corner=(1, 0.8)) == pytest.approx(0.9 / 0.8)
        assert math.isnan(hypervolume_share([(1, 0.9)], best_corner=(1, 0)))

    def test_minimising_an_objective(self):
        assert hypervolume([(0.5, 0.2)], (0, 1), (True, False)) == pytest.approx(0.5 * 0.8)

    def test_points_that_add_nothing(self):
        points = [(0.5, 0.5)]
        assert hypervolume([*points, (NAN, 1), (INF, 1), (-1, 2), (0, 1), (0.5, 0.5)]) == hypervolume(points)
        assert hypervolume([]) == 0

    @given(fine_points)
    def test_against_optuna(self, points):
        expected = compute_hypervolume(-np.asarray(points), np.zeros(2))
        assert hypervolume(points) == pytest.approx(expected, abs=1e-12)

    @given(fine_points, directions)
    def test_the_front_alone_decides(self, points, maximise):
        front = np.asarray(points)[non_dominated(points)]
        assert hypervolume(points) == pytest.approx(hypervolume(front))
        mirrored = hypervolume(flipped(points, maximise), (0, 0), maximise)
        assert mirrored == pytest.approx(hypervolume(points))

    @given(fine_points, st.tuples(*[st.floats(0, 1)] * 2))
    def test_a_further_point_never_takes_away(self, points, further):
        assert hypervolume([*points, further]) >= hypervolume(points) - 1e-12


class TestKnee:
    def test_by_hand(self):
        assert knee([(0.0, 1.0), (0.5, 0.7), (0.8, 0.6), (1.0, 0.0)]) == 2

    def test_a_dent_is_no_knee(self):
        assert knee([(0.0, 1.0), (0.05, 0.1), (0.6, 0.08), (1.0, 0.01)]) == 3

    def test_one_or_two_points(self):
        assert knee([(0.3, 0.3)]) == 0
        assert knee([(1.0, 0.2), (0.98, 0.95)]) == 1

    def test_copies_of_one_point(self):
        assert knee([(0.5, 0.5), (0.5, 0.5)]) == 0

    @pytest.mark.parametrize("points", [[], [(NAN, 1)]])
    def test_no_finite_point_is_an_error(self, points):
        with pytest.raises(ValueError, match="one or more finite points"):
            knee(points)

    @given(coarse_points.filter(bool), directions)
    def test_order_and_direction_do_not_matter(self, points, maximise):
        front = np.unique(np.asarray(points)[non_dominated(points)], axis=0)
        chosen = front[knee(front)]
        mirrored = np.asarray(flipped(front[::-1].tolist(), maximise))
        assert sum(chosen) == pytest.approx(sum(front[::-1][knee(mirrored, maximise)]))

    @given(coarse_points.filter(bool))
    def test_farthest_by_the_textbook_distance(self, points):
        front = np.unique(np.asarray(points)[non_dominated(points)], axis=0)
        (x0, y0), (x1, y1) = front[0], front[-1]
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        beyond = [((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / length for x, y in front]
        assert beyond[knee(front)] == pytest.approx(max(beyond), abs=1e-9)

    def test_scales_do_not_matter(self):
        front = np.asarray([(0.0, 1.0), (0.5, 0.7), (0.8, 0.6), (0.95, 0.3), (1.0, 0.0)])
        assert {knee(front * scale) for scale in ([1, 1], [1000, 1], [1, 1e-4])} == {2}


class TestMeanInterval:
    def test_by_hand(self):
        mean, low, high = mean_interval([1.0, 2.0, 3.0])
        half = 4.302652729911275 / math.sqrt(3)  # t(0.975, 2 degrees of freedom), standard deviation 1
        assert (mean, low, high) == pytest.approx((2.0, 2 - half, 2 + half))

    def test_one_value_has_no_interval(self):
        mean, low, high = mean_interval([0.7])
        assert mean == 0.7
        assert math.isnan(low)
        assert math.isnan(high)

    @pytest.mark.parametrize("values", [[], [1.0, NAN]])
    def test_undefined_is_nan(self, values):
        assert all(math.isnan(v) for v in mean_interval(values))

    def test_more_confidence_is_wider(self):
        intervals = [mean_interval([1, 2, 4], confidence) for confidence in (0.5, 0.9, 0.99)]
        widths = [interval.high - interval.low for interval in intervals]
        assert all(a < b for a, b in combinations(widths, 2))
