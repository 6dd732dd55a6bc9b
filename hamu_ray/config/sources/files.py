"""Reading configurations from files, with one-line errors: the file, the key path, the remedy."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.credentials import check_no_credentials
from hamu_ray.config.sources.document import (
    SPACE,
    ConfigError,
    assign,
    parse_override,
    read_yaml,
    split_path,
    value_at,
    with_absolute_paths,
)
from hamu_ray.config.sources.explain import explain, shown
from hamu_ray.config.sources.fixing import fix
from hamu_ray.config.sources.keys import keys_of_domain
from hamu_ray.config.sources.layers import PRESET, Layer, merge, read_stack, source_of
from hamu_ray.config.space import Scalar
from hamu_ray.config.sweep import SweepConfig

__all__ = ["ConfigError", "load", "load_run", "load_sweep", "read_yaml"]

SHARDS = "workers.shards"
"""The key that may be `auto` in files: commands replace it by a number."""

CHECKED_CELLS = 1000
"""Maximum number of grid cells that are checked as a whole; individual values are always checked."""

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class Source:
    """A complete configuration as plain data, and where its keys were written."""

    path: str | Path
    document: dict[str, Any]
    layers: Sequence[Layer]
    changed: dict[str, str] = field(default_factory=dict)
    """Changes by ``--set``: key paths to the given texts."""
    fixed: dict[str, str] = field(default_factory=dict)
    """Keys of the space that ``--set`` fixed, and keys that are unused as a result: to the given texts."""

    def error(self, place: str, problem: str, *, written: str | None = None) -> ConfigError:
        """Return a one-line error for a key; ``written`` is the key whose origin is reported."""
        origin = str(self.path)
        if override := _blamed(place, self.changed):
            origin += f" with --set {override}"
        elif (source := source_of(self.layers, written or place)) not in (None, origin):
            own_preset = source.startswith(f"{origin} with ")
            origin = source if own_preset else f"{origin} extends {source}"
        return ConfigError(f"{origin}: {_joined(place, problem)}")


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and validate the configuration of one run; raises `ConfigError`."""
    return _validated(RunConfig, read_source(path, overrides))


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read and validate a search space, including every listed value and bound; raises `ConfigError`."""
    return _checked_sweep(read_source(path, overrides))


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and validate a run, or a search space if the file is one; raises `ConfigError`."""
    source = read_source(path, overrides)
    return _checked_sweep(source) if SPACE in source.document else _validated(RunConfig, source)


def check_run_document(document: dict[str, Any], origin: str) -> RunConfig:
    """Check the configuration of one run that is plain data; raises `ConfigError` that begins with its origin."""
    return _validated(RunConfig, Source(origin, document, []))


def check_sweep_document(document: dict[str, Any], origin: str) -> SweepConfig:
    """Check a search space that is plain data, as `load_sweep` does; raises `ConfigError` as `check_run_document`."""
    return _checked_sweep(Source(origin, document, []))


def read_source(path: str | Path, overrides: Sequence[str] = ()) -> Source:
    """Read a file and the files it extends, and apply ``--set``; raises `ConfigError`."""
    stack = read_stack(path)
    changes = [(*parse_override(text), text) for text in overrides]
    layers = list(stack.layers)
    for key, value, text in changes:
        if key == PRESET:
            try:
                layers += stack.preset(value)
            except ConfigError as error:
                raise ConfigError(f"{path} with --set {text}: {error}") from error
    document = merge(layers)
    changed: dict[str, str] = {}
    fixed: dict[str, str] = {}
    for key, value, text in changes:
        if key == PRESET:
            continue
        try:
            _change(document, key, value)
        except ValueError as error:
            raise ConfigError(f"{path} with --set {text}: {error}") from error
        changed[key] = text
        fixed |= dict.fromkeys(fix(document, key, value), text)
    return Source(path, document, layers, changed, fixed)


def has_automatic_shards(path: str | Path, overrides: Sequence[str] = ()) -> bool:
    """Whether a file leaves the number of shards to the command; raises `ConfigError`."""
    workers = read_source(path, overrides).document.get("workers")
    return isinstance(workers, Mapping) and workers.get("shards") == "auto"


def with_shards(overrides: Sequence[str], shards: int) -> list[str]:
    """Return the overrides of a command with a number of shards."""
    return [*overrides, f"{SHARDS}={shards}"]


@contextmanager
def naming_origins(path: str | Path, overrides: Sequence[str]) -> Iterator[None]:
    """Within, errors of later checks name where a key was written, as those of the schema do.

    They begin with the file and the key; the key may be from ``--set``, a preset or an extended file.
    """
    try:
        yield
    except ConfigError as error:
        found = re.fullmatch(rf"{re.escape(str(path))}: ([a-z_]+(?:\.\w+)*): (.*)", str(error), re.DOTALL)
        if found is None:
            raise
        raise read_source(path, overrides).error(*found.groups()) from error


def _change(document: dict[str, Any], key: str, value: Any) -> None:
    """Set a key; null in place of a section or domain removes it, as in a file that extends another."""
    if value is None and isinstance(
        value_at(document, key), dict | list if key.startswith(f"{SPACE}.") else dict
    ):
        *sections, last = split_path(key)
        del (value_at(document, ".".join(sections)) if sections else document)[last]
    else:
        assign(document, key, value)


def _checked_sweep(source: Source) -> SweepConfig:
    config = _validated(SweepConfig, source)
    for path, point in config.points():
        _check_resolves(config, source, point, (path,))
    for cell in islice(config.cells(), CHECKED_CELLS):
        example = config.example(cell)
        _check_resolves(config, source, example, tuple(example))
    return config


def _check_resolves(
    config: SweepConfig, source: Source, parameters: Mapping[str, Scalar], varied: Sequence[str]
) -> None:
    """Check that a point of the space is a valid run; ``varied`` are the keys to report if it is not."""
    try:
        config.resolve(parameters)
    except ValidationError as error:
        place, problem = explain(error, RunConfig, config.document(parameters))
        domain = next((path for path in config.space if place in keys_of_domain(path)), None)
        if domain is not None:
            raise source.error(f"{SPACE}.{domain}", problem) from error
        values = ", ".join(f"{key} {shown(parameters[key])}" for key in varied)
        problem = f"with {values}: {_joined(place, problem)}"
        raise source.error(SPACE, problem, written=f"{SPACE}.{varied[0]}") from error


def _validated(schema: type[Config], source: Source) -> Config:
    try:
        check_no_credentials(source.document)
    except ValueError as error:
        raise ConfigError(f"{source.path}: {error}") from error
    try:
        return schema.model_validate(with_absolute_paths(source.document))
    except ValidationError as error:
        raise source.error(*_explained(error, schema, source.document)) from error


def _explained(error: ValidationError, schema: type[BaseModel], document: Any) -> tuple[str, str]:
    """Explain an error and name the command for this kind of file."""
    place, problem = explain(error, schema, document)
    if schema is RunConfig and place in ("space", "search"):
        return place, "not valid for a single run; remove it, or run a sweep with python -m hamu_ray.tune"
    if schema is SweepConfig and place == "space" and "space" not in document:
        return place, (
            "missing; add a key to vary, such as optimizer.learning_rate: {loguniform: [1.0e-4, 0.1]}, "
            "or use python -m hamu_ray.unlearn for a single run"
        )
    return place, problem


def _blamed(place: str, changed: Mapping[str, str]) -> str | None:
    """Return the ``--set`` that may have caused an error, if there is one."""
    for key, text in changed.items():
        if f"{place}.".startswith(f"{key}.") or (place and key.startswith(f"{place}.")):
            return text
    return None


def _joined(place: str, problem: str) -> str:
    return f"{place}: {problem}" if place else problem
