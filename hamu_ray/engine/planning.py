"""The loop's plan, derived from a configuration."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from hamu_ray.config.method import MethodConfig
from hamu_ray.config.run import RunConfig, StopConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.engine.plan import ObjectiveBatches, Plan
from hamu_ray.methods import Hyperparameters, Method, forget_objective, forget_objectives_of, get_method
from hamu_ray.pairing.batches import Batches
from hamu_ray.pairing.roles import Role


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
    steps = run.steps_of(len(splits["retain"])) if method.edit is None else 0
    evaluation = run.evaluation
    every_epochs = evaluation.every_epochs
    evaluate_every = every_epochs * steps_per_epoch if every_epochs else evaluation.every_steps
    settings = run.method.hyperparameters
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
    """Return the plan of training a model on ``examples`` with one objective.

    With ``training.select: best`` the weights of the epoch with the best sum of ``select_by`` are the result.
    """
    method = get_method("ft")
    assert method.retain is not None
    best = run.training.select == "best"
    batches = Batches(examples, run.training.batch_size, 2 * seed)
    return Plan(
        phase=phase,
        method=method,
        settings=Hyperparameters(),
        sides={Role.RETAIN: ObjectiveBatches(method.retain, batches)},
        optimizer=run.training.optimizer,
        micro_batch_size=run.training.micro_batch_size,
        steps=run.training.epochs * batches.per_pass,
        evaluate_every=batches.per_pass if best else None,
        checkpoint_every=None,
        stop=StopConfig(collapse_ratio=None),
        freeze_batchnorm=False,
        seed=seed,
        workers=WorkersConfig(count=run.workers.shards, shards=run.workers.shards),
        select_by=select_by if best else (),
    )


def configured(config: MethodConfig) -> Method:
    """Return the method with its default forget objective, or the configured one."""
    method = get_method(config.name)
    choices = forget_objectives_of(config.name)
    if not choices:
        return method
    name = config.forget_objective or choices[0]
    return replace(method, forget=forget_objective(name, **dict(config)))
