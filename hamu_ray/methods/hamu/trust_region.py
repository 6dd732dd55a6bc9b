"""Whether first-order promises come true, and a radius that follows the answer.

HAMU promises changes of both losses to first order. That holds for short steps; how short is short, only the
losses of the same batch after the step can say. A trust region takes their word for it: the problem's radii and
constraint are scaled by one factor for the whole model, halved when less than a quarter of the promise came
true and doubled, up to the configured radius, when more than three quarters did (Nocedal and Wright, Numerical
Optimization, 2006, algorithm 4.1). As there, a step of which nothing came true is taken back. A guaranteed
change is promised times that factor, too: within a radius in which nothing can be trusted, nothing can be
guaranteed.
"""

import torch
from torch import Tensor

from hamu_ray.methods.decision import Constraint

_SHRINK_BELOW, _GROW_ABOVE = 0.25, 0.75
_LEAST_SCALE = 2.0**-60
_LOSS_ROUNDING = 1e-6
"""Part of a loss in float32 that may be rounding: a change of less than that says nothing."""
_LEAST_COST = 0.1
"""Of all that the radii allow: a smaller change that is promised of the other loss is one of nearly none."""


def promised_changes(gram: Tensor, weights: Tensor, lr: float | Tensor) -> Tensor:
    """Return the first-order change of the retain and the forget loss ``(2,)`` by plain SGD's step.

    Args:
        gram: float64 ``(blocks, 2, 2)``, of the losses' gradients as they are, not clipped.
        weights: ``(blocks, 2)``, of the same gradients.
        lr: The learning rate of the step.
    """
    return torch.bmm(gram, weights.unsqueeze(-1)).sum(0).squeeze(-1) * -lr


def promise_kept(promised: Tensor, actual: Tensor, constraint: Constraint) -> Tensor:
    """Return the actual over the promised change of the guaranteed loss, 0-d; NaN where none was promised."""
    role = 1 if constraint.guaranteed == "forget" else 0
    return actual[role] / promised[role]


def agreement(
    promised: Tensor, actual: Tensor, losses: Tensor, gram: Tensor, constraint: Constraint
) -> Tensor:
    """Return how far a step's promises came true, 0-d: 1 where both losses did as promised, or better.

    Of the two the lower. What a loss did worse than promised is measured against its promise, so that a gain
    of which nothing came gives 0; and a promise of the loss that nothing is guaranteed of, which may be of hardly
    any change, at least against a tenth of all that the radii allow, ``sum of R |r|``.

    Args:
        promised: First-order changes of the retain and the forget loss ``(2,)``; see `promised_changes`.
        actual: Their changes on the step's own batches ``(2,)``.
        losses: Both before the step ``(2,)``.
        gram: Of the losses' gradients, not clipped.
        constraint: Of the step.
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
    """Return the factor of the next step's radii, at most 1, after one taken with ``scale``; both 0-d."""
    shrunk = torch.where(agreed >= _SHRINK_BELOW, scale, scale / 2)  # halved after what is not a number, too
    return torch.where(agreed > _GROW_ABOVE, scale * 2, shrunk).clamp(_LEAST_SCALE, 1.0)
