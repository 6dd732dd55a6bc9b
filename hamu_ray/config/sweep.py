"""The schema of a sweep: a run, the keys that vary, and how they are searched."""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, product
from typing import Any

from pydantic import FieldSerializationInfo, field_serializer, field_validator, model_validator

from hamu_ray.config.method import MethodConfig
from hamu_ray.config.run import RunConfig
from hamu_ray.config.search import FORGET_QUALITY, SearchConfig
from hamu_ray.config.sources.document import assign
from hamu_ray.config.sources.keys import check_varied, keys_of_domain
from hamu_ray.config.space import (
    DECIDE_WHAT_IS_READ,
    FORGET_OBJECTIVE,
    METHOD_NAME,
    METHOD_PREFIX,
    Domain,
    Domains,
    Scalar,
    above,
    check_conditions,
    check_methods,
    deciding,
    value_at,
)
from hamu_ray.methods import FORGET_OBJECTIVES, METHODS, keys_of

MAX_CELLS = 10_000
"""Maximum number of grid cells; more are considered a mistake."""


class SweepConfig(RunConfig):
    """A run with a search space over some of its keys."""

    space: dict[str, Domains]
    """Key paths of the run, such as `optimizer.learning_rate`, with their domains. Keys that must have the same value
    in every trial share a domain: `batch.{retain,forget}`. A key may have a list of domains with conditions:
    `[{uniform: [0.1, 0.4], when: {method.name: hamu-q}}, {uniform: [0.6, 0.9], when: ...}]`.
    """
    search: SearchConfig = SearchConfig()

    def __reduce__(self) -> tuple[Callable[..., "SweepConfig"], tuple[dict[str, Any]]]:
        """Pickle as plain data: they name the plug-ins whose hyperparameters the method's section has."""
        document = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return SweepConfig.model_validate, ({**self.base, **document},)

    @field_serializer("method")
    def _with_all_plugins(self, method: MethodConfig, info: FieldSerializationInfo) -> dict[str, Any]:
        named = [str(name) for path in (METHOD_NAME, FORGET_OBJECTIVE) for name in self._listed(path)]
        return method.document(named, exclude_unset=bool(info.exclude_unset))

    @field_validator("space", mode="before")
    @classmethod
    def _nothing_is_empty(cls, space: object) -> object:
        return {} if space is None else space

    @field_validator("space")
    @classmethod
    def _not_empty(cls, space: dict[str, list[Domain]]) -> dict[str, list[Domain]]:
        if not space:
            raise ValueError(
                "a sweep needs at least one key; add one, such as optimizer.learning_rate: "
                "{loguniform: [1.0e-4, 0.1]}, or use python -m hamu_ray.unlearn for a single run"
            )
        return space

    @model_validator(mode="after")
    def _space_fits_the_run(self) -> "SweepConfig":
        try:
            check_methods(self._listed(METHOD_NAME))
        except ValueError as error:
            raise ValueError(f"space.{METHOD_NAME}: {error}") from error
        self._check_keys()
        check_conditions(self.space, self)
        for path, domains in self.space.items():
            if not any(self._holds(domain, values) for values in self._deciding(path) for domain in domains):
                raise ValueError(f"space.{path}: its conditions never hold in this sweep; remove it")
            if not any(self._reads(path, choice) for choice in self._choices()):
                raise ValueError(
                    f"space.{path}: none of the sweep's methods ({', '.join(self.methods)}) uses it; remove it"
                    + self._other_remedy(path)
                )
        for key in self.search.keys_with(FORGET_QUALITY) if self.lacks_forget_losses else ():
            raise ValueError(
                f"search.{key}: {FORGET_QUALITY} needs a reference, and there is none; use forget_accuracy_quality, "
                "which assumes a forget accuracy of 0 for it, or reference.source train or path"
            )
        cells = math.prod(len(values) for values in self._grids.values())
        if cells > MAX_CELLS:
            raise ValueError(
                f"space: the grids have {cells:,} cells, more than the limit of {MAX_CELLS:,}; "
                "sample some keys with choice, uniform, loguniform or int"
            )
        sampled = [path for path, domains in self.space.items() if any(d.grid is None for d in domains)]
        if self.search.algorithm == "grid" and sampled:
            raise ValueError(
                f"search.algorithm: grid supports only grids, space.{sampled[0]} is not one; use another algorithm"
            )
        return self

    def _check_keys(self) -> None:
        """Check that every key may vary, and that it varies only once."""
        domains: dict[str, str] = {}
        for path in self.space:
            keys = keys_of_domain(path)
            for key in keys:
                check_varied(key, self)
                if key in domains:
                    raise ValueError(
                        f"space.{path}: {key} already varies by {domains[key]}; remove one of the two"
                    )
                if len(keys) > 1 and key in (METHOD_NAME, FORGET_OBJECTIVE):
                    raise ValueError(
                        f"space.{path}: {key} determines which other keys are used; give it its own domain"
                    )
                domains[key] = path

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods that the sweep compares, without unknown names."""
        named = self._listed(METHOD_NAME) or [self.method.name]
        return tuple(name for name in METHODS if name in named)

    def _choices(self) -> Iterator[dict[str, Scalar]]:
        """The methods that the sweep compares, with each of their forget objectives."""
        for method in self.methods:
            for objective in self._listed(FORGET_OBJECTIVE) or [self.method.forget_objective]:
                yield {METHOD_NAME: method, FORGET_OBJECTIVE: objective}

    def _listed(self, path: str) -> list[Scalar]:
        """The possible values of a path of the space; for ranges, their bounds."""
        return list(dict.fromkeys(value for domain in self.space.get(path, []) for value in domain.examples))

    def _other_remedy(self, path: str) -> str:
        """Suggest a forget objective with which one of the methods would use a key, if there is one."""
        for objective in FORGET_OBJECTIVES:
            for method in self.methods:
                if self._reads(path, {METHOD_NAME: method, FORGET_OBJECTIVE: objective}):
                    return f", or give {method} the {FORGET_OBJECTIVE} {objective}"
        return ""

    @property
    def whole(self) -> dict[str, Any]:
        """The complete configuration as plain data, which reproduces this sweep."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def base(self) -> dict[str, Any]:
        """The run's part of the configuration as plain data."""
        kinds = {
            "data": {"name": self.data.name},
            "forget": {"kind": self.forget.kind},
            "model": {"task": self.model.task},
        }
        return {**kinds, **self.model_dump(mode="json", exclude={"space", "search"}, exclude_unset=True)}

    def document(self, parameters: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return the run with these values at their key paths, as unvalidated plain data."""
        document = self.base
        values = {key: value for path, value in parameters.items() for key in keys_of_domain(path)}
        for key, value in values.items():
            assign(document, key, value)
        for section in ("original", "reference"):
            if f"{section}.path" in values and f"{section}.source" not in values:
                document[section].pop("source", None)  # follows from the path
        return document

    def resolve(self, parameters: Mapping[str, Scalar]) -> RunConfig:
        """Return the run with these values at their key paths."""
        return RunConfig.model_validate(self.document(parameters))

    @property
    def in_order(self) -> list[str]:
        """The varying keys in order of dependence: keys that determine whether and how others vary come first."""
        found: dict[str, None] = {}

        def add(path: str) -> None:
            for other in deciding(self.space, path):
                if other not in found:
                    add(other)
            found[path] = None

        for path in (*DECIDE_WHAT_IS_READ, *self.space):
            if path in self.space and path not in found:
                add(path)
        return list(found)

    def domain(self, path: str, parameters: Mapping[str, Scalar]) -> Domain | None:
        """Return the domain of a path in a run with these values; None if it does not vary.

        A path varies if the run's method uses one of its keys; the first domain whose conditions hold applies.
        """
        if not self._reads(path, parameters):
            return None
        return next((domain for domain in self.space[path] if self._holds(domain, parameters)), None)

    def applies(self, path: str, parameters: Mapping[str, Scalar]) -> bool:
        """Whether a path of the space varies in a run with these values."""
        return self.domain(path, parameters) is not None

    def _reads(self, path: str, parameters: Mapping[str, Scalar]) -> bool:
        """Whether a run with these values uses one of a domain's keys; keys outside `method.` are always used."""
        keys = keys_of_domain(path)
        if METHOD_NAME in keys or not all(key.startswith(METHOD_PREFIX) for key in keys):
            return True
        method = self._value(METHOD_NAME, parameters)
        named = self._value(FORGET_OBJECTIVE, parameters)
        if method not in METHODS:
            return True  # the name itself is invalid
        read = keys_of(str(method), None if named is None else str(named))
        return any(key.removeprefix(METHOD_PREFIX) in read for key in keys)

    def _holds(self, domain: Domain, parameters: Mapping[str, Scalar]) -> bool:
        return all(self._value(key, parameters) in values for key, values in domain.conditions.items())

    def _value(self, key: str, parameters: Mapping[str, Scalar]) -> Scalar:
        """The value of a key in a run with these values."""
        for path, value in parameters.items():
            if key in keys_of_domain(path):
                return value
        return value_at(self, key)

    def points(self) -> Iterator[tuple[str, dict[str, Scalar]]]:
        """Yield each path together with a run's values, for each value of its domains that must be valid."""
        for path, domains in self.space.items():
            for domain in domains:
                holding = (values for values in self._deciding(path) if self.domain(path, values) is domain)
                for values in islice(holding, 1):
                    yield from ((path, self.example({**values, path: value})) for value in domain.examples)

    def _deciding(self, path: str) -> Iterator[dict[str, Scalar]]:
        """Yield the combinations of values of the paths that determine whether and how a path varies."""
        paths = above(self.space, path)
        return self._combinations({p: self._options(p) for p in self.space if p in paths}, {})

    def example(self, cell: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Complete a cell with the first value of every other key that applies to it.

        If the cell does not contain the method, the first method that uses all of the cell is chosen.
        """
        point = dict(cell)
        for path in self.in_order:
            domain = None if path in point else self.domain(path, point)
            if domain is None:
                continue
            values = domain.examples
            reading = (v for v in values if all(self.applies(key, {**point, path: v}) for key in cell))
            point[path] = next(reading, values[0])
        return point

    def variants(self, prefixes: str | tuple[str, ...]) -> Iterator[RunConfig]:
        """Yield a run for each combination of the example values of the space's keys with these prefixes."""
        paths = {p for p in self.space if any(key.startswith(prefixes) for key in keys_of_domain(p))}
        paths |= {other for path in paths for other in deciding(self.space, path)}
        first = self.example(next(self.cells()))
        others = {path: value for path, value in first.items() if path not in paths}
        options = {path: self._options(path) for path in self.space if path in paths}
        for point in self._combinations(options, others):
            yield self.resolve({**others, **point})

    def _options(self, path: str) -> list[tuple[Domain, Scalar]]:
        return [(domain, value) for domain in self.space[path] for value in dict.fromkeys(domain.examples)]

    def cells(self) -> Iterator[dict[str, Scalar]]:
        """The cross product of the grids, without repeating runs in which one of the keys does not vary."""
        return self._combinations(self._grids, {})

    @property
    def _grids(self) -> dict[str, list[tuple[Domain, Scalar]]]:
        """The values of each path that has a grid, with their domain."""
        listed = {
            path: [(domain, value) for domain in domains for value in domain.grid or ()]
            for path, domains in self.space.items()
        }
        return {path: values for path, values in listed.items() if values}

    def _combinations(
        self, options: Mapping[str, list[tuple[Domain, Scalar]]], others: Mapping[str, Scalar]
    ) -> Iterator[dict[str, Scalar]]:
        """Yield the distinct combinations of the paths' values in which every value is from the domain that applies."""
        order = [path for path in self.in_order if path in options]
        seen: set[tuple[tuple[str, Scalar], ...]] = set()
        for values in product(*options.values()):
            chosen = dict(zip(options, values, strict=True))
            found: dict[str, Scalar] = {}
            for path in order:
                domain = self.domain(path, {**others, **found})
                if domain is chosen[path][0]:
                    found[path] = chosen[path][1]
                elif any(domain is other for other, _ in options[path]):
                    break  # another domain applies here; its values come in other combinations
            else:
                kept = {path: found[path] for path in options if path in found}
                if (key := tuple(kept.items())) not in seen:
                    seen.add(key)
                    yield kept
