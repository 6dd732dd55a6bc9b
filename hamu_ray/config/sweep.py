"""The schema of a sweep: a run, plus which of its keys vary and how they are searched."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hamu_ray.config.run import RunConfig
from hamu_ray.config.schema import Section
from hamu_ray.methods import get_method

Scalar = bool | int | float | str | None
Bounds = tuple[float, float]

METHOD_PREFIX = "method."
METHOD_NAME = "method.name"


class Domain(Section):
    """The values that one key may take: exactly one of the fields."""

    grid: list[Scalar] | None = Field(default=None, min_length=1)
    """Every value, crossed with every other grid."""
    choice: list[Scalar] | None = Field(default=None, min_length=1)
    """One of these, as the searcher picks."""
    uniform: Bounds | None = None
    loguniform: Bounds | None = None
    integers: tuple[int, int] | None = Field(default=None, alias="int")
    """Whole numbers, both ends included; `int` in a file."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Domain":
        if len(self.model_fields_set & set(type(self).model_fields)) != 1:
            raise ValueError("give exactly one of grid, choice, uniform, loguniform, int")
        for kind in ("uniform", "loguniform", "integers"):
            bounds = getattr(self, kind)
            if bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError(f"lower bound not below the upper one: {list(bounds)}")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("loguniform needs bounds above zero")
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


class SearchConfig(Section):
    """How the space is searched."""

    algorithm: Literal["random", "grid", "tpe", "nsga2", "gp"] = "tpe"
    samples: Annotated[int, Field(ge=1)] = 1
    """Trials for each cell of the grids (one cell where nothing is a grid)."""
    seed: int = Field(default=0, ge=0)
    """Decides what the searcher draws."""
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at once; null takes as many as the cluster's resources allow."""
    retries: int = Field(default=1, ge=0)
    """How often a trial is tried again after an error before it counts as failed."""
    time_budget: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no new trial starts; null has no limit."""
    objectives: tuple[Objective, Objective] = (
        Objective(metric="forget_quality"),
        Objective(metric="retain_utility"),
    )


class SweepConfig(RunConfig):
    """A run with a space over some of its keys."""

    space: dict[str, Domain]
    """Key paths of the run, such as `optimizer.learning_rate`, to their domains."""
    search: SearchConfig = SearchConfig()

    @field_validator("space")
    @classmethod
    def _not_empty(cls, space: dict[str, Domain]) -> dict[str, Domain]:
        if not space:
            raise ValueError(
                "a sweep needs at least one parameter; add one, or use hamu_ray.unlearn for one run"
            )
        return space

    @model_validator(mode="after")
    def _space_fits_the_run(self) -> "SweepConfig":
        if self.search.algorithm == "grid" and any(d.grid is None for d in self.space.values()):
            sampled = next(path for path, domain in self.space.items() if domain.grid is None)
            raise ValueError(f"search.algorithm grid needs grids alone; space.{sampled} is not one")
        return self

    @property
    def base(self) -> dict[str, Any]:
        """The run's part of the configuration as plain data."""
        return self.model_dump(mode="json", exclude={"space", "search"}, exclude_unset=True)

    def resolve(self, parameters: Mapping[str, Scalar]) -> RunConfig:
        """Return the run with these values at their key paths."""
        document = self.base
        for path, value in parameters.items():
            assign(document, path, value)
        return RunConfig.model_validate(document)

    def applies(self, path: str, method: str) -> bool:
        """Whether a method reads a key: keys outside `method.` always apply."""
        setting = path.removeprefix(METHOD_PREFIX)
        return setting == path or path == METHOD_NAME or setting in get_method(method).settings

    def cells(self) -> Iterator[dict[str, Scalar]]:
        """The grids' cross product, without repeats for methods that lack one of its parameters."""
        grids = {path: domain.grid for path, domain in self.space.items() if domain.grid}
        seen: set[tuple[tuple[str, Scalar], ...]] = set()
        for values in product(*grids.values()):
            cell = dict(zip(grids, values, strict=True))
            method = str(cell.get(METHOD_NAME, self.method.name))
            kept = {path: value for path, value in cell.items() if self.applies(path, method)}
            key = tuple(kept.items())
            if key not in seen:
                seen.add(key)
                yield kept


def assign(document: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted key path in nested dictionaries, making the sections that are missing."""
    *sections, key = path.split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise ValueError(f"{path}: {section} is not a section")
    document[key] = value
