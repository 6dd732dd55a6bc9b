"""SAGO: element by element, the retain gradient where the two conflict, and the forget gradient elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Decision
from hamu_ray.methods.hyperparameters import WeightedSum, hyperparameter
from hamu_ray.methods.method import FixedWeights, Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Xiao et al. 2026, arXiv 2604.14808"


@dataclass(frozen=True, kw_only=True)
class SAGOHyperparameters(WeightedSum):
    """SAGO's."""

    aligned: Literal["forget", "sum"] = hyperparameter(
        "forget",
        "what elements without a conflict follow: the forget objective alone, or the sum of both",
        source=f"{_PAPER}; sum: the strategy sago_prefer_retain of its code",
        search={"choice": ("forget", "sum")},
    )


def sago_weighting(gram: Tensor, context: Context[SAGOHyperparameters]) -> Decision:
    """Take ``w r`` in elements where r and ``g = -f`` have opposite signs, and ``(1 - w) g`` in the others.

    No element of the step opposes that of r, so that its cosine with r is at least 0. An element that is 0 in one of
    the gradients is without a conflict. With ``aligned: sum`` the others get ``w r + (1 - w) g``. The published code
    has a coefficient for each gradient, 1 by default, instead of w and 1 - w.

    Args:
        gram: float64 ``(blocks, 2, 2)``, which the weights do not depend on.
        context: ``retain_weight`` and ``aligned`` are used.

    Source: Xiao et al., "Modeling LLM Unlearning as an Asymmetric Two-Task Learning Problem", ACL 2026, arXiv
    2604.14808: SAGO, as in its code.
    """
    weight = context.hyperparameters.retain_weight
    both = context.hyperparameters.aligned == "sum"
    aligned = FixedWeights(retain=weight if both else 0.0, forget=weight - 1)(gram, context)
    conflicting = FixedWeights(retain=weight, forget=0.0)(gram, context)
    return replace(aligned, conflict_weights=conflicting.weights)


SAGO = Method(
    name="sago",
    summary="element by element, descent on the retain loss where it conflicts with forgetting, else forget ascent",
    source=_PAPER,
    weighting=sago_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    hyperparameters=SAGOHyperparameters,
)
