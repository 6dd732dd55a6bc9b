"""The search algorithm of a sweep: the choice of `algorithm: auto`, and Optuna's sampler."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

from hamu_ray.config.space import Scalar, deciding
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.wording import counted

MOST_RANDOM = 10
"""Maximum number of initial random samples of a model-based algorithm; never more than half of all."""

POPULATION = 50
"""NSGA-II's population where there are samples for `GENERATIONS` of it; otherwise it is smaller."""
GENERATIONS = 5

LEAST_TO_LEARN = 5
"""Minimum number of samples from which a model can propose another."""
MOST_FOR_GP = 200
"""Maximum number of samples of a Gaussian process, whose time per suggestion grows with the cube of their number."""
MOST_DIMENSIONS_FOR_GP = 8
MOST_FOR_TPE = 2000
"""Maximum number of samples of TPE, whose time per suggestion grows with their number."""


class Choice(NamedTuple):
    """A search algorithm, and why it was chosen."""

    algorithm: str
    reason: str


def choose(config: SweepConfig, cells: Sequence[Mapping[str, Scalar]], most: int) -> Choice:
    """Return the search algorithm of a sweep with these cells of at most so many samples: the given one, or of `auto`.

    The reason is empty for a given one.
    """
    search, space = config.search, config.space
    if search.algorithm != "auto":
        return Choice(search.algorithm, "")
    sampled = {path: [d for d in domains if d.grid is None] for path, domains in space.items()}
    sampled = {path: domains for path, domains in sampled.items() if domains}
    samples = counted(most, "sample")
    if not sampled:
        return Choice("grid", "no key is sampled")
    is_cold = search.warm_start is None
    if is_cold and most < LEAST_TO_LEARN:
        return Choice("random", f"{samples} of a cell are too few to learn from")
    if is_cold and search.concurrent is not None and search.concurrent >= most * len(cells):
        return Choice("random", f"all {samples} of a cell run at once, so that none can learn from another")
    if most > MOST_FOR_TPE:
        return Choice("nsga2", f"{samples} of a cell, where a model of all earlier ones would be slow")
    for path in sampled:
        if above := next((other for other in deciding(space, path) if other in sampled), None):
            return Choice("tpe", f"how {path} varies depends on {above}, which is sampled, too")
    for path, domains in sampled.items():
        if any(domain.choice for domain in domains):
            return Choice("tpe", f"{path} is a choice")
    keys = max(sum(config.applies(path, cell) for path in sampled) for cell in cells)
    if keys > MOST_DIMENSIONS_FOR_GP:
        return Choice("tpe", f"{keys} keys are sampled")
    if most > MOST_FOR_GP:
        return Choice("tpe", f"{samples} of a cell, where a Gaussian process would be slow")
    if search.scheduler is not None:
        return Choice("tpe", "a Gaussian process learns worse from trials that end at a rung")
    return Choice("gp", f"{counted(keys, 'key')} without choices or conditions, {samples} of a cell")


def startup_of(samples: int) -> int:
    """Return the number of initial random samples of a study of so many samples."""
    return max(1, min(MOST_RANDOM, samples // 2))


def common_draws(config: SweepConfig, seed: int, number: int) -> list[dict[str, float]]:
    """Return the first points of a scrambled Sobol sequence in a sweep's space: by path, the place 0..1 in its domain.

    Every cell of a search takes the same points, those of its seed, so that methods share the values of the keys that
    they share.
    """
    cube: dict[str, BaseDistribution] = {path: FloatDistribution(0, 1) for path in sorted(config.space)}
    sampler = optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_asynchronous_seeding=False)
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask() for _ in range(number)]
    return [sampler.sample_relative(study, study.trials[trial.number], cube) for trial in trials]


def make_sampler(algorithm: str, samples: int, seed: int) -> optuna.samplers.BaseSampler:
    """Return the Optuna sampler of a search algorithm for a study of so many samples."""
    match algorithm:
        case "tpe":
            # Grouped: if the method is sampled too, each combination of hyperparameters has its own model.
            return optuna.samplers.TPESampler(
                seed=seed,
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=startup_of(samples),
            )
        case "nsga2":
            population = max(2, min(POPULATION, samples // GENERATIONS))
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup_of(samples))
        case _:
            return optuna.samplers.RandomSampler(seed=seed)


def ask_for(study: optuna.Study, values: Mapping[str, Scalar]) -> optuna.Trial:
    """Return a new trial of a study that will have these values."""
    study.enqueue_trial(dict(values))
    trial = study.ask()
    if isinstance(study.sampler, optuna.samplers.NSGAIISampler):
        _ = (
            trial.relative_params
        )  # drawn on demand; NSGA-II ignores trials that it has not drawn for a generation
    return trial
