"""Metrics that compare a model with the retain-only reference R, which was trained without the forget set."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.metrics.names import (
    FORGET_LOSSES,
    FORGET_QUALITY,
    FORGET_QUALITY_CEILING,
    MIA_CONFIDENCE,
    TEST_LOSSES,
    UNLEARNING_ACCURACY,
    accuracy_of,
)
from hamu_ray.metrics.undefined import Undefined, because

GAPS = (UNLEARNING_ACCURACY, accuracy_of("retain"), accuracy_of("test"), MIA_CONFIDENCE)
"""The metrics that `avg_gap` averages: UA, RA, TA and the confidence attack, as in SalUn (arXiv:2310.12508)."""


ALREADY_FORGOTTEN = 0.8
"""If the original model's forget quality is above this, there is nothing to forget."""


def forget_quality(model: ArrayLike, reference: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return 1 - the Kolmogorov-Smirnov distance of two samples of losses on the forget set, in 0..1.

    The distance is the largest difference of their empirical distribution functions (the statistic of the two-sample
    test). The quality is 1 for equal losses, and 0 if one threshold separates them, in either direction: a model that
    forgot more than one trained without the data is also distinguishable.

    Takes losses of each example under the model ``(n,)`` and under the reference ``(m,)``; for several references, the
    losses of all. ``weights`` are nonnegative weights of the reference's losses ``(m,)``; None weights all equally.
    `Undefined` if either is empty or a loss is not finite.
    """
    samples = np.asarray(model, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    for owner, losses in zip(("the model", "the reference"), samples, strict=True):
        if len(losses) == 0:
            return Undefined(f"there are no losses on the forget set of {owner}")
        if broken := int((~np.isfinite(losses)).sum()):
            return Undefined(f"{broken} of {len(losses)} losses on the forget set of {owner} are not finite")
    everywhere = np.concatenate(samples)
    known = np.ones(len(samples[1])) if weights is None else np.asarray(weights, dtype=np.float64)
    found = _distribution(samples[0], np.ones(len(samples[0])), everywhere)
    return float(1.0 - np.abs(found - _distribution(samples[1], known, everywhere)).max())


def _distribution(
    values: NDArray[np.float64], weights: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted empirical distribution function of values at some points."""
    order = np.argsort(values)
    below = np.concatenate([[0.0], np.cumsum(weights[order])])
    return below[np.searchsorted(values[order], at, side="right")] / below[-1]


def measured_forget_quality(
    model: Measures, reference: Measures, size: int, drawn: Callable[[int], NDArray[np.int64]]
) -> Measures:
    """Return `forget_quality` of a model from the per-example losses of the model and the reference.

    The reference's losses may come from several references, on ``size`` examples each. The model is compared with all
    of them, and `forget_quality_ceiling` is the mean quality of each reference among the others, which estimates the
    quality of another training run without the forget set. If the model was evaluated on a random subset of the forget
    set, the same subset is compared: ``drawn`` returns the indices of a subset of a given size.
    """
    losses, known = _losses(model, FORGET_LOSSES), _losses(reference, FORGET_LOSSES).reshape(-1, size)
    compared = known[:, drawn(len(losses))] if 0 < len(losses) < size else known
    measures: Measures = {FORGET_QUALITY: forget_quality(losses, compared.ravel())}
    if len(known) > 1:
        others = (np.delete(known, number, axis=0).ravel() for number in range(len(known)))
        ceiling = [forget_quality(one, rest) for one, rest in zip(known, others, strict=True)]
        measures[FORGET_QUALITY_CEILING] = sum(ceiling) / len(ceiling)
    return measures


def forget_quality_without_reference(
    model: Measures, original: Measures, weights: ArrayLike | None = None
) -> float:
    """Return the forget quality of a model for which the original's losses on test data stand for the reference's.

    The original has never met the test data, as a reference would never have met the forget set. ``weights`` are of the
    test examples; None takes all alike.
    """
    losses, known = _losses(model, FORGET_LOSSES), _losses(original, TEST_LOSSES)
    if not len(known):
        return Undefined("there is no reference, and there are no losses on test data of the original")
    return forget_quality(losses, known, weights)


def forget_quality_by_class(
    model: Measures, original: Measures, forget_labels: NDArray[np.int64], test_labels: NDArray[np.int64]
) -> float:
    """Return `forget_quality_without_reference` where test examples count so that their classes are the forget set's.

    `Undefined` if there is no test example of a class of the forget set.
    """
    classes = 1 + int(max(forget_labels.max(initial=0), test_labels.max(initial=0)))
    forget, test = (np.bincount(labels, minlength=classes) for labels in (forget_labels, test_labels))
    if ((forget > 0) & (test == 0)).any():
        return Undefined("there is no reference, and no test image of a class of the forget set")
    weights = (forget / np.maximum(test, 1))[test_labels]
    return forget_quality_without_reference(model, original, weights)


def _losses(measures: Measures, name: str) -> NDArray[np.float64]:
    values = measures.per_item.get(name, []) if isinstance(measures, Measured) else []
    return np.asarray(values, dtype=np.float64)


def nothing_to_forget(original: Mapping[str, float]) -> str:
    """Return a sentence if the original model does not know the forget set; empty if it does, or if unknown.

    ``original`` are the original's metrics, including `forget_quality`.
    """
    quality = original.get(FORGET_QUALITY, math.nan)
    if not quality > ALREADY_FORGOTTEN:
        return ""
    return (
        f"nothing to forget: before unlearning, the original's {FORGET_QUALITY} is {quality:.2f} "
        f"(above {ALREADY_FORGOTTEN:g}): it hardly differs from a model trained without the data"
    )


def score_quality(model: float, reference: float) -> float:
    """Return ``1 - |model - reference|`` of the accuracies (or probabilities) on the forget set, in 0..1.

    Deviations from the reference in both directions count equally, because both make the models distinguishable.
    """
    for owner, value in (("the model", model), ("the reference", reference)):
        if math.isnan(value):
            return Undefined(because(f"the score on the forget set of {owner}", value))
    return 1.0 - abs(model - reference)


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
