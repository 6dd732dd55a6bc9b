"""The trials of a sweep: how many samples each cell of the grids has, and the numbers of the trials."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from pydantic import ValidationError

from hamu_ray.config.run import RunConfig
from hamu_ray.config.search import Budget, RungsConfig
from hamu_ray.config.sources.explain import explain
from hamu_ray.config.sources.key_paths import SEEDS
from hamu_ray.config.sources.keys import keys_of_domain
from hamu_ray.config.space import FORGET_OBJECTIVE, METHOD_NAME, Scalar
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.methods import METHODS

AFTER_STEPS = "stop.after_steps"


def samples_of(config: SweepConfig, cells: Sequence[Mapping[str, Scalar]]) -> list[int]:
    """Return the number of samples of each cell: the same, or what the method's share of the budget pays for.

    Raises:
        ValueError: It is unknown what a trial computes, the budget pays for no trial in each cell of a method, rungs
            would end all trials of a cell or are beyond their steps, trials cannot keep models, or every repetition of
            the search would be the same. The message begins with the key.
    """
    samples = _samples_of(config, cells)
    _check_repeats(config)
    _check_points(config)
    if config.search.scheduler is not None:
        _check_rungs(config, config.search.scheduler, min(samples, default=0))
    return samples


def _check_repeats(config: SweepConfig) -> None:
    """Check that the search has something to repeat, and that its repetitions do not depend on each other."""
    if config.search.repeats == 1:
        return
    is_sampled = any(domain.grid is None for domains in config.space.values() for domain in domains)
    if not is_sampled:
        raise ValueError(
            f"search.repeats: {config.search.repeats}, but no key is sampled: each repetition would have the same "
            "trials; remove it, or sample a key"
        )
    if config.search.pruning is not None:
        raise ValueError(
            f"search.repeats: {config.search.repeats}, but pruning compares a trial with those of all repetitions; "
            "remove search.pruning, or use search.scheduler"
        )


def _check_points(config: SweepConfig) -> None:
    """Check that trials can keep models on their way."""
    most = config.search.points_per_trial
    if isinstance(most, int) and most and any(run.workers.shards > 1 for run in config.variants("workers.")):
        raise ValueError(
            f"search.points_per_trial: {most}, but a model in shards keeps none on its way; set it to 0 or auto, or "
            "workers.shards to 1"
        )


def _check_rungs(config: SweepConfig, rungs: RungsConfig, samples: int) -> None:
    """Check that rungs leave a trial of each cell, and compare trials of one kind."""
    runs = _variants(config, ("duration.", "evaluation.", AFTER_STEPS))
    if not all(run.evaluation.enabled for run in runs):
        raise ValueError(
            "search.scheduler: rungs compare metrics, and evaluation.enabled false measures none; remove one of them"
        )
    ends = [run.stop.after_steps or run.duration.steps for run in runs]
    known = [step for step in ends if step is not None]
    last = max(known) if len(known) == len(ends) else None
    if last is not None:
        _check_reached(rungs, last)
    if any(key in SEEDS for path in config.space for key in keys_of_domain(path)):
        raise ValueError(
            "search.scheduler: rungs do not compare means over seeds; remove the seeds from the space, and run the "
            "selected point with more seeds: python -m hamu_ray.select SWEEP --confirm 4"
        )
    pauses = rungs.pauses(last)
    least = rungs.reduction ** len(pauses)
    if samples < least:
        raise ValueError(
            f"search.scheduler: {len(pauses)} rungs with reduction {rungs.reduction} need {least} or more samples of "
            f"each cell for one of them to reach the end, found {samples}"
        )


def check_steps(config: SweepConfig, retain_examples: Collection[int]) -> None:
    """Check that no trial is to stop after its last step, and that there are trials that reach all rungs.

    ``retain_examples`` are the sizes of the sweep's retain sets, as far as they are known.

    Raises:
        ValueError: One of them cannot happen. The message begins with the key.
    """
    runs = _variants(config, ("duration.", "batch.retain", AFTER_STEPS))
    last = [
        min(run.steps_of(size), run.stop.after_steps or math.inf) for size in retain_examples for run in runs
    ]
    if config.search.scheduler is not None and last:
        _check_reached(config.search.scheduler, max(last))


def _variants(config: SweepConfig, prefixes: tuple[str, ...]) -> list[RunConfig]:
    """Return a run for each combination of the example values of these keys; raises `ValueError` for an invalid one.

    Each value has been checked with the first ones of the other keys alone.
    """
    try:
        return list(config.variants(prefixes))
    except ValidationError as error:
        raise ValueError(": ".join(explain(error, RunConfig, {}))) from error


def _check_reached(rungs: RungsConfig, last: float) -> None:
    """Check that no rung is beyond the last step of all trials."""
    if rungs.steps[-1] > last:
        raise ValueError(
            f"search.scheduler.steps: {rungs.steps[-1]} is beyond the last step of a trial, {last} by duration and "
            f"{AFTER_STEPS}; remove it, or let trials run longer"
        )


def _samples_of(config: SweepConfig, cells: Sequence[Mapping[str, Scalar]]) -> list[int]:
    budget = config.search.budget
    if budget is None:
        return [config.search.samples] * len(cells)
    if any(domain.grid is None for domain in config.space.get(METHOD_NAME, ())):
        raise ValueError("search.budget: needs methods that are fixed or in a grid")
    if budget.gradients is None:
        return [config.search.samples] * len(cells)
    varied = [key for path in config.space for key in keys_of_domain(path) if key.startswith("duration.")]
    if config.duration.steps is None or varied:
        raise ValueError("search.budget.gradients: needs duration.steps, the same in all trials")
    methods = methods_of(config, cells)
    counts = Counter(methods)
    return [
        _paid(budget, budget.gradients, method, counts[method, objective], config.duration.steps)
        for method, objective in methods
    ]


def methods_of(config: SweepConfig, cells: Sequence[Mapping[str, Scalar]]) -> list[tuple[str, Scalar]]:
    """Return the method and its forget objective, None for its own, of each cell of a sweep with a budget."""
    return [
        (
            str(cell.get(METHOD_NAME, config.method.name)),
            cell.get(FORGET_OBJECTIVE, config.method.forget_objective),
        )
        for cell in cells
    ]


def _paid(budget: Budget, gradients: int, method: str, cells: int, steps: int) -> int:
    """Return the number of samples of a method, whose gradients are given, in each of its cells."""
    known = METHODS[method]
    cost = steps * ((known.retain is not None) + (known.forget is not None))
    if known.edit is not None:
        if budget.edit is None:
            raise ValueError(
                f"search.budget.edit: null, but {method} takes no steps; give the gradients of its one pass: retain "
                "examples / batch.retain + 2 x forget examples / batch.forget"
            )
        cost = budget.edit
    samples = gradients // max(1, cost * cells)
    if not samples:
        raise ValueError(
            f"search.budget.gradients: {gradients:,} do not pay for a trial of {method} in each of its "
            f"{cells} cells: {cells} x {cost:,}"
        )
    return samples


def positions(samples: Sequence[int]) -> list[tuple[int, int]]:
    """Return sample and cell of each trial by its number, from the number of samples of each cell.

    All cells have their first sample before one has its second.
    """
    rounds = range(max(samples, default=0))
    return [(sample, cell) for sample in rounds for cell, most in enumerate(samples) if sample < most]


def trials_of(config: SweepConfig) -> int:
    """Return the number of trials: the samples of all grid cells, in each repetition of the search."""
    return config.search.repeats * sum(samples_of(config, list(config.cells())))
