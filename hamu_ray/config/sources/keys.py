"""The key paths of a run, and which of them a sweep may vary."""

from collections.abc import Iterator

from hamu_ray.config.schema import Section
from hamu_ray.config.sources.nearest import near, nearest

FIXED = {
    "name": "it is the name of the sweep",
    "data.name": "data sets have different keys",
    "data.path": "a sweep has one data set",
    "forget.kind": "its kinds have different keys",
    "model.task": "it follows from the data",
    "storage": "a sweep stores its results in one place",
    "tracking": "a sweep stores its results in one place",
}
"""Keys or whole sections that must be the same in all trials of a sweep, with the reason."""


def keys_of_domain(path: str) -> list[str]:
    """Return the keys that a domain sets: `batch.{retain,forget}` gives both the same value."""
    before, opened, rest = path.partition("{")
    inside, closed, after = rest.partition("}")
    return [f"{before}{key.strip()}{after}" for key in inside.split(",")] if opened and closed else [path]


def key_paths(section: Section, prefix: str = "") -> Iterator[str]:
    """Yield the path of every key of a configuration; for sections with variants, those of the current variant."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from key_paths(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def check_varied(path: str, run: Section) -> None:
    """Check that a sweep over this run may vary a key.

    Raises `ValueError` with the closest key that it may vary, or the reason why it may not.
    """
    for fixed, reason in FIXED.items():
        if f"{path}.".startswith(f"{fixed}."):
            raise ValueError(f"space.{path}: cannot vary within a sweep: {reason}; run one sweep per value")
    known = [known for known in key_paths(run) if not any(f"{known}.".startswith(f"{f}.") for f in FIXED)]
    if path in known:
        return
    if keys := [key for key in known if key.startswith(f"{path}.")]:
        raise ValueError(f"space.{path}: is a section; vary one of its keys: {', '.join(keys)}")
    raise ValueError(f"space.{path}: unknown key; {_nearest(path, known)}")


def _nearest(path: str, known: list[str]) -> str:
    """The closest key of the same section, the same key in another section, or the closest of all."""
    section, _, key = path.rpartition(".")
    siblings = {
        known_key: at for at in known for other, _, known_key in [at.rpartition(".")] if other == section
    }
    if close := near(key, siblings):
        return f"did you mean {siblings[close]}?"
    if same := [at for at in known if at.endswith(f".{key}")]:
        return f"did you mean {min(same, key=len)}?"
    return f"known: {', '.join(siblings.values())}" if siblings else nearest(path, known)
