"""Reading configurations from YAML, with errors of one line: the file, the key's path, the remedy."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sweep import SweepConfig, assign

MAX_BYTES = 1_000_000
"""A configuration larger than this is not one that a person wrote."""

Config = TypeVar("Config", bound=RunConfig)


class ConfigError(ValueError):
    """A configuration that cannot be run; its text is one line for the user."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the nearest known word, or the list of all when none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``key.path=value``; the value is read as YAML."""
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise ConfigError(f"--set {text}: write it as key.path=value")
    try:
        return path.strip(), number_or_same(yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not YAML: {first_line(error)}") from error


def number_or_same(value: Any) -> Any:
    """Read ``1e-4``, which YAML 1.1 takes for text, as the number it is; leave everything else."""
    if isinstance(value, Mapping):
        return {key: number_or_same(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [number_or_same(inner) for inner in value]
    if isinstance(value, str) and value[:1] in "+-.0123456789" and "e" in value.lower():
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else value
    return value


def first_line(error: BaseException) -> str:
    """The error's first line, without its type."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping as data alone; raises `ConfigError`."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes; a configuration is a short text")
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        siblings = [str(p) for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        hint = nearest(str(path), siblings) if siblings else "check the path"
        raise ConfigError(f"{path}: no such file; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {first_line(error)}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values")
    return number_or_same(document)


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check the configuration of one run; raises `ConfigError`."""
    return _load(RunConfig, path, overrides)


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read and check a search space, every listed value and bound included; raises `ConfigError`."""
    config = _load(SweepConfig, path, overrides)
    for key, domain in config.space.items():
        for value in domain.examples:
            try:
                config.resolve({key: value})
            except (ValidationError, ValueError) as error:
                raise ConfigError(f"{path}: space.{key}: {value!r}: {_explain(error, RunConfig)}") from error
    return config


def _load(schema: type[Config], path: str | Path, overrides: Sequence[str]) -> Config:
    document = read_yaml(path)
    for text in overrides:
        key, value = parse_override(text)
        try:
            assign(document, key, value)
        except ValueError as error:
            raise ConfigError(f"--set {text}: {error}") from error
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error, schema)}") from error


def _explain(error: ValueError, schema: type[BaseModel]) -> str:
    """One line for the first thing that is wrong."""
    if not isinstance(error, ValidationError):
        return first_line(error)
    detail = error.errors(include_url=False)[0]
    path = [str(part) for part in detail["loc"]]
    place = ".".join(_without_tags(path, schema))
    message = _remedy(detail, path, schema)
    return f"{place}: {message}" if place else message


def _remedy(detail: ErrorDetails, path: list[str], schema: type[BaseModel]) -> str:
    found = detail.get("input")
    if detail["type"] == "extra_forbidden":
        section = _section(path[:-1], schema)
        return f"unknown key; {nearest(path[-1], section.model_fields)}" if section else "unknown key"
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return "missing; add it"
    message = detail["msg"].removeprefix("Input ")
    return f"{message[:1].lower()}{message[1:]}, found {found!r}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field's type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _section(path: list[str], schema: type[BaseModel]) -> type[BaseModel] | None:
    """Follow a validation error's location (field names, and tags of unions) to the section it is in."""
    section: type[BaseModel] = schema
    candidates: list[type[BaseModel]] = [schema]
    for part in path:
        owners = [c for c in candidates if part in c.model_fields]
        if owners:
            candidates = _models(owners[0].model_fields[part].annotation)
        else:
            candidates = [c for c in candidates if _tag(c) == part]
        if not candidates:
            return None
        section = candidates[0]
    return section


def _tag(section: type[BaseModel]) -> str | None:
    """The value that picks a section out of a union: the default of its `name` or `kind`."""
    for key in ("name", "kind"):
        if key in section.model_fields:
            return section.model_fields[key].default
    return None


def _without_tags(path: list[str], schema: type[BaseModel]) -> list[str]:
    """Drop the tags of unions from a location, so that it reads as in the YAML file."""
    kept: list[str] = []
    for index, part in enumerate(path):
        section = _section(path[:index], schema)
        if index and section is not None and part not in section.model_fields:
            owner = _section(path[: index - 1], schema)
            field = owner.model_fields.get(path[index - 1]) if owner else None
            if field is not None and part in {_tag(model) for model in _models(field.annotation)}:
                continue
        kept.append(part)
    return kept
