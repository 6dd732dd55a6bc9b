"""The relative test: is a model farther from retrained models than they are from each other?"""

import numpy as np
from numpy.typing import ArrayLike

from hamu_ray.metrics.attacks.margins import Floats, margins, unusable
from hamu_ray.metrics.attacks.names import RELATIVE_P, RELATIVE_SMALLEST_P
from hamu_ray.metrics.measured import Measures
from hamu_ray.metrics.undefined import Undefined


def relative_test(model: ArrayLike, references: ArrayLike) -> Measures:
    """Return the p-value of the relative test (arXiv:2601.19755), and the smallest one that the references allow.

    The statistic is the mean distance to the other ``K`` models of the pool of the model and its references. If the
    model were another training run without the forget set, each member of the pool would be the farthest equally
    often: the p-value is the fraction of the pool that is at least as far as the model, and is exact. It is a multiple
    of ``1 / (K + 1)``, which is also the smallest one.

    Takes losses on the forget set under the model, ``(n,)``, and under at least 2 references, ``(K, n)``.
    """
    problem = unusable(model=model, references=references)
    count = len(np.asarray(references))
    if problem is None and count < 2:
        problem = Undefined("distances between references take at least 2; set reference.seeds")
    if problem is not None:
        return dict.fromkeys((RELATIVE_P, RELATIVE_SMALLEST_P), problem)
    pool = margins(np.concatenate([np.asarray(model)[None], np.asarray(references)]))
    distances = leave_one_out_distances(pool)
    return {RELATIVE_P: float((distances >= distances[0]).mean()), RELATIVE_SMALLEST_P: 1 / (count + 1)}


def leave_one_out_distances(models: ArrayLike) -> Floats:
    """Return the mean distance of each model to all others, float64 ``(models,)``.

    The distance of two models is the mean absolute difference of their margins over the examples. Takes margins
    ``(models, n)``, at least 2 models.
    """
    values = np.asarray(models, dtype=np.float64)
    pairs = np.stack([np.abs(values - one).mean(axis=1) for one in values])
    return np.asarray(pairs.sum(axis=1) / (len(values) - 1))
