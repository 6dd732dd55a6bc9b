"""Measures that relate a model to the retain-only reference: one that never saw what is to be forgotten."""

import math
from collections.abc import Mapping

from hamu_ray.metrics.names import MIA_CONFIDENCE, UNLEARNING_ACCURACY, accuracy_of
from hamu_ray.metrics.undefined import Undefined, reasons

GAPS = (UNLEARNING_ACCURACY, accuracy_of("retain"), accuracy_of("test"), MIA_CONFIDENCE)
"""What `avg_gap` is taken over: UA, RA, TA and the confidence attack, as in SalUn (arXiv:2310.12508)."""


def forget_quality(model: float, reference: float) -> float:
    """Return ``1 - |model - reference|`` of the accuracies (or probabilities) on the forget set, in 0..1.

    To be worse than the reference is no better than to be better: either tells the two models apart.
    """
    for whose, value in (("the model", model), ("the reference", reference)):
        if math.isnan(value):
            return Undefined(_because(f"the forget accuracy of {whose}", value))
    return 1.0 - abs(model - reference)


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
                return Undefined(_because(f"{name} of {whose}", value))
    return sum(abs(model[name] - reference[name]) for name in GAPS) / len(GAPS)


def _because(what: str, value: float) -> str:
    return f"{what} is not defined: {reasons({what: value})[what]}"
