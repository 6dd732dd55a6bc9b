"""The registry of methods by name. A new method needs a file in this package, a line here, and a row in the tests.

The table alone is enough to check a configuration. It does not import torch, which takes seconds: a method's module is
imported on first use.
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
"""Names of the forget objectives that a configuration can select, and the hyperparameters that each uses; see
`hamu_ray.methods.preference`.
"""


@dataclass(frozen=True)
class _Entry:
    """A method's module and hyperparameters."""

    module: str
    """Module within this package."""
    variable: str
    """Variable of the module that contains the `Method`."""
    settings: frozenset[str] = frozenset()
    """The value of `Method.settings`."""
    forget: tuple[str, ...] = tuple(FORGET_OBJECTIVES)
    """Names of the forget objectives that can be selected, the default first. Empty if the method has no forget
    objective, or one that is part of its definition and has no name in configurations.
    """
    packages: tuple[str, ...] = ()
    """Optional packages that it requires."""


_GRANULARITY = frozenset({"granularity"})
_RETAIN_WEIGHT = frozenset({"retain_weight"})
_HAMU = ALL_SETTINGS - _RETAIN_WEIGHT
_TORCHJD = ("torchjd",)
_QUADPROG = ("torchjd", "qpsolvers", "quadprog")
_CVXPY = ("torchjd", "cvxpy", "clarabel")

INSTALL_TORCHJD = 'pip install "hamu-ray[torchjd]"'
"""Command that installs all optional packages of methods."""

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
"""Names of all methods; available without importing one."""


class _Methods(Mapping[str, "Method"]):
    """The methods by name, each imported on first access."""

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
    """Return the method with a name.

    Raises:
        ValueError: If there is none; the message lists the closest name and all names.
    """
    if name in METHODS:
        return METHODS[name]
    nearest = get_close_matches(str(name), METHODS, n=1, cutoff=0.4)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise ValueError(f"method must be one of {', '.join(METHODS)}, found {name!r}{hint}")


def check_installed(name: str) -> None:
    """Check that the optional packages of a registered method are installed, without importing them.

    Raises:
        ValueError: If one is missing; the message names it and the command to install it.
    """
    missing = [package for package in _TABLE[name].packages if find_spec(package) is None]
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}, not installed; install with {INSTALL_TORCHJD}")


def settings_of(name: str) -> frozenset[str]:
    """Return the names of the fields of `StepSettings` that a registered method uses, without importing it."""
    return _TABLE[name].settings


def forget_objectives_of(name: str) -> tuple[str, ...]:
    """Return the names of the forget objectives that a registered method accepts, its default first."""
    return _TABLE[name].forget


def keys_of(name: str, forget_objective: str | None = None) -> frozenset[str]:
    """Return the keys that a registered method uses in a configuration's `method` section, besides its name.

    These are the hyperparameters of its weighting, those of its forget objective (its default unless
    ``forget_objective`` is given), and the key that selects the forget objective, if it can be selected.
    """
    entry = _TABLE[name]
    keys = entry.settings
    if entry.forget:
        taken = forget_objective if forget_objective in entry.forget else entry.forget[0]
        keys |= FORGET_OBJECTIVES[taken]
    return keys | {"forget_objective"} if len(entry.forget) > 1 else keys
