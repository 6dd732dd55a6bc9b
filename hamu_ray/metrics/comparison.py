"""Metrics that compare a model with the retain-only reference R, which was trained without the forget set."""

import math
from collections.abc import Mapping

from hamu_ray.metrics.names import MIA_CONFIDENCE, UNLEARNING_ACCURACY, accuracy_of
from hamu_ray.metrics.undefined import Undefined, because

GAPS = (UNLEARNING_ACCURACY, accuracy_of("retain"), accuracy_of("test"), MIA_CONFIDENCE)
"""The metrics that `avg_gap` averages: UA, RA, TA and the confidence attack, as in SalUn (arXiv:2310.12508)."""


def forget_quality(model: float, reference: float) -> float:
    """Return ``1 - |model - reference|`` of the accuracies (or probabilities) on the forget set, in 0..1.

    Deviations from the reference in both directions count equally, because both make the models distinguishable.
    """
    for owner, value in (("the model", model), ("the reference", reference)):
        if math.isnan(value):
            return Undefined(because(f"the score on the forget set of {owner}", value))
    return 1.0 - abs(model - reference)


def retain_utility(model: float) -> float:
    """Return the accuracy (or probability) on the retain set, in 0..1, under its name as an objective."""
    return model


def avg_gap(model: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Return the mean absolute difference to the reference over UA, RA, TA and `mia_confidence`, in 0..1.

    The literature prints it in percentage points. `Undefined` if one of the eight values is missing or NaN, because a
    mean over the others would be misleadingly good.
    """
    for owner, measures in (("the model", model), ("the reference", reference)):
        for name in GAPS:
            value = measures.get(name, Undefined("it was not measured"))
            if math.isnan(value):
                return Undefined(because(f"{name} of {owner}", value))
    return sum(abs(model[name] - reference[name]) for name in GAPS) / len(GAPS)


def privleak(model: float, reference: float) -> float:
    """Return MUSE's relative privacy leak ``(A(M) - A(R)) / A(R)``, ``A = 1 - AUC`` (arXiv:2407.06460).

    Takes the AUCs of distinguishing forget from held-out text, 1 if forget text looks trained on. 0 equals R; below 0
    (at least -1), the model still knows the forget set; above 0, the forget set is conspicuously unlikely. The
    literature prints percent. `Undefined` if an AUC is, or if R's is 1.
    """
    for owner, value in (("the model", model), ("the reference", reference)):
        if math.isnan(value):
            return Undefined(because(f"the membership AUC of {owner}", value))
    if reference == 1:
        return Undefined("the reference's own membership AUC is 1")
    return (reference - model) / (1 - reference)
