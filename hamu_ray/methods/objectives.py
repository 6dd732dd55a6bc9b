"""The losses behind the two gradients, with one value per item or per example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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

PERTURBED = "perturbed"
"""The teacher that is the original model on inputs near the forget examples, which it no longer classifies as well: see
`Objective.perturbation`."""

TEACHERS = ("original", "random", PERTURBED)
"""Frozen models that an objective may need: the original model, a model with newly initialised weights, and
`PERTURBED`."""

SEEDS = "seeds"
"""What an objective needs that draws random numbers: `Predictions.seeds`."""

SECOND = "second"
"""What an objective needs that compares answers with second answers to the same questions: `Predictions.second`."""

HIDDEN = "hidden"
"""What an objective needs that looks inside: hidden states ``(items, width)`` take the place of all logits, the model's
and its teachers'."""

Layer = int | Literal["early"]
"""A block of a model, counted from 0; early: at 7/32 of its depth."""

NEEDS = (*TEACHERS, SEEDS, SECOND, HIDDEN)
"""All that an objective may need."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The outputs of a model, and of its teachers, for the items of some examples.

    The items of an example are adjacent. An image is an example with one item; an answer is an example with one item
    per token. An example may have no items.
    """

    logits: Tensor
    """``(items, classes)``, of any floating-point dtype; or the hidden states ``(items, width)`` of a block."""
    labels: Tensor
    """``(items,)`` int64."""
    examples: Tensor
    """``(items,)`` int64, not decreasing from 0: the index of the example that each item belongs to."""
    count: int
    """Number of examples, kept on the host so that reading it needs no synchronisation."""
    teachers: Mapping[str, Tensor] = field(default_factory=dict)
    """The logits ``(items, classes)`` of the teachers that the objective needs, by name. No gradient reaches them."""
    item_loss: ItemLoss | None = None
    """The task's own loss, which takes the place of ``-log p(label)``; None for the cross-entropy. With one, logits
    and labels are whatever it takes, the items along the first dimension."""
    seeds: Tensor | None = None
    """``(count,)`` int64, where the objective needs them: a seed of each example, which depends on the run's seed and
    the example alone, so that it is the same in every step, on any number of workers, and after a restart."""
    seed: int = 0
    """The run's seed, for random numbers that belong to no example."""
    second: Predictions | None = None
    """Where the objective needs them: the outputs for a second answer to each example's question, such as a refusal, of
    the model and the same teachers. Its examples are these, in the same order; their numbers of items differ."""

    @property
    def original(self) -> Predictions:
        """The original model's outputs for the same items; see `teacher`."""
        return self.teacher("original")

    def teacher(self, name: str) -> Predictions:
        """Return a teacher's outputs for the same items; detached.

        Raises:
            ValueError: If its logits are missing.
        """
        if name not in self.teachers:
            raise ValueError(
                f"the objective needs teachers[{name!r}] (its logits for the same items), found "
                f"{', '.join(self.teachers) or 'none'}"
            )
        return replace(self, logits=self.teachers[name].detach(), teachers={})

    @property
    def second_answers(self) -> Predictions:
        """The outputs for the second answers.

        Raises:
            ValueError: They are missing.
        """
        if self.second is None:
            raise ValueError("the objective needs second (the outputs for second answers), found None")
        return self.second

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
        return torch.nn.functional.log_softmax(precise(self.logits), dim=-1)

    @property
    def label_log_probabilities(self) -> Tensor:
        """``log p(label)`` of each item ``(items,)``, in float32, or float64 of float64 logits.

        Where the task has its own loss, minus that: what a log-likelihood would be of which it is the negative.
        """
        if self.item_loss is not None:
            return -self.item_loss(precise(self.logits), self.labels)
        return -torch.nn.functional.cross_entropy(precise(self.logits), self.labels, reduction="none")

    @property
    def lengths(self) -> Tensor:
        """The number of items of each example ``(count,)`` int64."""
        # Not bincount, which synchronises with the device.
        borders = torch.arange(self.count + 1, device=self.examples.device)
        return torch.searchsorted(self.examples, borders).diff()

    @property
    def places(self) -> Tensor:
        """The place of each item within its example, from 0: ``(items,)`` int64."""
        lengths = self.lengths
        starts = lengths.cumsum(0) - lengths
        return torch.arange(len(self.examples), device=self.examples.device) - starts[self.examples]

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
    needs: frozenset[str] = frozenset()
    """What the loss uses besides the model's outputs, of `NEEDS`: teachers by name, `SEEDS`, `SECOND`, `HIDDEN`."""
    unit: Unit = "item"
    """What the loss has one value for, and thus what the mean over the global batch is taken over: all items, or all
    examples.
    """

    layer: Layer | None = None
    """Of a forget objective with hidden states: the block. A retain objective has that of the forget objective."""
    perturbation: float | None = None
    """Of a forget objective with the teacher `PERTURBED`: how far each pixel, in 0..1, is moved along the sign of the
    gradient of the original's loss."""

    def __post_init__(self) -> None:
        if (self.perturbation is None) == (PERTURBED in self.needs):
            raise ValueError(f"objective {self.name!r} needs both the teacher {PERTURBED} and a perturbation")
        if self.layer is not None and HIDDEN not in self.needs:
            raise ValueError(f"objective {self.name!r} has a layer but does not need {HIDDEN}")
        if unknown := sorted(self.needs.difference(NEEDS)):
            raise ValueError(
                f"objective {self.name!r} needs {', '.join(unknown)}; an objective can need {', '.join(NEEDS)}"
            )
        if SECOND in self.needs and self.unit != "example":
            raise ValueError(
                f"objective {self.name!r} needs second answers, whose items are others; set its unit to example"
            )


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
        ValueError: If there are no terms, some are per item and some per example, or they do not see the same outputs:
            logits, or the hidden states of one block.
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
    seen = {(HIDDEN in objective.needs, objective.layer) for _, objective in terms}
    perturbations = {term.perturbation for _, term in terms} - {None}
    if len(perturbations) > 1:
        raise ValueError(f"terms of the mixture {name!r} must have the same perturbation")
    if len(seen) > 1:
        raise ValueError(
            f"terms of the mixture {name!r} must all see logits, or hidden states of the same block"
        )
    needs = frozenset[str]().union(*(objective.needs for _, objective in terms))
    perturbation = next(iter(perturbations), None)
    return Objective(name, _Mixture(terms), needs, terms[0][1].unit, terms[0][1].layer, perturbation)


def precise(logits: Tensor) -> Tensor:
    """Return logits as float32, or unchanged if they are float64, since losses need at least this precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _cross_entropy(predictions: Predictions) -> Tensor:
    return -predictions.label_log_probabilities


def kl_to(predictions: Predictions, teacher: str) -> Tensor:
    """Return ``KL(teacher || model)`` of each item ``(items,)``, in the precision of the log-probabilities."""
    model, target = predictions.log_probabilities, predictions.teacher(teacher).log_probabilities
    return torch.nn.functional.kl_div(model, target, reduction="none", log_target=True).sum(-1)


def _kl_to_original(predictions: Predictions) -> Tensor:
    return kl_to(predictions, "original")


cross_entropy = Objective("cross_entropy", _cross_entropy)
"""``-log p(label)``."""


def _output_norm(predictions: Predictions) -> Tensor:
    return precise(predictions.logits).flatten(1).square().sum(-1)


output_norm = Objective("output_norm", _output_norm)
"""The squared norm of the outputs, by which weights can be found important without labels."""

kl_to_original = Objective("kl_to_original", _kl_to_original, needs=frozenset({"original"}))
"""``KL(original || model) = sum over classes of p_original (log p_original - log p_model)``, as in distillation. The
original's logits receive no gradient.
"""
