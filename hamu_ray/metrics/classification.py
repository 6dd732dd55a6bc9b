"""Loss, confidence, entropy and accuracy of a classifier, from its logits and the true labels.

Everything per example is float32 or better whatever the logits' type: a bfloat16 softmax cannot distinguish
confidences above 0.996, where members and non-members differ.
"""

import torch
from torch import Tensor
from torch.nn import functional

from hamu_ray.metrics.undefined import Undefined


def example_losses(logits: Tensor, labels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the cross-entropy of each example in nats, in ``dtype``, ``(n,)``.

    Takes ``logits`` float ``(n, classes)`` and ``labels`` int64 ``(n,)``. In float32 losses near 0 are multiples of
    1.2e-7: where their order matters, take float64.
    """
    return functional.cross_entropy(logits.to(dtype), labels, reduction="none")


def true_class_confidences(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probability that each example's true class is given, float32 ``(n,)``."""
    return torch.exp(-example_losses(logits, labels))


def example_entropies(logits: Tensor) -> Tensor:
    """Return the entropy of each example's predicted distribution in nats, float32 ``(n,)``.

    A class that has probability zero contributes nothing, also where its logit is minus infinity.
    """
    log_probabilities = functional.log_softmax(logits.float(), dim=-1)
    probabilities = log_probabilities.exp()
    return -torch.where(probabilities > 0, probabilities * log_probabilities, 0.0).sum(dim=-1)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of examples whose largest logit is at the true class.

    `Undefined` for no examples and for logits that are not finite, whose argmax means nothing.
    """
    if (problem := unusable(logits)) is not None:
        return Undefined(problem)
    return (logits.argmax(dim=-1) == labels).double().mean().item()


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy in nats; `Undefined` for no examples or logits that are not finite."""
    if (problem := unusable(logits)) is not None:
        return Undefined(problem)
    return example_losses(logits, labels).double().mean().item()


def mean_entropy(logits: Tensor) -> float:
    """Return the mean predictive entropy in nats; `Undefined` as `mean_loss` is."""
    if (problem := unusable(logits)) is not None:
        return Undefined(problem)
    return example_entropies(logits).double().mean().item()


def unusable(logits: Tensor) -> str | None:
    """Return why nothing can be measured on these logits, or None where it can."""
    if len(logits) == 0:
        return "there are no examples"
    broken = int((~torch.isfinite(logits).all(dim=-1)).sum())
    return f"the logits of {broken} of {len(logits)} examples are not finite" if broken else None
