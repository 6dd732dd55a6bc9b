"""GRU with a part of the rectification: a template for methods outside the package hamu_ray."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hamu_ray.methods import Branch, Context, Decision, Hyperparameters, Method, hyperparameter
from hamu_ray.methods.objectives import cross_entropy


@dataclass(frozen=True, kw_only=True)
class PartialGRU(Hyperparameters):
    """The hyperparameters; each becomes a key of the section `method`."""

    removed: float = hyperparameter(
        0.5,
        "fraction of the component along r that is removed where it would raise the retain loss",
        source="this template",
        search={"uniform": (0.0, 1.0)},
        ge=0,
        le=1,
    )


def weighting(gram: Tensor, context: Context[PartialGRU]) -> Decision:
    """Ascend f without a fraction p of its component along r: ``p (r.f / r.r) r - f`` if ``r.f > 0``, else ``-f``."""
    retain_retain, retain_forget = gram[:, 0, 0], gram[:, 0, 1]
    conflict = retain_forget > 0
    removed = torch.where(conflict, retain_forget / retain_retain, 0.0) * context.hyperparameters.removed
    weights = torch.stack((removed, torch.full_like(removed, -1.0)), dim=-1)
    return Decision(weights=weights, gram=gram, branch=torch.where(conflict, Branch.RECTIFIED, Branch.DIRECT))


PARTIAL_GRU = Method(
    name="partial-gru",
    summary="ascend the forget loss, without a part of the component that would raise the retain loss",
    source="after Wang et al. 2025, arXiv 2503.09117",
    weighting=weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    hyperparameters=PartialGRU,
)
