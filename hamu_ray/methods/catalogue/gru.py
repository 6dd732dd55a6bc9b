"""GRU: gradient rectified unlearning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Blockwise
from hamu_ray.methods.method import Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


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
