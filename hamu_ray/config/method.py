"""The unlearning method and its hyperparameters: a section whose keys are those of the registered methods."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, Union

from pydantic import Field, SerializeAsAny, WrapValidator, create_model, field_validator, model_validator

from hamu_ray.config.schema import Section
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.methods import (
    FORGET_OBJECTIVES,
    METHODS,
    Hyperparameter,
    Hyperparameters,
    all_hyperparameters,
    forget_objectives_of,
    keys_of,
    plugins,
)

_PLUG_INS = {"method.name": "hamu_ray.methods", "method.forget_objective": "hamu_ray.objectives"}
"""Keys that may name something of another package, and the groups of its entry points."""


class MethodConfig(Section):
    """The unlearning method. Hyperparameters that a method does not have are ignored.

    The keys of hyperparameters are in a subclass, `current`, because they follow from the methods.
    """

    name: str = "hamu-q"
    forget_objective: str | None = None
    """Forget objective to use instead of the method's default; HAMU's constraint then applies to it. null: the method's
    default.
    """

    @classmethod
    def current(cls) -> "type[MethodConfig]":
        """Return the section with the hyperparameters of all methods and forget objectives known now."""
        return _section(tuple(METHODS), tuple(FORGET_OBJECTIVES))

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The method's own record."""
        return METHODS[self.name].hyperparameters.of(dict(self))

    @property
    def used(self) -> dict[str, Any]:
        """The keys that the method uses, with their values."""
        keys = keys_of(self.name, self.forget_objective) | {"name"}
        return {key: value for key, value in self if key in keys}

    def __reduce__(self) -> tuple[Callable[..., "MethodConfig"], tuple[dict[str, Any]]]:
        """Pickle as plain data: the class does not exist by name."""
        return _of_document, (self.model_dump(exclude_unset=True),)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in METHODS:
            raise ValueError(f"unknown method {name!r}; {nearest(name, plugins.names('hamu_ray.methods'))}")
        return name

    @model_validator(mode="after")
    def _takes_the_forget_objective(self) -> "MethodConfig":
        if self.forget_objective not in (None, *forget_objectives_of(self.name)):
            raise ValueError(
                f"forget_objective: {self.name} does not support {self.forget_objective}; set it to null or use "
                "another method, such as gdiff (in a sweep's space it applies only to methods that support it)"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_record(self) -> "MethodConfig":
        """Check what the keys alone do not determine: methods may give one key different ranges."""
        values = dict(self)
        METHODS[self.name].hyperparameters.of(values)
        for name in forget_objectives_of(self.name):
            if name == (self.forget_objective or forget_objectives_of(self.name)[0]):
                FORGET_OBJECTIVES[name].hyperparameters.of(values)
        return self


def load_methods(document: Any) -> None:
    """Import the methods and forget objectives of other packages that a run's or sweep's document names.

    Raises:
        ValueError: One cannot be imported; the message begins with the key.
    """
    if not isinstance(document, Mapping):
        return
    for key, group in _PLUG_INS.items():
        section, name = document.get("method"), key.removeprefix("method.")
        given = {key: section.get(name)} if isinstance(section, Mapping) else {}
        space = document.get("space")
        domains = space.get(key) if isinstance(space, Mapping) else None
        given[f"space.{key}"] = domains
        for place, value in given.items():
            for word in _words(value):
                try:
                    plugins.load(group, word)
                except ValueError as error:
                    raise ValueError(f"{place}: {error}") from error


def _words(value: Any) -> Iterator[str]:
    """Yield all text in a value or a domain, at any depth of lists and sections."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key != "when":
                yield from _words(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _words(inner)


def _of_document(document: Any) -> MethodConfig:
    """Validate a section against the methods known now, which include those that it names."""
    load_methods({"method": document})
    return MethodConfig.current().model_validate(document)


AnyMethod = Annotated[
    SerializeAsAny[MethodConfig],
    WrapValidator(lambda given, _: given if isinstance(given, MethodConfig) else _of_document(given)),
]
"""The section as a field of a run."""


@lru_cache
def _section(methods: tuple[str, ...], forget_objectives: tuple[str, ...]) -> type[MethodConfig]:
    """Return the section with the hyperparameters of these methods and forget objectives, which are all."""
    by_key: dict[str, dict[str, Hyperparameter]] = {}
    for owner, each in all_hyperparameters():
        by_key.setdefault(each.name, {})[owner] = each
    keys: dict[str, Any] = {key: _field(owners) for key, owners in by_key.items()}
    chosen = MethodConfig.model_fields["forget_objective"]
    keys["forget_objective"] = (
        Union[Literal[forget_objectives], None],  # noqa: UP007 the choices are not known statically
        Field(default=None, description=chosen.description),
    )
    return create_model("MethodConfig", __base__=MethodConfig, __doc__=MethodConfig.__doc__, **keys)


def _field(owners: Mapping[str, Hyperparameter]) -> tuple[Any, Any]:
    """Return type and default of a key; null means the method's own default where those of methods differ."""
    each = list(owners.values())
    default = each[0].default
    arms = list(_arms(each))
    if any(one.default != default for one in each):
        default = None
        arms += [] if None in arms else [None]
    summaries = dict.fromkeys(f"{', '.join(_with(one, owners))}: {one.summary}" for one in each)
    description = "; ".join(summaries)
    return Union[tuple(arms)], Field(default=default, description=description)  # noqa: UP007 as above


def _with(one: Hyperparameter, owners: Mapping[str, Hyperparameter]) -> list[str]:
    return [owner for owner, other in owners.items() if other.summary == one.summary]


def _arms(each: Sequence[Hyperparameter]) -> list[Any]:
    """Return the types of the values, without repetitions: choices, then numbers with their bounds, then null."""
    found: dict[Any, Any] = {}
    for one in each:
        if one.choices:
            found.setdefault(one.choices, Literal[one.choices])
        bounds: dict[str, Any] = dict(one.bounds)
        for kind in one.kinds:
            bounded = kind in (int, float) and bounds
            key = (kind, tuple(bounds.items())) if bounded else kind
            found.setdefault(key, Annotated[kind, Field(**bounds)] if bounded else kind)
    absent = found.pop(type(None), ...)
    return [*found.values(), *([] if absent is ... else [None])]
