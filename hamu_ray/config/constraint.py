"""HAMU's constraint in a configuration: the key that applies, and its values in a sweep."""

from collections.abc import Mapping
from typing import Any

from hamu_ray.config.space import METHOD_NAME, METHOD_PREFIX
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.methods import CONSTRAINTS, METHODS
from hamu_ray.methods.hyperparameters import Aim


def constraint_of(method: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return key and value of the constraint in a ``method`` section; None for methods without a constraint."""
    known = METHODS.get(method["name"])
    default = None if known is None else known.hyperparameters.default_fraction
    if default is None:
        return None
    given = [(key, method[key]) for key in CONSTRAINTS if method.get(key) is not None]
    return given[0] if given else ("constraint_fraction", default)


def aims_of(name: str) -> tuple[Aim, Aim] | None:
    """Return what a method's steps guarantee, and what may pay for it; None for methods without a guarantee."""
    known = METHODS.get(name)
    gain = None if known is None else known.hyperparameters.guarantees
    if gain is None:
        return None
    return (gain, "retaining" if gain == "forgetting" else "forgetting")


def constraints_of(config: SweepConfig, name: str) -> dict[str, list[float]]:
    """Return the possible values of the constraint of a sweep's method by key; for ranges, their bounds."""
    varied: dict[str, list[float]] = {}
    for key in CONSTRAINTS:
        path = METHOD_PREFIX + key
        domain = config.domain(path, {METHOD_NAME: name}) if path in config.space else None
        if domain is not None:
            varied[key] = [float(str(value)) for value in domain.examples]
    fixed = constraint_of({**config.method.model_dump(), "name": name})
    return varied or ({fixed[0]: [fixed[1]]} if fixed else {})
