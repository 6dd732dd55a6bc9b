"""The unlearning method and its hyperparameters: a section whose keys are those of the registered methods."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args

from pydantic import (
    Field,
    SerializationInfo,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    WrapValidator,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from hamu_ray.config.schema import Section
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.methods import (
    FORGET_OBJECTIVES,
    METHODS,
    ForgetObjective,
    Hyperparameter,
    Hyperparameters,
    Method,
    forget_objectives_of,
    keys_of,
    plugins,
)
from hamu_ray.methods.hyperparameters import described

_PLUG_INS = {"method.name": "hamu_ray.methods", "method.forget_objective": "hamu_ray.objectives"}
"""Keys that may name something of another package, and the groups of its entry points."""

_TABLES: tuple[Mapping[str, Method | ForgetObjective], ...] = (METHODS, FORGET_OBJECTIVES)
"""What these keys may name."""


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
        return _section(*(tuple(table) for table in _TABLES))

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The method's own record."""
        return METHODS[self.name].hyperparameters.of(dict(self))

    @property
    def used(self) -> dict[str, Any]:
        """The keys that the method uses, with their values."""
        keys = keys_of(self.name, self.forget_objective) | {"name"}
        return {key: value for key, value in self if key in keys}

    @property
    def plugins(self) -> list[plugins.Plugin]:
        """The plug-ins that the method and its forget objective come from."""
        named = zip((self.name, self.forget_objective), _PLUG_INS.values(), strict=True)
        return [plugin for name, group in named if (plugin := plugins.loaded(group).get(name or ""))]

    def __reduce__(self) -> tuple[Callable[..., "MethodConfig"], tuple[dict[str, Any]]]:
        """Pickle as plain data: the class does not exist by name."""
        return _of_document, (self.model_dump(exclude_unset=True),)

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        return self._without_other_plugins((), handler(self), exclude_unset=bool(info.exclude_unset))

    def document(self, named: Collection[str], *, exclude_unset: bool) -> dict[str, Any]:
        """Return the section as plain data, for a document that also names these methods and forget objectives."""
        found = {key: value for key, value in self if not exclude_unset or key in self.model_fields_set}
        return self._without_other_plugins(named, found, exclude_unset=exclude_unset)

    def _without_other_plugins(
        self, named: Collection[str], found: dict[str, Any], *, exclude_unset: bool
    ) -> dict[str, Any]:
        """Return plain data that are valid where no other plug-ins are loaded than those that the document names.

        Another plug-in loaded here may share a key, whose values and default are then those of the plug-in, too: such a
        key is written with its value only if the document's methods use it.
        """
        known = {self.name, self.forget_objective, *named}
        others = [plugins.loaded(group).keys() - known for group in _PLUG_INS.values()]
        if not any(others):
            return found
        section = _section(
            *(tuple(name for name in t if name not in o) for t, o in zip(_TABLES, others, strict=True))
        )
        theirs = _keys(table[name] for table, names in zip(_TABLES, others, strict=True) for name in names)
        used = self.used.keys() | _keys(table[name] for table in _TABLES for name in named if name in table)
        written = {}
        for key, field in section.model_fields.items():
            if key not in found:
                continue
            value, nullable = found[key], type(None) in get_args(field.annotation)
            if key not in theirs or (key in used and (value is not None or nullable)):
                written[key] = value
            elif not exclude_unset:
                written[key] = field.default
        return written

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


def _keys(owners: Iterable[Method | ForgetObjective]) -> set[str]:
    return {key for owner in owners for key in described(owner.hyperparameters)}


AnyMethod = Annotated[
    SerializeAsAny[MethodConfig],
    WrapValidator(lambda given, _: given if isinstance(given, MethodConfig) else _of_document(given)),
]
"""The section as a field of a run."""


@lru_cache
def _section(methods: tuple[str, ...], forget_objectives: tuple[str, ...]) -> type[MethodConfig]:
    """Return the section with the hyperparameters of these methods and forget objectives."""
    by_key: dict[str, dict[str, Hyperparameter]] = {}
    for table, names in zip(_TABLES, (methods, forget_objectives), strict=True):
        for name in names:
            for key, each in described(table[name].hyperparameters).items():
                by_key.setdefault(key, {})[name] = each
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
