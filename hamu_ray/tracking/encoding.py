"""Parameters, tags and names as MLflow takes them: flat, as text, within its lengths and characters."""

import json
import re
from collections.abc import Mapping
from typing import Any

PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
CUT = " … (cut)"


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted key paths."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value}
    return flat


def metric_name(name: str) -> str:
    """Return the name of a metric, parameter or tag with `_` for characters that MLflow refuses."""
    return re.sub(r"[^/\w.\- :]", "_", name)


def text(value: Any) -> str:
    """Return a parameter as a configuration file would spell it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Return tags as texts that are not too long."""
    return {key: cut(text(value), TAG_LENGTH) for key, value in tags.items()}


def cut(text: str, length: int) -> str:
    """Return a text, or its beginning and a note that it was longer."""
    return text if len(text) <= length else text[: length - len(CUT)] + CUT


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted key paths as nested mappings; a key that others lead through holds those alone."""
    document: dict[str, Any] = {}
    for path in sorted(flat, key=lambda path: path.count(".")):
        *parents, last = path.split(".")
        place = document
        for key in parents:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[last] = flat[path]
    return document


def value_of(text: str) -> Any:
    """Return a parameter as it was before it became text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
