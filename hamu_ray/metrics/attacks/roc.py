"""How well scores of membership separate two sets of examples."""

import numpy as np
from numpy.typing import ArrayLike

from hamu_ray.metrics.membership import auc_loss
from hamu_ray.metrics.undefined import Undefined

FALSE_POSITIVES = 0.01
"""The rate at which `tpr_at_low_fpr` is measured."""


def auc(members: ArrayLike, others: ArrayLike) -> float:
    """Return the ROC-AUC of scores that are higher for members, ``(n,)`` and ``(m,)``; `Undefined` as in `auc_loss`."""
    return auc_loss(-np.asarray(members, dtype=np.float64), -np.asarray(others, dtype=np.float64))


def tpr_at_low_fpr(members: ArrayLike, others: ArrayLike) -> float:
    """Return the largest fraction of members found by a threshold that at most 1 % of the others pass.

    Takes scores ``(n,)`` and ``(m,)``. `Undefined` if either is empty or not finite, or if there are fewer than 100
    others, of which 1 % is none.
    """
    found, known = np.asarray(members, dtype=np.float64), np.sort(np.asarray(others, dtype=np.float64))
    if isinstance(undefined := auc(found, known), Undefined):
        return undefined
    allowed = int(FALSE_POSITIVES * len(known) + 1e-9)
    if not allowed:
        return Undefined(f"1 % of {len(known)} non-members is none; it takes at least 100")
    return float((found > known[len(known) - allowed - 1]).mean())
