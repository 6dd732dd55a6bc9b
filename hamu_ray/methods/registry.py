"""The methods by name. A new one is a file beside this, a line here and a row in the tests' table.

The table alone is enough to check a configuration. It needs no torch, whose import takes seconds: a
method's own module is imported when the method is first asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from hamu_ray.methods.settings import ALL_SETTINGS

if TYPE_CHECKING:
    from hamu_ray.methods.method import Method


@dataclass(frozen=True)
class _Entry:
    """Where a method is, and what it can be told."""

    module: str
    """Module of this package."""
    variable: str
    """The module's variable that holds the `Method`."""
    settings: frozenset[str] = frozenset()
    """What `Method.settings` takes from here."""


_GRANULARITY = frozenset({"granularity"})

_TABLE: Mapping[str, _Entry] = {
    "hamu-q": _Entry("hamu", "HAMU_Q", ALL_SETTINGS),
    "hamu-u": _Entry("hamu", "HAMU_U", ALL_SETTINGS),
    "ft": _Entry("descent", "FT"),
    "ga": _Entry("descent", "GA"),
    "gdiff": _Entry("descent", "GDIFF"),
    "kl": _Entry("descent", "KL"),
    "scrub": _Entry("descent", "SCRUB"),
    "gru": _Entry("gru", "GRU", _GRANULARITY),
    "pcgrad": _Entry("pcgrad", "PCGRAD", _GRANULARITY),
}

METHOD_NAMES: tuple[str, ...] = tuple(_TABLE)
"""The names of all methods; known without importing one."""


class _Methods(Mapping[str, "Method"]):
    """The methods by name, each imported when it is first looked up."""

    def __getitem__(self, name: str) -> "Method":
        entry = _TABLE[name]
        return getattr(import_module(f"hamu_ray.methods.{entry.module}"), entry.variable)

    def __iter__(self) -> Iterator[str]:
        return iter(_TABLE)

    def __len__(self) -> int:
        return len(_TABLE)

    def __contains__(self, name: object) -> bool:
        return name in _TABLE  # without importing the method


METHODS: Mapping[str, "Method"] = _Methods()
"""All methods."""


def get_method(name: str) -> "Method":
    """Return the method of that name.

    Raises:
        ValueError: If there is none; the message names the nearest, and all.
    """
    if name in METHODS:
        return METHODS[name]
    nearest = get_close_matches(str(name), METHODS, n=1, cutoff=0.4)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise ValueError(f"method must be one of {', '.join(METHODS)}, found {name!r}{hint}")


def settings_of(name: str) -> frozenset[str]:
    """Return the names of the fields of `StepSettings` that a registered method reads; imports no method."""
    return _TABLE[name].settings
