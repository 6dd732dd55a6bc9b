"""Methods whose weights do not depend on the gradients: retain descent and forget ascent."""

from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum
from hamu_ray.methods.method import (
    FixedWeights,
    ForgetObjective,
    Method,
    weighted_difference,
)
from hamu_ray.methods.objectives import Objective, cross_entropy, kl_to_original, mixture


def _cross_entropy(hyperparameters: Hyperparameters) -> Objective:
    return cross_entropy


CROSS_ENTROPY = ForgetObjective(
    name="cross_entropy",
    summary="-log p(token), of every image or answer token; unbounded",
    source="Jang et al. 2023, arXiv 2210.01504",
    make=_cross_entropy,
)

FT = Method(
    name="ft",
    summary="descend the retain loss only",
    source="Warnecke et al. 2023, arXiv 2108.11577",
    weighting=FixedWeights(retain=1.0, forget=0.0),
    retain=cross_entropy,
)

GA = Method(
    name="ga",
    summary="ascend the forget loss",
    source="Jang et al. 2023, arXiv 2210.01504",
    weighting=FixedWeights(retain=0.0, forget=-1.0),
    forget=cross_entropy,
)

GDIFF = Method(
    name="gdiff",
    summary="descent on the retain loss, ascent on the forget loss, half each unless retain_weight is given",
    source="Liu et al. 2022, arXiv 2203.12817",
    weighting=weighted_difference,
    retain=cross_entropy,
    forget=cross_entropy,
    hyperparameters=WeightedSum,
)

KL = Method(
    name="kl",
    summary="as gdiff, with the divergence from the original model for the retain loss",
    source="Maini et al. 2024, arXiv 2401.06121",
    weighting=weighted_difference,
    retain=kl_to_original,
    forget=cross_entropy,
    hyperparameters=WeightedSum,
)

SCRUB = Method(
    name="scrub",
    summary="as gdiff, towards the original model on the retain set and away from it on the forget set",
    source="Kurmanji et al. 2023, arXiv 2302.09880; weights as in Chen et al. 2026, arXiv 2606.02119",
    weighting=weighted_difference,
    retain=mixture("scrub_retain", (0.001, kl_to_original), (0.99, cross_entropy)),
    forget=kl_to_original,
    own_forget=True,
    hyperparameters=WeightedSum,
)
