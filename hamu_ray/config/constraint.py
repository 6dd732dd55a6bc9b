"""HAMU's constraint in a configuration: which of its keys counts, and its values in a sweep."""

from collections.abc import Mapping
from typing import Any

from hamu_ray.config.space import METHOD_NAME, METHOD_PREFIX
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.methods import CONSTRAINTS

DEFAULT_FRACTIONS: Mapping[str, float] = {"hamu-q": 0.25, "hamu-u": 0.8}
"""`constraint_fraction` of HAMU's variants, where a configuration gives no constraint."""


def constraint_of(method: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return key and value of the constraint of a ``method`` section's method; None for methods without one."""
    default = DEFAULT_FRACTIONS.get(method["name"])
    if default is None:
        return None
    given = [(key, method[key]) for key in CONSTRAINTS if method.get(key) is not None]
    return given[0] if given else ("constraint_fraction", default)


def constraints_of(config: SweepConfig, name: str) -> dict[str, list[float]]:
    """Return the values that the constraint of a sweep's method may have, of ranges their ends, by its key."""
    varied: dict[str, list[float]] = {}
    for key in CONSTRAINTS:
        path = METHOD_PREFIX + key
        domain = config.domain(path, {METHOD_NAME: name}) if path in config.space else None
        if domain is not None:
            varied[key] = [float(str(value)) for value in domain.examples]
    fixed = constraint_of({**config.method.model_dump(), "name": name})
    return varied or ({fixed[0]: [fixed[1]]} if fixed else {})
