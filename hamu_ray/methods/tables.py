"""The methods, forget objectives and hyperparameters as rows of text, for documents and for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from hamu_ray.methods.hyperparameters import Hyperparameter, Hyperparameters, described
from hamu_ray.methods.registry import FORGET_OBJECTIVES, METHODS, all_hyperparameters, forget_objectives_of

Row = tuple[str, ...]

METHOD_COLUMNS = ("name", "step", "retain objective", "forget objective", "hyperparameters", "source")
OBJECTIVE_COLUMNS = ("name", "objective", "hyperparameters", "source")
HYPERPARAMETER_COLUMNS = ("name", "of", "values", "default", "domain to search", "effect", "source")


def method_rows() -> Iterator[Row]:
    """Yield a row for each method, in the order of `METHOD_COLUMNS`."""
    for name, method in METHODS.items():
        yield (
            name,
            method.summary,
            method.retain.name if method.retain else "none",
            (method.forget.name if method.forget else "none")
            + (" or another" if len(forget_objectives_of(name)) > 1 else ""),
            ", ".join(described(method.hyperparameters)) or "none",
            method.source,
        )


def objective_rows() -> Iterator[Row]:
    """Yield a row for each forget objective that can be selected, in the order of `OBJECTIVE_COLUMNS`."""
    for name, objective in FORGET_OBJECTIVES.items():
        keys = ", ".join(described(objective.hyperparameters)) or "none"
        yield (name, objective.summary, keys, objective.source)


def hyperparameter_rows() -> Iterator[Row]:
    """Yield a row for each distinct hyperparameter, in the order of `HYPERPARAMETER_COLUMNS`."""
    owners: dict[str, tuple[Hyperparameter, dict[str, None]]] = {}
    for owner, each in all_hyperparameters():
        owners.setdefault(repr(each), (each, {}))[1][owner] = None
    for each, of in owners.values():
        yield (
            each.name,
            ", ".join(of),
            each.range,
            value(each.default),
            domain(each.search),
            each.summary,
            each.source,
        )


def lines(record: type[Hyperparameters]) -> Iterator[str]:
    """Yield a line for each hyperparameter of a record: its default as in YAML, and a comment."""
    for each in described(record).values():
        yield (
            f"{each.name}: {value(each.default)}  # {each.range}; {each.summary} "
            f"({each.source}; search {domain(each.search)})"
        )


def value(found: Any) -> str:
    """Return a value as in YAML."""
    if found is None or isinstance(found, bool):
        return {None: "null", True: "true", False: "false"}[found]
    return str(found)


def domain(search: Mapping[str, Any]) -> str:
    """Return a domain as in a search space."""
    ((kind, values),) = search.items()
    return f"{kind}: [{', '.join(map(value, values))}]"
