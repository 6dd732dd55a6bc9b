"""How well a language model still knows its answers, from the scores of the answer tokens.

Functions named `item_...` return float64 ``(items,)``, NaN or infinite if an item's logits are not finite. The others
return one number, `Undefined` without items or if a token's logits are not finite.
"""

import numpy as np

from hamu_ray.metrics.text.tokens import Floats, TokenScores
from hamu_ray.metrics.undefined import Undefined


def item_losses(scores: TokenScores) -> Floats:
    """Return the mean negative log-likelihood of each item's answer tokens in nats."""
    return -scores.item_means(scores.log_probs)


def item_probabilities(scores: TokenScores) -> Floats:
    """Return the length-normalised probability of each answer, ``exp(-loss)`` (TOFU, arXiv:2401.06121)."""
    return np.exp(scores.item_means(scores.log_probs))


def item_extraction_strengths(scores: TokenScores) -> Floats:
    """Return ``1 - k / L`` of each answer of L tokens, the fraction of its end that is known, in 0..1.

    k is the smallest start from which all most likely tokens are right, teacher-forced; L if the last one is wrong
    (Wang et al., arXiv:2406.09179, as computed by OpenUnlearning, arXiv:2506.12618).
    """
    place = np.arange(len(scores.correct)) - np.repeat(scores.starts, scores.lengths)
    after_wrong = np.where(scores.correct, 0, place + 1)
    known = 1 - np.maximum.reduceat(after_wrong, scores.starts) / scores.lengths
    return np.where(np.isfinite(item_losses(scores)), known, np.nan)


def mean_loss(scores: TokenScores) -> float:
    """Return the mean negative log-likelihood in nats, weighted by token, so that its exp is the perplexity."""
    return mean_over(scores, -scores.log_probs)


def mean_token_log_probability(scores: TokenScores) -> float:
    """Return the mean log-probability of an answer token: the negative loss."""
    return mean_over(scores, scores.log_probs)


def mean_token_probability(scores: TokenScores) -> float:
    """Return the mean probability of an answer token, in 0..1, weighted by token."""
    return mean_over(scores, np.exp(scores.log_probs))


def mean_probability(scores: TokenScores) -> float:
    """Return the length-normalised probability of an answer, in 0..1, weighted by item."""
    return mean_over(scores, item_probabilities(scores))


def token_accuracy(scores: TokenScores) -> float:
    """Return the fraction of answer tokens whose most likely token is right, teacher-forced, in 0..1.

    It is the exact memorization of Tirumala et al. (arXiv:2205.10770), averaged over all tokens; OpenUnlearning
    (arXiv:2506.12618) averages over items.
    """
    return mean_over(scores, scores.correct.astype(np.float64))


def extraction_strength(scores: TokenScores) -> float:
    """Return the mean extraction strength of the answers, in 0..1, weighted by item."""
    return mean_over(scores, item_extraction_strengths(scores))


def unusable(scores: TokenScores) -> str | None:
    """Return why metrics of these scores are undefined, or None if they are defined."""
    if len(scores.lengths) == 0:
        return "there are no items"
    broken = int((~np.isfinite(scores.log_probs)).sum())
    return (
        f"the logits of {broken} of {len(scores.log_probs)} answer tokens are not finite" if broken else None
    )


def mean_over(scores: TokenScores, values: Floats) -> float:
    """Return the mean of values computed from the scores, per token or per item; `Undefined` as described above."""
    if (problem := unusable(scores)) is not None:
        return Undefined(problem)
    return float(values.mean())
