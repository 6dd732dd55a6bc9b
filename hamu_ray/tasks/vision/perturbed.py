"""Images near given ones, across a model's decision boundary."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from hamu_ray.tasks.task import Outputs

Forward = Callable[[Tensor, Tensor], Outputs]
"""Runs a model on pixels in 0..255, of any dtype, with their labels."""


def perturbed_logits(
    forward: Forward, batches: Iterable[tuple[Tensor, Tensor]], perturbation: float
) -> Tensor:
    """Return a model's logits for the images that the fast gradient sign method makes of given ones.

    Args:
        forward: The model; it must be in eval mode.
        batches: uint8 pixels ``(k, channels, height, width)`` and int64 labels ``(k,)``.
        perturbation: How far a pixel, in 0..1, is moved.

    Returns:
        float ``(images, classes)``, without gradients, in the order of the batches.

    Source: Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015, arXiv 1412.6572; limited to
    0..1 and rounded to 256 values, as in the code of boundary shrink.
    """
    return torch.cat(
        [
            forward(moved(forward, pixels, labels, perturbation), labels).logits.detach()
            for pixels, labels in batches
        ]
    )


def moved(forward: Forward, pixels: Tensor, labels: Tensor, perturbation: float) -> Tensor:
    """Return the moved pixels: whole numbers in 0..255, float32 of the same shape."""
    with torch.enable_grad():
        given = pixels.float().requires_grad_()
        # A copy, because the model may work in place.
        loss = functional.cross_entropy(forward(given.clone(), labels).logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, given)
    return (given.detach() + 255 * perturbation * gradient.sign()).clamp(0, 255).round()
