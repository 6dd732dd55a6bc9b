"""The hardness of a HAMU run's first and last step, described in sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hamu_ray.config.constraint import aims_of, constraint_of
from hamu_ray.results.outcome import Report
from hamu_ray.results.wording import percent

HARDNESS = "hardness"
GRADIENT_COSINE = "gradient_cosine"

Histories = Mapping[str, Mapping[int, float]]
"""Diagnostics by name and step."""


def histories_of(reports: Sequence[Report], names: Sequence[str]) -> dict[str, dict[int, float]]:
    """Return diagnostics of steps from a run's reports; missing ones are left out."""
    found: dict[str, dict[int, float]] = {}
    for report in reports:
        for name in names:
            if name in report.history:
                found.setdefault(name, {}).update(
                    zip(report.history_steps, report.history[name], strict=True)
                )
    return found


def hardness_sentences(histories: Histories, method: Mapping[str, Any]) -> list[str]:
    """Describe which part of the guaranteed objective's available change is free, and how the constraint compares.

    With hardness h, a fraction ``1 - h`` of it costs the other objective nothing to first order. For a single block
    this is the sine of the angle between the gradients; over many blocks, each within its radius, it may be less, so
    the constraint is compared with ``1 - h``.

    Args:
        histories: histories of the run; without `hardness` the result is empty.
        method: the run's ``method`` section.
    """
    aims = aims_of(str(method.get("name")))
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
            "less than what is free in the first step: both objectives can improve in it"
            if fraction < ends[0]
            else "no less than what is free in the first step: no step within the radii serves both"
        )
        sentences.append(
            f"The constraint requires {percent(float(fraction))} of it, {side} "
            f"(sine of the gradients' angle: {percent(sine)})."
        )
    return sentences


def first_sine(histories: Histories) -> float:
    """Return the sine of the gradients' angle at the first step, NaN if it was not recorded.

    It is 1 without conflict (r.f <= 0): all of the available change then serves both objectives.
    """
    cosines = histories.get(GRADIENT_COSINE, {})
    if not cosines:
        return math.nan
    return math.sqrt(max(0.0, 1 - max(0.0, cosines[min(cosines)]) ** 2))
