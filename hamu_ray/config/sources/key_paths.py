"""Conversion between nested mappings and flat ones with dotted key paths."""

from collections.abc import Mapping
from typing import Any

METHOD_PREFIX = "method."
METHOD_NAME = "method.name"
SEED = "seed"
TRAINING_SEED = "training.seed"
SEEDS = (SEED, TRAINING_SEED)
"""Keys that repeat a configuration rather than change it: a sweep's samples are the same for all their values."""


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one with dotted key paths."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value}
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Convert dotted key paths to nested mappings. If a key is also the prefix of others, the others are kept."""
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
