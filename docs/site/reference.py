"""The reference pages of configuration keys and metrics, from the records that the package itself uses."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from hamu_ray.config.schema import Section
from hamu_ray.config.space import Domain
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.metrics.attacks.names import ATTACK
from hamu_ray.metrics.names import Metric
from hamu_ray.metrics.table import BLOCK, COSTS, MODEL, STEP, SWEEP

TASKS = {"vision": "Images", "language": "Text", "custom": "Custom tasks"}
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def configuration() -> str:
    """Return a table of keys for each section of a sweep's configuration."""
    plain = {key: field for key, field in SweepConfig.model_fields.items() if not sections(field.annotation)}
    parts = ["## Top level", "", *table_of(SweepConfig, "", plain)]
    for key, field in SweepConfig.model_fields.items():
        variants = [] if key in plain else sections(field.annotation)
        if variants:
            parts += ["", f"## {key}", ""]
        for section in variants:
            if len(variants) > 1:
                parts += ["", f"### {key}: {name_of(section)}", ""]
            parts += [*paragraphs(section), "", *table_of(section, f"{key}.", section.model_fields)]
    parts += ["", "## A domain of `space`", "", *paragraphs(Domain), ""]
    return "\n".join([*parts, *table_of(Domain, "", Domain.model_fields), ""])


def metrics() -> str:
    """Return a table for each kind of reported number."""
    kinds: dict[str, Mapping[str, Metric]] = {
        **{f"Of a model: {TASKS[task].lower()}": MODEL[task] for task in MODEL},
        "Attacks": ATTACK,
        "Costs": COSTS,
        "Of a step": STEP,
        "Of a block of parameters in a step": BLOCK,
        "Of a sweep": SWEEP,
    }
    parts = []
    for title, found in kinds.items():
        rows = [(f"`{key}`", each.definition, each.better, each.unit) for key, each in found.items()]
        parts += [f"## {title}", "", *table(("name", "definition", "better", "unit"), rows), ""]
    return "\n".join(parts)


def table_of(section: type[Section], prefix: str, fields: Mapping[str, FieldInfo]) -> list[str]:
    """Return the table of some fields of a section and of the sections in it."""
    return table(("key", "values", "default", "meaning"), rows_of(section, prefix, fields))


def rows_of(
    section: type[Section], prefix: str, fields: Mapping[str, FieldInfo]
) -> Iterator[tuple[str, ...]]:
    """Yield a row for each key, with the keys of inner sections under their paths."""
    schema = section.model_json_schema()
    for key, field in fields.items():
        shown = field.alias or key
        inner = sections(field.annotation)
        described = schema["properties"][shown]
        if len(inner) == 1 and described.get("type") not in ("array", "object"):
            default = "null" if field.default is None else "see below"
            yield f"`{prefix}{shown}`", "a section", default, text(field.description or inner[0].__doc__)
            yield from rows_of(inner[0], f"{prefix}{shown}.", inner[0].model_fields)
            continue
        yield f"`{prefix}{shown}`", values(described, schema), default_of(field), text(field.description)


def default_of(field: FieldInfo) -> str:
    """Return a field's default in words."""
    if field.is_required():
        return "required"
    if field.default_factory_takes_validated_data:
        return "follows from other keys"
    return value(field.get_default(call_default_factory=True))


def sections(annotation: Any) -> list[type[Section]]:
    """Return the sections that a field's annotation names, those known now of a section that others extend."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation.current()]
    return list(dict.fromkeys(each for inner in get_args(annotation) for each in sections(inner)))


def name_of(section: type[Section]) -> str:
    """Return what selects a variant of a section: its name, kind or task."""
    return next(
        str(section.model_fields[key].default or get_args(section.model_fields[key].annotation)[0])
        for key in ("kind", "task", "name")
        if key in section.model_fields and "Literal" in str(section.model_fields[key].annotation)
    )


def values(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """Return the values that a JSON schema allows, in words."""
    if "$ref" in schema:
        found = whole["$defs"][schema["$ref"].rpartition("/")[2]]
        return "section" if "properties" in found else values(found, whole)
    if "const" in schema:
        return value(schema["const"])
    if "enum" in schema:
        return " or ".join(map(value, schema["enum"]))
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(values(each, whole) for each in choices))
    kind = schema.get("type", "any value")
    if kind == "array":
        items = schema.get("items") or {"anyOf": schema.get("prefixItems", [{}])}
        return f"list of: {values(items, whole)}"
    bounds = [f"{word} {schema[key]:,}" for key, word in BOUNDS.items() if key in schema]
    return " ".join([{"object": "mapping", "null": "null"}.get(kind, kind), " and ".join(bounds)]).strip()


def value(found: Any) -> str:
    """Return a value as in YAML."""
    if isinstance(found, Section):
        return "see below"
    if isinstance(found, tuple | list):
        return f"[{', '.join(str(getattr(each, 'metric', each)) for each in found)}]"
    words = {None: "null", True: "true", False: "false"}
    return words[found] if found is None or isinstance(found, bool) else f"`{found}`"


def paragraphs(section: type[Section]) -> list[str]:
    """Return the docstring of a section."""
    return [line.strip() for line in (section.__doc__ or "").strip().splitlines()]


def text(description: str | None) -> str:
    """Return a description in one line."""
    return " ".join((description or "").split())


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
