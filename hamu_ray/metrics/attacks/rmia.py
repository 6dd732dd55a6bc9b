"""The robust membership inference attack (RMIA)."""

import numpy as np
from numpy.typing import ArrayLike

from hamu_ray.metrics.attacks.margins import Floats, unusable
from hamu_ray.metrics.attacks.names import RMIA_AUC, RMIA_TPR
from hamu_ray.metrics.attacks.roc import auc, tpr_at_low_fpr
from hamu_ray.metrics.measured import Measures

GAMMA = 2.0
"""How much likelier an example must have become than one of the population (the paper's default)."""
OFFLINE = 0.3
"""The paper's ``a``: how the confidence of models trained with an example follows from others'."""


def rmia(forget: ArrayLike, test: ArrayLike, known_forget: ArrayLike, known_test: ArrayLike) -> Measures:
    """Return AUC, and TPR at 1 % FPR: are forget examples recognised among test examples, with one reference?

    Every other test example is a non-member, the others are the population. Takes losses under the attacked model,
    ``(n,)`` and ``(m,)``, and the same under the reference.
    """
    problem = unusable(
        forget=forget, test=test, reference_on_forget=known_forget, reference_on_test=known_test
    )
    if problem is not None:
        return dict.fromkeys((RMIA_AUC, RMIA_TPR), problem)
    attacked, known = (np.asarray(losses, dtype=np.float64) for losses in (test, known_test))
    members = dominance(forget, known_forget, attacked[1::2], known[1::2])
    others = dominance(attacked[::2], known[::2], attacked[1::2], known[1::2])
    return {RMIA_AUC: auc(members, others), RMIA_TPR: tpr_at_low_fpr(members, others)}


def dominance(
    losses: ArrayLike, reference: ArrayLike, population: ArrayLike, population_reference: ArrayLike
) -> Floats:
    """Return the score of membership of each example under RMIA with one reference model, float64 ``(n,)`` in 0..1.

    The score is the fraction of the population that an example dominates: its confidence under the
    attacked model over its expected one is at least `GAMMA` times as large as theirs (Zarifzadeh et al.,
    arXiv:2312.03262, equation 2). The expected confidence follows from one model trained without the example,
    ``((1 + a) p + 1 - a) / 2`` (its offline attack).

    Args:
        losses: Losses of the examples under the attacked model, ``(n,)``.
        reference: The same under a model trained without them, ``(n,)``.
        population: Losses of other examples that neither model was trained on, under the attacked model, ``(m,)``.
        population_reference: The same under the other model, ``(m,)``.
    """
    members, others = (
        -np.asarray(attacked, dtype=np.float64) - np.log(_expected(known))
        for attacked, known in ((losses, reference), (population, population_reference))
    )
    ordered = np.sort(others)
    return np.searchsorted(ordered, members - np.log(GAMMA), side="right") / len(ordered)


def _expected(losses: ArrayLike) -> Floats:
    confidences = np.exp(-np.asarray(losses, dtype=np.float64))
    return np.asarray(((1 + OFFLINE) * confidences + 1 - OFFLINE) / 2)
