"""The values that a sweep may try for a key: domains, and the conditions under which they apply."""

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from hamu_ray.config.schema import Section
from hamu_ray.config.sources.key_paths import METHOD_NAME, METHOD_PREFIX
from hamu_ray.config.sources.keys import key_paths, keys_of_domain
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.methods import METHODS, plugins

Scalar = bool | int | float | str | None
Bounds = Annotated[tuple[float, float], Field(strict=False)]
WholeBounds = Annotated[tuple[int, int], Field(strict=False)]

FORGET_OBJECTIVE = "method.forget_objective"
DECIDE_WHAT_IS_READ = (METHOD_NAME, FORGET_OBJECTIVE)
"""Keys that determine which other keys of the method are used."""


class Domain(Section):
    """The values that one key may take: exactly one of the fields except `when`."""

    grid: list[Scalar] | None = Field(default=None, min_length=1)
    """Every value, crossed with every other grid."""
    choice: list[Scalar] | None = Field(default=None, min_length=1)
    """One of these values, chosen by the search algorithm."""
    uniform: Bounds | None = None
    loguniform: Bounds | None = None
    integers: WholeBounds | None = Field(default=None, alias="int")
    """Integers, both bounds included; `int` in a file."""
    when: dict[str, Scalar | Annotated[list[Scalar], Field(min_length=1)]] | None = Field(
        default=None, min_length=1
    )
    """Condition: other key paths with the value, or the values, that they must have for the domain to apply, such as
    `{method.name: hamu-q}`. Null: the domain always applies.
    """

    @model_validator(mode="after")
    def _exactly_one(self) -> "Domain":
        if len(kinds := self.model_fields_set - {"when"}) != 1:
            given = ", ".join(sorted(kinds)).replace("integers", "int") or "none"
            raise ValueError(f"give exactly one of grid, choice, uniform, loguniform, int, found {given}")
        for kind in ("uniform", "loguniform", "integers"):
            bounds = getattr(self, kind)
            if bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError(f"the lower bound must be below the upper one, found {list(bounds)}")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError(f"loguniform needs bounds above zero, found {list(self.loguniform)}")
        return self

    @property
    def examples(self) -> list[Scalar]:
        """Values whose validity implies the domain's: all listed values, or the two bounds."""
        listed = self.grid or self.choice
        return list(listed) if listed else list(self.uniform or self.loguniform or self.integers or ())

    def contains(self, value: object) -> bool:
        """Whether a value is one of the domain's."""
        bounds = self.uniform or self.loguniform or self.integers
        if bounds is None:
            return value in self.examples
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return bounds[0] <= value <= bounds[1] and (self.integers is None or value == int(value))

    def at(self, place: float) -> Scalar:
        """Return the value at a place of the domain, from 0 at its beginning to 1 at its end."""
        if self.loguniform is not None:
            low, high = self.loguniform
            return min(high, low * (high / low) ** place)
        if self.uniform is not None:
            low, high = self.uniform
            return low + (high - low) * place
        values = range(self.integers[0], self.integers[1] + 1) if self.integers else self.examples
        return values[min(int(place * len(values)), len(values) - 1)]

    @property
    def kind(self) -> str:
        """The one field that is given, as in a file."""
        (kind,) = self.model_fields_set - {"when"}
        return "int" if kind == "integers" else kind

    @property
    def conditions(self) -> dict[str, list[Scalar]]:
        """Other key paths, and their values for which the domain applies."""
        found = (self.when or {}).items()
        return {key: values if isinstance(values, list) else [values] for key, values in found}

    @property
    def document(self) -> dict[str, Any]:
        """The domain as plain data."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _listed(value: object) -> object:
    """Wrap a single domain in a list."""
    return value if isinstance(value, list) else [value]


def _plain(domains: list[Domain]) -> object:
    """The domains as written in a file: a single domain without condition is not a list."""
    first, *others = documents = [domain.document for domain in domains]
    return documents if others or domains[0].when else first


Domains = Annotated[
    list[Domain], Field(min_length=1), BeforeValidator(_listed), PlainSerializer(_plain, return_type=object)
]
"""The domains of a key: the first that applies is used; if none applies, the key does not vary."""


def value_at(run: Section, key: str) -> Any:
    """Return a run's value at a key path."""
    value: Any = run
    for name in key.split("."):
        value = getattr(value, name)
    return value


def deciding(space: Mapping[str, list[Domain]], path: str) -> list[str]:
    """Return the other paths of a space whose values determine whether and how a path varies."""
    keys = {key for domain in space[path] for key in domain.conditions}
    if path not in DECIDE_WHAT_IS_READ and path.startswith(METHOD_PREFIX):
        keys |= {*DECIDE_WHAT_IS_READ}
    return [other for other in space if other != path and keys & {*keys_of_domain(other)}]


def above(space: Mapping[str, list[Domain]], path: str) -> set[str]:
    """Return the paths that decide about a path, those that decide about these, and so on."""
    found: set[str] = set()
    new = {path}
    while new:
        new = {other for one in new for other in deciding(space, one)} - found
        found |= new
    return found


def check_conditions(space: Mapping[str, list[Domain]], run: Section) -> None:
    """Check that conditions are on keys that can decide, and not circular.

    Raises `ValueError` that names the path.
    """
    for path, domains in space.items():
        for domain in domains:
            for key in domain.conditions:
                try:
                    _check_condition(space, run, path, domain, key)
                except ValueError as error:
                    raise ValueError(f"space.{path}: when {key}: {error}") from error
        if any(domain.when is None for domain in domains[:-1]):
            raise ValueError(
                f"space.{path}: domains after the one without when are never used; move it to the end"
            )
    try:
        TopologicalSorter({path: deciding(space, path) for path in space}).prepare()
    except CycleError as error:
        circle = " on ".join(f"space.{path}" for path in error.args[1])
        raise ValueError(f"space: conditions are circular: {circle}; remove one of them") from error


def check_methods(names: Iterable[Scalar]) -> None:
    """Check that there are methods with these names; raises `ValueError` with the closest name."""
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        known = plugins.names("hamu_ray.methods")
        raise ValueError(f"unknown method {unknown[0]!r}; {nearest(unknown[0], known)}")


def _check_condition(
    space: Mapping[str, list[Domain]], run: Section, path: str, domain: Domain, key: str
) -> None:
    """Check a domain's condition on another key."""
    if key not in (known := list(key_paths(run))):
        raise ValueError(f"unknown key; {nearest(key, known)}")
    if key in keys_of_domain(path):
        raise ValueError("a domain cannot depend on its own key; remove it")
    if key == METHOD_NAME:
        check_methods(domain.conditions[key])
    kinds = {other.kind for other in _varying(space, key)}
    if not kinds <= {"grid", "choice"}:
        raise ValueError("it is sampled from a range; use a key with a grid or a choice")
    if domain.grid and kinds - {"grid"}:
        raise ValueError("a grid cannot depend on a sampled key; use choice instead of grid")


def _varying(space: Mapping[str, list[Domain]], key: str) -> Iterator[Domain]:
    return (domain for path, domains in space.items() if key in keys_of_domain(path) for domain in domains)
