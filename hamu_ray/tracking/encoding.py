"""Encoding of parameters, tags and metric names for MLflow: text, within its limits of length and characters."""

import json
import re
from collections.abc import Mapping
from typing import Any

PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
CUT = " … (cut)"


def metric_name(name: str) -> str:
    """Return the name of a metric, parameter or tag with `_` in place of characters that MLflow rejects."""
    return re.sub(r"[^/\w.\- :]", "_", name)


def text(value: Any) -> str:
    """Encode a parameter as text: strings unchanged, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def value_of(text: str) -> Any:
    """Decode a parameter's text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Encode tags as text, truncated to MLflow's maximum length."""
    return {key: cut(text(value), TAG_LENGTH) for key, value in tags.items()}


def cut(text: str, length: int) -> str:
    """Return a text, truncated with a note if it is longer than ``length``."""
    return text if len(text) <= length else text[: length - len(CUT)] + CUT
