"""Samples of a search space: the names that Optuna has for keys, and how their values are drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from hamu_ray.config.sources.key_paths import SEEDS
from hamu_ray.config.space import Domain, Scalar
from hamu_ray.config.sweep import SweepConfig


def sampled_names(config: SweepConfig, parameters: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return a trial's values by the names that Optuna has for them, without those of grids."""
    names: dict[str, Scalar] = {}
    for path, value in parameters.items():
        domain = config.domain(path, parameters)
        if domain is not None and domain.grid is None:
            names[parameter_name(path, domain, config.space[path])] = value
    return names


def suggest(trial: optuna.Trial, config: SweepConfig, cell: Mapping[str, Scalar]) -> None:
    """Sample what the grid cell leaves open: method and forget objective first, then the hyperparameters they use."""
    values = dict(cell)
    for path in config.in_order:
        domain = None if path in cell else config.domain(path, values)
        if domain is not None:
            values[path] = suggest_one(trial, parameter_name(path, domain, config.space[path]), domain)


def parameter_name(path: str, domain: Domain, domains: Sequence[Domain]) -> str:
    """Return Optuna's name of a parameter: one per domain of a path, because each has its own distribution."""
    return path if len(domains) == 1 else f"{path}[{domains.index(domain)}]"


def suggest_one(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    """Sample one hyperparameter."""
    if domain.uniform is not None:
        return trial.suggest_float(name, *domain.uniform)
    if domain.loguniform is not None:
        return trial.suggest_float(name, *domain.loguniform, log=True)
    if domain.integers is not None:
        return trial.suggest_int(name, *domain.integers)
    return trial.suggest_categorical(name, domain.examples)


def cells_but_for_the_seeds(
    cells: Sequence[Mapping[str, Scalar]], searches: Sequence[int]
) -> list[list[int]]:
    """Return, for each cell, the indices of the cells that equal it except for the seeds, including itself.

    They are those of the same search: ``searches`` has the seed of each cell's.
    """
    keys = [
        (search, *((path, value) for path, value in cell.items() if path not in SEEDS))
        for search, cell in zip(searches, cells, strict=True)
    ]
    peers: dict[tuple[object, ...], list[int]] = {}
    for i, key in enumerate(keys):
        peers.setdefault(key, []).append(i)
    return [peers[key] for key in keys]
