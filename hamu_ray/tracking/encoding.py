"""Parameters, tags and metric names as MLflow takes them: text, within its limits of length and characters."""

import json
import re
from collections.abc import Mapping
from typing import Any

PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
CUT = " … (cut)"


def metric_name(name: str) -> str:
    """Return the name of a metric, parameter or tag with `_` in place of characters that MLflow refuses."""
    return re.sub(r"[^/\w.\- :]", "_", name)


def text(value: Any) -> str:
    """Return a parameter as text: strings as they are, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def value_of(text: str) -> Any:
    """Return the value of a parameter from its text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Return tags as text, truncated to the length that MLflow takes."""
    return {key: cut(text(value), TAG_LENGTH) for key, value in tags.items()}


def cut(text: str, length: int) -> str:
    """Return a text, truncated with a note where it is longer than ``length``."""
    return text if len(text) <= length else text[: length - len(CUT)] + CUT
