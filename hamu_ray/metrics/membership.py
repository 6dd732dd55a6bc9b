"""Membership inference: can an attacker distinguish training examples from others by the model's outputs?"""

import numpy as np
from numpy.typing import NDArray

from hamu_ray.metrics.undefined import Undefined

Values = NDArray[np.floating]

EXACT = 2000
"""Up to so many members and non-members the attack is fitted on each of them; above, on bins of them."""
QUANTILES, CELLS = 400, 512
"""Edges of bins: so many quantiles of the confidences, and so many equal parts of 0..1."""


def mia_confidence(retain: Values, test: Values, forget: Values, *, seed: int) -> float:
    """Return the fraction of forget examples that a confidence attack classifies as non-members.

    The attack of SalUn (Fan et al., arXiv:2310.12508; RBF kernel, C = 3, gamma = 1 as in its code) is a support vector
    classifier on one feature, the model's confidence in the true class. Its training data are as many retain examples
    (members) as there are test examples, or all if there are fewer, and the test examples (non-members); the seed
    determines the sample. A good value is close to the retain-only reference's.

    Takes the confidences in 0..1, each ``(n,)``. `Undefined` if a split is empty, a confidence is not finite, or all
    confidences of members and non-members are equal.

    The fit's time grows with the square of the number of examples, 8 s for 10,000 of each on one core. More than
    `EXACT` are therefore put into bins, each of which is one example of their mean confidence with their number as its
    weight. Equal examples and one with their number as its weight give the same classifier, and bins are narrow
    against the kernel's width of 1: the share is within 0.002 of the exact one's, in less than 0.2 s.
    """
    # Imported here: scikit-learn takes a second, which reading metric names does not need.
    from sklearn.svm import SVC

    if (problem := _unusable(retain=retain, test=test, forget=forget)) is not None:
        return Undefined(problem)
    drawn = np.random.default_rng(seed).permutation(len(retain))[: len(test)]
    confidences = np.concatenate([retain[drawn], test])
    if confidences.min() == confidences.max():
        return Undefined("members and non-members all have the same confidence")
    is_member = np.arange(len(confidences)) < len(drawn)
    points, labels, weights = confidences, is_member, np.ones(len(confidences))
    if len(confidences) > EXACT:
        points, labels, weights = _binned(confidences, is_member)
    attack = SVC(kernel="rbf", C=3.0, gamma=1.0).fit(points[:, None], labels, sample_weight=weights)
    return float(1.0 - attack.predict(forget[:, None]).mean())


def _binned(
    values: Values, labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Return the mean value, the label and the number of values of each bin, which hold values of one label.

    The bins are narrow everywhere, and narrower where there are many values. Takes values in 0..1, ``(n,)``.
    """
    quantiles = np.quantile(values, np.linspace(0, 1, QUANTILES + 1)[1:-1])
    edges = np.union1d(quantiles, np.linspace(0, 1, CELLS + 1)[1:-1])
    bins = 2 * np.searchsorted(edges, values, side="right") + labels
    found, of_value, counts = np.unique(bins, return_inverse=True, return_counts=True)
    means = np.bincount(of_value, weights=values) / counts
    return means, found % 2 == 1, counts.astype(np.float64)


def auc_loss(members: Values, others: Values) -> float:
    """Return the ROC-AUC of the loss as a membership score: members are expected to have the lower loss.

    It is the probability that a random member has a lower loss than a random other example, with ties counted half: 1
    if every member's loss is lower, 0.5 without leakage.

    Takes losses ``(n,)`` and ``(m,)``. `Undefined` if either is empty or a loss is not finite.
    """
    from sklearn.metrics import roc_auc_score

    if (problem := _unusable(members=members, others=others)) is not None:
        return Undefined(problem)
    is_member = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
    return float(roc_auc_score(is_member, -np.concatenate([members, others])))


def _unusable(**splits: Values) -> str | None:
    """Return why these values of each split cannot be compared, or None if they can."""
    for name, values in splits.items():
        if len(values) == 0:
            return f"there are no {name} examples"
        broken = int((~np.isfinite(values)).sum())
        if broken:
            return f"{broken} of {len(values)} {name} values are not finite"
    return None
