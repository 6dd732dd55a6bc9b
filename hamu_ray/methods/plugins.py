"""Methods and forget objectives from other packages: by ``package.module:NAME``, or by the name of an entry point.

They are imported when a configuration names them, in the driver and in every worker, so that a package that is only
installed costs and breaks nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, packages_distributions, version
from pathlib import Path
from typing import Any

from hamu_ray.methods.method import ForgetObjective, Method
from hamu_ray.methods.registry import FORGET_OBJECTIVES, METHODS, add

GROUPS: Mapping[str, tuple[type[Any], Mapping[str, Any]]] = {
    "hamu_ray.methods": (Method, METHODS),
    "hamu_ray.objectives": (ForgetObjective, FORGET_OBJECTIVES),
}
"""The groups of entry points, with the type of what they must contain, and the table that they extend."""


@dataclass(frozen=True)
class Plugin:
    """The code of a method or a forget objective of another package, as it was when it was imported."""

    name: str
    """Its name in configurations."""
    distribution: str
    """Name and version of the installed distribution; empty if it is in none."""
    sha256: str
    """SHA-256 of its module's file; of a package, over the names and contents of its Python files. Empty if they are no
    files.
    """


_LOADED: Mapping[str, dict[str, Plugin]] = {group: {} for group in GROUPS}


@lru_cache
def found(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of the installed packages by name.

    Raises:
        ValueError: Two packages have the same name.
    """
    by_name: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = by_name.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ValueError(
                f"{_package(other)} and {_package(entry)} both have an entry point {entry.name!r} of the group "
                f"{group}; uninstall one of them"
            )
    return by_name


def names(group: str) -> list[str]:
    """Return the names that a configuration can use without naming a module."""
    return list(dict.fromkeys([*GROUPS[group][1], *found(group)]))


def origin(group: str, name: str) -> str:
    """Return the package and the module of an entry point."""
    entry = found(group)[name]
    return f"{_package(entry)} ({entry.value})"


def load(group: str, name: str) -> None:
    """Make what a configuration names known under this name; names without an entry point are left to the caller.

    Raises:
        ValueError: It cannot be imported, or is not what it should be; the message names the package.
    """
    kind, table = GROUPS[group]
    if name in table:
        return
    if ":" in name:
        title, reference = name, name
    elif name in found(group):
        title, reference = f"{name} of {origin(group, name)}", found(group)[name].value
    else:
        return
    module, _, variable = reference.partition(":")
    try:
        value = getattr(import_module(module), variable)
    except Exception as error:  # importing a module can raise anything
        remedy = "install its package or correct the name; its folder must be on the PYTHONPATH of every node"
        raise ValueError(f"cannot import {title}: {type(error).__name__}: {error}; {remedy}") from error
    if not isinstance(value, kind):
        raise ValueError(f"{title} must be a hamu_ray.methods.{kind.__name__}, found {type(value).__name__}")
    add(name, value)
    _LOADED[group][name] = Plugin(name, _distribution(group, name, module), _digest(module))


def loaded(group: str) -> Mapping[str, Plugin]:
    """Return what `load` made known in this process, by name."""
    return _LOADED[group]


def digest_of_package(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of the Python files in a package's folder."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()


def _digest(module: str) -> str:
    package = import_module(module.partition(".")[0])
    if hasattr(package, "__path__") and package.__file__:
        return digest_of_package(Path(package.__file__).parent)
    path = Path(import_module(module).__file__ or "")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _distribution(group: str, name: str, module: str) -> str:
    if entry := found(group).get(name):
        return _package(entry) if entry.dist else ""
    return ", ".join(
        f"{each} {version(each)}" for each in packages_distributions().get(module.partition(".")[0], ())
    )


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value.partition(".")[0]
