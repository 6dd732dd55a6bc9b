"""Comparisons of a model's activations: how similar two representations are, and a picture of one."""

import numpy as np

from hamu_ray.metrics.text.tokens import Floats
from hamu_ray.metrics.undefined import Undefined


def linear_cka(one: np.ndarray, other: np.ndarray) -> float:
    """Return the linear centred kernel alignment of two representations of the same examples, in 0..1.

    Kornblith et al. 2019 (arXiv:1905.00414), equation 3 with linear kernels. It is 1 if one is a rotation or a multiple
    of the other. Biased upwards if there are fewer examples than features.

    Takes float ``(examples, features)``; the numbers of features may differ. `Undefined` if a representation is not
    finite, or the same for all examples.
    """
    if len(one) != len(other):
        raise ValueError(f"linear_cka: {len(one)} examples and {len(other)}")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return Undefined("activations are not finite")
    grams = [centred @ centred.T for centred in map(_centred, (one, other))]
    first, second = (float(np.sqrt(np.sum(gram * gram))) for gram in grams)
    if first == 0 or second == 0:
        return Undefined("activations are the same for all examples")
    return float(np.sum(grams[0] * grams[1]) / (first * second))


def principal_components(values: np.ndarray, count: int) -> Floats:
    """Return the projections on the first principal components, float64 ``(examples, count)``.

    Takes float ``(examples, features)``. The sign of a component is that of its largest entry. Components that do not
    exist are 0; NaN if a value is not finite.
    """
    found = np.zeros((len(values), count))
    if not np.isfinite(values).all():
        return np.full_like(found, np.nan)
    if len(values) == 0:
        return found
    left, lengths, directions = np.linalg.svd(_centred(values), full_matrices=False)
    taken = min(count, len(lengths))
    largest = np.abs(directions[:taken]).argmax(axis=1)
    signs = np.where(directions[np.arange(taken), largest] < 0, -1.0, 1.0)
    found[:, :taken] = left[:, :taken] * lengths[:taken] * signs
    return found


def _centred(values: np.ndarray) -> Floats:
    exact = np.asarray(values, dtype=np.float64)
    return exact - exact.mean(axis=0) if len(exact) else exact
