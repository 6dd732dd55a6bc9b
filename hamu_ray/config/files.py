"""Reading configurations from files, with errors of one line: the file, the key's path, the remedy."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hamu_ray.config.credentials import check_no_credentials
from hamu_ray.config.document import ConfigError, assign, parse_override, read_yaml, with_absolute_paths
from hamu_ray.config.explain import explain, shown
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sweep import Scalar, SweepConfig

__all__ = ["ConfigError", "load_run", "load_sweep", "read_yaml"]

CHECKED_CELLS = 1000
"""Cells of the grids that are checked as a whole; each value on its own is checked always."""

Config = TypeVar("Config", bound=RunConfig)


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check the configuration of one run; raises `ConfigError`."""
    return _load(RunConfig, path, overrides)


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read and check a search space, every listed value and bound included; raises `ConfigError`."""
    config = _load(SweepConfig, path, overrides)
    for key, domain in config.space.items():
        for value in domain.examples:
            _check_resolves(config, path, config.example({key: value}), (key,))
    for cell in islice(config.cells(), CHECKED_CELLS):
        example = config.example(cell)
        _check_resolves(config, path, example, tuple(example))
    return config


def _check_resolves(
    config: SweepConfig, path: str | Path, parameters: Mapping[str, Scalar], varied: Sequence[str]
) -> None:
    """Check that a point of the space is a valid run; ``varied`` are the keys to blame where it is not."""
    try:
        config.resolve(parameters)
    except ValidationError as error:
        place, problem = explain(error, RunConfig, config.document(parameters))
        if place in config.space:
            raise ConfigError(f"{path}: space.{place}: {problem}") from error
        values = ", ".join(f"{key} {shown(parameters[key])}" for key in varied)
        raise ConfigError(f"{path}: space: with {values}: {_joined(place, problem)}") from error


def _load(schema: type[Config], path: str | Path, overrides: Sequence[str]) -> Config:
    document = read_yaml(path)
    changed: dict[str, str] = {}
    for text in overrides:
        key, value = parse_override(text)
        try:
            assign(document, key, value)
        except ValueError as error:
            raise ConfigError(f"{path} with --set {text}: {error}") from error
        changed[key] = text
    try:
        check_no_credentials(document)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return schema.model_validate(with_absolute_paths(document))
    except ValidationError as error:
        place, problem = _explained(error, schema, document)
        source = f"{path}{_blamed(place, changed)}"
        raise ConfigError(f"{source}: {_joined(place, problem)}") from error


def _explained(error: ValidationError, schema: type[BaseModel], document: Any) -> tuple[str, str]:
    """Explain an error, with what only the commands know: which of them takes which file."""
    place, problem = explain(error, schema, document)
    if schema is RunConfig and place in ("space", "search"):
        return place, "a single run has none; remove it, or sweep with python -m hamu_ray.tune"
    if schema is SweepConfig and place == "space" and "space" not in document:
        return place, (
            "missing; name a key to vary, such as optimizer.learning_rate: {loguniform: [1.0e-4, 0.1]}, "
            "or take python -m hamu_ray.unlearn for a single run"
        )
    return place, problem


def _blamed(place: str, changed: Mapping[str, str]) -> str:
    """Name the ``--set`` that an error may come from, if there is one."""
    for key, text in changed.items():
        if f"{place}.".startswith(f"{key}.") or (place and key.startswith(f"{place}.")):
            return f" with --set {text}"
    return ""


def _joined(place: str, problem: str) -> str:
    return f"{place}: {problem}" if place else problem
