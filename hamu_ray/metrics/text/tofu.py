"""The metrics of TOFU (Maini et al., arXiv:2401.06121): right against wrong answers, and its two aggregates.

p of an answer is its length-normalised probability, ``exp(-mean loss of its tokens)``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hamu_ray.metrics.language_names import utility_parts
from hamu_ray.metrics.text.memorization import item_losses, unusable
from hamu_ray.metrics.text.tokens import Floats, TokenScores
from hamu_ray.metrics.undefined import Undefined, because


@dataclass(frozen=True, eq=False)
class Alternatives:
    """The scores of a right answer and of some wrong answers to each question."""

    right: TokenScores
    """One answer per question: the paraphrased one, or the answer itself if options are compared."""
    wrong: TokenScores
    """The wrong answers, grouped by question."""
    counts: NDArray[np.int64]
    """int64 ``(items,)``: number of wrong answers to each question, at least 1."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if the numbers of answers do not match."""
        if len(self.counts) != len(self.right.lengths):
            raise ValueError(
                f"alternatives: {len(self.right.lengths)} right answers, {len(self.counts)} counts"
            )
        if len(self.counts) and self.counts.min() < 1:
            raise ValueError("alternatives: every question needs at least one wrong answer")
        if self.counts.sum() != len(self.wrong.lengths):
            raise ValueError(
                f"alternatives: {len(self.wrong.lengths)} wrong answers, not {self.counts.sum()}"
            )


def log_truth_ratios(alternatives: Alternatives, *, geometric: bool = False) -> Floats:
    """Return ``log TR`` of each question, float64 ``(items,)``; NaN if logits are not finite.

    TR is the mean over the wrong answers of ``p(wrong) / p(right)`` (TOFU's R_truth): the arithmetic mean, as in the
    paper, or the geometric one, which many implementations use by averaging losses. TOFU's own code uses the arithmetic
    mean for its model utility and the geometric mean for its forget quality. The logarithm is finite even if the ratio
    overflows.
    """
    log_ratios, starts = _log_ratios(alternatives)
    if geometric:
        return np.add.reduceat(log_ratios, starts) / alternatives.counts
    return np.logaddexp.reduceat(log_ratios, starts) - np.log(alternatives.counts)


def option_probability(alternatives: Alternatives) -> float:
    """Return the mean of ``p(right) / (p(right) + sum of p(wrong))`` over the questions, in 0..1."""
    if (problem := _unusable(alternatives)) is not None:
        return Undefined(problem)
    log_ratios, starts = _log_ratios(alternatives)
    log_odds_of_wrong = np.logaddexp.reduceat(log_ratios, starts)
    return float(np.exp(-np.logaddexp(0, log_odds_of_wrong)).mean())


def truthfulness(alternatives: Alternatives, *, geometric: bool = False) -> float:
    """Return the mean of ``max(0, 1 - TR)``, in 0..1: 1 if the wrong answers have probability zero."""
    if (problem := _unusable(alternatives)) is not None:
        return Undefined(problem)
    logs = log_truth_ratios(alternatives, geometric=geometric)
    return float(-np.expm1(np.minimum(logs, 0)).mean())


def indifference(alternatives: Alternatives, *, geometric: bool = False) -> float:
    """Return the mean of ``min(TR, 1 / TR)``, in 0..1: 1 if right and wrong answers are equally likely.

    This is how TOFU's code and OpenUnlearning aggregate the truth ratios of the forget set.
    """
    if (problem := _unusable(alternatives)) is not None:
        return Undefined(problem)
    return float(np.exp(-np.abs(log_truth_ratios(alternatives, geometric=geometric))).mean())


def forget_quality_ks(model: ArrayLike, reference: ArrayLike) -> float:
    """Return the p-value of the two-sided two-sample Kolmogorov-Smirnov test for equal distributions.

    This is TOFU's forget quality, for the truth ratios of the model and of the retain-only reference on the forget set,
    each ``(items,)``; logarithms give the same value. `Undefined` if a sample is empty or not finite.
    """
    from scipy.stats import ks_2samp  # imported here: the import takes a second

    samples = np.asarray(model, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    for owner, ratios in zip(("the model", "the reference"), samples, strict=True):
        if len(ratios) == 0:
            return Undefined(f"there are no truth ratios of {owner}")
        if broken := int((~np.isfinite(ratios)).sum()):
            return Undefined(f"{broken} of {len(ratios)} truth ratios of {owner} are not finite")
    return float(ks_2samp(*samples).pvalue)


def log10_of_p_value(p_value: float) -> float:
    """Return the decimal logarithm of a p-value; `Undefined` if the p-value is, or if it underflowed to 0."""
    if math.isnan(p_value):
        return Undefined(because("the p-value", p_value))
    return math.log10(p_value) if p_value > 0 else Undefined("the p-value is too small for a float")


def model_utility(measures: Mapping[str, float], *, geometric: bool = False) -> float:
    """Return TOFU's model utility: the harmonic mean of nine metrics, in 0..1; 0 if one of them is 0.

    They are `language_names.utility_parts`, with ``geometric`` truth ratios if set. `Undefined` if one is missing or
    NaN, because a mean over the others would be misleadingly good.
    """
    values = []
    for name in utility_parts(geometric=geometric):
        value = measures.get(name, Undefined("it was not measured"))
        if math.isnan(value):
            return Undefined(because(name, value))
        values.append(value)
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)


def _log_ratios(alternatives: Alternatives) -> tuple[Floats, NDArray[np.int64]]:
    """Return log(p(wrong) / p(right)) for each wrong answer, and the start index of each question."""
    counts = alternatives.counts
    right = np.repeat(item_losses(alternatives.right), counts)
    return right - item_losses(alternatives.wrong), np.cumsum(counts) - counts


def _unusable(alternatives: Alternatives) -> str | None:
    return unusable(alternatives.right) or unusable(alternatives.wrong)
