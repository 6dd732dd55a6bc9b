"""The definition of a method: two objectives, a weighting, and its hyperparameters; and of a forget objective."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickle import PicklingError, dumps
from typing import TYPE_CHECKING, Any

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum, described
from hamu_ray.methods.objectives import HIDDEN, SECOND, Objective

if TYPE_CHECKING:
    from torch import Tensor, device

Weighting = Callable[["Tensor", Context[Any]], Decision]
"""``(gram, context)`` to a decision; see `Method.weighting`."""

INSTALL_OPTIONAL = 'pip install "hamu-ray[torchjd]"'
"""Command that installs all optional packages of the package's own methods."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """A step that was taken, as its review sees it. All tensors are on the device."""

    context: Context[Any]
    """The context of its decision."""
    decision: Decision
    gram: Tensor
    """Of the unclipped gradients."""
    losses: Tensor
    """The retain and the forget objective on the step's own batches before the step ``(2,)``, float64."""
    promised: Tensor
    """First-order changes of the retain and the forget objective ``(2,)``."""
    actual: Tensor
    """Their changes on the step's own batches ``(2,)``."""


Review = Callable[[Taken], tuple[Mapping[str, "Tensor"], "Tensor"]]
"""Returns the method's state for the next step, and whether the step is kept, 0-d bool; otherwise it is reverted."""

Edit = Callable[["Tensor", "Tensor", "Tensor", Any], "Tensor"]
"""``(weights, importance, forget_importance, hyperparameters)`` of one parameter, all tensors of its shape, to its new
weights; the importances are those for all training data and for the forget set."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_RESERVED = ("name", "forget_objective")
"""Keys of the section `method` that are no hyperparameters."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """An unlearning method as data: everything that the engine needs. It can be pickled.

    Raises:
        ValueError: A part is missing or contradicts another; one line with the method and the part.
    """

    name: str
    """Its name in configurations."""
    summary: str
    """Its step, in one line."""
    source: str
    """The publication."""
    weighting: Weighting
    """A pure function of the Gram matrices ``(blocks, 2, 2)`` float64 of the loss gradients (r of retain, f of forget;
    neither of them negated) and the step's `Context`, which returns the weights of both gradients in the step. It never
    synchronises. It must be a module-level function or an instance of a module-level class, so that it can be pickled.
    """
    hyperparameters: type[Hyperparameters] = Hyperparameters
    """The record of its hyperparameters."""
    retain: Objective | None = None
    """The objective whose gradient is r; None if the method does not use the retain set."""
    forget: Objective | None = None
    """The objective whose gradient is f; None if the method does not use the forget set."""
    review: Review | None = None
    """A function of a step that was taken and its actual changes; see `Taken`. It is called after each step if the
    hyperparameter ``trust_region`` is true, which costs another forward pass.
    """
    edit: Edit | None = None
    """A pure function that changes each parameter of the original once, in place of all steps; see `Edit`. Its record
    says how importances are measured (``importance``, ``importance_batch``)."""
    own_forget: bool = False
    """Whether the forget objective is part of the method's definition; others can be replaced by the configuration's
    ``forget_objective``.
    """
    packages: tuple[str, ...] = ()
    """Optional packages that it requires, which its weighting imports."""

    def __post_init__(self) -> None:
        _check_described(f"method {self.name!r}", self.name, self.summary, self.source, self.hyperparameters)
        if self.retain is None and self.forget is None:
            raise ValueError(f"method {self.name!r} has neither a retain nor a forget objective")
        if self.retain is not None and SECOND in self.retain.needs:
            raise ValueError(
                f"method {self.name!r}: its retain objective cannot need {SECOND}; only forget examples have one"
            )
        hidden = [each is not None and HIDDEN in each.needs for each in (self.retain, self.forget)]
        if any(hidden) and (self.forget is None or self.forget.layer is None):
            raise ValueError(
                f"method {self.name!r}: its objectives need hidden states, and its forget objective names no layer"
            )
        if not callable(self.weighting):
            raise ValueError(f"method {self.name!r} has no weighting")
        if self.has_guarantee != ("constraint_fraction" in described(self.hyperparameters)):
            raise ValueError(
                f"method {self.name!r}: its hyperparameters need both guarantees and constraint_fraction, or neither"
            )
        try:
            dumps((self.weighting, self.review, self.edit, self.retain, self.forget))
        except (PicklingError, AttributeError, TypeError) as error:
            raise ValueError(f"method {self.name!r} cannot be sent to workers: {error}") from error

    def initial_state(self, record: Hyperparameters, device: device) -> dict[str, Tensor]:
        """Return the state of the first step with a record on a device, 0-d float64 by name."""
        return {
            name: torch.full((), value, dtype=torch.float64, device=device)
            for name, value in record.initial_state.items()
        }

    @property
    def has_guarantee(self) -> bool:
        """Whether its steps have a guarantee: their decisions have a constraint."""
        return self.hyperparameters.guarantees is not None


@dataclass(frozen=True, kw_only=True)
class ForgetObjective:
    """A forget objective that configurations can select for every method that does not have its own.

    Raises:
        ValueError: A part is missing or contradicts another; one line with the objective and the part.
    """

    name: str
    """Its name in configurations, and of the objectives that it makes."""
    summary: str
    source: str
    make: Callable[[Any], Objective]
    """Returns the objective for a record of its hyperparameters."""
    hyperparameters: type[Hyperparameters] = Hyperparameters

    def __post_init__(self) -> None:
        title = f"forget objective {self.name!r}"
        _check_described(title, self.name, self.summary, self.source, self.hyperparameters)
        made = self.make(self.hyperparameters())
        if made.name != self.name:
            raise ValueError(f"{title} makes an objective of another name, {made.name!r}")


def _check_described(
    title: str, name: str, summary: str, source: str, hyperparameters: type[Hyperparameters]
) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{title}: a name has only lower-case letters, digits, '-' and '_'")
    for part, text in (("summary", summary), ("source", source)):
        if not text or "\n" in text:
            raise ValueError(f"{title} needs a {part} of one line, found {text!r}")
    try:
        for known in described(hyperparameters).values():
            known.check_complete()
            if known.name in _RESERVED or not _NAME.fullmatch(known.name) or "-" in known.name:
                raise ValueError(f"hyperparameter {known.name} needs another name")
        hyperparameters()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{title}: {error}") from error


@dataclass(frozen=True)
class FixedWeights:
    """A weighting with the same two weights for every block and all gradients."""

    retain: float
    """Weight of r: above 0 descends the retain loss."""
    forget: float
    """Weight of f: below 0 ascends the forget loss."""

    def __call__(self, gram: Tensor, context: Context[Any]) -> Decision:
        """Return the weights, with the gradients' diagnostics. The context is not used."""
        blocks = len(gram)
        weights = gram.new_empty(blocks, 2)
        weights[:, 0] = self.retain
        weights[:, 1] = self.forget
        return Decision(weights=weights, gram=gram, branch=gram.new_full((blocks,), Branch.FIXED).long())


def weighted_difference(gram: Tensor, context: Context[WeightedSum]) -> Decision:
    """Descend the retain and ascend the forget objective: ``w r - (1 - w) f`` with w = ``retain_weight``."""
    weight = context.hyperparameters.retain_weight
    return FixedWeights(retain=weight, forget=weight - 1)(gram, context)
