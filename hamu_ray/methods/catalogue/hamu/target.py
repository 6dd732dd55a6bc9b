"""Progress of a run towards the forget loss at which it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hamu_ray.methods.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor


def remaining_to_target(loss: Tensor, *, start: float, target: float) -> Tensor:
    """Return the remaining fraction of the way from ``start`` to ``target``.

    ``clamp((target - loss) / (target - start), 0, 1)``: 1 at the start and below, 0 at the target and above. It is 0
    everywhere if the start is not below the target, because nothing is left to forget. NaN stays NaN.

    Args:
        loss: 0-d, on any device; no synchronisation.
        start: The loss of the initial model.
        target: The loss to end at.

    Returns:
        0-d float64 on the loss's device.
    """
    if not target > start:
        return torch.zeros_like(loss, dtype=torch.float64)
    return ((target - loss.double()) / (target - start)).clamp(0.0, 1.0)
