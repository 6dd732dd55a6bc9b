"""The logit-scaled confidence of each example, from its loss."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hamu_ray.metrics.undefined import Undefined

Floats = NDArray[np.float64]

SMALLEST_LOSS = 2.0**-52
"""Losses below float64's resolution next to 1 are indistinguishable from 0; their margin is that of this loss, 36."""


def margins(losses: ArrayLike) -> Floats:
    """Return ``log(p / (1 - p))`` with ``p = exp(-loss)``, float64, in the losses' shape.

    For a classifier's cross-entropy this is the margin of Georgiev et al. (arXiv:2410.23232): the true class's logit
    minus the log-sum-exp of the others. Carlini et al. (arXiv:2112.03570) call it the logit-scaled confidence: its
    distribution over training runs is close to a Gaussian, that of the loss is not. For an answer of several tokens,
    whose loss is their mean, ``p`` is the geometric mean of their probabilities.

    NaN for losses below 0, which are not of a probability, and for NaN; minus infinity for an infinite loss.
    """
    values = np.asarray(losses, dtype=np.float64)
    clipped = np.where(values < 0, np.nan, np.maximum(values, SMALLEST_LOSS))
    return -clipped - np.log(-np.expm1(-clipped))


def unusable(**losses: ArrayLike) -> Undefined | None:
    """Return why no attack can use these losses, by whose they are; None if they are probabilities' and finite."""
    for owner, given in losses.items():
        values, name = np.asarray(given, dtype=np.float64), owner.replace("_", " ")
        if not values.size:
            return Undefined(f"there are no losses of {name}")
        if broken := int((~np.isfinite(values)).sum()):
            return Undefined(f"{broken} of {values.size} losses of {name} are not finite")
        if values.min() < 0:
            return Undefined(f"losses of {name} are below 0, so they are not negative log-probabilities")
    return None
