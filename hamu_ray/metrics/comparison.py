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
    UNLEARNING_ACCURACY,
    accuracy_of,
)
from hamu_ray.metrics.undefined import Undefined, because

GAPS = (UNLEARNING_ACCURACY, accuracy_of("retain"), accuracy_of("test"), MIA_CONFIDENCE)
"""The metrics that `avg_gap` averages: UA, RA, TA and the confidence attack, as in SalUn (arXiv:2310.12508)."""


ALREADY_FORGOTTEN = 0.8
"""A forget quality of the original model above this leaves nothing to forget."""


def forget_quality(model: ArrayLike, reference: ArrayLike) -> float:
    """Return 1 - the Kolmogorov-Smirnov distance of two samples of losses on the forget set, in 0..1.

    The distance is the largest difference of their empirical distribution functions (the statistic of the two-sample
    test). So the quality is 1 for the same losses, and 0 where one threshold separates them, whichever are higher:
    a model that forgot more than one that never saw the data can be told from it as well.

    Takes losses of each example under the model ``(n,)`` and under the reference ``(m,)``; of several references the
    losses of all. `Undefined` where either is empty or a loss is not finite.
    """
    samples = np.asarray(model, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    for whose, losses in zip(("the model", "the reference"), samples, strict=True):
        if len(losses) == 0:
            return Undefined(f"there are no losses on the forget set of {whose}")
        if broken := int((~np.isfinite(losses)).sum()):
            return Undefined(f"{broken} of {len(losses)} losses on the forget set of {whose} are not finite")
    everywhere = np.concatenate(samples)
    shares = [np.searchsorted(np.sort(losses), everywhere, side="right") / len(losses) for losses in samples]
    return float(1.0 - np.abs(shares[0] - shares[1]).max())


def measured_forget_quality(
    model: Measures, reference: Measures, size: int, drawn: Callable[[int], NDArray[np.int64]]
) -> Measures:
    """Return `forget_quality` of a model from the losses behind its and the reference's metrics.

    The reference's losses may be of several references, on ``size`` examples each. The model is compared with all of
    them, and `forget_quality_ceiling` is the mean quality of each reference among the others: what another training
    run without the forget set comes to. Where the model was measured on a draw of the forget set, it is compared on the
    same draw: ``drawn`` gives the indices of so many examples.
    """
    losses, known = _forget_losses(model), _forget_losses(reference).reshape(-1, size)
    compared = known[:, drawn(len(losses))] if 0 < len(losses) < size else known
    measures: Measures = {FORGET_QUALITY: forget_quality(losses, compared.ravel())}
    if len(known) > 1:
        others = (np.delete(known, number, axis=0).ravel() for number in range(len(known)))
        ceiling = [forget_quality(one, rest) for one, rest in zip(known, others, strict=True)]
        measures[FORGET_QUALITY_CEILING] = sum(ceiling) / len(ceiling)
    return measures


def _forget_losses(measures: Measures) -> NDArray[np.float64]:
    values = measures.per_item.get(FORGET_LOSSES, []) if isinstance(measures, Measured) else []
    return np.asarray(values, dtype=np.float64)


def nothing_to_forget(original: Mapping[str, float]) -> str:
    """Return in words that the original model does not know the forget set; empty where it does, or is not measured.

    ``original`` are the original's metrics, `forget_quality` among them.
    """
    quality = original.get(FORGET_QUALITY, math.nan)
    if not quality > ALREADY_FORGOTTEN:
        return ""
    return (
        f"nothing to forget: before unlearning, the original's {FORGET_QUALITY} is {quality:.2f} "
        f"(above {ALREADY_FORGOTTEN:g}): it hardly differs from a model that never saw the data"
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
