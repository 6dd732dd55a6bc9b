"""Metrics that compare a model with the retain-only reference R, which never saw the forget set."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hamu_ray.metrics.names import MIA_CONFIDENCE, UNLEARNING_ACCURACY, accuracy_of
from hamu_ray.metrics.undefined import Undefined, because

GAPS = (UNLEARNING_ACCURACY, accuracy_of("retain"), accuracy_of("test"), MIA_CONFIDENCE)
"""What `avg_gap` is taken over: UA, RA, TA and the confidence attack, as in SalUn (arXiv:2310.12508)."""


def forget_quality(model: float, reference: float) -> float:
    """Return ``1 - |model - reference|`` of the accuracies (or probabilities) on the forget set, in 0..1.

    A model worse than the reference is as far from it as a better one: both can be distinguished from it.
    """
    for whose, value in (("the model", model), ("the reference", reference)):
        if math.isnan(value):
            return Undefined(because(f"the score on the forget set of {whose}", value))
    return 1.0 - abs(model - reference)


def loss_similarity(model: Sequence[float], reference: Sequence[float]) -> float:
    """Return 1 - the Kolmogorov-Smirnov distance of two models' losses per example, in 0..1; 1: the same distribution.

    The distance is the largest difference of the two empirical distribution functions. `Undefined` where there are
    no losses, or some are not finite.
    """
    samples = {"the model": np.sort(np.asarray(model)), "the reference": np.sort(np.asarray(reference))}
    for whose, losses in samples.items():
        if len(losses) == 0 or not np.isfinite(losses).all():
            return Undefined(f"the losses of {whose} are {'missing' if len(losses) == 0 else 'not finite'}")
    places = np.concatenate(list(samples.values()))
    first, second = (
        np.searchsorted(losses, places, side="right") / len(losses) for losses in samples.values()
    )
    return 1.0 - float(np.abs(first - second).max())


def retain_utility(model: float) -> float:
    """Return the accuracy (or probability) on the retain set, in 0..1, under its name as an objective."""
    return model


def avg_gap(model: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Return the mean absolute difference to the reference over UA, RA, TA and `mia_confidence`, in 0..1.

    The literature prints it in percentage points. `Undefined` where one of the eight numbers is missing or
    NaN: a mean over the others would look better than it is.
    """
    for whose, measures in (("the model", model), ("the reference", reference)):
        for name in GAPS:
            value = measures.get(name, Undefined("it was not measured"))
            if math.isnan(value):
                return Undefined(because(f"{name} of {whose}", value))
    return sum(abs(model[name] - reference[name]) for name in GAPS) / len(GAPS)


def privleak(model: float, reference: float) -> float:
    """Return MUSE's relative privacy leak ``(A(M) - A(R)) / A(R)``, ``A = 1 - AUC`` (arXiv:2407.06460).

    Takes the AUCs of telling forget from held-out text, 1 where forget text looks trained on. 0 is as good as R;
    below 0, at least -1, the model knows more of the forget set; above 0 it stands out by what it forgot. The
    literature prints percent. `Undefined` where an AUC is, or where R's is 1.
    """
    for whose, value in (("the model", model), ("the reference", reference)):
        if math.isnan(value):
            return Undefined(because(f"the membership AUC of {whose}", value))
    if reference == 1:
        return Undefined("the reference's own membership AUC is 1")
    return (reference - model) / (1 - reference)
