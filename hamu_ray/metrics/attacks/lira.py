"""The likelihood-ratio attack (LiRA), and the same against unlearning (U-LiRA)."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr

from hamu_ray.metrics.attacks.margins import Floats, margins, unusable
from hamu_ray.metrics.attacks.names import (
    LIRA_AUC,
    LIRA_ONLINE_AUC,
    LIRA_ONLINE_TPR,
    LIRA_TPR,
    ULIRA_AUC,
    ULIRA_TPR,
)
from hamu_ray.metrics.attacks.roc import auc, tpr_at_low_fpr
from hamu_ray.metrics.measured import Measures
from hamu_ray.metrics.undefined import Undefined

PER_EXAMPLE = 8
"""With fewer models than this, one variance is estimated for all examples (arXiv:2112.03570, section V)."""

SMALLEST_DEVIATION = 1e-6
"""Lower bound of a Gaussian's standard deviation, for examples whose margin is the same under all models."""


def lira(forget: ArrayLike, test: ArrayLike, known_forget: ArrayLike, known_test: ArrayLike) -> Measures:
    """Return AUC, and TPR at 1 % FPR, of the offline attack: are forget examples recognised among test examples?

    No model here was trained on the test examples, so that only Gaussians of models without an example are available
    for both. A good value is one that another reference has.

    Args:
        forget: Losses on the forget set under the attacked model, ``(n,)``.
        test: Losses on test examples under it, ``(m,)``.
        known_forget: Losses on the forget set under the references, ``(references, n)``.
        known_test: Losses on the test examples under the references, ``(references, m)``.
    """
    problem = unusable(
        forget=forget, test=test, references_on_forget=known_forget, references_on_test=known_test
    )
    if problem is None and len(np.asarray(known_forget)) < 2:
        problem = Undefined("a Gaussian takes at least 2 references; set reference.seeds")
    if problem is not None:
        return dict.fromkeys((LIRA_AUC, LIRA_TPR), problem)
    # All examples together, so that below `PER_EXAMPLE` models one variance is that of all.
    observed = margins(np.concatenate([forget, test]))
    scores = likelihood_ratios(observed, margins(np.concatenate([known_forget, known_test], axis=1)))
    members, others = scores[: len(np.asarray(forget))], scores[len(np.asarray(forget)) :]
    return {LIRA_AUC: auc(members, others), LIRA_TPR: tpr_at_low_fpr(members, others)}


def lira_online(forget: ArrayLike, originals: ArrayLike, references: ArrayLike) -> Measures:
    """Return AUC, and TPR at 1 % FPR, of the online attack: is M recognised among references on the forget set?

    Each reference in turn is left out: its examples are the non-members, the attacked model's the members, and the
    Gaussians are those of the originals and of the other references. Scores of all turns are compared together. 0.5 if
    the model is exchangeable with the references.

    Args:
        forget: Losses on the forget set under the attacked model, ``(n,)``.
        originals: The same under models trained on all data, ``(originals, n)``.
        references: The same under models trained without the forget set, ``(references, n)``.
    """
    problem = unusable(forget=forget, originals=originals, references=references)
    if problem is None and len(np.asarray(originals)) < 2:
        problem = Undefined("a Gaussian takes at least 2 originals; set original.seeds")
    problem = problem or _too_few(references)
    if problem is not None:
        return dict.fromkeys((LIRA_ONLINE_AUC, LIRA_ONLINE_TPR), problem)
    members, compared = _left_out_scores(forget, originals, references)
    return {LIRA_ONLINE_AUC: auc(members, compared), LIRA_ONLINE_TPR: tpr_at_low_fpr(members, compared)}


def ulira(forget: ArrayLike, shadows: ArrayLike, references: ArrayLike) -> Measures:
    """Return AUC, and TPR at 1 % FPR, of U-LiRA (Hayes et al., arXiv:2403.01218): is M told from references?

    The game is that of `lira_online`, but the attacker knows the unlearning: the Gaussians of members are those of
    shadow models, which were trained on the examples and then unlearned them as M did. 0.5 if the model is
    exchangeable with the references. Other than in the paper, all shadow models forget M's own forget set.

    Args:
        forget: Losses on the forget set under the attacked model, ``(n,)``.
        shadows: The same under the same unlearning of other originals with other seeds, ``(shadows, n)``.
        references: The same under models trained without the forget set, ``(references, n)``.
    """
    problem: Undefined | None = None
    if len(np.asarray(shadows)) < 2:
        problem = Undefined("a Gaussian takes at least 2 unlearned models besides M; set original.seeds to 3")
    problem = problem or unusable(forget=forget, shadow_models=shadows, references=references)
    problem = problem or _too_few(references)
    if problem is not None:
        return dict.fromkeys((ULIRA_AUC, ULIRA_TPR), problem)
    members, compared = _left_out_scores(forget, shadows, references)
    return {ULIRA_AUC: auc(members, compared), ULIRA_TPR: tpr_at_low_fpr(members, compared)}


def _too_few(references: ArrayLike) -> Undefined | None:
    if len(np.asarray(references)) >= 3:
        return None
    return Undefined("a Gaussian takes at least 2 references besides the compared one; set reference.seeds")


def _left_out_scores(forget: ArrayLike, inside: ArrayLike, references: ArrayLike) -> tuple[Floats, Floats]:
    """Return likelihood ratios of the attacked model's examples, and of those of each reference left out in turn."""
    observed, trained, known = margins(forget), margins(inside), margins(references)
    others = [np.delete(known, number, axis=0) for number in range(len(known))]
    members = [likelihood_ratios(observed, rest, trained) for rest in others]
    compared = [likelihood_ratios(one, rest, trained) for one, rest in zip(known, others, strict=True)]
    return np.concatenate(members), np.concatenate(compared)


def likelihood_ratios(observed: ArrayLike, outside: ArrayLike, inside: ArrayLike | None = None) -> Floats:
    """Return the score of membership of each example under LiRA (Carlini et al., arXiv:2112.03570), float64 ``(n,)``.

    Each example's margin is taken as Gaussian over training runs with, and over training runs without the example. The
    score is the log-likelihood ratio of the two at the margin under the attacked model. Without models trained with the
    example, it is the paper's offline score: the log-odds that a model trained without the example has a lower margin,
    which is monotone in the paper's probability, and distinguishes its values near 1.

    Args:
        observed: Margins (`hamu_ray.metrics.attacks.margins`) under the attacked model, ``(n,)``.
        outside: Margins under models trained without the example, ``(models, n)``, at least 2 models.
        inside: Margins under models trained with it, ``(models, n)``, at least 2 models; None for the offline attack.

    Raises:
        ValueError: There are fewer than 2 models to estimate a variance from.
    """
    values = np.asarray(observed, dtype=np.float64)
    mean, deviation = _gaussians(outside, "outside")
    if inside is None:
        scores = (values - mean) / deviation
        return np.asarray(log_ndtr(scores) - log_ndtr(-scores))
    with_mean, with_deviation = _gaussians(inside, "inside")
    return _log_density(values, with_mean, with_deviation) - _log_density(values, mean, deviation)


def _log_density(values: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Return the log-density of Gaussians without the constant."""
    return np.asarray(-(((values - mean) / deviation) ** 2) / 2 - np.log(deviation))


def _gaussians(models: ArrayLike, name: str) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each example, ``(n,)`` each."""
    values = np.asarray(models, dtype=np.float64)
    if len(values) < 2:
        raise ValueError(f"{name}: a variance needs margins of at least 2 models, found {len(values)}")
    variances = values.var(axis=0, ddof=1)
    if len(values) < PER_EXAMPLE:
        variances = np.full_like(variances, variances.mean())
    return values.mean(axis=0), np.maximum(np.sqrt(variances), SMALLEST_DEVIATION)
