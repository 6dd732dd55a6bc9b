"""The loop's plan, derived from a configuration; the same loop trains and unlearns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from hamu_ray.config.constraint import constraint_of
from hamu_ray.config.method import MethodConfig
from hamu_ray.config.run import (
    OptimizerConfig,
    RunConfig,
    StopConfig,
    WorkersConfig,
)
from hamu_ray.methods import (
    Method,
    Objective,
    StepSettings,
    forget_objective,
    forget_objectives_of,
    get_method,
    remaining_to_target,
)
from hamu_ray.pairing.batches import Batches
from hamu_ray.pairing.roles import Role

LOG_EVERY = 10
"""Steps between the host's reads of the diagnostics, one transfer from the device each."""


@dataclass(frozen=True)
class ObjectiveBatches:
    """One objective of a run: the loss, its direction, and its batches."""

    objective: Objective
    batches: Batches


@dataclass(frozen=True)
class Plan:
    """A run without its model."""

    phase: str
    method: Method
    settings: StepSettings
    sides: Mapping[Role, ObjectiveBatches]
    optimizer: OptimizerConfig
    micro_batch_size: int | None
    steps: int
    evaluate_every: int | None
    """Steps between evaluations; None evaluates only at the end."""
    checkpoint_every: int | None
    stop: StopConfig
    freeze_batchnorm: bool
    seed: int
    workers: WorkersConfig
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

    @property
    def needed(self) -> tuple[Role, ...]:
        """The roles that the method needs, retain first."""
        return tuple(role for role in Role if role in self.sides)

    def settings_at(self, forget_loss: Tensor) -> StepSettings:
        """Return a step's hyperparameters for its batch's forget loss, 0-d, including the remaining way to a target."""
        if self.settings.target is None:
            return self.settings
        start, target = self.original_forget_loss, self.reference_forget_loss
        assert start is not None, "the initial model of unlearning has been evaluated"
        assert target is not None, "the configuration requires a reference"
        return replace(self.settings, remaining=remaining_to_target(forget_loss, start=start, target=target))

    def learning_rate(self, step: int) -> float:
        """The schedule's learning rate at a step, counted from 0."""
        rate = self.optimizer.learning_rate
        if self.optimizer.schedule == "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rate

    def looks_at_promise(self, step: int) -> bool:
        """Whether what a step promised is compared with what it did: the first, and then at the cadence."""
        every = self.promise_every
        return every is not None and (step == 0 or (step + 1) % every == 0)


def unlearning_plan(
    run: RunConfig,
    splits: Mapping[str, Tensor],
    original: Mapping[str, float] | None = None,
    reference: Mapping[str, float] | None = None,
) -> Plan:
    """Return the plan of unlearning ``splits["forget"]`` while retaining ``splits["retain"]``.

    ``original`` and ``reference`` are the metrics of the two models, which some plans depend on.
    """
    method = configured(run.method)
    batches = {
        Role.RETAIN: Batches(splits["retain"], run.batch.retain, 2 * run.seed),
        Role.FORGET: Batches(splits["forget"], run.batch.forget, 2 * run.seed + 1),
    }
    objectives = {Role.RETAIN: method.retain, Role.FORGET: method.forget}
    sides = {
        role: ObjectiveBatches(objective, batches[role])
        for role, objective in objectives.items()
        if objective is not None
    }
    steps_per_epoch = batches[Role.RETAIN].per_pass
    steps = run.duration.steps
    if steps is None:
        assert run.duration.epochs is not None
        steps = run.duration.epochs * steps_per_epoch
    evaluation = run.evaluation
    every_epochs = evaluation.every_epochs
    evaluate_every = every_epochs * steps_per_epoch if every_epochs else evaluation.every_steps
    settings = step_settings(run.method, method)
    return Plan(
        phase="unlearning",
        method=method,
        settings=settings,
        sides=sides,
        optimizer=run.optimizer,
        micro_batch_size=run.batch.micro,
        steps=steps,
        evaluate_every=evaluate_every if evaluation.enabled else None,
        evaluate_end=evaluation.enabled,
        checkpoint_every=run.checkpoint.every_steps,
        promise_every=1
        if settings.trust_region
        else evaluation.promise_every_steps
        if evaluation.enabled
        else None,
        stop=run.stop,
        original_forget_loss=(original or {}).get("forget_loss"),
        reference_forget_loss=(reference or {}).get("forget_loss"),
        freeze_batchnorm=run.model.freeze_batchnorm,
        seed=run.seed,
        workers=run.workers,
    )


def training_plan(
    run: RunConfig, phase: str, examples: Tensor, select_by: tuple[str, ...], seed: int
) -> Plan:
    """Return the plan of training a model on ``examples``: descending one objective.

    With ``training.select: best`` the weights of the epoch with the best sum of ``select_by`` are the result.
    """
    method = get_method("ft")
    assert method.retain is not None
    best = run.training.select == "best"
    batches = Batches(examples, run.training.batch_size, 2 * seed)
    return Plan(
        phase=phase,
        method=method,
        settings=StepSettings(),
        sides={Role.RETAIN: ObjectiveBatches(method.retain, batches)},
        optimizer=run.training.optimizer,
        micro_batch_size=run.training.micro_batch_size,
        steps=run.training.epochs * batches.per_pass,
        evaluate_every=batches.per_pass if best else None,
        checkpoint_every=None,
        stop=StopConfig(collapse_ratio=None),
        freeze_batchnorm=False,
        seed=seed,
        workers=WorkersConfig(count=1),
        select_by=select_by if best else (),
    )


def configured(config: MethodConfig) -> Method:
    """Return the method with its default forget objective, or the configured one."""
    method = get_method(config.name)
    choices = forget_objectives_of(config.name)
    if not choices:
        return method
    name = config.forget_objective or choices[0]
    return replace(method, forget=forget_objective(name, beta=config.beta, gamma=config.gamma))


def step_settings(config: MethodConfig, method: Method) -> StepSettings:
    """Return the settings that the method reads; others keep their defaults."""
    constraint = constraint_of(config.model_dump())
    values: dict[str, Any] = {
        **dict([constraint] if constraint else []),
        "radius": None if config.radius == "lr" else config.radius,
        "constraint_split": config.constraint_split,
        "normalise_split": config.normalise_split,
        "granularity": config.granularity,
        "infeasible": config.infeasible,
        "trust_region": config.trust_region,
        "target": config.target,
        "retain_weight": config.retain_weight,
    }
    return StepSettings(**{name: value for name, value in values.items() if name in method.settings})
