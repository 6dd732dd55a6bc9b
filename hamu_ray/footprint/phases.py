"""The phases of a run with the memory of each: the training of base models, and unlearning."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.planning import configured
from hamu_ray.footprint.parts import (
    FIXED,
    FLOAT32,
    Footprint,
    Pass,
    elements,
    exchange_bytes,
    gathered,
    optimizer_bytes,
    updated,
    weights_of,
)
from hamu_ray.footprint.trace import Tracer
from hamu_ray.methods import Method, Objective
from hamu_ray.methods.objectives import cross_entropy, output_norm
from hamu_ray.pairing.roles import Role, assign
from hamu_ray.tasks.forecast import Forecast

MASKED = FLOAT32 + 2
"""Bytes per weight of a support: the values of weights that do not change, and two masks."""


def footprints(run: RunConfig, tracer: Tracer, forecast: Forecast | None, place: str) -> list[Footprint]:
    """Return the memory of a worker in each phase of a run, on a ``gpu`` or a ``host``.

    ``tracer`` is of the run's outline; ``forecast``, where it is known, limits batches to the examples that there are.
    """
    is_edit = configured(run.method).edit is not None
    phases = [(editing if is_edit else unlearning)(run, tracer, forecast, place)]
    if "train" in (run.original.source, run.reference.source):
        phases.insert(0, training(run, tracer, forecast, place))
    return phases


def training(run: RunConfig, tracer: Tracer, forecast: Forecast | None, place: str) -> Footprint:
    """Return the memory of a worker that trains a base model: alone, or with the shards of one replica."""
    model, shards = tracer.model(False), run.workers.shards
    count = elements(changing(model), shards)
    held = {
        **_weights(model, shards, place),
        "gradients": FLOAT32 * count,
        "optimizer": optimizer_bytes(run.training.optimizer, count),
        "copies of weights": FLOAT32 * count if run.training.select == "best" else 0,
    }
    examples = _examples(run.training.batch_size, forecast, tuple(Role))
    most = micro_batch(examples, shards, run.training.micro_batch_size)
    passes = [
        _gradient(tracer, False, cross_entropy, most, shards, "training.micro_batch_size"),
        _evaluation(run, tracer, False),
    ]
    return _footprint(f"training base models with {run.training.optimizer.name}", model, held, passes)


def unlearning(run: RunConfig, tracer: Tracer, forecast: Forecast | None, place: str) -> Footprint:
    """Return the memory of the worker that needs the most in unlearning."""
    model, workers, method = tracer.model(True), run.workers, configured(run.method)
    count, replicas = elements(changing(model), workers.shards), workers.count // workers.shards
    objectives = {Role.RETAIN: method.retain, Role.FORGET: method.forget}
    needed = {role: objective for role, objective in objectives.items() if objective is not None}
    state = optimizer_bytes(run.optimizer, updated(workers, count))
    held = {
        **_weights(model, workers.shards, place),
        "gradients": FLOAT32 * count * (len(needed) if replicas == 1 else 1),
        "optimizer": state,
        "copies of weights": _copies(run, method, model, count, state),
    }
    update = exchange_bytes(workers, len(needed), count) + _temporaries(run, count)
    passes = [Pass("exchange and update", lambda: update)]
    forget = workers.forget_workers and workers.forget_workers // workers.shards
    parts = [assign(rank, replicas, tuple(needed), forget) for rank in range(replicas)]
    for role, objective in needed.items():
        sharing = next(part.size for part in parts if role in part.roles) * workers.shards
        examples = _examples(getattr(run.batch, role), forecast, (role,))
        most = micro_batch(examples, sharing, run.batch.micro)
        passes.append(_gradient(tracer, True, objective, most, workers.shards, "batch.micro"))
    if run.evaluation.enabled:
        passes.append(_evaluation(run, tracer, True))
    return _footprint(f"unlearning with {run.method.name} and {run.optimizer.name}", model, held, passes)


def editing(run: RunConfig, tracer: Tracer, forecast: Forecast | None, place: str) -> Footprint:
    """Return the memory of a worker that edits the original once: every worker computes the same, as a whole.

    What steps would need, the gradients and the optimizer's state, is held only afterwards.
    """
    model, method, settings = tracer.model(True), configured(run.method), run.method.hyperparameters
    count = elements(changing(model), 1)
    objective = cross_entropy if settings.importance == "fisher" else output_norm
    limits = (settings.importance_batch, run.batch.forget, run.batch.micro or settings.importance_batch)
    part = _gradient(tracer, True, objective, min(limits), 1, "batch.micro")
    # Importances for all data and for the forget set, and the gradient of a batch; once activations are freed, that of
    # its part.
    copies = 3 * FLOAT32 * count
    most = lambda: copies + max(part.size, FLOAT32 * count)  # noqa: E731
    passes = [replace(part, name=f"importances, and {part.name}", measure=most)]
    if run.evaluation.enabled:
        evaluation = _evaluation(run, tracer, True)
        steps = 2 * FLOAT32 * count + optimizer_bytes(run.optimizer, count)
        passes.append(replace(evaluation, measure=lambda: steps + evaluation.size))
    held = {**_weights(model, 1, place), "copies of weights": _copies(run, method, model, count, 0)}
    return _footprint(f"unlearning with {run.method.name}", model, held, passes)


def changing(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that change."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _gradient(
    tracer: Tracer, unlearned: bool, objective: Objective, examples: int, shards: int, key: str
) -> Pass:
    name = f"activations of {examples} {tracer.outline.examples}"
    return Pass(name, lambda: tracer.gradient(unlearned, objective, examples, shards > 1).peak, key, examples)


def _weights(model: nn.Module, shards: int, place: str) -> dict[str, int]:
    held = {"fixed": int(FIXED[place]), **weights_of(model, shards)}
    return {**held, "gathered layers": gathered(model)} if shards > 1 else held


def _copies(run: RunConfig, method: Method, model: nn.Module, count: int, state: int) -> int:
    """Return the bytes of a run's copies of weights: of teachers, for steps that may be reverted, and of a support."""
    needs = frozenset[str]().union(*(each.needs for each in (method.retain, method.forget) if each))
    settings, copies = run.method.hyperparameters, 0
    if "original" in needs and run.data.task == "language":  # of images, the logits are kept instead
        copies += FLOAT32 * count
    if "random" in needs:
        copies += FLOAT32 * sum(parameter.numel() for parameter in model.parameters())
    if settings.trust_region:
        copies += FLOAT32 * count + state
    if run.support.kind != "all" or settings.saliency is not None:
        copies += MASKED * count
    return copies


def _temporaries(run: RunConfig, count: int) -> int:
    """Return the bytes of an update's intermediate results, of a worker that holds ``count`` weights."""
    settings, own = run.method.hyperparameters, FLOAT32 * updated(run.workers, count)
    restored = own if run.support.kind != "all" or settings.saliency is not None else 0
    penalised = 2 * own if settings.l1_penalty else 0
    return max(restored, penalised, FLOAT32 * count if settings.trust_region else 0)


def _evaluation(run: RunConfig, tracer: Tracer, unlearned: bool) -> Pass:
    size = run.evaluation.batch_size
    name = f"evaluation of {size} {tracer.outline.examples}"
    return Pass(name, lambda: tracer.evaluation(unlearned, size).peak, "evaluation.batch_size", size)


def _examples(batch: int, forecast: Forecast | None, roles: Sequence[Role]) -> int:
    """Return the size of a global batch: batches of an epoch differ by one at most."""
    if forecast is None:
        return batch
    there = sum(forecast.splits[role].examples for role in roles)
    return -(-there // -(-there // batch))


def micro_batch(examples: int, workers: int, limit: int | None) -> int:
    """Return the size of the largest micro-batch of a global batch that workers share."""
    share = -(-examples // workers)
    return min(limit or share, share)


def _footprint(phase: str, model: nn.Module, held: dict[str, int], passes: Sequence[Pass]) -> Footprint:
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return Footprint(
        phase=phase,
        parameters=sum(size for size, _ in sizes),
        trained=sum(size for size, changes in sizes if changes),
        held={name: size for name, size in held.items() if size},
        passes=passes,
    )
