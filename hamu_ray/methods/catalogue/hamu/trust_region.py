"""A trust region: the radius adapts to the agreement of predicted and actual changes of the losses.

HAMU predicts changes of both losses to first order, which is accurate only for short steps. The agreement is measured
with the losses of the same batch after the step. The problem's radii and constraint are multiplied by one factor for
the whole model; it is halved if less than a quarter of the prediction came true, and doubled, up to the configured
radius, if more than three quarters did (Nocedal and Wright, Numerical Optimization, 2006, algorithm 4.1). As in that
algorithm, a step without any predicted improvement is reverted. The guaranteed change is multiplied by the same factor,
because nothing can be guaranteed within a radius in which first-order predictions fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hamu_ray.methods.decision import Constraint
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.method import Taken

if TYPE_CHECKING:
    from torch import Tensor

_SHRINK_BELOW, _GROW_ABOVE = 0.25, 0.75
_LEAST_SCALE = 2.0**-60
_LOSS_ROUNDING = 1e-6
"""Relative rounding error of a float32 loss: smaller changes carry no information."""
_LEAST_COST = 0.1
"""Relative to the largest change that the radii allow: smaller predicted changes of the other loss count as this much.
"""


def review(taken: Taken) -> tuple[Mapping[str, Tensor], Tensor]:
    """Return the factor of the next step's radii, and whether the step is kept: whether any predicted change came true.

    `Method.review` of both variants.
    """
    assert taken.decision.constraint is not None, "HAMU's decisions have a constraint"
    agreed = agreement(taken.promised, taken.actual, taken.losses, taken.gram, taken.decision.constraint)
    return {"radius_scale": next_scale(taken.context.state["radius_scale"], agreed)}, agreed > 0


def promised_changes(
    gram: Tensor,
    weights: Tensor,
    lr: float | Tensor,
    *,
    conflict_weights: Tensor | None = None,
    conflicting: Tensor | None = None,
) -> Tensor:
    """Return the first-order changes of the retain and the forget loss ``(2,)`` by a step of plain SGD.

    Args:
        gram: float64 ``(blocks, 2, 2)``, of the unclipped gradients of the losses.
        weights: ``(blocks, 2)``, for the same gradients.
        lr: The learning rate of the step.
        conflict_weights: In their place for elements that conflict; see `Decision.conflict_weights`.
        conflicting: The Gram matrices of these elements; only with weights of their own.
    """
    if conflict_weights is not None:
        assert conflicting is not None, "weights of their own need Gram matrices of their own"
        others = promised_changes(conflicting, conflict_weights, lr)
        return promised_changes(gram - conflicting, weights, lr) + others
    return torch.bmm(gram, weights.unsqueeze(-1)).sum(0).squeeze(-1) * -lr


def promise_kept(promised: Tensor, actual: Tensor, constraint: Constraint) -> Tensor:
    """Return the actual over the predicted change of the guaranteed loss, 0-d; NaN if none was predicted."""
    role = 1 if constraint.guaranteed == "forget" else 0
    return actual[role] / promised[role]


def agreement(
    promised: Tensor, actual: Tensor, losses: Tensor, gram: Tensor, constraint: Constraint
) -> Tensor:
    """Return the agreement of a step's actual with its predicted changes, 0-d; 1 if both losses did as predicted or
    better.

    It is the smaller value of the two losses. A deviation is measured relative to the prediction, so that a gain that
    did not occur at all gives 0. For the loss without a guarantee, whose predicted change may be close to zero, the
    deviation is measured relative to at least a tenth of the largest change that the radii allow, ``sum of R |r|``.

    Args:
        promised: First-order changes of the retain and the forget loss ``(2,)``; see `promised_changes`.
        actual: Their changes on the step's own batches ``(2,)``.
        losses: Both losses before the step ``(2,)``.
        gram: Of the unclipped gradients of the losses.
        constraint: The constraint of the step.
    """
    ranges = (constraint.radius.unsqueeze(-1) * gram.diagonal(dim1=-2, dim2=-1).sqrt()).sum(0)
    rounding = _LOSS_ROUNDING * losses.abs()
    if constraint.guaranteed == "retain":  # HAMU-U: the same problem for (-f, -r)
        promised, actual = -promised.flip(0), -actual.flip(0)
        ranges, rounding = ranges.flip(0), rounding.flip(0)
    (cost, gain), (price, gained) = promised.unbind(), actual.unbind()
    worse = (torch.stack((price - cost, gain - gained)) - rounding).clamp(min=0.0)
    against = torch.stack((torch.maximum(cost.abs(), _LEAST_COST * ranges[0]), gain))
    return (1 - (worse / against).masked_fill(worse == 0, 0.0)).amin()


def next_scale(scale: Tensor, agreed: Tensor) -> Tensor:
    """Return the factor of the next step's radii, at most 1, after a step taken with ``scale``; both 0-d."""
    shrunk = torch.where(agreed >= _SHRINK_BELOW, scale, scale / 2)  # NaN halves it as well
    return torch.where(agreed > _GROW_ABOVE, scale * 2, shrunk).clamp(_LEAST_SCALE, 1.0)
