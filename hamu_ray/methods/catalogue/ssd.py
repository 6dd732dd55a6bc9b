"""SSD and LFSSD: dampening, in one edit, weights that matter more for the forget set than for all data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, hyperparameter
from hamu_ray.methods.method import FixedWeights, Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Foster et al. 2024, arXiv 2308.07707"


@dataclass(frozen=True, kw_only=True)
class SSDHyperparameters(Hyperparameters):
    """SSD's."""

    selection: float = hyperparameter(
        10.0,
        "alpha: weights whose importance for the forget set is more than alpha times that for all data are dampened",
        source=_PAPER,
        search={"loguniform": (1.0, 100.0)},
        gt=0,
    )
    dampening: float = hyperparameter(
        1.0,
        "lambda: they are multiplied by lambda times the ratio of the two importances, at most 1",
        source=_PAPER,
        search={"loguniform": (0.1, 5.0)},
        ge=0,
    )
    importance: Literal["fisher", "output_norm"] = hyperparameter(
        "fisher",
        "squared gradients of the cross-entropy, or (LFSSD) absolute gradients of the squared norm of the outputs",
        source=f"{_PAPER}; output_norm: Foster et al. 2024, arXiv 2402.19308",
        search={"choice": ("fisher", "output_norm")},
    )
    importance_batch: int = hyperparameter(
        32,
        "examples whose mean loss has one gradient in the importance; 1: the diagonal of the Fisher information",
        source="the published code takes the gradients of batches; default: hamu_ray",
        search={"choice": (1, 8, 32, 64)},
        ge=1,
    )


def dampened(
    weights: Tensor, importance: Tensor, forget_importance: Tensor, hyperparameters: SSDHyperparameters
) -> Tensor:
    """Return ``w min(lambda I_D / I_f, 1)`` where ``I_f > alpha I_D``, else w.

    Args:
        weights: A parameter.
        importance: ``I_D`` of its weights for all training data, likewise.
        forget_importance: ``I_f`` of its weights for the forget set, likewise.
        hyperparameters: alpha and lambda are used.

    Source: Foster, Schoepf and Brintrup, "Fast Machine Unlearning Without Retraining Through Selective Synaptic
    Dampening", AAAI 2024, arXiv 2308.07707, equations 6 and 7.
    """
    selected = forget_importance > hyperparameters.selection * importance
    factors = (hyperparameters.dampening * importance / forget_importance).clamp(max=1.0)
    return torch.where(selected, weights * factors, weights)


SSD = Method(
    name="ssd",
    summary="dampen, once and without steps, the weights that matter much more for the forget set than for all data",
    source=_PAPER,
    weighting=FixedWeights(retain=0.0, forget=0.0),
    edit=dampened,
    retain=cross_entropy,
    forget=cross_entropy,
    own_forget=True,
    hyperparameters=SSDHyperparameters,
)
