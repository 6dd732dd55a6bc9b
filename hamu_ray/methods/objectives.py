"""The losses behind the two gradients, with one value per item or per example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hamu_ray.methods.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor


ItemLoss = Callable[["Tensor", "Tensor"], "Tensor"]
"""A model's outputs ``(items, ...)`` and the labels ``(items, ...)`` to a loss per item ``(items,)``."""

Unit = Literal["item", "example"]
"""What a loss has one value for: an item (an image, or an answer token), or an example (an image, or all tokens of an
answer).
"""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The outputs of a model, and of the original model, for the items of some examples.

    The items of an example are adjacent. An image is an example with one item; an answer is an example with one item
    per token. An example may have no items.
    """

    logits: Tensor
    """``(items, classes)``, of any floating-point dtype."""
    labels: Tensor
    """``(items,)`` int64."""
    examples: Tensor
    """``(items,)`` int64, not decreasing from 0: the index of the example that each item belongs to."""
    count: int
    """Number of examples, kept on the host so that reading it needs no synchronisation."""
    original_logits: Tensor | None = None
    """The original model's ``(items, classes)``, where the objective needs them. No gradient reaches them."""
    item_loss: ItemLoss | None = None
    """The task's own loss, which takes the place of ``-log p(label)``; None for the cross-entropy. With one, logits
    and labels are whatever it takes, the items along the first dimension."""

    @property
    def original(self) -> Predictions:
        """The original model's outputs for the same items; detached.

        Raises:
            ValueError: If its logits are missing.
        """
        if self.original_logits is None:
            raise ValueError(
                "the objective needs original_logits (the original model's logits for the same items), found None"
            )
        return replace(self, logits=self.original_logits.detach(), original_logits=None)

    @property
    def log_probabilities(self) -> Tensor:
        """``log p(class)`` of each item ``(items, classes)``, in float32, or float64 of float64 logits.

        Raises:
            ValueError: The logits are not of classes.
        """
        if self.logits.ndim != 2 or self.labels.ndim != 1 or self.labels.is_floating_point():
            raise ValueError(
                "the objective compares the probabilities of classes, and the model's outputs have the shape "
                f"{tuple(self.logits.shape)} with labels of the shape {tuple(self.labels.shape)}"
            )
        return torch.nn.functional.log_softmax(_precise(self.logits), dim=-1)

    @property
    def label_log_probabilities(self) -> Tensor:
        """``log p(label)`` of each item ``(items,)``, in float32, or float64 of float64 logits.

        Where the task has its own loss, minus that: what a log-likelihood would be of which it is the negative.
        """
        if self.item_loss is not None:
            return -self.item_loss(_precise(self.logits), self.labels)
        return -torch.nn.functional.cross_entropy(_precise(self.logits), self.labels, reduction="none")

    @property
    def lengths(self) -> Tensor:
        """The number of items of each example ``(count,)`` int64."""
        # Not bincount, which synchronises with the device.
        borders = torch.arange(self.count + 1, device=self.examples.device)
        return torch.searchsorted(self.examples, borders).diff()

    def sum_per_example(self, values: Tensor) -> Tensor:
        """Sum a value per item ``(items,)`` over each example's items: ``(count,)``, 0 for an example without items."""
        # Not index_add, which is not deterministic on CUDA. `unsafe` keeps the lengths on the device.
        return torch.segment_reduce(values, "sum", lengths=self.lengths, unsafe=True)


Loss = Callable[[Predictions], "Tensor"]
"""Maps predictions to a loss per item or per example; see `Objective`."""


@dataclass(frozen=True)
class Objective:
    """A loss per item or per example. Its mean over a role's global batch is the objective; summing and dividing is
    left to the caller.
    """

    name: str
    loss: Loss
    """Takes `Predictions`; returns ``(items,)``, or ``(count,)`` if the unit is the example. Computed in float32, or in
    float64 for float64 logits. It must be a module-level function or an instance of a module-level class, so that it
    can be pickled.
    """
    needs_original: bool = False
    """Whether the loss uses the original model's logits."""
    unit: Unit = "item"
    """What the loss has one value for, and thus what the mean over the global batch is taken over: all items, or all
    examples.
    """


@dataclass(frozen=True)
class _Mixture:
    """A weighted sum of losses."""

    terms: tuple[tuple[float, Objective], ...]

    def __call__(self, predictions: Predictions) -> Tensor:
        (weight, objective), *rest = self.terms
        total = weight * objective.loss(predictions)
        for weight, objective in rest:
            total = total + weight * objective.loss(predictions)
        return total


def mixture(name: str, *terms: tuple[float, Objective]) -> Objective:
    """Return the objective whose loss is a weighted sum of other losses.

    Args:
        name: Name of the mixture.
        terms: Pairs of a weight and an objective, at least one.

    Raises:
        ValueError: If there are no terms, or some are per item and some per example.
    """
    if not terms:
        raise ValueError(
            f"terms of the mixture {name!r} must contain at least one (weight, objective), found none"
        )
    units = sorted({objective.unit for _, objective in terms})
    if len(units) > 1:
        raise ValueError(
            f"terms of the mixture {name!r} must have the same unit, found {' and '.join(units)}"
        )
    needs_original = any(objective.needs_original for _, objective in terms)
    return Objective(name, _Mixture(terms), needs_original, terms[0][1].unit)


def _precise(logits: Tensor) -> Tensor:
    """Return logits as float32, or unchanged if they are float64, since losses need at least this precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _cross_entropy(predictions: Predictions) -> Tensor:
    return -predictions.label_log_probabilities


def _kl_to_original(predictions: Predictions) -> Tensor:
    model, original = predictions.log_probabilities, predictions.original.log_probabilities
    return torch.nn.functional.kl_div(model, original, reduction="none", log_target=True).sum(-1)


cross_entropy = Objective("cross_entropy", _cross_entropy)
"""``-log p(label)``."""

kl_to_original = Objective("kl_to_original", _kl_to_original, needs_original=True)
"""``KL(original || model) = sum over classes of p_original (log p_original - log p_model)``, as in distillation. The
original's logits receive no gradient.
"""
