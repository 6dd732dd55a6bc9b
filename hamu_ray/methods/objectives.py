"""Losses that the two gradients are taken of, one value per item."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

ItemLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``(logits, labels, original_logits or None)`` to a loss per item; see `Objective`."""


@dataclass(frozen=True)
class Objective:
    """A loss per item, whose mean over a role's global batch is the objective. The caller sums and
    divides."""

    name: str
    loss: ItemLoss
    """Takes logits ``(items, classes)`` of any floating-point dtype, labels ``(items,)`` int64, and the
    original model's logits ``(items, classes)`` or None; returns ``(items,)`` float32, computed in float32.
    A function of a module, so that it can be pickled."""
    needs_original: bool = False
    """Whether the loss compares with the original model's logits."""


@dataclass(frozen=True)
class _Mixture:
    """A weighted sum of losses."""

    terms: tuple[tuple[float, Objective], ...]

    def __call__(self, logits: Tensor, labels: Tensor, original_logits: Tensor | None) -> Tensor:
        (weight, objective), *rest = self.terms
        total = weight * objective.loss(logits, labels, original_logits)
        for weight, objective in rest:
            total = total + weight * objective.loss(logits, labels, original_logits)
        return total


def mixture(name: str, *terms: tuple[float, Objective]) -> Objective:
    """Return the objective whose loss is the weighted sum of others'.

    Args:
        name: Name of the mixture.
        terms: Pairs of a weight and an objective, at least one.

    Raises:
        ValueError: If there are no terms.
    """
    if not terms:
        raise ValueError(
            f"terms of the mixture {name!r} must hold at least one (weight, objective), found none"
        )
    return Objective(name, _Mixture(terms), any(objective.needs_original for _, objective in terms))


def _cross_entropy(logits: Tensor, labels: Tensor, original_logits: Tensor | None) -> Tensor:
    return F.cross_entropy(logits.float(), labels, reduction="none")


def _kl_to_original(logits: Tensor, labels: Tensor, original_logits: Tensor | None) -> Tensor:
    if original_logits is None:
        raise ValueError(
            "kl_to_original needs original_logits (the original model's on the same items), found None"
        )
    model = F.log_softmax(logits.float(), dim=-1)
    original = F.log_softmax(original_logits.detach().float(), dim=-1)
    return F.kl_div(model, original, reduction="none", log_target=True).sum(-1)


cross_entropy = Objective("cross_entropy", _cross_entropy)
"""``-log p(label)``."""

kl_to_original = Objective("kl_to_original", _kl_to_original, needs_original=True)
"""``KL(original || model) = sum over classes of p_original (log p_original - log p_model)``, as in
distillation. No gradient reaches the original's logits."""
