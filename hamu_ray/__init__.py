"""Ray-native sweeps of machine unlearning: how far forgetting and skill go together, with one command or one call."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamu_ray.api.run import Unlearner, sweep

__all__ = ["Unlearner", "sweep"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hamu_ray.api import run  # only now: it needs torch and Ray

    return getattr(run, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
