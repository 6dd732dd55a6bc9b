"""Methods whose weights do not depend on the gradients: retain descent and forget ascent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Decision
from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum, hyperparameter
from hamu_ray.methods.method import (
    FixedWeights,
    ForgetObjective,
    Method,
    weighted_difference,
)
from hamu_ray.methods.objectives import Objective, cross_entropy, kl_to_original, mixture

if TYPE_CHECKING:
    from torch import Tensor

_SCRUB_PAPER = "Kurmanji et al. 2023, arXiv 2302.09880"


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


@dataclass(frozen=True, kw_only=True)
class SCRUBHyperparameters(WeightedSum):
    """SCRUB's; by default both objectives in every step, as in Chen et al. 2026."""

    phase_steps: int = hyperparameter(
        0,
        "steps of a phase, where phases of the forget and of the retain objective alternate; 0: both in every step",
        source=f"{_SCRUB_PAPER}, whose phases are epochs",
        search={"choice": (0, 1, 5, 20)},
        ge=0,
    )
    forget_until: float = hyperparameter(
        0.3,
        "fraction of the steps, from the first, with phases of the forget objective; then the retain objective alone",
        source=f"{_SCRUB_PAPER}; default: 3 of 10 epochs, as in its small-scale code; 2 of 3 in its large-scale code",
        search={"uniform": (0.1, 1.0)},
        ge=0,
        le=1,
    )


def scrub_weighting(gram: Tensor, context: Context[SCRUBHyperparameters]) -> Decision:
    """Alternate between ascent of the forget and descent of the retain objective, or take both in every step.

    With ``phase_steps`` of n, the first n steps ascend the forget objective, the next n descend the retain objective,
    and so on; from ``forget_until`` of the run, all descend the retain objective. ``retain_weight`` has no effect then.
    Both gradients are computed in every step, although one has the weight 0.

    Source: Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023, arXiv 2302.09880: algorithm 1; its
    rewinding is ``stop.rewind``. There, a phase is an epoch of its own set, and divergences have a temperature of 4, or
    2 in its small-scale code.
    """
    settings = context.hyperparameters
    if not settings.phase_steps:
        return weighted_difference(gram, context)
    in_time = context.step < settings.forget_until * context.steps
    if in_time and context.step // settings.phase_steps % 2 == 0:
        return FixedWeights(retain=0.0, forget=-1.0)(gram, context)
    return FixedWeights(retain=1.0, forget=0.0)(gram, context)


SCRUB = Method(
    name="scrub",
    summary="as gdiff, towards the original model on the retain set and away from it on the forget set; or in phases",
    source="Kurmanji et al. 2023, arXiv 2302.09880; weights as in Chen et al. 2026, arXiv 2606.02119",
    weighting=scrub_weighting,
    retain=mixture("scrub_retain", (0.001, kl_to_original), (0.99, cross_entropy)),
    forget=kl_to_original,
    own_forget=True,
    hyperparameters=SCRUBHyperparameters,
)
