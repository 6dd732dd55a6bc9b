"""A run's progress towards the forget loss at which it ends."""

import torch
from torch import Tensor


def remaining_to_target(loss: Tensor, *, start: float, target: float) -> Tensor:
    """Return the part of the way from ``start`` to ``target`` that a loss has left.

    ``clamp((target - loss) / (target - start), 0, 1)``: 1 at the start and below, 0 at the target and beyond, and 0
    everywhere if the start is not below the target, where there is nothing to do. NaN stays NaN.

    Args:
        loss: 0-d, on any device; nothing waits for it.
        start: The loss of the model that unlearning starts from.
        target: The loss to end at.

    Returns:
        0-d float64 on the loss's device.
    """
    if not target > start:
        return torch.zeros_like(loss, dtype=torch.float64)
    return ((target - loss.double()) / (target - start)).clamp(0.0, 1.0)
