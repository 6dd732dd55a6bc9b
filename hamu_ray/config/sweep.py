"""The schema of a sweep: a run, plus which of its keys vary and how they are searched."""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hamu_ray.config.document import assign
from hamu_ray.config.keys import check_varied, keys_of_domain
from hamu_ray.config.run import RunConfig
from hamu_ray.config.schema import Section
from hamu_ray.methods import FORGET_OBJECTIVES, METHOD_NAMES, keys_of

Scalar = bool | int | float | str | None
Bounds = Annotated[tuple[float, float], Field(strict=False)]
WholeBounds = Annotated[tuple[int, int], Field(strict=False)]

METHOD_PREFIX = "method."
METHOD_NAME = "method.name"
FORGET_OBJECTIVE = "method.forget_objective"

MAX_CELLS = 10_000
"""More combinations of the grids' values than this are a slip, not a sweep."""


class Domain(Section):
    """The values that one key may take: exactly one of the fields."""

    grid: list[Scalar] | None = Field(default=None, min_length=1)
    """Every value, crossed with every other grid."""
    choice: list[Scalar] | None = Field(default=None, min_length=1)
    """One of these, as the searcher picks."""
    uniform: Bounds | None = None
    loguniform: Bounds | None = None
    integers: WholeBounds | None = Field(default=None, alias="int")
    """Whole numbers, both ends included; `int` in a file."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Domain":
        if len(self.model_fields_set & set(type(self).model_fields)) != 1:
            given = ", ".join(sorted(self.model_fields_set)).replace("integers", "int") or "none"
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
        """Values that must be valid if the domain is: all listed ones, or the two bounds."""
        listed = self.grid or self.choice
        return list(listed) if listed else list(self.uniform or self.loguniform or self.integers or ())


class Objective(Section):
    """A metric that the sweep optimises."""

    metric: str
    mode: Literal["max", "min"] = "max"

    @property
    def maximise(self) -> bool:
        """Whether higher values are better."""
        return self.mode == "max"


DEFAULT_OBJECTIVES = (Objective(metric="forget_quality"), Objective(metric="retain_utility"))


class PruningConfig(Section):
    """When to give a trial up that finished ones have left far behind. Pruned trials are never on the front."""

    margin: Annotated[float, Field(gt=0)] = 0.1
    """A finished trial must have been better by more than this in both objectives, at the same step."""
    grace_steps: Annotated[int, Field(ge=0)] = 0
    """Steps that every trial may take before it is judged."""


class SearchConfig(Section):
    """How the space is searched."""

    algorithm: Literal["random", "grid", "tpe", "nsga2", "gp"] = "tpe"
    samples: Annotated[int, Field(ge=1)] = 1
    """Trials for each cell of the grids (one cell where nothing is a grid); each cell is searched on its own.

    A grid of `seed` only repeats: every sample is run with each seed, and the searcher sees the means.
    """
    seed: int = Field(default=0, ge=0)
    """Decides what the searcher draws."""
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at once; null takes as many as the cluster's resources allow."""
    retries: int = Field(default=1, ge=0)
    """How often a trial is tried again after an error before it counts as failed."""
    time_budget: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no new trial starts; null has no limit."""
    pruning: PruningConfig | None = None
    """Null lets every trial run to its end."""
    objectives: Annotated[tuple[Objective, Objective], Field(strict=False)] = DEFAULT_OBJECTIVES

    @field_validator("objectives")
    @classmethod
    def _two_metrics(cls, objectives: tuple[Objective, Objective]) -> tuple[Objective, Objective]:
        if objectives[0].metric == objectives[1].metric:
            raise ValueError(f"need two different metrics, found {objectives[0].metric} twice")
        return objectives


class SweepConfig(RunConfig):
    """A run with a space over some of its keys."""

    space: dict[str, Domain]
    """Key paths of the run, such as `optimizer.learning_rate`, to their domains. Keys that are to have the same
    value in every trial share a domain: `batch.{retain,forget}`."""
    search: SearchConfig = SearchConfig()

    @field_validator("space", mode="before")
    @classmethod
    def _nothing_is_empty(cls, space: object) -> object:
        return {} if space is None else space

    @field_validator("space")
    @classmethod
    def _not_empty(cls, space: dict[str, Domain]) -> dict[str, Domain]:
        if not space:
            raise ValueError(
                "a sweep needs at least one parameter; add one, such as optimizer.learning_rate: "
                "{loguniform: [1.0e-4, 0.1]}, or take python -m hamu_ray.unlearn for a single run"
            )
        return space

    @model_validator(mode="after")
    def _space_fits_the_run(self) -> "SweepConfig":
        self._check_keys()
        for path in self.space:
            if not any(self.applies(path, choice) for choice in self._choices()):
                raise ValueError(
                    f"space.{path}: none of the sweep's methods ({', '.join(self.methods)}) reads it; remove it"
                    + self._other_remedy(path)
                )
        cells = math.prod(len(domain.grid) for domain in self.space.values() if domain.grid)
        if cells > MAX_CELLS:
            raise ValueError(
                f"space: the grids have {cells:,} cells, at most {MAX_CELLS:,} are taken; "
                "sample some keys with choice, uniform, loguniform or int"
            )
        if self.search.algorithm == "grid" and any(d.grid is None for d in self.space.values()):
            sampled = next(path for path, domain in self.space.items() if domain.grid is None)
            raise ValueError(
                f"search.algorithm: grid needs grids alone, space.{sampled} is none; take another"
            )
        return self

    def _check_keys(self) -> None:
        """Check that every key may vary, and is varied once."""
        domains: dict[str, str] = {}
        for path in self.space:
            keys = keys_of_domain(path)
            for key in keys:
                check_varied(key, self)
                if key in domains:
                    raise ValueError(
                        f"space.{path}: {key} varies by {domains[key]} already; keep one of the two"
                    )
                if len(keys) > 1 and key in (METHOD_NAME, FORGET_OBJECTIVE):
                    raise ValueError(
                        f"space.{path}: {key} decides on what else is read; give it a domain of its own"
                    )
                domains[key] = path

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods that the sweep compares, those that are not known left out."""
        domain = self.space.get(METHOD_NAME)
        named = domain.examples if domain else [self.method.name]
        return tuple(name for name in METHOD_NAMES if name in named)

    def _choices(self) -> Iterator[dict[str, Scalar]]:
        """The methods that the sweep compares, with each of the forget objectives."""
        domain = self.space.get(FORGET_OBJECTIVE)
        for method in self.methods:
            for objective in domain.examples if domain else [self.method.forget_objective]:
                yield {METHOD_NAME: method, FORGET_OBJECTIVE: objective}

    def _other_remedy(self, path: str) -> str:
        """Name the forget objective with which one of the methods would read a key, if there is one."""
        for objective in FORGET_OBJECTIVES:
            for method in self.methods:
                if self.applies(path, {METHOD_NAME: method, FORGET_OBJECTIVE: objective}):
                    return f", or give {method} the {FORGET_OBJECTIVE} {objective}"
        return ""

    @property
    def whole(self) -> dict[str, Any]:
        """The configuration as plain data that gives this same sweep again."""
        domains = {
            path: domain.model_dump(mode="json", by_alias=True, exclude_none=True)
            for path, domain in self.space.items()
        }
        return {**self.model_dump(mode="json", by_alias=True), "space": domains}

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
        """Return the run with these values at their key paths, as plain data that is not checked yet."""
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
        """The keys that vary, those first on which it depends whether others are read."""
        first = (METHOD_NAME, FORGET_OBJECTIVE)
        return [path for path in first if path in self.space] + [p for p in self.space if p not in first]

    def applies(self, path: str, parameters: Mapping[str, Scalar]) -> bool:
        """Whether a run with these values reads one of a domain's keys: keys outside `method.` always apply."""
        keys = keys_of_domain(path)
        if METHOD_NAME in keys or not all(key.startswith(METHOD_PREFIX) for key in keys):
            return True
        method = parameters.get(METHOD_NAME, self.method.name)
        named = parameters.get(FORGET_OBJECTIVE, self.method.forget_objective)
        if method not in METHOD_NAMES:
            return True  # it is the name that is wrong
        read = keys_of(str(method), None if named is None else str(named))
        return any(key.removeprefix(METHOD_PREFIX) in read for key in keys)

    def example(self, cell: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a cell with the first value of every other key that applies to it.

        The method is the first with which all of the cell is read, where the cell does not name it.
        """
        point = dict(cell)
        for path in self.in_order:
            if path in point or not self.applies(path, point):
                continue
            values = self.space[path].examples
            reading = (v for v in values if all(self.applies(key, {**point, path: v}) for key in cell))
            point[path] = next(reading, values[0])
        return point

    def variants(self, prefixes: str | tuple[str, ...]) -> Iterator[RunConfig]:
        """Yield a run for each combination of the examples of the space's keys that begin so."""
        paths = [p for p in self.space if any(key.startswith(prefixes) for key in keys_of_domain(p))]
        first = self.example(next(self.cells()))
        for values in product(*(dict.fromkeys(self.space[path].examples) for path in paths)):
            yield self.resolve({**first, **dict(zip(paths, values, strict=True))})

    def cells(self) -> Iterator[dict[str, Scalar]]:
        """The grids' cross product, without repeats for methods that lack one of its parameters."""
        grids = {path: domain.grid for path, domain in self.space.items() if domain.grid}
        seen: set[tuple[tuple[str, Scalar], ...]] = set()
        for values in product(*grids.values()):
            cell = dict(zip(grids, values, strict=True))
            kept = {path: value for path, value in cell.items() if self.applies(path, cell)}
            key = tuple(kept.items())
            if key not in seen:
                seen.add(key)
                yield kept


def trials_of(config: SweepConfig) -> int:
    """Return the number of trials: cells of the grids, times samples of each."""
    return len(list(config.cells())) * config.search.samples
