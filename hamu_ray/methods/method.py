"""What a method is: two objectives and a weighting."""

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
    """An unlearning method as data: everything the engine needs. It can be pickled."""

    name: str
    """Its name in configurations."""
    summary: str
    """What its step does, in one line."""
    source: str
    """Where it was published."""
    weighting: Weighting
    """A pure function from the Gram matrices ``(blocks, 2, 2)`` float64 of the loss gradients (r of retain,
    f of forget; neither of them negated), the schedule's current learning rate (float, or 0-d tensor on the
    same device) and the settings to the weights of both in the step. It never waits for the device. A
    function of a module, or an instance of a class of a module, so that it can be pickled."""
    retain: Objective | None = None
    """What r is the gradient of; None if the method does not look at the retain set."""
    forget: Objective | None = None
    """What f is the gradient of; None if the method does not look at the forget set."""
    settings: frozenset[str] = frozenset()
    """Names of the fields of `StepSettings` that the weighting, or its caller on its behalf, reads. A
    registered method takes them from its line in `registry.py`, where they can be read without torch."""

    @property
    def has_guarantee(self) -> bool:
        """Whether its steps promise something: their decisions have a constraint."""
        return "constraint" in self.settings


@dataclass(frozen=True)
class FixedWeights:
    """The weighting that gives every block the same two weights, whatever the gradients."""

    retain: float
    """Weight of r: above 0 descends the retain loss."""
    forget: float
    """Weight of f: below 0 ascends the forget loss."""

    def __call__(self, gram: Tensor, lr: float | Tensor, settings: StepSettings) -> Decision:
        """Return the weights, with the gradients' measures. Learning rate and settings are not read."""
        blocks = len(gram)
        weights = gram.new_empty(blocks, 2)
        weights[:, 0] = self.retain
        weights[:, 1] = self.forget
        return Decision(weights=weights, gram=gram, branch=gram.new_full((blocks,), Branch.FIXED).long())


def weighted_difference(gram: Tensor, lr: float | Tensor, settings: StepSettings) -> Decision:
    """Descend the retain and ascend the forget objective: ``w r - (1 - w) f`` with ``settings.retain_weight`` w.

    Learning rate and other settings are not read.
    """
    weight = settings.retain_weight
    return FixedWeights(retain=weight, forget=weight - 1)(gram, lr, settings)
