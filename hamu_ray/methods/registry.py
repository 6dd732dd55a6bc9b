"""The methods and forget objectives by name: all that the modules in the folder `catalogue` define.

Reading them does not import torch, which takes seconds; see `hamu_ray.methods.deferred`.
"""

import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pkgutil import walk_packages
from types import MappingProxyType
from typing import Any

import hamu_ray.methods.catalogue as catalogue
from hamu_ray.methods.hyperparameters import Hyperparameter, described
from hamu_ray.methods.method import INSTALL_OPTIONAL, ForgetObjective, Method
from hamu_ray.methods.objectives import Objective

_METHODS: dict[str, Method] = {}
_FORGET_OBJECTIVES: dict[str, ForgetObjective] = {}

METHODS: Mapping[str, Method] = MappingProxyType(_METHODS)
"""All methods by name."""

FORGET_OBJECTIVES: Mapping[str, ForgetObjective] = MappingProxyType(_FORGET_OBJECTIVES)
"""The forget objectives that a configuration can select, by name."""


def add(name: str, value: Method | ForgetObjective) -> None:
    """Make a method or a forget objective known under a name.

    Raises:
        ValueError: Another one has the name.
    """
    table: dict[str, Any] = _METHODS if isinstance(value, Method) else _FORGET_OBJECTIVES
    if table.setdefault(name, value) is not value:
        raise ValueError(f"the name {name!r} is already taken; choose another")


def register(module_name: str) -> int:
    """Add all methods and forget objectives that a module defines; return how many it contains.

    Raises:
        ValueError: Two have the same name.
    """
    values = vars(sys.modules[module_name]).values()
    defined = [value for value in values if isinstance(value, Method | ForgetObjective)]
    for value in defined:
        try:
            add(value.name, value)
        except ValueError as error:
            raise ValueError(f"{module_name}: {error}") from error
    return len(defined)


def discover(package: Any) -> None:
    """Import all modules of a package and register what they define.

    Raises:
        ValueError: A module or folder directly in the package defines nothing, or see `register`.
    """
    prefix = f"{package.__name__}."
    found: dict[str, int] = {}
    # Folders first: HAMU leads every list.
    for module in sorted(
        walk_packages(package.__path__, prefix),
        key=lambda m: (m.name.count(".") == prefix.count("."), m.name),
    ):
        import_module(module.name)
        child = module.name.removeprefix(prefix).partition(".")[0]
        found[child] = found.get(child, 0) + register(module.name)
    if empty := [child for child, number in found.items() if not number]:
        raise ValueError(f"{prefix}{empty[0]} defines neither a method nor a forget objective")


discover(catalogue)


def get_method(name: str) -> Method:
    """Return the method with a name.

    Raises:
        ValueError: If there is none; the message lists the closest name and all names.
    """
    if name in METHODS:
        return METHODS[name]
    nearest = get_close_matches(str(name), METHODS, n=1, cutoff=0.4)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise ValueError(f"method must be one of {', '.join(METHODS)}, found {name!r}{hint}")


def check_installed(name: str) -> None:
    """Check that the optional packages of a method are installed, without importing them.

    Raises:
        ValueError: If one is missing; the message names it and the command to install it.
    """
    missing = [package for package in METHODS[name].packages if find_spec(package) is None]
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}, not installed; install with {INSTALL_OPTIONAL}")


def forget_objectives_of(name: str) -> tuple[str, ...]:
    """Return the names of the forget objectives that a method accepts, its default first.

    Empty if the method has none, or one without a name in configurations.
    """
    method = METHODS[name]
    if method.forget is None or method.forget.name not in FORGET_OBJECTIVES:
        return ()
    default = method.forget.name
    others = () if method.own_forget else tuple(other for other in FORGET_OBJECTIVES if other != default)
    return (default, *others)


def forget_objective(name: str, /, **values: Any) -> Objective:
    """Return a forget objective by its name in configurations, with the hyperparameters that it uses.

    Raises:
        ValueError: If there is no forget objective with that name, or a hyperparameter is out of range.
    """
    if name not in FORGET_OBJECTIVES:
        raise ValueError(f"forget_objective must be one of {', '.join(FORGET_OBJECTIVES)}, found {name!r}")
    chosen = FORGET_OBJECTIVES[name]
    return chosen.make(chosen.hyperparameters.of(values))


def hyperparameters_of(name: str, forget_objective: str | None = None) -> dict[str, Hyperparameter]:
    """Return the hyperparameters of a method and of its forget objective, its default unless one is given."""
    found = dict(described(METHODS[name].hyperparameters))
    if choices := forget_objectives_of(name):
        taken = forget_objective if forget_objective in choices else choices[0]
        found |= described(FORGET_OBJECTIVES[taken].hyperparameters)
    return found


def keys_of(name: str, forget_objective: str | None = None) -> frozenset[str]:
    """Return the keys that a method uses in a configuration's `method` section, besides its name.

    These are its hyperparameters, those of its forget objective (its default unless ``forget_objective`` is given), and
    the key that selects the forget objective, if it can be selected.
    """
    keys = frozenset(hyperparameters_of(name, forget_objective))
    return keys | {"forget_objective"} if len(forget_objectives_of(name)) > 1 else keys


def all_hyperparameters() -> Iterator[tuple[str, Hyperparameter]]:
    """Yield every hyperparameter with the name of its method or forget objective."""
    owners: list[tuple[str, Method | ForgetObjective]] = [*METHODS.items(), *FORGET_OBJECTIVES.items()]
    for name, owner in owners:
        for known in described(owner.hyperparameters).values():
            yield name, known
