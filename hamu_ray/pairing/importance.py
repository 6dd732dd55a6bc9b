"""How much each weight matters for some examples: what edits of a model compare."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from hamu_ray.pairing.support import trainable

Importance = Mapping[str, Tensor]
"""Float, at least 0, of the shape of each trainable parameter by its name."""


def importance_of(model: nn.Module, batches: Iterable[Iterable[Tensor]], *, squared: bool) -> Importance:
    """Return the mean over batches of each weight's squared (or absolute) gradient.

    Args:
        model: The model behind the losses.
        batches: Of each batch, 0-d tensors that sum to its loss.
        squared: Whether gradients are squared: with batches of one example this is the diagonal of the empirical Fisher
            information.
    """
    names, parameters = zip(*trainable(model), strict=True)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    count = 0
    for losses in batches:
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        for loss in losses:
            for total, found in zip(
                gradients, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
            ):
                total += 0 if found is None else found
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient.square() if squared else gradient.abs()
        count += 1
    return {name: total / count for name, total in zip(names, sums, strict=True)}
