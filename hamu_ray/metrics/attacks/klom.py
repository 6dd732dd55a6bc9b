"""KL divergence of margins (KLoM)."""

import numpy as np
from numpy.typing import ArrayLike

from hamu_ray.metrics.attacks.margins import Floats, margins, unusable
from hamu_ray.metrics.attacks.names import KLOM_P95
from hamu_ray.metrics.measured import Measures
from hamu_ray.metrics.undefined import Undefined

BINS = 20
LARGEST = 100.0
"""Margins are clipped to plus and minus this value."""
FLOOR = 1e-5
"""Probability of an empty bin under the reference."""
PERCENTILE = 95


def klom(models: ArrayLike, references: ArrayLike) -> Measures:
    """Return the 95th percentile over examples of `margin_divergences`, in nats.

    Takes losses on the forget set under unlearned models of different seeds ``(models, n)``, and under references of
    different seeds ``(references, n)``; at least 2 each.
    """
    problem = unusable(unlearned_models=models, references=references)
    for key, given in (("original.seeds", models), ("reference.seeds", references)):
        if problem is None and len(np.asarray(given)) < 2:
            problem = Undefined(f"a distribution over seeds takes at least 2 models of each kind; set {key}")
    if problem is not None:
        return {KLOM_P95: problem}
    found = margin_divergences(margins(models), margins(references))
    return {KLOM_P95: float(np.percentile(found, PERCENTILE))}


def margin_divergences(models: ArrayLike, references: ArrayLike) -> Floats:
    """Return KLoM of each example (Georgiev et al., arXiv:2410.23232) in nats, float64 ``(n,)``.

    It is the KL divergence of the distribution of an example's margin over unlearned models from that over models
    trained without the forget set. Both are histograms with `BINS` equal bins over the range of both. It is biased
    upwards for few models: compare it with that of as many references against the others.

    Args:
        models: Margins under unlearned models, ``(models, n)``.
        references: Margins under references, ``(references, n)``.
    """
    first, second = (
        np.clip(np.asarray(each, dtype=np.float64), -LARGEST, LARGEST) for each in (models, references)
    )
    low = np.minimum(first.min(axis=0), second.min(axis=0))
    width = np.maximum(first.max(axis=0), second.max(axis=0)) - low
    width = np.where(width > 0, width, 1.0)
    found, known = (_histograms((values - low) / width) for values in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = found * np.log(found / np.maximum(known, FLOOR))
    return np.asarray(np.where(found > 0, terms, 0.0).sum(axis=0))


def _histograms(scaled: Floats) -> Floats:
    """Return the fraction of the models in each bin, ``(bins, n)``, of values in 0..1, ``(models, n)``."""
    at = np.minimum((scaled * BINS).astype(np.int64), BINS - 1)
    counts = np.zeros((BINS, scaled.shape[1]))
    np.add.at(counts, (at, np.arange(scaled.shape[1])), 1.0)
    return counts / len(scaled)
