"""Undefined metrics: a NaN with a reason."""

import math
from collections.abc import Mapping


class Undefined(float):
    """NaN with a reason, returned instead of a made-up number.

    It is a float, so it can be used like any metric, and it survives pickling (and thus Ray). Arithmetic and text
    formats keep only the NaN.
    """

    reason: str

    def __new__(cls, reason: str) -> "Undefined":
        """Return a NaN that keeps the reason."""
        value = super().__new__(cls, math.nan)
        value.reason = reason
        return value

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        return (self.reason,)

    def __repr__(self) -> str:
        return f"nan ({self.reason})"


def reasons(measures: Mapping[str, float]) -> dict[str, str]:
    """Return the reasons of all NaN metrics, by name."""
    return {
        name: value.reason if isinstance(value, Undefined) else "not defined; the reason was not kept"
        for name, value in measures.items()
        if math.isnan(value)
    }


def because(what: str, value: float) -> str:
    """Return a sentence that something is undefined, with the reason of its value."""
    return f"{what} is not defined: {reasons({what: value})[what]}"
