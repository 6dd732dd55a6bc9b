"""NGDiff: the normalised gradient difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.method import Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


def ngdiff_weighting(gram: Tensor, context: Context[Any]) -> Decision:
    """Take ``r / |r| - f / |f|``, with the norms of the whole model; a zero gradient has no part in it.

    The paper's automatic learning rate is left to the schedule: the step is at most two learning rates long.

    Args:
        gram: float64 ``(blocks, 2, 2)``, of the gradients of the two losses.
        context: Not used.

    Returns:
        The decision; the same weights in all blocks, branch `Branch.DIRECT`.

    Source: Jin, Bu et al., "Unlearning as Multi-task Optimization: A Normalized Gradient Difference Approach with an
    Adaptive Learning Rate", NAACL 2025, arXiv 2410.22086: the direction of NGDiff.
    """
    norms = gram.sum(0).diagonal().sqrt()
    parts = torch.where(norms == 0, 0.0, 1 / norms)
    weights = torch.stack((parts[0], -parts[1])).expand(len(gram), 2)
    return Decision(weights=weights, gram=gram, branch=gram.new_full((len(gram),), Branch.DIRECT).long())


NGDIFF = Method(
    name="ngdiff",
    summary="descent on the retain loss and ascent on the forget loss, along gradients of norm 1",
    source="Jin, Bu et al. 2025, arXiv 2410.22086",
    weighting=ngdiff_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
)
