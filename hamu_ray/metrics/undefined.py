"""A measure that is not defined: NaN that says why."""

import math
from collections.abc import Mapping


class Undefined(float):
    """NaN with a reason, returned in place of a number that would be made up.

    It is a float, so it goes wherever a measure goes, and it survives pickling (and so Ray). Arithmetic on it
    and text formats keep only the NaN.
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
    """Return why measures are NaN, by name, for all that are."""
    return {
        name: value.reason if isinstance(value, Undefined) else "not defined; the reason was not kept"
        for name, value in measures.items()
        if math.isnan(value)
    }


def because(what: str, value: float) -> str:
    """Return that something is not defined, with the reason that its value gives."""
    return f"{what} is not defined: {reasons({what: value})[what]}"
