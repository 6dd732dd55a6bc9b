"""The search along a line for the model that meets a bound by the least."""

from collections.abc import Callable, Sequence, Set

EVALUATIONS = 12
"""Maximum number of models that are evaluated on a line."""
TOLERANCE = 0.002
"""By how much a bound may be met at most for the search to end; in the metric's unit."""


def cross(
    shortfall: Callable[[float], float],
    meets: float,
    misses: float,
    *,
    evaluations: int = EVALUATIONS,
    tolerance: float = TOLERANCE,
) -> float | None:
    """Bisect between a place that meets a bound and one that misses it.

    ``shortfall`` evaluates the model at a place: by how much it misses the bound, 0 or less if it meets it, so that a
    NaN must be infinity. Ends at a model that meets the bound by no more than ``tolerance``. Returns the last
    place that meets it; None if no evaluated one does.
    """
    found = None
    for _ in range(evaluations):
        middle = (meets + misses) / 2
        missing = shortfall(middle)
        if missing > 0:
            misses = middle
            continue
        meets = found = middle
        if missing >= -tolerance:
            break
    return found


def inside(
    shortfalls: Callable[[float], Sequence[float]],
    missed: tuple[Set[int], Set[int]],
    *,
    evaluations: int = EVALUATIONS,
) -> float | None:
    """Bisect between two ends, each of which misses bounds that the other meets, for a place that meets all of them.

    ``shortfalls`` evaluates the model at a place: by how much it misses each bound; ``missed`` are the places of the
    bounds that each end misses. Returns None if no evaluated model meets all, or one misses bounds of both ends: where
    metrics change in one direction, none on the line meets them then.
    """
    first, last = 0.0, 1.0
    for _ in range(evaluations):
        middle = (first + last) / 2
        here = {i for i, missing in enumerate(shortfalls(middle)) if missing > 0}
        if not here:
            return middle
        if here & missed[0] and here & missed[1]:
            return None
        first, last = (middle, last) if here & missed[0] else (first, middle)
    return None
