"""The definition of a method: two objectives and a weighting."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.objectives import Objective
from hamu_ray.methods.settings import StepSettings

Weighting = Callable[[Tensor, "float | Tensor", StepSettings], Decision]
"""``(gram, learning rate, settings)`` to a decision; see `Method.weighting`."""


@dataclass(frozen=True)
class Method:
    """An unlearning method as data: everything that the engine needs. It can be pickled."""

    name: str
    """Its name in configurations."""
    summary: str
    """Its step, in one line."""
    source: str
    """The publication."""
    weighting: Weighting
    """A pure function of the Gram matrices ``(blocks, 2, 2)`` float64 of the loss gradients (r of retain, f of forget;
    neither of them negated), the schedule's current learning rate (float, or 0-d tensor on the same device) and the
    hyperparameters, which returns the weights of both gradients in the step. It never synchronises. It must be a
    module-level function or an instance of a module-level class, so that it can be pickled.
    """
    retain: Objective | None = None
    """The objective whose gradient is r; None if the method does not use the retain set."""
    forget: Objective | None = None
    """The objective whose gradient is f; None if the method does not use the forget set."""
    settings: frozenset[str] = frozenset()
    """Names of the fields of `StepSettings` that the weighting, or its caller on its behalf, uses. A registered method
    takes them from its line in `registry.py`, where they can be read without torch.
    """

    @property
    def has_guarantee(self) -> bool:
        """Whether its steps have a guarantee: their decisions have a constraint."""
        return "constraint" in self.settings


@dataclass(frozen=True)
class FixedWeights:
    """A weighting with the same two weights for every block and all gradients."""

    retain: float
    """Weight of r: above 0 descends the retain loss."""
    forget: float
    """Weight of f: below 0 ascends the forget loss."""

    def __call__(self, gram: Tensor, lr: float | Tensor, settings: StepSettings) -> Decision:
        """Return the weights, with the gradients' diagnostics. Learning rate and hyperparameters are not used."""
        blocks = len(gram)
        weights = gram.new_empty(blocks, 2)
        weights[:, 0] = self.retain
        weights[:, 1] = self.forget
        return Decision(weights=weights, gram=gram, branch=gram.new_full((blocks,), Branch.FIXED).long())


def weighted_difference(gram: Tensor, lr: float | Tensor, settings: StepSettings) -> Decision:
    """Descend the retain and ascend the forget objective: ``w r - (1 - w) f`` with w = ``settings.retain_weight``.

    The learning rate and other hyperparameters are not used.
    """
    weight = settings.retain_weight
    return FixedWeights(retain=weight, forget=weight - 1)(gram, lr, settings)
