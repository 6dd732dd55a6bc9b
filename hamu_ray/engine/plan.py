"""The loop's plan: a run without its model. The same loop trains and unlearns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from hamu_ray.methods import (
    Context,
    Hyperparameters,
    Method,
    Objective,
    Predictions,
    remaining_to_target,
)
from hamu_ray.methods.draws import seeds_of
from hamu_ray.methods.method import Review
from hamu_ray.methods.objectives import HIDDEN, SECOND, SEEDS, Layer
from hamu_ray.pairing.batches import Batches
from hamu_ray.pairing.roles import Role
from hamu_ray.tasks.task import AugmentedForward, Layered, Outputs, SecondAnswers, Task, Teacher

if TYPE_CHECKING:
    from hamu_ray.config.run import StopConfig
    from hamu_ray.config.training import OptimizerConfig
    from hamu_ray.config.workers import WorkersConfig

LOG_EVERY = 10
"""Steps between the host's reads of the diagnostics, one transfer from the device each."""


@dataclass(frozen=True)
class ObjectiveBatches:
    """One objective of a run: the loss, its direction, and its batches."""

    objective: Objective
    batches: Batches

    def predictions(
        self, outputs: Outputs, examples: Tensor, teachers: Mapping[str, Teacher], seed: int
    ) -> Predictions:
        """Return what the objective sees of a micro-batch: a model's outputs, and what else it needs.

        ``examples`` are the indices behind the outputs, and ``seed`` is the run's. Where the outputs are hidden states,
        the teachers give those, too.
        """
        needs = self.objective.needs
        return Predictions(
            logits=outputs.logits,
            labels=outputs.labels,
            examples=outputs.examples,
            count=len(examples),
            teachers={name: teacher(examples) for name, teacher in teachers.items() if name in needs},
            item_loss=outputs.item_loss,
            seed=seed,
            seeds=seeds_of(examples, seed, outputs.logits.device) if SEEDS in needs else None,
        )


@dataclass(frozen=True)
class Plan:
    """A run without its model."""

    phase: str
    method: Method
    settings: Hyperparameters
    """The method's hyperparameters."""
    sides: Mapping[Role, ObjectiveBatches]
    optimizer: "OptimizerConfig"
    micro_batch_size: int | None
    steps: int
    evaluate_every: int | None
    """Steps between evaluations; None evaluates only at the end."""
    checkpoint_every: int | None
    stop: "StopConfig"
    freeze_batchnorm: bool
    seed: int
    workers: "WorkersConfig"
    promise_every: int | None = None
    """Steps between comparisons of predicted with actual changes; None disables them."""
    evaluate_end: bool = True
    """Whether the final model is evaluated."""
    original_forget_loss: float | None = None
    """The forget loss at the start of the run."""
    reference_forget_loss: float | None = None
    """The reference's forget loss, at which a run may end; None without a reference."""
    select_by: tuple[str, ...] = ()
    """Metrics whose sum selects the evaluation whose weights are the result; empty selects the last weights."""
    augmented: AugmentedForward | None = None
    """The forward pass on randomly changed examples; None runs the model on the examples as they are."""
    second: SecondAnswers | None = None
    """Second answers to the forget examples, where an objective needs them."""

    @property
    def last_step(self) -> int:
        """The number of steps after which the run ends at the latest."""
        return min(self.steps, self.stop.after_steps or self.steps)

    @property
    def edits(self) -> int:
        """1 if the original is edited before the first step, which counts as a step in reports and outcomes; or 0."""
        return int(self.method.edit is not None)

    @property
    def needed(self) -> tuple[Role, ...]:
        """The roles that the method needs, retain first."""
        return tuple(role for role in Role if role in self.sides)

    @property
    def needs(self) -> frozenset[str]:
        """What the objectives need besides the model's outputs; see `hamu_ray.methods.objectives.NEEDS`."""
        return frozenset[str]().union(*(side.objective.needs for side in self.sides.values()))

    @property
    def layer(self) -> Layer | None:
        """The block whose outputs the objectives with hidden states see."""
        layers = (side.objective.layer for side in self.sides.values())
        return next((layer for layer in layers if layer is not None), None)

    @property
    def perturbation(self) -> float | None:
        """How far the inputs of the teacher `PERTURBED` are moved."""
        found = (side.objective.perturbation for side in self.sides.values())
        return next((distance for distance in found if distance is not None), None)

    @property
    def review(self) -> Review | None:
        """The method's review of every step, if its hyperparameters ask for it."""
        return self.method.review if self.settings.trust_region else None

    def predictions(
        self,
        task: Task,
        model: nn.Module,
        role: Role,
        examples: Tensor,
        step: int,
        teachers: Mapping[str, Teacher],
    ) -> Predictions:
        """Return what a role's objective sees of a micro-batch (indices, int64, CPU) in a step, counted from 0.

        This runs the model, and again on the examples' second answers where the objective needs them.
        """
        side = self.sides[role]
        if HIDDEN in side.objective.needs:
            assert isinstance(task, Layered), "the configuration requires a model with blocks"
            assert self.layer is not None, "the forget objective names a block"
            at = {name: task.layer_teacher(teacher, self.layer) for name, teacher in teachers.items()}
            outputs = task.layer_forward(model, examples, self.layer)
            return side.predictions(outputs, examples, at, self.seed)

        def seen(indices: Tensor) -> Predictions:
            outputs = self._outputs(task, model, role, indices, step)
            return side.predictions(outputs, indices, teachers, self.seed)

        found = seen(examples)
        if SECOND not in side.objective.needs:
            return found
        assert self.second is not None, "the configuration requires second answers"
        return replace(found, second=seen(self.second.of(examples)))

    def _outputs(self, task: Task, model: nn.Module, role: Role, examples: Tensor, step: int) -> Outputs:
        """Run the model on examples, which a plan may change at random: the same way on any number of workers."""
        if self.augmented is None:
            return task.forward(model, examples)
        return self.augmented(model, examples, seeds_of(examples, self.epoch_seed(role, step), task.device))

    def epoch_seed(self, role: Role, step: int) -> int:
        """Return the seed of the random changes of a role's examples in the epoch of a step, counted from 0."""
        return self.seed * 1_000_003 + step // self.sides[role].batches.per_pass

    def context(self, step: int, losses: Tensor, state: Mapping[str, Tensor]) -> Context:
        """Return what the weighting knows of a step, counted from 0, with its retain and forget loss ``(2,)``."""
        return Context(
            lr=self.learning_rate(step),
            hyperparameters=self.settings,
            losses=losses,
            state=state,
            step=step,
            steps=self.steps,
            remaining=self._remaining(losses[1]),
        )

    def _remaining(self, forget_loss: Tensor) -> Tensor | None:
        """Return the remaining way to the target for a batch's forget loss, 0-d; None without a target."""
        if self.settings.target is None:
            return None
        start, target = self.original_forget_loss, self.reference_forget_loss
        assert start is not None, "the initial model of unlearning has been evaluated"
        assert target is not None, "the configuration requires a reference"
        return remaining_to_target(forget_loss, start=start, target=target)

    def learning_rate(self, step: int) -> float:
        """The schedule's learning rate at a step, counted from 0."""
        rate = self.optimizer.learning_rate
        if self.optimizer.schedule == "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rate

    def looks_at_promise(self, step: int) -> bool:
        """Whether predicted and actual changes are compared at a step: the first, and then at the cadence."""
        every = self.promise_every
        return every is not None and (step == 0 or (step + 1) % every == 0)
