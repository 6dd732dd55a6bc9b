"""Configurations as plain data: read from YAML, changed by ``--set``. Every error is one line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.sources.shipped import name_of, shipped_spaces

MAX_BYTES = 1_000_000
"""Maximum size of a configuration file."""

MAX_VALUES = 100_000
"""Maximum number of values after expanding aliases (`*name`)."""

SPACE = "space"
"""The section whose keys are key paths and contain dots."""


class ConfigError(ValueError):
    """An invalid configuration. The message is one line for the user."""


class _Loader(yaml.SafeLoader):
    """YAML loader for plain data that parses ``1e-4`` as a number and rejects duplicate keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping. Duplicates are checked here, before ``<<`` merges keys that may be overridden."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value} is already given on line {lines[key.value]}; remove one of the two",
                    problem_mark=key.start_mark,
                )
            if isinstance(key, yaml.ScalarNode):
                lines[key.value] = key.start_mark.line + 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Compose the whole document, and check its size before aliases and ``<<`` are expanded."""
        node = super().get_single_node()
        if node is not None and _unfolded(node, {}) > MAX_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"its aliases expand to more than {MAX_VALUES} values; write the values out"
            )
        return node


def _unfolded(node: yaml.Node, counted: dict[yaml.Node, int]) -> int:
    """Return the number of values in a node with aliases expanded; each node is visited once."""
    if node not in counted:
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        values = [item for pair in inner for item in pair] if isinstance(node, yaml.MappingNode) else inner
        counted[node] = 1 + sum(_unfolded(item, counted) for item in values)
    return counted[node]


_Loader.add_implicit_resolver(  # YAML 1.1 parses numbers without a point, such as 1e-4, as strings
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse(text: str | bytes) -> Any:
    """Parse YAML into plain data; raises `ConfigError` with the line and the problem."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        problem = ", ".join(filter(None, (error.context, error.problem)))
        remedy = "; indent with spaces" if "'\\t'" in problem else ""
        raise ConfigError(f"{where}{problem or 'not valid YAML'}{remedy}") from error
    except RecursionError as error:
        raise ConfigError("nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: for example the date 2024-13-45
        raise ConfigError(f"not valid YAML: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; for an operating-system error, only its description."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping as plain data; raises `ConfigError`."""
    try:
        place = place_of(path)
        with place.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        siblings = [str(p) for p in place.parent.glob("*.yaml")] if place.parent.is_dir() else []
        if name := name_of(path):
            hint = f"for the search space that comes with hamu_ray, give its name: {name}"
        elif not Path(str(path)).suffix:
            hint = nearest(str(path), [*shipped_spaces(), *siblings])
        else:
            hint = nearest(str(path), siblings) if siblings else "check the path"
        raise ConfigError(f"{path}: no such file; {hint}") from None
    except (OSError, ImportError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {first_line(error)}; give a YAML file") from error
    return parse_document(content, str(path))


def parse_document(content: bytes, name: str) -> dict[str, Any]:
    """Return the YAML mapping that a file of this name holds, as data alone; raises `ConfigError`."""
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{name}: larger than {MAX_BYTES} bytes, the limit for a configuration")
    try:
        document = parse(content)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    if document is None:
        raise ConfigError(f"{name}: is empty; write keys and values, such as `name: my-run`")
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else "a single value"
        raise ConfigError(f"{name}: expected keys and values, such as `name: my-run`, found {kind}")
    return document


def place_of(path: str | Path) -> Any:
    """Return a local path, or a path behind a URL, where a sweep's storage may be."""
    if "://" not in str(path):
        return Path(path)
    from upath import UPath  # imported late: most configurations are local files

    return UPath(path)


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``key.path=value``; the value is parsed as YAML."""
    path, separator, value = text.partition("=")
    path = path.strip()
    if not separator or not all(path.split(".")):
        raise ConfigError(f"--set {text}: write it as key.path=value")
    try:
        return path, parse(value)
    except ConfigError as error:
        raise ConfigError(f"--set {text}: the value is not YAML: {error}") from error


def split_path(path: str) -> list[str]:
    """Split a key path at its dots, except within `space`, whose keys are paths."""
    if path.startswith(f"{SPACE}."):
        return [SPACE, path.removeprefix(f"{SPACE}.")]
    return path.split(".")


def assign(document: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted key path in nested dictionaries, creating missing sections."""
    *sections, key = split_path(path)
    for section in sections:
        if document.get(section) is None:
            document[section] = {}
        document = document[section]
        if not isinstance(document, dict):
            raise ValueError(f"{path}: {section} is a value, not a section")
    document[key] = value


def value_at(document: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted key path, or None if there is none."""
    found: Any = document
    for part in split_path(path):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


PATHS = (
    "data.path",
    "data.forget_path",
    "data.questions_path",
    "data.refusals_path",
    "forget.path",
    "model.name",
    "model.lora.adapter",
    "original.path",
    "reference.path",
    "reference.start",
    "start.path",
)
"""Keys that may contain a local file or folder; some may contain a hub name instead."""


def with_absolute_paths(document: dict[str, Any]) -> dict[str, Any]:
    """Make existing paths absolute, in place, because workers have other working directories than the user.

    Those in the domains of a space, too. Paths that do not exist are left unchanged for later checks to report.
    """
    for key in PATHS:
        value = value_at(document, key)
        if isinstance(value, str):
            assign(document, key, _absolute(value))
        varied = value_at(document, f"{SPACE}.{key}")
        for domain in varied if isinstance(varied, list) else [varied]:
            for kind, values in domain.items() if isinstance(domain, dict) else ():
                if isinstance(values, list):
                    domain[kind] = [_absolute(each) for each in values]
    return document


def _absolute(value: Any) -> Any:
    """Return an existing path as an absolute one, and anything else as it is."""
    if isinstance(value, str) and Path(value).expanduser().exists():
        return str(Path(value).expanduser().absolute())
    return value
