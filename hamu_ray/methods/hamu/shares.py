"""How a constraint on the whole model is shared out over its blocks beforehand, by fixed rules."""

import torch
from torch import Tensor

from hamu_ray.methods.settings import ConstraintSplit

_LEAST_PART = 1e-3
"""Of an even part of what is available; blocks with less are asked for nothing where shares do not look at it."""


def constraint_shares(gram: Tensor, available: Tensor, split: ConstraintSplit, *, normalise: bool) -> Tensor:
    """Return each block's share of the constraint.

    The shares before they are made to sum to one are equal (uniform), ``|r| |f|`` (grad_norm), and
    ``exp(-r.f)`` relative to the block where that is largest (softmax_dot; dividing by the largest keeps it
    finite). Without normalisation they are used as they are: with grad_norm and the radius in units of the
    learning rate, every block's q is then the constraint ratio itself; with softmax_dot, the block with the
    least conflict has to meet the whole constraint.

    Neither uniform nor softmax_dot looks at what a block can give. A block with less than a thousandth of an
    even part of what is available (``A / blocks``, with A the sum) is left out of both: its share would take it
    thousands of radii away. So the least step of an infeasible block is at most ``1000 B / A`` radii long with
    uniform shares of which no block was left out, and ``1000 blocks B / A`` in any case.

    Args:
        gram: float64 ``(blocks, 2, 2)``.
        available: ``R |f|`` of each block ``(blocks,)``, in any unit.
        split: How to share; not exact, which is no fixed rule.
        normalise: Whether to divide the shares by their sum; uniform shares always sum to one. Where all are
            zero, they become uniform: a constraint does not vanish because a gradient did.

    Returns:
        ``(blocks,)`` float64, not negative.
    """
    asked = (available >= _LEAST_PART * available.mean()).to(gram.dtype)
    uniform = asked / asked.sum()
    if split == "uniform":
        return uniform
    if split == "grad_norm":
        shares = gram.diagonal(dim1=-2, dim2=-1).sqrt().prod(-1)
    else:
        opposed = torch.where(asked > 0, -gram[:, 0, 1], -torch.inf)
        shares = torch.exp(opposed - opposed.max())
    if not normalise:
        return shares
    total = shares.sum()
    return torch.where(total > 0, shares / total, uniform)
