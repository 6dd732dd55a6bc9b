"""Splits of the whole model's constraint over its blocks by fixed rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hamu_ray.methods.catalogue.hamu.hyperparameters import ConstraintSplit
from hamu_ray.methods.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_PART = 1e-3
"""Relative to an even part of the available change. Blocks with less get no share from rules that ignore availability.
"""


def constraint_shares(gram: Tensor, available: Tensor, split: ConstraintSplit, *, normalise: bool) -> Tensor:
    """Return each block's share of the constraint.

    Before normalisation, the shares are equal (uniform), ``|r| |f|`` (grad_norm), or ``exp(-r.f)`` relative to the
    block with the largest value, which keeps it finite (softmax_dot). Without normalisation they are used unchanged:
    with grad_norm and a radius in units of the learning rate, every block's q then equals the constraint ratio; with
    softmax_dot, the block with the least conflict has to meet the whole constraint.

    Neither uniform nor softmax_dot depends on what a block can contribute. A block with less than a thousandth of an
    even part of the available change (``A / blocks``, with A the sum) gets no share from them, because its step would
    be thousands of radii long. The least step of an infeasible block is therefore at most ``1000 B / A`` radii long
    with uniform shares if no block was left out, and ``1000 blocks B / A`` in any case.

    Args:
        gram: float64 ``(blocks, 2, 2)``.
        available: ``R |f|`` of each block ``(blocks,)``, in any unit.
        split: The rule; not exact, which is not a fixed rule.
        normalise: Whether to divide the shares by their sum; uniform shares always sum to one. If all shares are zero,
            they become uniform, because the constraint still holds.

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
