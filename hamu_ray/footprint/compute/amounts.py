"""The work of a run: its passes, and how often each is made."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.planning import configured
from hamu_ray.footprint.compute.costs import NOTHING, Work
from hamu_ray.footprint.phases import micro_batch
from hamu_ray.footprint.trace import Tracer
from hamu_ray.methods.objectives import cross_entropy, output_norm
from hamu_ray.pairing.roles import Role, assign
from hamu_ray.tasks.forecast import Forecast


@dataclass(frozen=True)
class Trial:
    """What unlearning computes."""

    work: Work
    steps: int
    examples: float
    """Whose gradient a step computes, on average."""
    evaluations: int


def trial_of(run: RunConfig, tracer: Tracer, forecast: Forecast) -> Trial:
    """Return the gradients and evaluations of a run that takes all of its steps, summed over its workers.

    The update, the exchange between workers and metrics are not counted. Texts are as long as the longest.
    """
    method = configured(run.method)
    if method.edit is not None:
        evaluations = int(run.evaluation.enabled)
        work = _edit(run, tracer, forecast) + _evaluation(run, tracer, True, forecast) * evaluations
        return Trial(work, 0, 0.0, evaluations)
    sizes = {Role.RETAIN: run.batch.retain, Role.FORGET: run.batch.forget}
    objectives = {Role.RETAIN: method.retain, Role.FORGET: method.forget}
    objectives = {role: objective for role, objective in objectives.items() if objective is not None}
    retain = forecast.splits[Role.RETAIN].examples
    steps = min(run.steps_of(retain), run.stop.after_steps or run.steps_of(retain))
    compared = _compared(run, steps)
    work, examples, workers = NOTHING, 0.0, run.workers
    forget = workers.forget_workers and workers.forget_workers // workers.shards
    replicas = workers.count // workers.shards
    parts = [assign(rank, replicas, tuple(objectives), forget) for rank in range(replicas)]
    for role, objective in objectives.items():
        there = forecast.splits[role].examples
        batch = there / -(-there // sizes[role])  # on average: batches of an epoch differ by one at most
        sharing = next(part.size for part in parts if role in part.roles) * workers.shards
        most = micro_batch(math.ceil(batch), sharing, run.batch.micro)
        work += tracer.gradient(True, objective, most, False).work * (steps * batch / most)
        if compared:
            work += tracer.loss(True, objective, most).work * (compared * batch / most)
        examples += batch
    between = _between(run, steps, -(-retain // run.batch.retain))
    subset = run.evaluation.subset
    work += _evaluation(run, tracer, True, forecast, subset, full=False) * between
    work += _evaluation(run, tracer, True, forecast) * run.evaluation.enabled
    return Trial(work, steps, examples, between + run.evaluation.enabled)


def training_of(run: RunConfig, tracer: Tracer, forecast: Forecast) -> Work:
    """Return the gradients and evaluations of training a run's original and its references, where it trains them."""
    retain, forget = (forecast.splits[role].examples for role in Role)
    models = [retain + forget] * (run.original.source == "train")
    models += [retain] * (run.reference.seeds if run.reference.source == "train" else 0)
    work, training = NOTHING, run.training
    batch = (retain + forget) / -(-(retain + forget) // training.batch_size)
    most = micro_batch(math.ceil(batch), run.workers.shards, training.micro_batch_size)
    gradients = tracer.gradient(False, cross_entropy, most, False).work
    for examples in models:
        work += gradients * (training.epochs * examples / most)
        if training.select == "best":
            work += _evaluation(run, tracer, False, forecast, full=False) * training.epochs
        work += _evaluation(run, tracer, False, forecast)
    return work


def _compared(run: RunConfig, steps: int) -> int:
    """Return the number of steps whose predicted changes of the losses are compared with the actual ones."""
    if run.method.hyperparameters.trust_region:
        return steps
    every = run.evaluation.promise_every_steps if run.evaluation.enabled else None
    return 0 if every is None or not steps else steps // every + (every > 1)


def _between(run: RunConfig, steps: int, per_epoch: int) -> int:
    """Return the number of evaluations before the one at the end."""
    epochs, every = run.evaluation.every_epochs, run.evaluation.every_steps
    every = epochs * per_epoch if epochs else every
    return max(0, steps - 1) // every if every and run.evaluation.enabled else 0


def _evaluation(
    run: RunConfig,
    tracer: Tracer,
    unlearned: bool,
    forecast: Forecast,
    subset: int | None = None,
    *,
    full: bool = True,
) -> Work:
    """Return the work of an evaluation; generated answers are part of a full one, and as long as they may be."""
    sizes = [min(side.examples, subset or side.examples) for side in forecast.splits.values()]
    most, generation = run.evaluation.batch_size, tracer.outline.generation
    work = _over(sizes, most, lambda examples: tracer.outputs(unlearned, examples).work)
    if full and generation is not None:
        answers = [min(size, generation.answers) for size in sizes]
        work += _over(answers, most, lambda examples: tracer.outputs(unlearned, examples).work)
        tokens = _over(answers, most, lambda examples: tracer.answers(unlearned, examples).work)
        work += tokens * generation.tokens
    return work


def _over(sizes: Sequence[int], most: int, work: Callable[[int], Work]) -> Work:
    """Return the work of passes over splits of these sizes, in batches."""
    total = NOTHING
    for size in filter(None, sizes):
        examples = min(size, most)
        total += work(examples) * (size / examples)
    return total


def _edit(run: RunConfig, tracer: Tracer, forecast: Forecast) -> Work:
    """Return the work of an edit on all workers: importances for all data, and for the forget set again."""
    settings = run.method.hyperparameters
    objective = cross_entropy if settings.importance == "fisher" else output_norm
    most = min(settings.importance_batch, run.batch.forget, run.batch.micro or settings.importance_batch)
    examples = forecast.splits[Role.RETAIN].examples + 2 * forecast.splits[Role.FORGET].examples
    return tracer.gradient(True, objective, most, False).work * (run.workers.count * examples / most)
