"""The searcher: Optuna on both objectives at once, grids crossed with sampled dimensions."""

import math
import warnings
from functools import partial
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from hamu_ray.config.sweep import METHOD_NAME, Domain, SearchConfig, SweepConfig


class UnlearningSearch(OptunaSearch):
    """`OptunaSearch` that takes a trial without finite objectives as failed, so that it never looks good."""

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Tell the study a trial's end."""
        if result and not all(math.isfinite(result.get(metric, math.nan)) for metric in self.metric):
            result, error = None, True
        super().on_trial_complete(trial_id, result, error)


def make_search(config: SweepConfig) -> UnlearningSearch:
    """Return the searcher of a sweep: every cell of the grids is queued, the rest is sampled."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    objectives = config.search.objectives
    queue = [dict(cell) for _ in range(config.search.samples) for cell in config.cells()]

    return UnlearningSearch(
        space=partial(suggest, config=config),
        metric=[objective.metric for objective in objectives],
        mode=[objective.mode for objective in objectives],
        points_to_evaluate=queue if any(queue) else None,
        sampler=make_sampler(config.search),
        study_name=config.name,
    )


def make_sampler(search: SearchConfig) -> optuna.samplers.BaseSampler:
    """Return the Optuna sampler of a search algorithm."""
    match search.algorithm:
        case "tpe":
            # Grouped: methods have different parameters, and each combination is modelled on its own.
            return optuna.samplers.TPESampler(
                seed=search.seed, multivariate=True, group=True, constant_liar=True
            )
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=search.seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=search.seed)
        case "random" | "grid":
            return optuna.samplers.RandomSampler(seed=search.seed)


def suggest(trial: optuna.Trial, config: SweepConfig) -> None:
    """Sample the method first, then every parameter that it has."""
    paths = sorted(config.space, key=lambda path: path != METHOD_NAME)
    method = config.method.name
    for path in paths:
        if config.applies(path, method):
            value = suggest_one(trial, path, config.space[path])
            method = value if path == METHOD_NAME else method


def suggest_one(trial: optuna.Trial, path: str, domain: Domain) -> Any:
    """Sample one parameter."""
    if domain.uniform is not None:
        return trial.suggest_float(path, *domain.uniform)
    if domain.loguniform is not None:
        return trial.suggest_float(path, *domain.loguniform, log=True)
    if domain.integers is not None:
        return trial.suggest_int(path, *domain.integers)
    return trial.suggest_categorical(path, domain.examples)
