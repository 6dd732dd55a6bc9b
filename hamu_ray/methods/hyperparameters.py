"""Typed records of hyperparameters: each method's and each forget objective's, beside its mathematics.

The schema of configurations, conditional sampling, error messages and tables are all derived from these records.
Neither torch nor pydantic is imported here.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

Granularity = Literal["tensor", "model"]
Aim = Literal["forgetting", "retaining"]
Infeasible = Literal["best_effort", "least_step", "skip", "stop", "finish"]

_KEY = "hyperparameter"
_SYMBOLS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One hyperparameter: its values, its default, what it does, and where it comes from."""

    name: str = ""
    default: Any = None
    summary: str
    """What it does, in one line."""
    source: str
    """The publication, or this project, that introduced it or recommends its default."""
    search: Mapping[str, Any]
    """A sensible domain to search, as in a search space: ``{"uniform": (0.05, 0.95)}``."""
    bounds: Mapping[str, float]
    """Of a number: ``gt``, ``ge``, ``lt`` and ``le``."""
    kinds: tuple[type, ...] = ()
    """Types of its values: of `bool`, `int`, `float`, and `NoneType`."""
    choices: tuple[Any, ...] = ()
    """Values that it may have in addition to those of its kinds."""

    def check(self, value: Any) -> None:
        """Raise `ValueError` with the hyperparameter, its range and the value if the value is not valid."""
        if not (self._of_a_kind(value) or any(value is c or value == c for c in self.choices)):
            raise ValueError(f"{self.name} must be {self.range}, found {value!r}")

    def _of_a_kind(self, value: Any) -> bool:
        if value is None or isinstance(value, bool):
            return type(value) in self.kinds
        if float in self.kinds:
            return isinstance(value, int | float) and math.isfinite(value) and self._within(value)
        return int in self.kinds and isinstance(value, int) and self._within(value)

    def _within(self, value: float) -> bool:
        limits = self.bounds
        above = value >= limits.get("ge", -math.inf) and value > limits.get("gt", -math.inf)
        return above and value <= limits.get("le", math.inf) and value < limits.get("lt", math.inf)

    @property
    def range(self) -> str:
        """Its values in words."""
        found = [f'"{choice}"' for choice in self.choices]
        for kind, word in ((float, "a finite number"), (int, "a whole number")):
            if kind in self.kinds:
                found.append(" and ".join([word, *self._limits]).replace(f"{word} and", word))
        found += ["true or false"] if bool in self.kinds else []
        found += ["null"] if type(None) in self.kinds else []
        return " or ".join(filter(None, (", ".join(found[:-1]), found[-1])))

    @property
    def _limits(self) -> list[str]:
        return [f"{_SYMBOLS[key]} {bound:g}" for key, bound in self.bounds.items()]

    def check_complete(self) -> None:
        """Raise `ValueError` if the record of this hyperparameter lacks a part, or its parts contradict each other."""
        for part in ("summary", "source", "search"):
            if not getattr(self, part):
                raise ValueError(f"hyperparameter {self.name} has no {part}")
        self.check(self.default)
        values = next(iter(self.search.values()))
        kind = next(iter(self.search))
        if len(self.search) != 1 or kind not in ("choice", "uniform", "loguniform", "int"):
            raise ValueError(f"hyperparameter {self.name}: search must be one domain, found {self.search}")
        for value in values:
            self.check(value)


def hyperparameter(
    default: Any,
    summary: str,
    *,
    source: str,
    search: Mapping[str, Any],
    **bounds: float,
) -> Any:
    """Return a field of a `Hyperparameters` record; its type annotation determines the kinds of its values.

    Args:
        default: Its value if none is given.
        summary: What it does, in one line.
        source: The publication that introduced it or recommends its default.
        search: A sensible domain to search, as in a search space.
        bounds: Of a number: any of ``gt``, ``ge``, ``lt``, ``le``.
    """
    if unknown := bounds.keys() - _SYMBOLS:
        raise TypeError(f"unknown bound {', '.join(sorted(unknown))}; bounds are {', '.join(_SYMBOLS)}")
    record = Hyperparameter(summary=summary, source=source, search=search, bounds=bounds)
    return field(default=default, metadata={_KEY: record})


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The base of records, and the record of methods without hyperparameters. Values are checked on creation.

    Properties are hyperparameters that the engine reads on the method's behalf, with their values in methods that do
    not have them; a record overrides them with fields.
    """

    default_fraction: ClassVar[float | None] = None
    """Of methods with a guarantee: the default of ``constraint_fraction`` if no constraint is given."""
    guarantees: ClassVar[Aim | None] = None
    """What each step guarantees a part of, at the least cost in the other; None for methods without a guarantee."""

    @property
    def granularity(self) -> Granularity:
        """One block per parameter tensor, or the whole model as one block."""
        return "tensor"

    @property
    def infeasible(self) -> Infeasible:
        """What happens in a block whose constraint cannot be met."""
        return "best_effort"

    @property
    def trust_region(self) -> bool:
        """Whether the radius adapts to the agreement of predictions with actual changes."""
        return False

    @property
    def target(self) -> Literal["reference"] | None:
        """The model whose forget loss ends forgetting."""
        return None

    @property
    def saliency(self) -> float | None:
        """The fraction of the weights that may change, those most salient to the forget set; None: all."""
        return None

    @property
    def importance(self) -> str:
        """What an edit measures the importance of weights by: ``fisher`` or ``output_norm``."""
        return "fisher"

    @property
    def importance_batch(self) -> int:
        """The number of examples whose mean loss has one gradient in the importance."""
        return 1

    @property
    def l1_penalty(self) -> float:
        """The largest coefficient of a penalty on the sum of the absolute weights; 0: no penalty."""
        return 0.0

    @property
    def initial_state(self) -> Mapping[str, float]:
        """Names and initial values of the state that the weighting carries from step to step. It is kept on the device
        as 0-d float64 tensors, the same on every worker, and saved with checkpoints.
        """
        return {}

    def __post_init__(self) -> None:
        for known in described(type(self)).values():
            known.check(getattr(self, known.name))
        self.check_together()

    def check_together(self) -> None:
        """Check hyperparameters that restrict each other; raises `ValueError`. To be overridden."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return a record of the values that it has; others are ignored.

        None where a hyperparameter cannot be None means its default.
        """
        known = described(cls)
        given = {name: values[name] for name in known if name in values}
        return cls(**{n: v for n, v in given.items() if v is not None or type(None) in known[n].kinds})


def described(record: type[Hyperparameters]) -> Mapping[str, Hyperparameter]:
    """Return the hyperparameters of a record by name, in order.

    Raises:
        TypeError: A field was not made with `hyperparameter`, or its type is not one of a configuration's.
    """
    key: Any = record  # mypy: a dataclass's own __hash__ hides that of its class
    return _described(key)


@lru_cache
def _described(record: Any) -> Mapping[str, Hyperparameter]:
    hints = get_type_hints(record)
    found = {}
    for each in fields(record):
        if _KEY not in each.metadata or each.default is MISSING:
            raise TypeError(f"{record.__name__}.{each.name} is not documented; use hyperparameter(...)")
        found[each.name] = _completed(each, hints[each.name], record)
    return found


def _completed(each: Field, hint: Any, record: type[Hyperparameters]) -> Hyperparameter:
    """Return a field's description with what follows from its annotation."""
    arguments = get_args(hint) if get_origin(hint) is not Literal else (hint,)
    kinds: list[type] = []
    choices: list[Any] = []
    for part in arguments or (hint,):
        if get_origin(part) is Literal:
            choices += get_args(part)
        elif part in (bool, int, float, type(None)):
            kinds.append(part)
        else:
            raise TypeError(
                f"{record.__name__}.{each.name} must be of bool, int, float, Literal or None, found {part}"
            )
    given: Hyperparameter = each.metadata[_KEY]
    return Hyperparameter(
        name=each.name,
        default=each.default,
        summary=given.summary,
        source=given.source,
        search=given.search,
        bounds=given.bounds,
        kinds=tuple(kinds),
        choices=tuple(choices),
    )


@dataclass(frozen=True, kw_only=True)
class Blockwise(Hyperparameters):
    """The record of methods that decide block by block."""

    granularity: Granularity = hyperparameter(
        "tensor",
        "one block per parameter tensor, or the whole model as one block",
        source="hamu_ray",
        search={"choice": ("tensor", "model")},
    )


@dataclass(frozen=True, kw_only=True)
class WeightedSum(Hyperparameters):
    """The record of methods with a weighted sum of both objectives."""

    retain_weight: float = hyperparameter(
        0.5,
        "weight w of the retain objective; the forget objective has 1 - w, so that w changes only the direction",
        source="hamu_ray; coefficients c_r and c_f of published code correspond to w = c_r / (c_r + c_f)",
        search={"uniform": (0.05, 0.95)},
        ge=0,
        le=1,
    )
