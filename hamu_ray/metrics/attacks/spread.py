"""The spread of a number over references: what another training run without the forget set would get."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

CONFIDENCE = 0.95
FRACTION = (0.0, 1.0)
"""Bounds of fractions, probabilities and AUCs."""
ROUNDING = 1e-9
"""Tolerance for references that all have the same value up to rounding."""


class Spread(NamedTuple):
    """The mean over references, and the 95 % prediction interval of one more reference; NaN below 2 references."""

    mean: float
    low: float
    high: float
    references: int

    def contains(self, value: float, tolerance: float = ROUNDING) -> bool | None:
        """Whether a value lies within the interval or a tolerance of it; None if either is undefined."""
        return self._decided(value, self.low - tolerance <= value <= self.high + tolerance)

    def reaches(self, value: float, tolerance: float = ROUNDING) -> bool | None:
        """Whether a value lies within or below the interval, or a tolerance above; None if either is undefined."""
        return self._decided(value, value <= self.high + tolerance)

    def _decided(self, value: float, holds: bool) -> bool | None:
        return None if math.isnan(self.low) or math.isnan(value) else bool(holds)


def spread(values: ArrayLike, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Spread:
    """Return the spread of values of K references, ``(K,)``: Student's t with ``s sqrt(1 + 1/K)`` for one more.

    The interval ends at the ``bounds`` of possible values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not sample.size or not np.isfinite(sample).all():
        return Spread(math.nan, math.nan, math.nan, sample.size)
    mean = float(sample.mean())
    if sample.size == 1:
        return Spread(mean, math.nan, math.nan, 1)
    error = float(sample.std(ddof=1)) * math.sqrt(1 + 1 / sample.size)
    half = float(stdtrit(sample.size - 1, (1 + CONFIDENCE) / 2)) * error
    return Spread(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]), sample.size)
