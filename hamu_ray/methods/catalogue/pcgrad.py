"""PCGrad: projection of conflicting gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Blockwise, WeightedSum
from hamu_ray.methods.method import Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PCGradHyperparameters(Blockwise, WeightedSum):
    """The paper's are one half, and the whole model."""


def pcgrad_weighting(gram: Tensor, context: Context[PCGradHyperparameters]) -> Decision:
    """Take the weighted mean of r and ``g = -f``, each projected off the other where they conflict.

    The two tasks: descend the retain loss, along r, and ascend the forget loss, along g. They conflict where ``r.g <
    0``, that is ``r.f > 0``; there ``r' = r - (r.g / g.g) g`` and ``g' = g - (r.g / r.r) r``, so that the mean with
    weight w of the retain task is ``(w + (1 - w) r.f / r.r) r - (1 - w + w r.f / f.f) f``. The paper uses w = 1/2.

    Args:
        gram: float64 ``(blocks, 2, 2)``, of the gradients of the two losses.
        context: ``retain_weight`` is used. The granularity has determined the blocks (the paper's is ``"model"``).

    Returns:
        The decision; branch `Branch.RECTIFIED` where the gradients conflict, else `Branch.DIRECT`.

    Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782, Algorithm 1, for two
    tasks, with the mean in place of the sum.
    """
    retain_retain, retain_forget, forget_forget = gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1]
    conflict = retain_forget > 0
    retain_weight = context.hyperparameters.retain_weight
    forget_weight = 1 - retain_weight
    weights = torch.stack(
        (
            retain_weight + forget_weight * torch.where(conflict, retain_forget / retain_retain, 0.0),
            -forget_weight - retain_weight * torch.where(conflict, retain_forget / forget_forget, 0.0),
        ),
        dim=-1,
    )
    return Decision(weights=weights, gram=gram, branch=torch.where(conflict, Branch.RECTIFIED, Branch.DIRECT))


PCGRAD = Method(
    name="pcgrad",
    summary="the mean of retain descent and forget ascent, each projected off the other where they conflict",
    source="Yu et al. 2020, arXiv 2001.06782",
    weighting=pcgrad_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    hyperparameters=PCGradHyperparameters,
)
