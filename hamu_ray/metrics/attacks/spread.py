"""The spread of a number over references: what another training run without the forget set would get."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """The mean over references, and the 95 % prediction interval of one more reference; NaN below 2 references."""

    mean: float
    low: float
    high: float
    references: int

    def contains(self, value: float) -> bool | None:
        """Whether a value lies within the interval; None if either is undefined."""
        return self._decided(value, self.low - self._tolerance <= value <= self.high + self._tolerance)

    def reaches(self, value: float) -> bool | None:
        """Whether a value is within or below the interval; None if either is undefined."""
        return self._decided(value, value <= self.high + self._tolerance)

    @property
    def _tolerance(self) -> float:
        """Rounding errors of references that all give the same value."""
        return 1e-9 * max(1.0, abs(self.mean))

    def _decided(self, value: float, holds: bool) -> bool | None:
        return None if math.isnan(self.low) or math.isnan(value) else bool(holds)


def spread(values: ArrayLike) -> Spread:
    """Return the spread of values of K references, ``(K,)``: Student's t with ``s sqrt(1 + 1/K)`` for one more."""
    sample = np.asarray(values, dtype=np.float64)
    if not sample.size or not np.isfinite(sample).all():
        return Spread(math.nan, math.nan, math.nan, sample.size)
    mean = float(sample.mean())
    if sample.size == 1:
        return Spread(mean, math.nan, math.nan, 1)
    error = float(sample.std(ddof=1)) * math.sqrt(1 + 1 / sample.size)
    half = float(stdtrit(sample.size - 1, (1 + CONFIDENCE) / 2)) * error
    return Spread(mean, mean - half, mean + half, sample.size)
