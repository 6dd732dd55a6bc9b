"""The Pareto front of two or more objectives: its points, hypervolume and knee, and intervals of means. Pure functions.

Points are rows of one value for each objective. `maximise` states for each whether higher is better; internally,
objectives to minimise are negated, so that all formulas maximise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Point = tuple[float, ...]
Directions = tuple[bool, ...]

MAXIMISE_BOTH: Directions = (True, True)

LINE_TOLERANCE = 1e-9
"""Points closer than this to the farthest one, relative to the front's bounding box, count as equally far."""


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float


def non_dominated(points: ArrayLike, maximise: Directions = MAXIMISE_BOTH) -> NDArray[np.bool_]:
    """Mark the non-dominated points: no other point is as good in all objectives and better in one.

    Equal points do not dominate each other: all copies of a front point are marked. A point with a NaN or infinite
    coordinate is never marked and dominates none.
    """
    values = _oriented(points, maximise)
    finite: NDArray[np.bool_] = np.all(np.isfinite(values), axis=1)
    comparable = np.where(finite[:, None], values, np.nan)  # every comparison with NaN is false
    as_good = (comparable[:, None] >= comparable[None]).all(axis=2)
    better = (comparable[:, None] > comparable[None]).any(axis=2)
    beaten: NDArray[np.bool_] = np.any(as_good & better, axis=0)
    return finite & ~beaten


def hypervolume(
    points: ArrayLike, reference: Point = (0.0, 0.0), maximise: Directions = MAXIMISE_BOTH
) -> float:
    """Return the area or volume that the points dominate, down to a reference point that is worse than all of them.

    The result is exact. Points that are not better than the reference in all objectives, or not finite, add nothing.
    With more than two objectives, it is computed by Optuna (While et al., A Fast Way of Calculating Exact Hypervolumes,
    2012).
    """
    gains = _oriented(points, maximise) - _oriented([reference], maximise)
    gains = gains[np.isfinite(gains).all(axis=1) & (gains > 0).all(axis=1)]
    if len(maximise) > 2:
        from optuna._hypervolume import compute_hypervolume  # imported late: few sweeps need it

        return float(compute_hypervolume(-gains, np.zeros(len(maximise))))
    gains = gains[np.argsort(-gains[:, 0], kind="stable")]
    heights = np.maximum.accumulate(gains[:, 1])
    return float(np.sum(gains[:, 0] * np.diff(heights, prepend=0.0)))


def hypervolume_share(
    points: ArrayLike,
    best_corner: Point,
    reference: Point = (0.0, 0.0),
    maximise: Directions = MAXIMISE_BOTH,
) -> float:
    """Return the hypervolume as a fraction of the box between the reference and the best corner.

    With the default objectives the corner is (1, the original model's retain utility). The fraction can exceed
    1 if a point lies beyond the corner, and is NaN if the corner is not better than the reference.
    """
    box = hypervolume([best_corner], reference, maximise)
    return hypervolume(points, reference, maximise) / box if box > 0 else float("nan")


def knee(points: ArrayLike, maximise: Directions = MAXIMISE_BOTH) -> int:
    """Return the index of the front's knee: the point farthest from the line through the front's ends.

    Only points on the better side of the line count. The choice does not depend on the objectives' scales. If no point
    lies beyond the line (one point, two points, a straight or a concave front), the knee is the point on it with the
    best sum of both objectives.

    The farthest point is the one with the best sum of objectives, each scaled to its range on the front; so it is with
    more than two, whose extreme points need not lie on one plane.

    Args:
        points: a front's points in any order, all finite; at least one.
        maximise: for each objective, whether higher is better.
    """
    values = _oriented(points, maximise)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a knee needs one or more finite points, found {np.asarray(points).tolist()}")
    if len(maximise) > 2:
        spans = np.ptp(values, axis=0)
        distance = ((values - values.min(axis=0)) / np.where(spans > 0, spans, 1.0)).sum(axis=1)
        return _best_sum(values, distance >= distance.max() - LINE_TOLERANCE)
    ends = values[np.lexsort((values[:, 1], -values[:, 0]))[[0, -1]]]  # best in the first, best in the second
    along = ends[1] - ends[0]
    offset = values - ends[0]
    distance = (
        along[1] * offset[:, 0] - along[0] * offset[:, 1]
    )  # multiplied by the line's length: same order
    tolerance = LINE_TOLERANCE * abs(along[0] * along[1])
    return _best_sum(values, distance >= max(distance.max(), 0.0) - tolerance)


def _best_sum(values: NDArray[np.float64], among: NDArray[np.bool_]) -> int:
    return int(np.argmax(np.where(among, values.sum(axis=1), -np.inf)))


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean and its t-interval.

    The interval of a single value is NaN; without values, or if one is not finite, so is the mean.
    """
    sample = np.asarray(values, dtype=float).ravel()
    if not sample.size or not np.isfinite(sample).all():
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, float("nan"), float("nan"))
    from scipy.special import (
        stdtrit,  # imported late: takes longer than everything else in reading a sweep
    )

    error = float(sample.std(ddof=1)) / np.sqrt(sample.size)
    half_width = float(stdtrit(sample.size - 1, (1 + confidence) / 2) * error)
    return Interval(mean, mean - half_width, mean + half_width)


def _oriented(points: ArrayLike, maximise: Directions) -> NDArray[np.float64]:
    """Return the points as an array of shape (n, objectives) in which higher is better."""
    values, number = np.asarray(points, dtype=float), len(maximise)
    if not values.size:
        values = values.reshape(0, number)
    if values.ndim != 2 or values.shape[1] != number:
        raise ValueError(f"points must have the shape (n, {number}), found {values.shape}")
    return values * np.where(maximise, 1.0, -1.0)
