"""The methods by name. A new one is a file beside this, a line here and a row in the tests' table.

The table alone is enough to check a configuration. It needs no torch, whose import takes seconds: a
method's module is imported on first use.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from hamu_ray.methods.settings import ALL_SETTINGS

if TYPE_CHECKING:
    from hamu_ray.methods.method import Method


FORGET_OBJECTIVES: Mapping[str, frozenset[str]] = {
    "cross_entropy": frozenset(),
    "npo": frozenset({"beta"}),
    "simnpo": frozenset({"beta", "gamma"}),
}
"""The names of the forget objectives that a configuration can give a method, and the settings that each
reads; see `hamu_ray.methods.preference`."""


@dataclass(frozen=True)
class _Entry:
    """A method's module and hyperparameters."""

    module: str
    """Module of this package."""
    variable: str
    """The module's variable that holds the `Method`."""
    settings: frozenset[str] = frozenset()
    """What `Method.settings` takes from here."""
    forget: tuple[str, ...] = tuple(FORGET_OBJECTIVES)
    """The names of the forget objectives that it can take, its own first. None of them where it has no forget
    objective, or one that makes it what it is and has no name in configurations."""
    packages: tuple[str, ...] = ()
    """Optional packages without which it cannot step."""


_GRANULARITY = frozenset({"granularity"})
_RETAIN_WEIGHT = frozenset({"retain_weight"})
_HAMU = ALL_SETTINGS - _RETAIN_WEIGHT
_TORCHJD = ("torchjd",)
_QUADPROG = ("torchjd", "qpsolvers", "quadprog")
_CVXPY = ("torchjd", "cvxpy", "clarabel")

INSTALL_TORCHJD = 'pip install "hamu-ray[torchjd]"'
"""What brings all optional packages of methods."""

_TABLE: Mapping[str, _Entry] = {
    "hamu-q": _Entry("hamu.weighting", "HAMU_Q", _HAMU),
    "hamu-u": _Entry("hamu.weighting", "HAMU_U", _HAMU),
    "ft": _Entry("descent", "FT", forget=()),
    "ga": _Entry("descent", "GA"),
    "gdiff": _Entry("descent", "GDIFF", _RETAIN_WEIGHT),
    "kl": _Entry("descent", "KL", _RETAIN_WEIGHT),
    "scrub": _Entry("descent", "SCRUB", _RETAIN_WEIGHT, forget=()),
    "npo": _Entry("preference", "NPO", _RETAIN_WEIGHT, forget=("npo",)),
    "simnpo": _Entry("preference", "SIMNPO", _RETAIN_WEIGHT, forget=("simnpo",)),
    "gru": _Entry("gru", "GRU", _GRANULARITY),
    "pcgrad": _Entry("pcgrad", "PCGRAD", _GRANULARITY | _RETAIN_WEIGHT),
    "jd-upgrad": _Entry("torchjd_weightings", "UPGRAD", _GRANULARITY, packages=_QUADPROG),
    "jd-mgda": _Entry("torchjd_weightings", "MGDA", _GRANULARITY, packages=_TORCHJD),
    "jd-cagrad": _Entry("torchjd_weightings", "CAGRAD", _GRANULARITY, packages=_CVXPY),
    "jd-dualproj": _Entry("torchjd_weightings", "DUALPROJ", _GRANULARITY, packages=_QUADPROG),
    "jd-alignedmtl": _Entry("torchjd_weightings", "ALIGNEDMTL", _GRANULARITY, packages=_TORCHJD),
    "jd-imtlg": _Entry("torchjd_weightings", "IMTLG", _GRANULARITY, packages=_TORCHJD),
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


def check_installed(name: str) -> None:
    """Check that what a registered method needs besides torch is installed; imports none of it.

    Raises:
        ValueError: If something is not; the message says what, and what to install.
    """
    missing = [package for package in _TABLE[name].packages if find_spec(package) is None]
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}, not installed here: {INSTALL_TORCHJD}")


def settings_of(name: str) -> frozenset[str]:
    """Return the names of the fields of `StepSettings` that a registered method reads; imports no method."""
    return _TABLE[name].settings


def forget_objectives_of(name: str) -> tuple[str, ...]:
    """Return the names of the forget objectives that a registered method can take, its own first."""
    return _TABLE[name].forget


def keys_of(name: str, forget_objective: str | None = None) -> frozenset[str]:
    """Return the keys of a configuration's `method` section that a registered method reads, besides its name.

    Those of its weighting, those of its forget objective (its own, unless it can take the one that is named), and
    the choice of that where it has one.
    """
    entry = _TABLE[name]
    keys = entry.settings
    if entry.forget:
        taken = forget_objective if forget_objective in entry.forget else entry.forget[0]
        keys |= FORGET_OBJECTIVES[taken]
    return keys | {"forget_objective"} if len(entry.forget) > 1 else keys
