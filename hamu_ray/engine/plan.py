"""The loop's plan: a run without its model. The same loop trains and unlearns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from hamu_ray.methods import Method, Objective, StepSettings, remaining_to_target
from hamu_ray.pairing.batches import Batches
from hamu_ray.pairing.roles import Role

if TYPE_CHECKING:
    from hamu_ray.config.run import OptimizerConfig, StopConfig, WorkersConfig

LOG_EVERY = 10
"""Steps between the host's reads of the diagnostics, one transfer from the device each; and between looks at
whether a step's promise was kept, an extra forward pass each."""


@dataclass(frozen=True)
class ObjectiveBatches:
    """One objective of a run: what is minimised or raised, and on which batches."""

    objective: Objective
    batches: Batches


@dataclass(frozen=True)
class Plan:
    """A run without its model."""

    phase: str
    method: Method
    settings: StepSettings
    sides: Mapping[Role, ObjectiveBatches]
    optimizer: "OptimizerConfig"
    micro_batch_size: int | None
    steps: int
    evaluate_every: int | None
    """Steps between evaluations; None evaluates at the end alone."""
    checkpoint_every: int | None
    stop: "StopConfig"
    freeze_batchnorm: bool
    seed: int
    workers: "WorkersConfig"
    promise_every: int | None = None
    """Steps between looks at what first-order promises came to; None never looks."""
    evaluate_end: bool = True
    """Whether the finished model is measured."""
    original_forget_loss: float | None = None
    """The forget loss that a run starts from."""
    reference_forget_loss: float | None = None
    """The reference's forget loss, at which a run may end; None without a reference."""
    select_by: tuple[str, ...] = ()
    """Measures whose sum decides which evaluation's weights are the result; empty takes the last weights."""

    @property
    def needed(self) -> tuple[Role, ...]:
        """The roles that the method needs, retain first."""
        return tuple(role for role in Role if role in self.sides)

    def settings_at(self, forget_loss: Tensor) -> StepSettings:
        """Return the settings of a step whose batch has a forget loss, 0-d: where there is a target, how far it is."""
        if self.settings.target is None:
            return self.settings
        start, target = self.original_forget_loss, self.reference_forget_loss
        assert start is not None, "unlearning starts from a model that was measured"
        assert target is not None, "the configuration asks for a reference"
        return replace(self.settings, remaining=remaining_to_target(forget_loss, start=start, target=target))

    def learning_rate(self, step: int) -> float:
        """The schedule's learning rate at a step, counted from 0."""
        rate = self.optimizer.learning_rate
        if self.optimizer.schedule == "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rate

    def looks_at_promise(self, step: int) -> bool:
        """Whether what a step promised is compared with what it did: the first, the last, and in between."""
        every = self.promise_every
        return every is not None and (step == 0 or (step + 1) % every == 0 or step + 1 == self.steps)
