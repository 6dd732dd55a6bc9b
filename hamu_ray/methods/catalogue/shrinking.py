"""l1-sparse, SSD and LFSSD: forgetting by making weights smaller.

l1-sparse descends the retain loss with a penalty. SSD dampens, in one edit, the weights that matter more for the
forget set than for all data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Decision
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, hyperparameter
from hamu_ray.methods.method import FixedWeights, Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_L1_PAPER = "Jia et al. 2023, arXiv 2304.04934"
_SSD_PAPER = "Foster et al. 2024, arXiv 2308.07707"


@dataclass(frozen=True, kw_only=True)
class L1SparseHyperparameters(Hyperparameters):
    """l1-sparse's."""

    l1_penalty: float = hyperparameter(
        5e-4,
        "coefficient of the sum of the absolute weights, which is added to the retain loss",
        source=f"{_L1_PAPER}; default: hamu_ray",
        search={"loguniform": (1e-6, 1e-2)},
        ge=0,
    )
    l1_schedule: Literal["decreasing", "constant"] = hyperparameter(
        "decreasing",
        "whether the coefficient decreases linearly to 0 over the run, or stays",
        source=_L1_PAPER,
        search={"choice": ("decreasing", "constant")},
    )


def l1_sparse_weighting(gram: Tensor, context: Context[L1SparseHyperparameters]) -> Decision:
    """Descend ``retain loss + gamma_t |w|_1`` with ``gamma_t = l1_penalty (1 - t / T)`` at step t of T, or constant.

    The subgradient of ``|w|_1`` is ``sign(w)``, 0 at 0. The published code decreases the coefficient once per epoch;
    this is every step.

    Source: Jia et al., "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023, arXiv 2304.04934: l1-sparse MU,
    with the linearly decreasing coefficient.
    """
    settings = context.hyperparameters
    left = 1 - context.step / context.steps if settings.l1_schedule == "decreasing" else 1.0
    decision = FixedWeights(retain=1.0, forget=0.0)(gram, context)
    return replace(decision, l1_penalty=gram.new_full((), settings.l1_penalty * left))


@dataclass(frozen=True, kw_only=True)
class SSDHyperparameters(Hyperparameters):
    """SSD's."""

    selection: float = hyperparameter(
        10.0,
        "alpha: weights whose importance for the forget set is more than alpha times that for all data are dampened",
        source=_SSD_PAPER,
        search={"loguniform": (1.0, 100.0)},
        gt=0,
    )
    dampening: float = hyperparameter(
        1.0,
        "lambda: they are multiplied by lambda times the ratio of the two importances, at most 1",
        source=_SSD_PAPER,
        search={"loguniform": (0.1, 5.0)},
        ge=0,
    )
    importance: Literal["fisher", "output_norm"] = hyperparameter(
        "fisher",
        "squared gradients of the cross-entropy, or (LFSSD) absolute gradients of the squared norm of the outputs",
        source=f"{_SSD_PAPER}; output_norm: Foster et al. 2024, arXiv 2402.19308",
        search={"choice": ("fisher", "output_norm")},
    )
    importance_batch: int = hyperparameter(
        32,
        "examples whose mean loss has one gradient in the importance; 1: the diagonal of the Fisher information",
        source="the published code takes batches: 64 for classes, 128 for random examples; default: hamu_ray",
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


L1_SPARSE = Method(
    name="l1-sparse",
    summary="descend the retain loss with a penalty on the sum of the absolute weights",
    source=_L1_PAPER,
    weighting=l1_sparse_weighting,
    retain=cross_entropy,
    hyperparameters=L1SparseHyperparameters,
)

SSD = Method(
    name="ssd",
    summary="dampen, once and without steps, the weights that matter much more for the forget set than for all data",
    source=_SSD_PAPER,
    weighting=FixedWeights(retain=0.0, forget=0.0),
    edit=dampened,
    retain=cross_entropy,
    forget=cross_entropy,
    own_forget=True,
    hyperparameters=SSDHyperparameters,
)
