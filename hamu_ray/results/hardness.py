"""What the hardness of a HAMU run's first and last step says, as sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hamu_ray.config.constraint import constraint_of
from hamu_ray.results.outcome import Report
from hamu_ray.results.wording import percent

HARDNESS = "hardness"
GRADIENT_COSINE = "gradient_cosine"

AIMS: Mapping[str, tuple[str, str]] = {
    "hamu-q": ("forgetting", "retaining"),
    "hamu-u": ("retaining", "forgetting"),
}
"""Of each method whose steps have a hardness: what it guarantees, and what that may cost."""

Histories = Mapping[str, Mapping[int, float]]
"""Diagnostics by name and step."""


def histories_of(reports: Sequence[Report], names: Sequence[str]) -> dict[str, dict[int, float]]:
    """Return diagnostics of steps from a run's reports; those that it does not have are left out."""
    found: dict[str, dict[int, float]] = {}
    for report in reports:
        for name in names:
            if name in report.history:
                found.setdefault(name, {}).update(
                    zip(report.history_steps, report.history[name], strict=True)
                )
    return found


def hardness_sentences(histories: Histories, method: Mapping[str, Any]) -> list[str]:
    """Return what of the guaranteed objective's available change is free, and where the constraint stands.

    With hardness h, ``1 - h`` of it costs the other objective nothing at first order. For one block that is the sine
    of the gradients' angle; over many blocks, each within its radius, it may be less, so the constraint is compared
    with ``1 - h``.

    Args:
        histories: of the run; without `hardness` there is nothing to say.
        method: the run's ``method`` section.
    """
    aims = AIMS.get(str(method.get("name")))
    values = histories.get(HARDNESS, {})
    ends = [1 - values[step] for step in (min(values), max(values))] if values else []
    if aims is None or not all(map(math.isfinite, ends)) or not ends:
        return []
    gain, cost = aims
    sentences = [
        f"{percent(ends[0])} of the {gain} available in the first step costs nothing in {cost}, "
        f"{percent(ends[1])} in the last."
    ]
    key, fraction = constraint_of(method) or (None, math.nan)
    sine = first_sine(histories)
    if key == "constraint_fraction" and math.isfinite(sine):
        side = (
            "less than what is free in the first step: both objectives can gain in it"
            if fraction < ends[0]
            else "no less than what is free in the first step: no step within the radii serves both"
        )
        sentences.append(
            f"The constraint asks for {percent(float(fraction))} of it, {side} "
            f"(sine of the gradients' angle: {percent(sine)})."
        )
    return sentences


def first_sine(histories: Histories) -> float:
    """Return the sine of the gradients' angle at the first step, NaN where it was not recorded.

    It is 1 where the gradients do not conflict (r.f <= 0): all that is available then serves both objectives.
    """
    cosines = histories.get(GRADIENT_COSINE, {})
    if not cosines:
        return math.nan
    return math.sqrt(max(0.0, 1 - max(0.0, cosines[min(cosines)]) ** 2))
