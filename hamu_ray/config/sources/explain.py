"""Validation errors as plain messages: the key path, the expected and the found value, and the remedy."""

import math
import re
import reprlib
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hamu_ray.config.schema import Section
from hamu_ray.config.sources.nearest import near, nearest

Location = Sequence[int | str]

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "int_type": "a whole number",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "list_type": "a list",
    "string_too_long": "text of at most {max_length} characters",
    "string_too_short": "text of at least {min_length} character",
    "string_type": "text",
    "too_long": "{max_length} values",
    "too_short": "at least {min_length} value",
    "tuple_type": "a list",
}
"""Descriptions of the expected value by pydantic's error types, formatted with the error's context."""

_shorten = reprlib.Repr()
_shorten.maxlevel, _shorten.maxlist, _shorten.maxdict = 2, 4, 4
_shorten.maxstring = _shorten.maxother = 60


def explain(error: ValidationError, schema: type[BaseModel], document: Any) -> tuple[str, str]:
    """Return the path of the first wrong key, as in the file, and a description of the problem.

    An unknown key is reported first, because it is often a misspelling of a missing one.
    """
    details = error.errors(include_url=False)
    detail = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    place = _place(detail, document)
    same_place = [d for d in details if _place(d, document) == place]
    if detail["type"] == "missing" and isinstance(place[-1], int):
        siblings = [d["loc"][-1] for d in details if d["loc"][:-1] == detail["loc"][:-1]]
        wanted = max(index for index in siblings if isinstance(index, int)) + 1
        return dotted(place[:-1]), f"expected {wanted} values, found {shown(detail['input'])}"
    if detail["type"].startswith("union_tag"):
        place = (*place, str(detail["ctx"]["discriminator"]).strip("'"))
    if detail["type"] == "value_error":
        return _own_place(place, detail["msg"].removeprefix("Value error, "))
    return dotted(place), _problem(detail, same_place, schema)


def shown(value: Any) -> str:
    """Return a value in YAML notation, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, date):
        return value.isoformat()
    return _shorten.repr(value)


def dotted(place: Location) -> str:
    """Return a location as a key path."""
    return ".".join("null" if part is None else str(part) for part in place)


def _own_place(place: Location, message: str) -> tuple[str, str]:
    """Assign an error across keys to their section; it may name the key itself, as ``key.path: problem``."""
    named = re.match(r"([a-z_][\w.{},-]*): ", message)
    if named is None:
        return dotted(place), message
    return dotted((*place, named[1])), message[named.end() :]


def _place(detail: ErrorDetails, document: Any) -> tuple[int | str, ...]:
    """Remove parts of an error's location that are not in the file, such as union tags."""
    place: list[int | str] = []
    for part in detail["loc"]:
        if part in _inside(document):
            document = document[part]
            place.append(part)
    return (*place, detail["loc"][-1]) if detail["type"] == "missing" else tuple(place)


def _inside(document: Any) -> Collection[Any]:
    """The keys of a section, or the indices of a list."""
    if isinstance(document, list):
        return range(len(document))
    return document if isinstance(document, Mapping) else ()


def _problem(detail: ErrorDetails, details: Sequence[ErrorDetails], schema: type[BaseModel]) -> str:
    kind, found = detail["type"], detail.get("input")
    if "[key]" in detail["loc"]:
        return "expected text, such as optimizer.learning_rate"
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown_key(detail["loc"], schema)
    if kind == "missing":
        return "missing; add it"
    if kind == "union_tag_not_found":
        sections = _sections(detail["loc"], schema)
        return f"missing; add it with one of {', '.join(sorted(str(_tag(s)) for s in sections))}"
    if kind == "union_tag_invalid":
        name, tag = str(detail["ctx"]["discriminator"]).strip("'"), detail["ctx"]["tag"]
        return f"unknown {name} {shown(tag)}; {nearest(tag, _quoted(detail['ctx']))}"
    if kind in ("model_type", "model_attributes_type"):
        section, *others = _sections(detail["loc"], schema)
        variant = f"such as {{{_tag_key(section)}: {_tag(section)}}}"
        keys = variant if others else f"({', '.join(_keys(section))})"
        if found is None:
            return f"is empty; add keys {keys} or remove it"
        return f"expected a section with keys {keys}, found {shown(found)}"
    return f"expected {_alternatives(details)}, found {shown(found)}{_hint(details, found)}"


def _alternatives(details: Sequence[ErrorDetails]) -> str:
    """Describe the expected values; several for a key that accepts different types."""
    expected: dict[str, None] = {}
    for detail in details:
        context = detail.get("ctx", {})
        if detail["type"] == "literal_error":
            expected.update(dict.fromkeys(_quoted(context)))
        else:
            template = _EXPECTED.get(detail["type"], detail["msg"])
            words = template.format(**{key: _plain(value) for key, value in context.items()})
            expected[
                f"{words}s" if context.get("min_length", 1) > 1 and words.startswith("at least") else words
            ] = None
    *others, last = expected
    return f"{', '.join(others)} or {last}" if others else last


def _plain(value: Any) -> Any:
    """A bound as written in the schema: 1 where pydantic says 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hint(details: Sequence[ErrorDetails], found: Any) -> str:
    """A remedy that does not follow from the expectation."""
    kinds = {detail["type"] for detail in details}
    if isinstance(found, str) and kinds & {"float_type", "int_type"} and _is_number(found):
        return "; remove the quotes"
    if isinstance(found, str) and "literal_error" in kinds:
        choices = [choice for d in details for choice in _quoted(d.get("ctx", {}))]
        return f"; {hint}" if (hint := nearest(found, choices)).startswith("did") else ""
    if kinds == {"string_type"} and isinstance(found, int | float):
        return "; put it in quotes"
    return ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _quoted(context: Mapping[str, Any]) -> list[str]:
    """The values that pydantic lists in one quoted string."""
    return re.findall(r"'([^']*)'", str(context.get("expected", context.get("expected_tags", ""))))


def _unknown_key(location: Location, schema: type[BaseModel]) -> str:
    """Suggest the closest key of the section, or the same key in another section of the file."""
    *parents, key = location
    section = _sections(parents, schema)[0]
    variant = (
        f" where {_tag_key(section)} is {parents[-1]}" if parents and parents[-1] == _tag(section) else ""
    )
    if not variant and near(key, _keys(section)) is None:
        elsewhere = [path for path in _paths(schema) if path.endswith(f".{key}")]
        if elsewhere:
            return f"unknown key; did you mean {min(elsewhere, key=len)}?"
    return f"unknown key{variant}; {nearest(key, _keys(section))}"


def _sections(location: Location, schema: type[BaseModel]) -> list[type[BaseModel]]:
    """Follow an error's location to the possible sections."""
    sections = [schema]
    for part in location:
        owner = next((s for s in sections if part in _keys(s)), None)
        if owner is not None:
            sections = _models(_keys(owner)[str(part)])
        else:  # the tag of a union's member; an index or a mapping's key leads to the same sections
            sections = [s for s in sections if _tag(s) == part] or sections
    return sections


def _keys(section: type[BaseModel]) -> dict[str, Any]:
    """A section's keys as in a file, and their types."""
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a key's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation.current() if issubclass(annotation, Section) else annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _paths(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """All key paths of a schema."""
    paths = []
    for key, annotation in _keys(schema).items():
        paths.append(prefix + key)
        for section in _models(annotation):
            paths += _paths(section, f"{prefix}{key}.")
    return paths


def _tag(section: type[BaseModel]) -> str | None:
    """The value that selects a section in a union."""
    key = _tag_key(section)
    return section.model_fields[key].default if key else None


def _tag_key(section: type[BaseModel]) -> str | None:
    """The key whose default selects a section in a union."""
    return next((key for key in ("task", "name", "kind") if key in section.model_fields), None)
