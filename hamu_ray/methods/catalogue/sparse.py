"""l1-sparse: fine-tuning on the retain set with a penalty that drives weights to zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Decision
from hamu_ray.methods.hyperparameters import Hyperparameters, hyperparameter
from hamu_ray.methods.method import FixedWeights, Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Jia et al. 2023, arXiv 2304.04934"


@dataclass(frozen=True, kw_only=True)
class L1SparseHyperparameters(Hyperparameters):
    """l1-sparse's."""

    l1_penalty: float = hyperparameter(
        5e-4,
        "coefficient of the sum of the absolute weights, which is added to the retain loss",
        source=f"{_PAPER}; default: hamu_ray",
        search={"loguniform": (1e-6, 1e-2)},
        ge=0,
    )
    l1_schedule: Literal["decreasing", "constant"] = hyperparameter(
        "decreasing",
        "whether the coefficient decreases linearly to 0 over the run, or stays",
        source=_PAPER,
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


L1_SPARSE = Method(
    name="l1-sparse",
    summary="descend the retain loss with a penalty on the sum of the absolute weights",
    source=_PAPER,
    weighting=l1_sparse_weighting,
    retain=cross_entropy,
    hyperparameters=L1SparseHyperparameters,
)
