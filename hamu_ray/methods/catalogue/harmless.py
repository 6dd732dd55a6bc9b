"""GRU and SAGO: forget ascent that does not oppose the retain gradient, as a whole or in any element."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Blockwise, WeightedSum, hyperparameter
from hamu_ray.methods.method import FixedWeights, Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_SAGO_PAPER = "Xiao et al. 2026, arXiv 2604.14808"


def gru_weighting(gram: Tensor, context: Context[Blockwise]) -> Decision:
    """Ascend f without the component along r that would raise the retain loss.

    Closed form of the paper's problem: the gradient closest to ``-f`` whose descent does not raise the retain loss,
    ``min |g + f|^2 subject to g.r >= 0``. Descending ``-f`` moves along f and raises the retain loss where ``r.f > 0``;
    there ``g = (r.f / r.r) r - f``.

    Args:
        gram: float64 ``(blocks, 2, 2)``, of the gradients of the two losses.
        context: Not used here; the granularity has determined the blocks.

    Returns:
        The decision; branch `Branch.RECTIFIED` where a component was removed, else `Branch.DIRECT`.

    Source: Wang et al., "GRU: Mitigating the Trade-off between Unlearning and Retention for LLMs", ICML 2025, arXiv
    2503.09117, section 3.
    """
    retain_retain, retain_forget = gram[:, 0, 0], gram[:, 0, 1]
    conflict = retain_forget > 0
    removed = torch.where(conflict, retain_forget / retain_retain, 0.0)
    weights = torch.stack((removed, torch.full_like(removed, -1.0)), dim=-1)
    return Decision(weights=weights, gram=gram, branch=torch.where(conflict, Branch.RECTIFIED, Branch.DIRECT))


GRU = Method(
    name="gru",
    summary="ascend the forget loss, without the component that would raise the retain loss",
    source="Wang et al. 2025, arXiv 2503.09117",
    weighting=gru_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    hyperparameters=Blockwise,
)


@dataclass(frozen=True, kw_only=True)
class SAGOHyperparameters(WeightedSum):
    """SAGO's."""

    aligned: Literal["forget", "sum"] = hyperparameter(
        "forget",
        "what elements without a conflict follow: the forget objective alone, or the sum of both",
        source=f"{_SAGO_PAPER}; sum: the strategy sago_prefer_retain of its code",
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
    source=_SAGO_PAPER,
    weighting=sago_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    hyperparameters=SAGOHyperparameters,
)
