"""Attack losses that distinguish training texts from others: lower for a text that looks trained on.

Each is float64 ``(items,)``, for `hamu_ray.metrics.membership.auc_loss` to rank; NaN or infinite if an item's logits
are not finite. The plain loss is `hamu_ray.metrics.text.memorization.item_losses`.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from hamu_ray.metrics.text.memorization import item_losses, mean_over
from hamu_ray.metrics.text.tokens import Floats, TokenScores

DEVIATION_FLOOR = 1e-3
"""Minimum deviation in Min-K%++'s denominator, for tokens predicted with certainty (OpenUnlearning's floor)."""


def mink_losses(scores: TokenScores, percent: int) -> Floats:
    """Return the negative Min-K%: the mean loss of the ``percent`` % least likely tokens of each item, in nats.

    Shi et al., arXiv:2310.16789. The number of tokens is rounded down, but at least one.
    """
    return _mean_of_highest(-scores.log_probs, scores, percent)


def mean_mink(scores: TokenScores, percent: int) -> float:
    """Return the mean Min-K% log-probability over the items; `Undefined` like the metrics of memorization."""
    return mean_over(scores, -mink_losses(scores, percent))


def minkpp_losses(scores: TokenScores, percent: int) -> Floats:
    """Return the negative Min-K%++: like `mink_losses`, for losses standardised over the vocabulary.

    Zhang et al., arXiv:2404.02936.
    """
    standardised = (scores.log_probs - scores.means) / np.maximum(scores.deviations, DEVIATION_FLOOR)
    return _mean_of_highest(-standardised, scores, percent)


def zlib_losses(scores: TokenScores, texts: Sequence[str]) -> Floats:
    """Return each item's mean loss divided by the compressed size of its text (Carlini et al., arXiv:2012.07805).

    ``texts`` are the answers that the loss refers to. Raises `ValueError` unless there is one for each item.
    """
    if len(texts) != len(scores.lengths):
        raise ValueError(f"zlib: {len(texts)} texts for {len(scores.lengths)} items")
    compressed = np.array([len(zlib.compress(text.encode())) for text in texts], dtype=np.float64)
    return item_losses(scores) / compressed


def _mean_of_highest(values: Floats, scores: TokenScores, percent: int) -> Floats:
    """Return the mean of the highest ``percent`` % of each item's values."""
    if not 1 <= percent <= 100:
        raise ValueError(f"percent: {percent} is not in 1..100")
    counts = np.maximum(1, scores.lengths * percent // 100)
    items = np.repeat(np.arange(len(counts)), scores.lengths)
    highest_first = values[np.lexsort((-values, items))]
    rank = np.arange(len(values)) - np.repeat(scores.starts, scores.lengths)
    chosen = np.where(rank < np.repeat(counts, scores.lengths), highest_first, 0.0)
    means = np.add.reduceat(chosen, scores.starts) / counts
    # NaN is sorted last, where it would be ignored.
    return np.where(np.isfinite(scores.item_means(values)), means, np.nan)
